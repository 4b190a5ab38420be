"""The prompt: history, completion and help for a person."""

from __future__ import annotations

from collections.abc import Iterator

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory

from kernel.abi import CALLS
from servers.runtime import KernelError, ServiceError
from tools.errors import UserError
from tools.shell import guests
from tools.shell.commands import COMMANDS
from tools.shell.session import Session
from tools.system import state_folder

_WORDS = {
    "vm": [*guests.ACTIONS],
    "log": ["verify"],
    "help": list(COMMANDS),
    "break": ["off", *(spec.name for spec in CALLS)],
}
_TAKES_PROCESS = ("caps", "kill", "start", "stop", "tcb")


class CommandCompleter(Completer):
    """Completes commands, what they take, and the names of processes."""

    def __init__(self, session: Session) -> None:
        self._names = [process.name for process in session.plan.processes]
        self._vms = [process.name for process in session.plan.processes if process.vm]
        self._machine = session.machine

    def get_completions(self, document: Document, _event: object) -> Iterator[Completion]:
        words = document.text_before_cursor.rpartition(";")[2].lstrip().split(" ")
        for choice in self.choices(words[:-1]):
            if choice.startswith(words[-1]):
                yield Completion(choice, -len(words[-1]))

    def choices(self, before: list[str]) -> list[str]:
        """What can stand after the words of a command."""
        if not before:
            return [n for n, c in COMMANDS.items() if self._machine == "sim" or not c.simulator]
        if before[0] == "vm" and len(before) == 2 and before[1] != "list":
            return self._vms
        if len(before) == 1:
            names = self._names if before[0] in _TAKES_PROCESS else []
            return [*_WORDS.get(before[0], []), *names]
        return _WORDS["break"][1:] if before[0] == "break" and len(before) == 2 else []


class Prompt:
    """Asks for one line after the other."""

    def __init__(self, session: Session) -> None:
        self._session = session
        folder = state_folder(session.source.description.name)
        folder.mkdir(parents=True, exist_ok=True)
        self._prompt: PromptSession[str] = PromptSession(
            history=FileHistory(str(folder / "history")),
            completer=CommandCompleter(session),
            complete_while_typing=False,
        )

    def ask(self) -> str | None:
        """A line, or None after Control-D."""
        toolbar = HTML(" <b>{}</b> on {}   {}   Control-D leaves").format(*self._status())
        while True:
            try:
                return self._prompt.prompt("cloister> ", bottom_toolbar=toolbar)
            except KeyboardInterrupt:
                continue
            except EOFError:
                return None

    def _status(self) -> tuple[str, str, str]:
        session = self._session
        name, machine = session.source.description.name, session.machine
        try:
            session.check()
            running = sum(info.state == "running" for info in session.processes())
        except (KernelError, ServiceError, UserError) as error:
            return name, machine, str(error)
        state = f"{running} processes"
        if machine == "sim":
            now = session.timeline.machine
            state += f"   seed {now.seed}, step {now.steps}"
        return name, machine, state
