"""The commands, as a table: name -> arguments, what it does, and the function that does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from servers.runtime import KernelError, ServiceError
from tools.errors import UserError
from tools.render import table
from tools.shell import control, guests, look, simulation
from tools.shell.session import Session
from tools.shell.words import commands

Action = Callable[[Session, list[str]], None]


class Command(NamedTuple):
    """One command of the shell."""

    arguments: str
    text: str
    action: Action
    more: str = ""
    """What ``help COMMAND`` adds."""
    simulator: bool = False
    """Whether only the simulator has it."""


_CAPS = """\
rights: r read, w write, s send, v receive, c control, g grant
A badge tells a server who calls: 'console for linux' is linux's capability to the offer
'console'."""
_TRACE = "Calls of 'debug' are left out: that is how the shell looks."
_TCB = """\
A subject is a process, a guest ('vm:linux'), its disk ('disk:linux.disk0') or its TPM
('tpm:linux'). Without one: the last guest that runs. 'cloister tcb' knows more."""
_VM = ", ".join(guests.ACTIONS)
_BACK = """\
Going back is running again from the start, with the same seed and the same requests at the same
steps; that it is the same run is checked on the kernel's trace. 'run' and 'step' then repeat what
was recorded, until you ask the system for something else."""


def leave(session: Session, _words: list[str]) -> None:
    session.ended = True


def explain(session: Session, words: list[str]) -> None:
    if words:
        command = find(words[0])
        print(f"{words[0]} {command.arguments}".rstrip() + f": {command.text}")
        if command.more:
            print(command.more)
        return
    shown = {
        name: command
        for name, command in COMMANDS.items()
        if session.machine == "sim" or not command.simulator
    }
    rows = [(f"{name} {entry.arguments}".rstrip(), entry.text) for name, entry in shown.items()]
    table(("command", "what it does"), rows)
    if len(shown) < len(COMMANDS):
        only = ", ".join(name for name in COMMANDS if name not in shown)
        print(f"\nOnly with --machine sim: {only}")


COMMANDS: dict[str, Command] = {
    "ps": Command("", "processes with their state, time, memory and label", look.ps),
    "threads": Command("", "threads, and what they are blocked on", look.threads),
    "caps": Command("PROCESS", "the capabilities that a process holds", look.caps, _CAPS),
    "spaces": Command("", "address spaces and their quotas", look.spaces),
    "endpoints": Command("", "endpoints, who serves them and who waits", look.endpoints),
    "trace": Command("[N]", "the kernel's last N events", look.trace, _TRACE),
    "kill": Command("PROCESS", "end a process and see it restarted", control.kill),
    "start": Command("PROCESS", "start a process", control.start),
    "stop": Command("PROCESS", "end a process and leave it stopped", control.stop),
    "vm": Command("ACTION [NAME]", f"virtual machines: {_VM}", guests.vm, guests.HELP),
    "log": Command("[N|verify]", "the audit log, or whether it is whole", control.log),
    "tcb": Command(
        "[SUBJECT] | why SUBJECT MEMBER", "who has to be trusted now", control.tcb, _TCB
    ),
    "where": Command("", "how far the run is, and who can run", simulation.where, simulator=True),
    "step": Command("[N]", "let a thread run to its next call", simulation.step, simulator=True),
    "run": Command("[N]", "run N steps, or until nobody can", simulation.run, simulator=True),
    "break": Command(
        "[[THREAD] CALL|off]", "stop at a system call", simulation.break_on, simulator=True
    ),
    "back": Command("[N]", "go N steps back", simulation.back, _BACK, simulator=True),
    "save": Command(
        "FILE", "write down the run so far, to repeat it", simulation.save, simulator=True
    ),
    "seed": Command(
        "[N]", "show the seed, or begin again with another", simulation.seed, simulator=True
    ),
    "help": Command("[COMMAND]", "this list, or more on a command", explain),
    "quit": Command("", "end the system and leave", leave),
}


def find(name: str) -> Command:
    """A command by its name."""
    if name not in COMMANDS:
        raise UserError(f"there is no command {name!r}; 'help' lists them")
    return COMMANDS[name]


def execute(session: Session, text: str) -> None:
    """Run the commands of a line; raises ``UserError`` with a sentence at the first that fails."""
    for words in commands(text):
        if session.ended:
            return
        session.check()
        try:
            find(words[0]).action(session, words[1:])
        except (KernelError, ServiceError) as error:
            raise UserError(f"{words[0]}: {error}") from None
