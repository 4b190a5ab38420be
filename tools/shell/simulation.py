"""Commands for the simulator: it moves when it is told to, and can be taken back.

Going back is going forward again: a new machine with the same seed gets the operator's calls at the
same steps, and stops earlier.  That it is the same run is checked on the trace of the kernel.
"""

from __future__ import annotations

from kernel.abi import CALLS
from kernel.thread import Thread
from tools.errors import UserError
from tools.shell.session import Session


def _steps(words: list[str], default: int) -> int:
    if not words:
        return default
    if not words[0].isdigit():
        raise UserError(f"{words[0]!r} is not a number of steps")
    return int(words[0])


def where(session: Session, _words: list[str]) -> None:
    machine = session.simulation.machine
    print(f"step {machine.steps}, time {machine.now / 1e9:.6f} s, seed {machine.seed}")


def step(session: Session, words: list[str]) -> None:
    machine = session.simulation.machine
    first = machine.kernel.trace.sequence + 1
    made = machine.run(_steps(words, 1))
    for _, now, event, thread, a, b in machine.kernel.trace.since(first, 1000):
        if event == 0:
            print(f"{now / 1e9:.6f}  {_name(session, thread)}: {CALLS[a].name}({b})")
    if not made:
        print("nobody can run")
    where(session, [])


def run(session: Session, words: list[str]) -> None:
    machine = session.simulation.machine
    machine.run(_steps(words, 1_000_000))
    print("stopped at the breakpoint" if machine.stopped else "nobody can run, or enough steps")
    where(session, [])


def break_on(session: Session, words: list[str]) -> None:
    machine = session.simulation.machine
    if words == ["off"]:
        machine.breakpoint = None
        print("no breakpoint")
        return
    numbers = [spec.number for spec in CALLS if words and spec.name == words[-1]]
    if not numbers:
        raise UserError("name a system call, such as: break reply_recv")

    def hit(_thread: Thread, request: list[object]) -> bool:
        return request[0] == numbers[0]

    machine.breakpoint = hit
    print(f"'run' stops when a thread calls {words[-1]}")


def seed(session: Session, words: list[str]) -> None:
    if words:
        session.simulation  # noqa: B018 (says so where there is none)
        session.reboot(_steps(words, 0))
    where(session, [])


def back(session: Session, words: list[str]) -> None:
    system = session.simulation
    target = max(0, system.machine.steps - _steps(words, 1))
    earlier = system.at(target)
    count = earlier.machine.kernel.trace.sequence
    mine = system.machine.kernel.trace
    oldest = max(1, mine.sequence - 8000)
    if earlier.machine.kernel.trace.since(oldest, 8000) != mine.since(oldest, 8000)[
        : max(0, count - oldest + 1)
    ]:
        raise UserError("the run did not repeat itself: a guest or a file outside took part in it")
    system.close()
    session.system = earlier
    where(session, [])


def _name(session: Session, number: int) -> str:
    for space in session.simulation.machine.kernel.spaces.values():
        for thread in space.threads:
            if thread.id == number:
                return thread.name
    return str(number)
