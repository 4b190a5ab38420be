"""The kernel's events in words, and as slices of a trace viewer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kernel.abi import CALLS, Error, Fault, TraceEvent

Event = Sequence[int]
"""``[sequence, time_ns, event, thread, a, b]``, a row of ``DebugOp.TRACE``."""
Names = Mapping[int, str]
"""Thread id -> the thread's name."""


def what(event: Event, names: Names) -> str:
    """What an event is about."""
    _, _, kind, _, a, b = event
    if kind == TraceEvent.CALL:
        return f"{CALLS[a].name}({b}{', ...' if len(CALLS[a].arguments) > 1 else ''})"
    if kind == TraceEvent.RETURN:
        return Error(a).name.lower()
    if kind == TraceEvent.MESSAGE:
        return f"to {names.get(a, a)}, label {b}"
    if kind == TraceEvent.FAULT:
        return f"space {a}: {Fault(b).name.lower()}"
    return f"object {a}" + (f", bits {b:#x}" if kind == TraceEvent.SIGNAL else "")


def row(event: Event, names: Names) -> list[object]:
    """Cells of a table: number, time, kind, thread, what."""
    number, at, kind, thread = event[:4]
    who = names.get(thread, thread or "-")
    return [number, f"{at / 1e9:.6f}", TraceEvent(kind).name.lower(), who, what(event, names)]


COLUMNS = ("event", "time", "kind", "thread", "what")


def slices(events: Sequence[Event], names: Names) -> Iterator[dict[str, Any]]:
    """Trace events of the Chrome and Perfetto viewers: a call is a slice, the rest are instants.

    The format is the "Trace Event Format", its duration (B, E), instant (i) and metadata (M) events.
    Times are microseconds.
    """
    inside: set[int] = set()
    for thread in sorted({event[3] for event in events if event[3]}):
        yield {
            **{"ph": "M", "name": "thread_name", "pid": 1, "tid": thread},
            "args": {"name": names.get(thread, str(thread))},
        }
    for event in events:
        _, at, kind, thread, _, _ = event
        base = {"ts": at / 1000, "pid": 1, "tid": thread}
        if kind == TraceEvent.CALL:
            inside.add(thread)
            yield {"ph": "B", "name": what(event, names).partition("(")[0], **base}
        elif kind == TraceEvent.RETURN and thread in inside:
            inside.discard(thread)
            yield {"ph": "E", "args": {"error": what(event, names)}, **base}
        elif kind not in (TraceEvent.CALL, TraceEvent.RETURN):
            name = f"{TraceEvent(kind).name.lower()} {what(event, names)}"
            yield {"ph": "i", "s": "t", "name": name, **base}
