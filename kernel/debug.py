"""What the debug authority sees: kernel state as rows, a page at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgpack

from kernel.abi import DebugOp, Error, ThreadState
from kernel.capability import Refused
from kernel.effects import Inspect

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.thread import Thread

Row = list[Any]
PAGE = 256
"""Rows of one answer: well within a payload, each row being about 100 bytes."""


def _spaces(kernel: Kernel, seen: dict[int, tuple[int, int, int]]) -> Iterator[Row]:
    for space in kernel.spaces.values():
        account = space.account
        yield [
            *(space.id, space.name, space.label, space.flags, account.used, account.limit),
            *(len(space.caps), len(space.mappings), len(space.threads)),
            *seen.get(space.id, (0, 0, 0)),
        ]


def _threads(kernel: Kernel) -> Iterator[Row]:
    for space in kernel.spaces.values():
        for thread in space.threads:
            target = thread.through.object.id if thread.queue and thread.through else 0
            if thread.state is ThreadState.REPLY and thread.through is not None:
                target = thread.through.object.id
            yield [
                *(thread.id, space.id, thread.name, int(thread.state), thread.priority, target),
            ]


def _endpoints(kernel: Kernel) -> Iterator[Row]:
    from kernel.endpoint import Endpoint

    known: dict[Endpoint, None] = {}
    for space in kernel.spaces.values():
        for cap in space.caps.values():
            if isinstance(cap.object, Endpoint):
                known[cap.object] = None
    for end in known:
        queued = (len(end.senders), len(end.receivers))
        yield [end.id, end.label, *queued, end.receive_caps]


def _capabilities(kernel: Kernel) -> Iterator[Row]:
    for space in kernel.spaces.values():
        for slot, cap in space.caps.items():
            parent = cap.parent
            origin = (parent.space.id, parent.slot) if parent and parent.space else (0, 0)
            kind = type(cap.object).__name__
            yield [space.id, slot, kind, cap.object.id, int(cap.rights), cap.badge, *origin]


_TABLES: dict[int, Callable[[Kernel], Iterator[Row]]] = {
    DebugOp.THREADS: _threads,
    DebugOp.ENDPOINTS: _endpoints,
    DebugOp.CAPABILITIES: _capabilities,
}


def _page(kernel: Kernel, thread: Thread, rows: list[Row], start: int) -> None:
    page = rows[start : start + PAGE]
    more = start + PAGE if len(rows) > start + PAGE else 0
    kernel.finish(thread, msgpack.packb(page), more)


def answer(kernel: Kernel, thread: Thread, operation: int, start: int) -> None:
    """Answer ``debug``; what only the machine knows is asked of it first."""
    if operation == DebugOp.SPACES:
        thread.block(ThreadState.INSPECTING, None)
        thread.pending = start
        kernel.effects.append(Inspect(thread, tuple(kernel.spaces.values())))
    elif operation == DebugOp.TRACE:
        events = kernel.trace.since(start, PAGE)
        more = events[-1][0] + 1 if len(events) == PAGE else 0
        kernel.finish(thread, msgpack.packb(events), more)
    elif operation in _TABLES:
        _page(kernel, thread, list(_TABLES[operation](kernel)), start)
    else:
        raise Refused(Error.BAD_ARGUMENT)


def inspected(kernel: Kernel, thread: Thread, seen: dict[int, tuple[int, int, int]]) -> None:
    """The machine's answer: space id -> process id, CPU time in ns, resident bytes."""
    if thread.state is ThreadState.INSPECTING:
        start, thread.pending = thread.pending, 0
        _page(kernel, thread, list(_spaces(kernel, seen)), start)
