"""The channels to the kernel: speaking out of turn, and not listening."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import time

from kernel.abi import NULL, Right
from servers.runtime.host import ANSWERS, REQUESTS
from tests.hostile.attacker import SECOND, Attacker
from tests.hostile.linux import socket_address
from tests.hostile.registry import Foiled, attack, harmless, killed, refused

_TURN = "sent something else than a mapping"


def _waiting(fd: int) -> int:
    """Bytes to be read."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0])


@attack(killed("crashed: does not read its answers"))
def leave_answers_unread(at: Attacker) -> object:
    """Fill the queue of its answers with long ones, so that the kernel would have to wait."""
    data = b"\x91\xc5\xea\x60" + bytes(60_000)
    request = at.request("call", at.env.slot("victim"), 1, data, [], SECOND)
    for _ in range(8):
        before = _waiting(ANSWERS)
        at.send(request)
        end = time.monotonic() + 2
        while _waiting(ANSWERS) == before and time.monotonic() < end:
            time.sleep(0.001)
    return at.still_here()


@attack(killed("crashed: does not read its (notices|answers)"))
def leave_notices_unread(at: Attacker) -> object:
    """Fill the queue of its notices with descriptors, so that the kernel would have to wait."""
    frame = at.system.frame_create(4096)
    for _ in range(2000):
        at.ask("map", frame, 1)
    return at.still_here()


@attack(killed("crashed: does not read its (notices|answers)"))
def leave_threads_unstarted(at: Attacker) -> object:
    """Fill the queue of its notices with threads to start."""
    for _ in range(50):
        at.ask("thread_create", NULL, "nothing", bytes(60_000), 1)
    return at.still_here()


@attack(killed(f"crashed: {_TURN}"))
def speak_nonsense_out_of_turn(at: Attacker) -> object:
    """Send garbage over the notice channel."""
    at.notices.send(b"\xc1 garbage")
    return at.still_here()


@attack(killed(f"crashed: {_TURN}"))
def speak_at_length_out_of_turn(at: Attacker) -> object:
    """Send a long message over the notice channel."""
    at.notices.send(bytes(60_000))
    return at.still_here()


@attack(killed(f"crashed: {_TURN}"))
def call_by_notices(at: Attacker) -> object:
    """Make a system call over the notice channel."""
    at.notices.send(at.request("cap_drop", 1))
    return at.still_here()


@attack(killed(f"crashed: {_TURN}"))
def speak_a_byte_too_much(at: Attacker) -> object:
    """Send a byte more than the number of a mapping has."""
    at.notices.send(bytes(9))
    return at.still_here()


@attack(killed("crashed: closed its channel"))
def say_goodbye(at: Attacker) -> object:
    """Send what the kernel reads where a channel was closed, and go on."""
    at.notices.send(b"")
    return at.still_here()


@attack(harmless("nobody"))
def confess_what_was_not_asked(at: Attacker) -> object:
    """Say of every mapping that there may be, whoever's it is, that it is gone."""
    for mapping in range(5000):
        at.confess(mapping)
    at.system.clock()
    raise Foiled("nobody believed it")


@attack(harmless("nobody"))
def confess_what_cannot_be(at: Attacker) -> object:
    """Say that mappings with the strangest numbers are gone."""
    for number in (-1, 0, 1 << 31, (1 << 63) - 1, -(1 << 63)):
        at.confess(number)
    at.system.clock()
    raise Foiled("nobody believed it")


@attack(killed(f"crashed: {_TURN}"))
def speak_a_byte_too_little(at: Attacker) -> object:
    """Send a byte less than the number of a mapping has."""
    at.notices.send(bytes(7))
    return at.still_here()


@attack(refused("EBADF"))
def write_own_answers(at: Attacker) -> object:
    """Write its own answers, for another thread of it to believe."""
    return os.write(ANSWERS, b"\x91\x00")


@attack(refused("EBADF"))
def read_own_requests(at: Attacker) -> object:
    """Read what its other threads ask."""
    return os.read(REQUESTS, 1)


@attack(refused("EACCES", "EPERM"))
def open_other_end(at: Attacker) -> object:
    """Open the kernel's end of a pipe, by the list of its own descriptors."""
    return at.host.open(f"/proc/self/fd/{ANSWERS}", os.O_WRONLY)


@attack(harmless("nobody else"))
def take_requests_back(at: Attacker) -> object:
    """Open the kernel's end of its requests' pipe, and race the kernel for what is in it."""
    fd, taken = at.host.open(f"/proc/self/fd/{REQUESTS}", os.O_RDONLY | os.O_NONBLOCK), 0
    while not taken:
        at.send(at.request("clock"))
        try:
            taken = len(os.read(fd, 100))
        except BlockingIOError:
            at.receive()
    os.close(fd)
    at.system.clock()
    raise Foiled("nobody else misses the request")


@attack(harmless("one byte at a time"))
def read_slowly(at: Attacker) -> object:
    """Read a long answer a few bytes at a time, so that the kernel has to keep the rest."""
    data = b"\xc5\xea\x60" + bytes(60_000)
    at.send(at.request("call", at.env.slot("victim"), 1, b"\x91" + data, [], SECOND))
    read = b""
    while data not in read:
        read += os.read(ANSWERS, 1 if len(read) < 100 else 5000)
        time.sleep(0.001)
    raise Foiled("one byte at a time, and everybody else could go on")


# Links


@attack(refused("IN_USE"))
def open_end_twice(at: Attacker) -> object:
    """Get one end of a link for two."""
    link = at.system.link_create()
    at.system.link_open(link, Right.SEND)
    return at.system.link_open(link, Right.SEND)


@attack(refused("NO_RIGHT"))
def open_the_other_end(at: Attacker) -> object:
    """Get the server's end with the right to the client's."""
    link = at.system.cap_mint(at.system.link_create(), Right.SEND, 0, NULL)
    return at.system.link_open(link, Right.RECEIVE)


@attack(refused("EPIPE"))
def use_link_that_was_cut(at: Attacker) -> object:
    """Go on talking over a link whose capability is gone."""
    link = at.system.link_create()
    ends = [at.system.link_open(link, end) for end in (Right.SEND, Right.RECEIVE)]
    os.write(ends[0], b"before")
    assert os.read(ends[1], 99) == b"before"
    at.system.cap_drop(link)
    return os.write(ends[0], b"after")


@attack(refused("EPERM"))
def redirect_link(at: Attacker) -> object:
    """Connect the socket behind a link to somebody on the host."""
    fd, address = at.system.link_open(at.system.link_create(), Right.SEND), at.facts.abstract
    return at.host.connect(fd, socket_address(address), 2 + len(address)) == 0


@attack(refused("NO_QUOTA"))
def link_bomb(at: Attacker) -> object:
    """Have links without end, each with two sockets in the kernel's process."""
    for _ in range(1000):
        at.system.link_open(at.system.link_create(), Right.SEND)
    return "1000 links"
