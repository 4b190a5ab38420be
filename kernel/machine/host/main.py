"""The kernel's process on the host machine; ``machine`` says how a tool starts it.

The import path comes as arguments, since the interpreter is started without one (``-I -S``).
"""

import sys

if __name__ == "__main__":
    sys.path += sys.argv[1:]

import os
import socket
from contextlib import suppress

import msgpack

from kernel.machine.config import BootConfig
from kernel.machine.host import linux
from kernel.machine.host.machine import Halt, Machine

OPERATOR_FD = 3
MAX_CONFIG = 1 << 20
"""The longest boot configuration, in bytes."""
MAX_DESCRIPTORS = 250
"""Descriptors of devices; Linux takes 253 in one message."""


def _receive(channel: socket.socket) -> tuple[BootConfig, list[int]]:
    data, descriptors, flags, _ = socket.recv_fds(
        channel, MAX_CONFIG, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise ValueError(f"the boot configuration is longer than {MAX_CONFIG} bytes")
    return BootConfig.unpack(data), descriptors


def main() -> int:
    """Boot and run; the exit status."""
    while os.open(os.devnull, os.O_RDWR) <= OPERATOR_FD + 2:
        pass  # so that no descriptor from here on is one of those that a process is to have
    channel = socket.socket(fileno=OPERATOR_FD)
    try:
        config, descriptors = _receive(channel)
        machine = Machine(config, channel, descriptors)
    except (IndexError, OSError, TypeError, ValueError) as error:
        with suppress(OSError):
            channel.send(msgpack.packb([1, str(error)]))
        return 1
    try:
        answer, theirs = msgpack.packb([0, machine.operator_slots]), machine.operator_channel.theirs
        socket.send_fds(channel, [answer], theirs)
        linux.close(*theirs)
        channel.setblocking(False)
        machine.run()
    except Halt as halt:
        reason = str(halt)
    except OSError as error:
        reason = f"The kernel could not go on: {error}."
    finally:
        machine.close()
    if reason:
        print(f"cloister: {reason}", file=sys.stderr)
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main())
