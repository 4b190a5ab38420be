"""The prompt: history, completion and help for a person."""

from __future__ import annotations

from collections.abc import Iterator

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.formatted_text import HTML
from prompt_toolkit.history import FileHistory

from tools.shell.commands import COMMANDS
from tools.shell.session import Session
from tools.system import state_folder

_WORDS = {
    "vm": ["list", "start", "stop", "pause", "resume", "status", "console", "type", "wait"],
    "log": ["verify"],
    "help": list(COMMANDS),
}
_TAKES_PROCESS = {"caps", "kill", "start", "stop", "tcb"}


class CommandCompleter(Completer):
    """Completes commands, what they take, and the names of processes."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(self, document: Document, _event: object) -> Iterator[Completion]:
        words = document.text_before_cursor.split(" ")
        for choice in self._choices(words[:-1]):
            if choice.startswith(words[-1]):
                yield Completion(choice, -len(words[-1]))

    def _choices(self, before: list[str]) -> list[str]:
        if not before:
            return list(COMMANDS)
        if len(before) == 1 and before[0] in _WORDS:
            return _WORDS[before[0]]
        names = [(vm.name, True) for vm in self._session.source.description.vm]
        names += [(process.name, False) for process in self._session.source.description.process]
        if before[0] == "vm" and len(before) == 2:
            return [name for name, is_vm in names if is_vm]
        if before[0] in _TAKES_PROCESS and len(before) == 1:
            return [name for name, _ in names]
        return []


def lines(session: Session) -> Iterator[str]:
    """What the person types, line by line, until Control-D."""
    folder = state_folder(session.source.description.name)
    folder.mkdir(parents=True, exist_ok=True)
    name = session.source.description.name
    prompt: PromptSession[str] = PromptSession(
        history=FileHistory(str(folder / "history")),
        completer=CommandCompleter(session),
        complete_while_typing=False,
        bottom_toolbar=HTML(f" <b>{name}</b> on {session.machine}   help   Control-D leaves"),
    )
    while True:
        try:
            yield prompt.prompt("cloister> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
