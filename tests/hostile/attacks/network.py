"""The network: sockets of every kind, and connections to the host."""

from __future__ import annotations

import ctypes
import socket
import struct

from servers.runtime.host import NOTICE
from tests.hostile.attacker import Attacker
from tests.hostile.linux import Vector, internet_address, socket_address
from tests.hostile.registry import BORN, TURNED, Body, attack, refused

BOTH = (BORN, TURNED)
NO = refused("EPERM")
_SOL_SOCKET, _SCM_RIGHTS = 1, 1

_FAMILIES = {  # name: family, type, protocol, whether any user may have one
    "inet": (socket.AF_INET, socket.SOCK_STREAM, 0, True),
    "inet6": (socket.AF_INET6, socket.SOCK_DGRAM, 0, False),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM, 0, True),
    "netlink": (socket.AF_NETLINK, socket.SOCK_RAW, 0, True),
    "raw": (socket.AF_INET, socket.SOCK_RAW, 1, False),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW, 3 << 8, False),
    "vsock": (40, socket.SOCK_STREAM, 0, False),
    "crypto": (38, 5, 0, False),
}


def _socket(name: str) -> Body:
    family, kind, protocol, _ = _FAMILIES[name]
    return lambda at: at.host.socket(family, kind, protocol)


for _name, (*_, _anybody) in _FAMILIES.items():
    attack(
        NO,
        name=f"socket-{_name}",
        text=f"Open a socket of the family {_name}.",
        open_hand=_anybody,
    )(_socket(_name))


@attack(NO, open_hand=True, leaves="connections", programs=BOTH)
def connect_to_loopback(at: Attacker) -> object:
    """Connect to a server on the host."""
    fd = at.host.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    return at.host.connect(fd, internet_address(at.facts.port), 16) == 0


@attack(NO, open_hand=True, leaves="connections")
def connect_to_path(at: Attacker) -> object:
    """Connect to a server by a socket in the file system."""
    fd, address = at.host.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0), at.facts.path
    return at.host.connect(fd, socket_address(address), 3 + len(address)) == 0


@attack(NO, open_hand=True, leaves="connections")
def connect_to_abstract(at: Attacker) -> object:
    """Connect to a server by a socket that is in no file system."""
    fd, address = at.host.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0), at.facts.abstract
    return at.host.connect(fd, socket_address(address), 2 + len(address)) == 0


@attack(NO)
def reconnect_notices(at: Attacker) -> object:
    """Connect the one socket that it has to somebody else."""
    address = at.facts.abstract
    return at.host.connect(NOTICE, socket_address(address), 2 + len(address)) == 0


@attack(NO)
def serve_from_notices(at: Attacker) -> object:
    """Give the one socket that it has a name, and listen on it."""
    address = "@cloister-hostile-evil"
    at.host.bind(NOTICE, socket_address(address), 2 + len(address))
    return at.host.listen(NOTICE, 1) == 0


@attack(refused("EPERM", "EINVAL"))
def accept_on_notices(at: Attacker) -> object:
    """Accept a connection on the one socket that it has."""
    return at.host.accept4(NOTICE, None, None, 0)


@attack(NO)
def shut_notices_down(at: Attacker) -> object:
    """Shut the notice channel down, for the kernel too."""
    return at.host.shutdown(NOTICE, socket.SHUT_RDWR) == 0


@attack(NO)
def widen_notices(at: Attacker) -> object:
    """Let more wait in the notice channel than the kernel meant to have there."""
    return at.host.setsockopt(NOTICE, _SOL_SOCKET, socket.SO_SNDBUF, struct.pack("i", 1 << 20), 4)


@attack(NO, open_hand=True)
def make_pair_of_sockets(at: Attacker) -> object:
    """Make a pair of sockets, in whose queues descriptors could be hidden."""
    pair = (ctypes.c_int * 2)()
    return at.host.socketpair(socket.AF_UNIX, socket.SOCK_STREAM, 0, pair) == 0


def _message_with_descriptor(fd: int) -> tuple[bytes, list[object]]:
    """A ``struct msghdr`` that brings a descriptor, and what has to be kept in memory for it."""
    data = ctypes.create_string_buffer(b"\x91\x01", 2)
    vector = Vector(ctypes.addressof(data), 2)
    control = ctypes.create_string_buffer(struct.pack("QiiiI", 20, _SOL_SOCKET, _SCM_RIGHTS, fd, 0))
    header = struct.pack(
        "QIxxxxQQQQixxxx", 0, 0, ctypes.addressof(vector), 1, ctypes.addressof(control), 24, 0
    )
    return header, [data, vector, control]


@attack(NO, programs=BOTH)
def send_descriptor_to_kernel(at: Attacker) -> object:
    """Send the kernel a descriptor over the notice channel."""
    header, kept = _message_with_descriptor(0)
    return at.host.sendmsg(NOTICE, header, 0) and kept


@attack(NO)
def send_many_messages(at: Attacker) -> object:
    """Send the kernel descriptors by the call that sends several messages."""
    header, kept = _message_with_descriptor(0)
    return at.host.sendmmsg(NOTICE, header + bytes(8), 1, 0) and kept
