"""Commands for the simulator: it moves when it is told to, and can be taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kernel.abi import CALLS
from tools.errors import UserError
from tools.render import table
from tools.shell.session import Session
from tools.shell.words import number
from tools.trace.names import Names
from tools.trace.words import COLUMNS, row

if TYPE_CHECKING:
    from kernel.thread import Thread


def where(session: Session, _words: list[str]) -> None:
    time = session.timeline
    machine, names = time.machine, session.names()
    print(f"step {machine.steps}, time {machine.now / 1e9:.6f} s, seed {machine.seed}")
    ahead = time.history.steps - machine.steps
    if ahead:
        print(f"recorded: {ahead} steps more, which 'run {ahead}' repeats")
    if time.run.busy:
        print("the operator's call at this step is not answered yet")
    ready = [names.get(thread, f"thread {thread}") for thread in time.ready()]
    print(f"can run: {', '.join(ready) or 'nobody'}")


def _position(session: Session, why: str) -> None:
    machine = session.timeline.machine
    print(f"step {machine.steps}, time {machine.now / 1e9:.6f} s{why}")


def step(session: Session, words: list[str]) -> None:
    time = session.timeline
    first = time.kernel.trace.sequence + 1
    before = session.names()
    _, why = time.forward(number(words, 1, "steps"))
    names: Names = session.names()
    names.caps = {**before.caps, **names.caps}  # with what a step used up
    events = time.kernel.trace.since(first, 1000)
    if events:
        table(COLUMNS, [row(event, names) for event in events])
    _position(session, f": {why}" if why else "")


def run(session: Session, words: list[str]) -> None:
    time = session.timeline
    made, why = time.forward(number(words, 0, "steps") if words else None)
    if time.run.stopped_by is not None and why == "the breakpoint":
        thread, call = time.run.stopped_by
        why = f"{session.names().get(thread.id, thread.name)} calls {CALLS[call].name}"
    _position(session, f", {made} further" + (f": {why}" if why else ""))


def _stop_at(names: Callable[[], Names], who: str | None, call: int) -> Callable[..., bool]:
    def stop(thread: Thread, request: list[Any]) -> bool:
        if request[0] != call:
            return False
        return who is None or who in (thread.space.name, names().get(thread.id))

    return stop


def break_on(session: Session, words: list[str]) -> None:
    run = session.timeline.run
    if words == ["off"]:
        run.stop = None
        print("no breakpoint")
        return
    if not words:
        print("a breakpoint is set" if run.stop else "no breakpoint")
        return
    numbers = {spec.name: spec.number for spec in CALLS}
    call = words[-1]
    if call not in numbers or len(words) > 2:
        raise UserError("name a system call, such as: break reply_recv, or: break console call")
    who = words[0] if len(words) == 2 else None
    run.stop = _stop_at(session.names, who, numbers[call])
    print(f"'run' and 'step' stop when {who or 'a thread'} calls {call}")


def seed(session: Session, words: list[str]) -> None:
    time = session.timeline
    if words:
        session.reboot(number(words, 0, "seed"))
        time = session.timeline
    print(f"seed {time.machine.seed}, step {time.machine.steps}")


def save(session: Session, words: list[str]) -> None:
    if len(words) != 1:
        raise UserError("name a file, such as: save run.json")
    time = session.timeline
    kept = {"system": session.source.description.name, **time.saved()}
    try:
        Path(words[0]).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {words[0]}: {error.strerror}") from None
    print(f"saved; cloister shell --machine sim --replay {words[0]} repeats it")


def back(session: Session, words: list[str]) -> None:
    time = session.timeline
    compared = time.back(number(words, 1, "steps"))
    session.forget()
    _position(session, f": the same run, {compared} events compared")
