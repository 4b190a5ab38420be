"""Reading capDL: the objects of a specification, and the capabilities in each of them.

After the capDL Language Specification, revision 1.0 (of the seL4 project): arrays of objects and
ranges, untyped memory that covers objects, names for capabilities, references to them.  What says
nothing about authority (interrupt tables, derivation) is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tools.errors import UserError

_BLANK: Final = re.compile(r"/\*.*?\*/|--[^\n]*|//[^\n]*|\s+", re.DOTALL)
_TOKEN: Final = re.compile(
    r'"[^"]*"|\.\.|[{}()\[\]<>=:,;]|[^\s{}()\[\]<>=:,;."]+(?:\.[^\s{}()\[\]<>=:,;."]+)*'
)
_LARGEST: Final = 1 << 16
"""Elements of an array: more is not a system of this kind."""
_END: Final = ""


@dataclass
class Object:
    """A kernel object."""

    name: str
    kind: str
    """As capDL spells it: ``tcb``, ``ep``, ``cnode``, ``frame``, ``ut`` and so on."""
    attributes: dict[str, str] = field(default_factory=dict)
    covers: list[str] = field(default_factory=list)
    """For untyped memory, what was made of it."""
    slots: dict[str, Cap] = field(default_factory=dict)
    """The capabilities in it."""


@dataclass(frozen=True)
class Cap:
    """A capability."""

    target: str
    rights: frozenset[str]
    """Of R, W, X, G (grant), P (grant reply); empty if the specification does not say."""


def read(text: str, where: str) -> dict[str, Object]:
    """The objects of a specification; raises ``UserError`` with the line of what is wrong."""
    return _Reader(text, where).read()


class _Reader:
    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._tokens = list(self._split(text))
        self._at = 0
        self._objects: dict[str, Object] = {}
        self._arrays: dict[str, list[str]] = {}
        self._named: dict[str, list[Cap]] = {}

    def _split(self, text: str) -> Iterator[tuple[str, int]]:
        at, line = 0, 1
        while at < len(text):
            found = _BLANK.match(text, at) or _TOKEN.match(text, at)
            if found is None:
                raise UserError(f"{self._where}, line {line}: {text[at]!r} is not capDL")
            if found.re is _TOKEN:
                yield found.group(), line
            line += found.group().count("\n")
            at = found.end()

    def _fail(self, expected: str) -> UserError:
        token, line = (
            self._tokens[min(self._at, len(self._tokens) - 1)] if self._tokens else ("", 1)
        )
        found = repr(token) if self._at < len(self._tokens) else "its end"
        return UserError(f"{self._where}, line {line}: {found} is there in place of {expected}")

    def _peek(self, ahead: int = 0) -> str:
        at = self._at + ahead
        return self._tokens[at][0] if at < len(self._tokens) else _END

    def _next(self) -> str:
        token = self._peek()
        if token == _END:
            raise self._fail("more")
        self._at += 1
        return token

    def _take(self, token: str) -> bool:
        if self._peek() == token:
            self._at += 1
            return True
        return False

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise self._fail(repr(token))

    def read(self) -> dict[str, Object]:
        sections = {"objects": self._objects_section, "caps": self._caps_section}
        while self._peek() != _END:
            word = self._next()
            if word == "arch":
                self._next()
            elif word in sections:
                self._expect("{")
                sections[word]()
            elif word in ("irq", "maps", "cdt", "domains"):
                self._pass_over()
            else:
                self._at -= 1
                raise self._fail("a section (arch, objects, caps, irq maps, cdt)")
        if not self._objects:
            raise UserError(f"{self._where}: it is no capDL specification: it has no objects")
        return self._objects

    def _pass_over(self) -> None:
        """Up to the end of a section that says nothing about authority."""
        while self._peek() not in ("{", _END):
            self._next()
        depth = 0
        while self._peek() != _END:
            token = self._next()
            depth += (token == "{") - (token == "}")
            if not depth:
                return

    # Objects

    def _objects_section(self) -> None:
        while not self._take("}"):
            self._object()

    def _object(self) -> list[str]:
        """An object, or an array of them; the names it makes known."""
        name = self._next().rpartition("/")[2]
        if name in self._arrays and self._peek() == "[":  # covered here, said what it is elsewhere
            known = self._arrays[name]
            listed = [known[i] for i in self._chosen(len(known))]
            if self._peek().startswith("/"):  # a path: what is meant is at its end
                return self._object()
            if not self._take("="):
                return listed
            self._next()
            self._attributes()
            self._covered(listed)
            return listed
        count = self._size()
        if not self._take("="):
            return self._all(name)
        kind = self._next()
        attributes = self._attributes()
        names = [name] if count is None else [f"{name}[{i}]" for i in range(count)]
        self._arrays[name] = names
        for each in names:
            self._objects.setdefault(each, Object(each, kind, attributes))
        self._covered(names)
        return names

    def _covered(self, names: list[str]) -> None:
        """What was made of untyped memory."""
        if self._take("{"):
            covers: list[str] = []
            while not self._take("}"):
                covers += self._object()
                self._take(",")
            for each in names:
                self._objects[each].covers += covers
        self._take(";")

    def _size(self) -> int | None:
        """Of an array; what is listed of one that is not known yet says nothing."""
        if not self._take("["):
            return None
        words = []
        while not self._take("]"):
            words.append(self._next())
        return self._number(words[0]) if len(words) == 1 else None

    def _number(self, text: str) -> int:
        try:
            value = int(text, 0) if text.lower().startswith("0x") else int(text)
        except ValueError:
            self._at -= 1
            raise self._fail("a number") from None
        if not 0 <= value <= _LARGEST:
            self._at -= 1
            raise self._fail(f"a number up to {_LARGEST}")
        return value

    def _attributes(self) -> dict[str, str]:
        """What is in parentheses: ``name: value``, or words; a list counts by its first element."""
        found: dict[str, str] = {}
        if not self._take("("):
            return found
        while not self._take(")"):
            words = []
            while self._peek() not in (",", ")", ":"):
                words.append(self._next())
            found[" ".join(words)] = self._value() if self._take(":") else ""
            self._take(",")
        return found

    def _value(self) -> str:
        """Of an attribute; of a list or a pair, the first element."""
        closing = {"[": "]", "(": ")"}.get(self._peek())
        if closing is None:
            words = []
            while self._peek() not in (",", ")", _END):
                words.append(self._next())
            return "".join(words)
        self._next()
        value = self._next()
        while value != closing and not self._take(closing):
            self._next()
        return value

    def _all(self, name: str) -> list[str]:
        return self._arrays.get(name, [name])

    # Capabilities

    def _caps_section(self) -> None:
        while not self._take("}"):
            name = self._next()
            if self._take("="):  # a name for a slot that is defined elsewhere
                self._attributes()
                continue
            names = self._all(name)
            holders = [self._objects.get(names[i]) for i in self._chosen(len(names))]
            if not holders or None in holders:
                self._at -= 1
                raise self._fail("an object that there is")
            self._expect("{")
            first, *others = [holder for holder in holders if holder]
            self._slots(first)
            for other in others:
                other.slots |= first.slots

    def _slots(self, holder: Object) -> None:
        at = 0
        while not self._take("}"):
            slot = str(at)
            if self._peek(1) == ":":
                slot = self._next()
                self._expect(":")
            caps = self._caps()
            base = int(slot, 0) if re.fullmatch(r"0[xX][0-9a-fA-F]+", slot) else None
            base = int(slot) if base is None and slot.isdigit() else base
            for offset, cap in enumerate(caps):
                holder.slots[slot if base is None else str(base + offset)] = cap
            at = (base if base is not None else at) + max(len(caps), 1)
            self._take(";")
            self._take(",")

    def _caps(self) -> list[Cap]:
        """One entry, which may be a range of an array."""
        name = ""
        if self._peek(1) in ("=", "["):
            mark = self._at
            name = self._next()
            if self._take("["):
                while not self._take("]"):
                    self._next()
            if not self._take("="):
                self._at, name = mark, ""
        reference = self._take("<")
        target = self._next()
        if reference:
            pool = self._named.get(target, [])
            chosen = self._chosen(len(pool))
            self._expect(">")
            rights = self._rights()
            caps = [Cap(pool[i].target, rights or pool[i].rights) for i in chosen]
        else:
            names = self._all(target)
            chosen = self._chosen(len(names))
            rights = self._rights()
            caps = [Cap(names[i], rights) for i in chosen]
        if name:
            self._named[name] = caps
        return caps

    def _chosen(self, count: int) -> list[int]:
        """Which elements of an array: all, or as ``[3..5, 7, 9..]`` says."""
        if not self._take("[") or self._take("]"):
            return list(range(count))
        found: list[int] = []
        while not self._take("]"):
            first = 0 if self._peek() == ".." else self._number(self._next())
            last = first
            if self._take(".."):
                ends = self._peek() in ("]", ",")
                last = count - 1 if ends else self._number(self._next())
            if last >= count:
                self._at -= 1
                raise self._fail(f"an index up to {count - 1}")
            found += range(first, last + 1)
            self._take(",")
        return found

    def _rights(self) -> frozenset[str]:
        """Of what is said of a capability, its rights; a mask counts as rights."""
        said = self._attributes()
        words = [word for word in said if word and set(word) <= set("RWXGP")]
        return frozenset("".join([*words, said.get("masked", "")]))
