"""The kernel's events in words, and as slices of a trace viewer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kernel.abi import CALLS, NULL, Error, Fault, TraceEvent
from tools.trace.names import Names as Known

Event = Sequence[int]
"""``[sequence, time_ns, event, thread, a, b]``, a row of ``DebugOp.TRACE``."""
Names = Mapping[int, str]
"""Thread id -> the thread's name; as ``tools.trace.names.Names``, the names of all else too."""


def _call(thread: int, number: int, first: int, names: Names) -> str:
    """A call with its first argument: of a capability, the object behind it."""
    spec = CALLS[number]
    if not spec.arguments:
        return f"{spec.name}()"
    shown = str(first)
    kind = spec.arguments[0][1]
    if kind == "cap" and first != NULL and isinstance(names, Known):
        shown = names.slot(thread, first)
    elif kind in ("text", "bytes"):
        return f"{spec.name}(...)"  # the kernel records numbers alone
    return f"{spec.name}({shown}{', ...' if len(spec.arguments) > 1 else ''})"


def what(event: Event, names: Names) -> str:
    """What an event is about."""
    _, _, kind, thread, a, b = event
    if kind == TraceEvent.CALL:
        return _call(thread, a, b, names)
    if kind == TraceEvent.RETURN:
        return Error(a).name.lower()
    if kind == TraceEvent.MESSAGE:
        return f"to {names.get(a, a)}, label {b}"
    known = names if isinstance(names, Known) else None
    if kind == TraceEvent.FAULT:
        space = known.space(a) if known else f"space {a}"
        return f"{space}: {Fault(b).name.lower()}"
    text = known.object(a) if known else f"object {a}"
    return text + (f", bits {b:#x}" if kind == TraceEvent.SIGNAL else "")


def row(event: Event, names: Names) -> list[object]:
    """Cells of a table: number, time, kind, thread, what."""
    number, at, kind, thread = event[:4]
    who = names.get(thread, thread or "-")
    return [number, f"{at / 1e9:.6f}", TraceEvent(kind).name.lower(), who, what(event, names)]


def rows_in_words(rows: Iterable[Event], thread_names: Names) -> list[str]:
    """Each event as one line of text."""
    return ["  ".join(map(str, row(event, thread_names))) for event in rows]


UNKNOWN = 1
"""The viewer's process of the kernel and of threads that ended: no space of user mode has it."""
COLUMNS = ("event", "time", "kind", "thread", "what")


def process_of(thread: int, names: Names) -> int:
    """The viewer's process for a thread: its address space where that is known."""
    known = names.threads.get(thread) if isinstance(names, Known) else None
    return known.space if known else UNKNOWN


def slices(events: Sequence[Event], names: Names) -> Iterator[dict[str, Any]]:
    """Trace events of the Chrome and Perfetto viewers: a call is a slice, the rest are instants.

    The format is the "Trace Event Format": duration (B, E), instant (i) and metadata (M) events.
    Times are microseconds.  A call that had not returned has no end, and one whose beginning the
    ring has forgotten is left out.
    """
    inside: set[int] = set()
    for thread in sorted({event[3] for event in events if event[3]}):
        place = {"pid": process_of(thread, names), "tid": thread}
        name = names.get(thread, str(thread))
        yield {"ph": "M", "name": "thread_name", **place, "args": {"name": name}}
    for event in events:
        _, at, kind, thread, _, _ = event
        base = {"ts": at / 1000, "pid": process_of(thread, names), "tid": thread}
        if kind == TraceEvent.CALL:
            inside.add(thread)
            yield {"ph": "B", "name": what(event, names).partition("(")[0], **base}
        elif kind == TraceEvent.RETURN and thread in inside:
            inside.discard(thread)
            yield {"ph": "E", "args": {"error": what(event, names)}, **base}
        elif kind not in (TraceEvent.CALL, TraceEvent.RETURN):
            name = f"{TraceEvent(kind).name.lower()} {what(event, names)}"
            yield {"ph": "i", "s": "t", "name": name, **base}
