"""What the debug authority sees: kernel state as rows, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import msgpack

from kernel.abi import DebugOp, Error, ThreadState
from kernel.capability import Capability, Refused
from kernel.effects import Inspect
from kernel.endpoint import Endpoint

if TYPE_CHECKING:
    from kernel.kernel import Device, Kernel, Thread

Row = list[Any]
PAGE = 256
"""Rows of one answer: well within a payload, each row being about 100 bytes."""

_SPACE = attrgetter("id", "name", "label", "flags", "account.used", "account.limit")
_THREAD = attrgetter("id", "space.id", "name", "state", "priority")


def _spaces(kernel: Kernel, seen: dict[int, tuple[int, int, int]]) -> Iterator[Row]:
    for space in kernel.spaces.values():
        counts = len(space.caps), len(space.mappings), len(space.threads)
        yield [*_SPACE(space), *counts, *seen.get(space.id, (0, 0, 0))]


def _threads(kernel: Kernel) -> Iterator[Row]:
    for thread in (thread for space in kernel.spaces.values() for thread in space.threads):
        waits = thread.queue is not None or thread.state is ThreadState.REPLY
        target = thread.through.object.id if waits and thread.through else 0
        yield [*_THREAD(thread), target]


def _all_capabilities(kernel: Kernel) -> Iterator[Capability[Any]]:
    return (cap for space in kernel.spaces.values() for cap in space.caps.values())


def _endpoints(kernel: Kernel) -> Iterator[Row]:
    for end in dict.fromkeys(cap.object for cap in _all_capabilities(kernel)):
        if isinstance(end, Endpoint):
            yield [end.id, end.label, len(end.senders), len(end.receivers), end.receive_caps]


def _capabilities(kernel: Kernel) -> Iterator[Row]:
    for cap in _all_capabilities(kernel):
        space, parent = cap.space, cap.parent
        assert space is not None
        origin = (parent.space.id, parent.slot) if parent and parent.space else (0, 0)
        kind = type(cap.object).__name__
        yield [space.id, cap.slot, kind, cap.object.id, int(cap.rights), cap.badge, *origin]


_TABLES: dict[int, Callable[[Kernel], Iterator[Row]]] = {
    DebugOp.THREADS: _threads,
    DebugOp.ENDPOINTS: _endpoints,
    DebugOp.CAPABILITIES: _capabilities,
}


def _page(thread: Thread, rows: Iterator[Row], start: int) -> None:
    found = list(rows)[start:]
    thread.finish(msgpack.packb(found[:PAGE]), start + PAGE if len(found) > PAGE else 0)


def debug(thread: Thread, authority: Capability[Device], operation: int, start: int) -> None:
    kernel = thread.kernel
    if operation == DebugOp.SPACES:  # what only the machine knows is asked of it first
        thread.state = ThreadState.INSPECTING
        thread.pending = start
        kernel.effects.append(Inspect(thread, tuple(kernel.spaces.values())))
    elif operation == DebugOp.TRACE:
        events = kernel.trace.since(start, PAGE)
        thread.finish(msgpack.packb(events), events[-1][0] + 1 if len(events) == PAGE else 0)
    elif operation in _TABLES:
        _page(thread, _TABLES[operation](kernel), start)
    else:
        raise Refused(Error.BAD_ARGUMENT)


def inspected(thread: Thread, seen: dict[int, tuple[int, int, int]]) -> None:
    """The machine's answer: space id -> process id, CPU time in ns, resident bytes."""
    if thread.state is ThreadState.INSPECTING:
        start, thread.pending = thread.pending, 0
        _page(thread, _spaces(thread.kernel, seen), start)
