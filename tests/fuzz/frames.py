"""The kernel's frame decoder, and the kernel behind it.

A script is a list of frames, each preceded by its length in two bytes.  Promised is that a frame is
either refused as malformed, in one line, or decodes to a request of the types that the table names
and to nothing else; and that the kernel carries every such request out, and keeps its invariants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgpack

from kernel.abi import CALLS, KINDS, MAX_FRAME, ThreadState
from kernel.wire import Malformed, decode
from tests.fuzz.source import Source
from tests.fuzz.values import anything
from tools.check import invariants
from tools.check.harness import Service, World

MOST: Final = 24
"""Frames of one script at most."""


def check(frame: bytes) -> list[Any] | None:
    """The request in a frame, None if it is malformed; raises if the decoder did not keep to it."""
    try:
        request = decode(frame)
    except Malformed as error:
        assert "\n" not in str(error) and str(error)
        return None
    assert len(frame) <= MAX_FRAME
    spec = CALLS[request[0]]
    assert len(request) == 1 + len(spec.arguments)
    for argument, (_, kind) in zip(request[1:], spec.arguments, strict=True):
        assert type(argument) is KINDS[kind]
    # What means the same is the same: another encoding of it decodes to it as well.
    assert decode(msgpack.packb(request)) == request
    return request


def request(source: Source) -> Any:
    """A request that is nearly right."""
    spec = CALLS[source.number() % len(CALLS)]
    makers: dict[str, Callable[[], Any]] = {
        "bytes": source.blob,
        "text": source.text,
        "caps": lambda: [source.number() % 12 for _ in range(source.count(9))],
        "cap": lambda: source.number() % 24,
        "timeout": lambda: source.pick((0, -1, 1, 1000, 1 << 40)),
        "rights": lambda: source.pick((1, 3, 4, 8, 12, 47, 63, 64, 1 << 32)),
    }
    found: list[Any] = [spec.number]
    for _, kind in spec.arguments:
        if source.chance(24):
            found.append(anything(source))
        else:
            found.append(makers.get(kind, lambda: abs(source.integer()))())
    return found


def frame(source: Source) -> bytes:
    """Any frame: bytes, or an encoded request that may have been tampered with."""
    if source.chance(6):
        return source.blob()
    try:
        data: bytes = msgpack.packb(request(source))
    except OverflowError:
        return source.blob()
    return source.edited(data) if source.chance(6) else data


def raw(data: bytes) -> None:
    """Decode the bytes themselves."""
    check(data)


def target(data: bytes) -> None:
    """Send a script of frames as threads of the root task and of two processes that it made."""
    source, world = Source(data), World()
    service = Service(world)
    actors = [world.init, service.server, service.client, world.init.spawn()]
    for _ in range(MOST):
        actor = source.pick(actors)
        found = check(frame(source))
        if not source or world.init.thread.state is ThreadState.DEAD:
            break
        if actor.thread in world.calls:
            world.advance(1 << 41)
        if found is None or actor.thread in world.calls or actor.thread.state is ThreadState.DEAD:
            continue
        actor.request(CALLS[found[0]].name, *found[1:])
        invariants.check(world.kernel)
