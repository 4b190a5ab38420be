"""What the debug authority sees: kernel state as rows, a page at a time."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgpack

from kernel.abi import DebugOp, Error, ThreadState
from kernel.capability import Capability, require
from kernel.endpoint import Endpoint

if TYPE_CHECKING:
    from kernel.kernel import Device, Kernel, Space, Thread

PAGE = 256
"""Rows of one answer: well within a payload, each row being about 100 bytes."""
_SPACE = attrgetter("id", "name", "label", "flags", "account.used", "account.limit")
_THREAD = attrgetter("id", "space.id", "name", "state", "priority")


def _space(space: Space) -> list[Any]:
    counts = len(space.caps), len(space.mappings), len(space.threads)
    return [*_SPACE(space), *counts, *space.kernel.inspect(space), space.budget, space.period]


def _thread(thread: Thread) -> list[Any]:
    waits = thread.queue is not None or thread.state is ThreadState.REPLY
    return [*_THREAD(thread), thread.through.object.id if waits and thread.through else 0]


def _endpoint(end: Endpoint) -> list[Any]:
    return [end.id, end.label, len(end.senders), len(end.receivers), end.receive_caps]


def _capability(space: Space, cap: Capability[Any]) -> list[Any]:
    parent, kind = cap.parent, type(cap.object).__name__
    origin = (parent.space.id, parent.slot) if parent and parent.space else (0, 0)
    return [space.id, cap.slot, kind, cap.object.id, cap.rights, cap.badge, *origin]


def rows(kernel: Kernel, operation: int) -> list[list[Any]]:
    """What there is to report, but for the trace."""
    spaces = kernel.spaces.values()
    if operation == DebugOp.SPACES:
        return [_space(space) for space in spaces]
    if operation == DebugOp.THREADS:
        return [_thread(thread) for space in spaces for thread in space.threads]
    if operation == DebugOp.CAPABILITIES:
        return [_capability(space, cap) for space in spaces for cap in space.caps.values()]
    named = dict.fromkeys(cap.object for space in spaces for cap in space.caps.values())
    return [_endpoint(end) for end in named if isinstance(end, Endpoint)]


def debug(thread: Thread, authority: Capability[Device], operation: int, start: int) -> None:
    kernel = thread.kernel
    require(operation <= DebugOp.TRACE, Error.BAD_ARGUMENT)
    if operation == DebugOp.TRACE:
        events = kernel.trace.since(start, PAGE)
        thread.finish(msgpack.packb(events), events[-1][0] + 1 if len(events) == PAGE else 0)
    else:
        found = rows(kernel, operation)[start:]
        thread.finish(msgpack.packb(found[:PAGE]), start + PAGE if len(found) > PAGE else 0)
