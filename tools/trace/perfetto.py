"""The trace as a file for Perfetto and Chrome's viewer.

Address spaces are the viewer's processes and threads their tracks, calls are slices, and a message
is an arrow from the call that sent it to the call that received it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from kernel.abi import TraceEvent
from tools.trace.names import Names
from tools.trace.words import UNKNOWN, Event, process_of, slices

Record = dict[str, Any]


def _processes(names: Names) -> Iterator[Record]:
    """The names of the viewer's processes."""
    known = {space.id: space.name for space in names.spaces.values()}
    for number, name in {**known, UNKNOWN: "kernel and the operator"}.items():
        yield {"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}}


def _arrows(events: Sequence[Event], names: Names) -> Iterator[Record]:
    """Messages, as flow events (s, f)."""
    for number, at, kind, sender, receiver, _ in events:
        if kind == TraceEvent.MESSAGE:
            flow = {"name": "message", "cat": "ipc", "id": number, "ts": at / 1000}
            yield {**flow, "ph": "s", "pid": process_of(sender, names), "tid": sender}
            end = {"pid": process_of(receiver, names), "tid": receiver}
            yield {**flow, "ph": "f", "bp": "e", **end}


def export(events: Sequence[Event], names: Names) -> Record:
    """The whole file, to be written as JSON."""
    records = [*_processes(names), *slices(events, names), *_arrows(events, names)]
    return {"traceEvents": records, "displayTimeUnit": "ns"}
