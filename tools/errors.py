"""What goes wrong for reasons that the person at the command line can mend."""

from __future__ import annotations


class UserError(Exception):
    """One sentence that says what is wrong and what to do; the program exits with ``status``."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.status = status
