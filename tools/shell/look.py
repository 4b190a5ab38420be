"""Commands that look at the system and change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from kernel.abi import CALLS, DebugOp, ThreadState, TraceEvent
from tools.errors import UserError
from tools.render import seconds, size, table
from tools.shell.session import Session
from tools.shell.words import name, number
from tools.trace.names import Cap, Space, rights_text
from tools.trace.words import COLUMNS, Event, row

_DEBUG: Final = next(spec.number for spec in CALLS if spec.name == "debug")

_PS = (
    *("process", "pid", "threads", "state", "cpu", "budget", "memory", "quota", "label"),
    "starts",
)
_SPACES = ("space", "name", "label", "used", "quota", "capabilities", "mappings", "threads")
_THREADS = ("thread", "name", "state", "priority", "at")
_ENDPOINTS = ("endpoint", "owner", "label", "served by", "callers waiting", "servers waiting")
_CAPS = ("slot", "object", "rights", "badge", "derived from")


def ps(session: Session, _words: list[str]) -> None:
    infos = {info.name: info for info in session.processes()}
    spaces = {space.name: space for space in session.spaces()}
    labels = session.plan.labels
    planned = {process.name: process for process in session.plan.processes}
    rows: list[list[object]] = []
    for who in [*(found for found in spaces if found not in infos), *infos]:
        info, space = infos.get(who), spaces.get(who)
        state = info.state if info else "running"
        starts = info.starts if info else "-"
        if space is None:
            label = labels[planned[who].label]
            rows.append([who, "-", "-", state, *"----", label, starts])
            continue
        cpu = seconds(space.cpu_ns) if space.cpu_ns or space.pid else "-"
        resident = size(space.resident) if space.pid else "-"
        quota = f"{size(space.used)}/{size(space.limit)}"
        rows.append([who, space.pid or "-", space.threads, state, cpu, _budget(space)])
        rows[-1] += [resident, quota]
        rows[-1] += [labels[space.label], starts]
    table(_PS, rows)


def _budget(space: Space) -> str:
    """How long a space may run in each period, in milliseconds."""
    return f"{space.budget / 1000:g}/{space.period / 1000:g}ms" if space.budget else "-"


def spaces(session: Session, _words: list[str]) -> None:
    labels = session.plan.labels
    rows = [
        [
            *(space.id, space.name, labels[space.label], size(space.used), size(space.limit)),
            *(space.capabilities, space.mappings, space.threads),
        ]
        for space in session.spaces()
    ]
    table(_SPACES, rows)


def threads(session: Session, _words: list[str]) -> None:
    names = session.names()
    rows = []
    for thread in names.threads.values():
        state = ThreadState(thread.state).name.lower()
        at = names.object(thread.blocked_on) if thread.blocked_on else "-"
        rows.append([thread.id, names[thread.id], state, thread.priority, at])
    table(_THREADS, rows)


def endpoints(session: Session, _words: list[str]) -> None:
    names = session.names()
    rows = []
    for target, label, senders, receivers, _ in session.rows(DebugOp.ENDPOINTS):
        serving = ", ".join(names.serving(target)) or "-"
        owner = names.servers.get(target, "-")
        rows.append([target, owner, names.label(label), serving, senders, receivers])
    table(_ENDPOINTS, rows)


def caps(session: Session, words: list[str]) -> None:
    who = name(words)
    space = session.space(who)
    if space is None:
        session.process(who)  # or there is no such process at all
        raise UserError(f"{who} is not running, and holds nothing")
    names = session.names()
    held = [cap for cap in names.caps.values() if cap.space == space.id]
    rows = [
        [
            *(cap.slot, _object(names.object(cap.object), cap), rights_text(cap.rights)),
            *(names.badge(cap), names.origin(cap)),
        ]
        for cap in held
    ]
    table(_CAPS, rows)


def _object(text: str, cap: Cap) -> str:
    """An object with its number, unless that is its name."""
    return text if str(cap.object) in text.split() else f"{text} ({cap.object})"


def trace(session: Session, words: list[str]) -> None:
    events = list(without_looking(session.rows(DebugOp.TRACE)))
    names = session.names()
    shown = events[-max(1, number(words, 20, "events")) :]
    table(COLUMNS, [row(event, names) for event in shown])


def without_looking(events: Iterable[Event]) -> Iterator[Event]:
    """Events without the calls of ``debug``, which are the shell's own looking."""
    looking: set[int] = set()
    for event in events:
        _, _, kind, thread, a, _ = event
        if kind == TraceEvent.CALL and a == _DEBUG:
            looking.add(thread)
        elif kind == TraceEvent.RETURN and thread in looking:
            looking.discard(thread)
        else:
            yield event
