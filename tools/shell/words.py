"""What the person typed, as words."""

from __future__ import annotations

import shlex

from tools.errors import UserError


def commands(text: str) -> list[list[str]]:
    """The commands of a line, divided by semicolons, each as words; quotes and # as in a shell."""
    try:
        return [words for part in _parts(text) if (words := shlex.split(part, comments=True))]
    except ValueError as error:
        raise UserError(f"{text.strip()!r}: {str(error).lower()}") from None


def _parts(text: str) -> list[str]:
    """The text between semicolons that are not quoted."""
    parts, quote, escaped = [""], "", False
    for letter in text:
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == ";":
            parts.append("")
            continue
        parts[-1] += letter
    return parts


def number(words: list[str], default: int, what: str) -> int:
    """The first word as a number that is not negative."""
    if not words:
        return default
    if not words[0].isdecimal():
        raise UserError(f"{words[0]!r} is not a number of {what}")
    return int(words[0])


def name(words: list[str], what: str = "a process") -> str:
    """The first word, which must be there."""
    if not words:
        raise UserError(f"name {what}")
    return words[0]
