"""Frames on the wire that are no system calls: each kills its sender, and touches nobody else."""

from __future__ import annotations

import struct
import time
from typing import Final

import msgpack

from kernel.abi import MAX_FRAME, MAX_PAYLOAD
from tests.hostile.attacker import NUMBERS, Attacker
from tests.hostile.registry import Body, attack, killed

_pack = msgpack.packb
_CALL, _WAIT, _CLOCK = NUMBERS["call"], NUMBERS["wait"], NUMBERS["clock"]

_FRAMES: Final[dict[str, tuple[bytes, str]]] = {
    "garbage": (b"\xc1\xff\x00garbage", "not a msgpack array"),
    "zeros": (bytes(64), "not a msgpack array|not an array"),
    "nothing-but-a-number": (b"\x07", "not an array"),
    "text": (b"\xa4evil", "not an array"),
    "truncated": (_pack([_CALL, 1, 0, b"data", [], 0])[:-3], "not a msgpack array"),
    "claims-more-than-there-is": (b"\x96\x00\x01\x00\xc6\xff\xff\xff\xff", "not a msgpack array"),
    "claims-a-huge-array": (b"\xdd\xff\xff\xff\xff", "not a msgpack array"),
    "empty-array": (b"\x90", "not an array that begins"),
    "deep-nesting": (b"\x91" * 60_000 + b"\x00", "not a msgpack array"),
    "deep-nesting-in-capabilities": (
        b"\x96\x00\x01\x00\xc4\x00" + b"\x91" * 5000 + b"\x90\x00",
        "not a msgpack array|have other types|not a number",
    ),
    "map": (_pack({0: 1}), "not a msgpack array"),
    "map-as-argument": (_pack([_WAIT, {}, 0]), "not a msgpack array|other types"),
    "extension": (b"\x93\x06\xc7\x04\x05evil\x00", "not a msgpack array|other types"),
    "timestamp": (b"\x93\x06\xd6\xff\x00\x00\x00\x00\x00", "not a msgpack array|other types"),
    "unknown-call": (_pack([len(NUMBERS)]), "there is no system call"),
    "negative-call": (_pack([-1]), "there is no system call"),
    "huge-call": (_pack([(1 << 64) - 1]), "there is no system call"),
    "call-by-name": (_pack(["clock"]), "not an array that begins"),
    "call-as-truth": (_pack([True]), "not an array that begins"),
    "call-as-fraction": (_pack([28.0]), "not an array that begins"),
    "too-few-arguments": (_pack([_WAIT, 1]), "other types"),
    "too-many-arguments": (_pack([_CLOCK, 1]), "other types"),
    "far-too-many-arguments": (_pack([_CLOCK, *range(1000)]), "not a msgpack array"),
    "truth-for-a-number": (_pack([_WAIT, True, 0]), "other types"),
    "nothing-for-a-number": (_pack([_WAIT, None, 0]), "other types"),
    "fraction-for-a-number": (_pack([_WAIT, 1.0, 0]), "other types"),
    "no-number": (b"\x93\x06\xcb" + struct.pack(">d", float("nan")) + b"\x00", "other types"),
    "text-for-bytes": (_pack([_CALL, 1, 0, "data", [], 0]), "other types"),
    "bytes-for-text": (_pack([NUMBERS["thread_exit"], 0, b"bye"]), "other types"),
    "broken-text": (b"\x93\x13\x00\xa2\xff\xfe", "not a msgpack array"),
    "long-text": (_pack([NUMBERS["thread_exit"], 0, "x" * 5000]), "not a msgpack array"),
    "negative-timeout": (_pack([_WAIT, 1, -2]), "is negative"),
    "negative-size": (_pack([NUMBERS["frame_create"], -4096]), "is negative"),
    "capability-as-text": (_pack([_CALL, 1, 0, b"", ["1"], 0]), "is not a number"),
    "capability-as-truth": (_pack([_CALL, 1, 0, b"", [True], 0]), "is not a number"),
    "negative-capability": (_pack([_CALL, 1, 0, b"", [-1], 0]), "is not a number"),
    "too-many-capabilities": (_pack([_CALL, 1, 0, b"", [1] * 4000, 0]), "not a msgpack array"),
    "something-after-it": (_pack([_CLOCK]) + b"\x00", "not a msgpack array"),
    "two-at-once": (_pack([_CLOCK]) * 2, "not a msgpack array"),
    "too-long-payload": (
        _pack([_CALL, 1, 0, bytes(MAX_PAYLOAD + 1), [], 0]),
        "not a msgpack array",
    ),
    "too-long": (_pack([_CALL, 1, 0, bytes(MAX_FRAME), [], 0]), r"frame of \d+ bytes"),
    "far-too-long": (_pack([_CALL, 1, 0, bytes(120_000), [], 0]), r"frame of \d+ bytes"),
}


def _sender(frame: bytes) -> Body:
    def send(at: Attacker) -> object:
        at.send(frame)
        return at.still_here()

    return send


for _name, (_frame, _why) in _FRAMES.items():
    attack(
        killed(rf"malformed: .*(?:{_why})"),
        name=f"malformed-{_name}",
        text=f"Send {_name.replace('-', ' ')} for a system call.",
    )(_sender(_frame))


@attack(killed("malformed: not a msgpack array"))
def speak_slowly(at: Attacker) -> object:
    """Send a system call a byte at a time, so that the kernel has to wait for the rest."""
    for byte in at.request("call", at.env.slot("victim"), 0, bytes(100), [], 0):
        at.send(bytes([byte]))
        time.sleep(0.005)
    return at.still_here()


@attack(killed("malformed: a second call while one is outstanding"))
def ask_twice(at: Attacker) -> object:
    """Make a second system call while the first waits."""
    notification = at.system.notification_create()
    at.send(at.request("wait", notification, -1))
    time.sleep(0.05)
    at.send(at.request("wait", notification, -1))
    return at.still_here()


@attack(killed("malformed: "))
def ask_without_listening(at: Attacker) -> object:
    """Make system calls as fast as it can, and read no answer."""
    for _ in range(20_000):
        at.send(at.request("clock"))
    return at.still_here()
