"""System descriptions: any text, and any table, is a valid one or is refused in one sentence."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from servers.init.description import (
    FROM_INIT,
    Description,
    DescriptionError,
    Plan,
    decode,
    parse,
)
from servers.init.planning import (
    plan,
)
from tests.fuzz.source import Source
from tests.fuzz.values import anything

LONGEST: Final = 2000
"""Characters of a sentence at most: longer than any name that it repeats."""
WORDS: Final = (
    *("a", "b", "a.x", "b.y", "x", "y", "console", "console.console", "entropy=entropy", "entropy"),
    *("device:a", "c=device:b", "device:", "=", "a=b.x", "64MiB", "1G", "-1", "9" * 30, "9" * 5000),
    *("1 KiB", "٣MiB", "always", "never", "soft", "", "a\nb", "é" * 40, "x" * 49, " - at `$.vm[7]"),
)


def _sentence(error: DescriptionError) -> None:
    text = str(error)
    assert text and "\n" not in text and len(text) <= LONGEST, repr(text[:300])


def check(table: dict[str, Any]) -> None:
    """A parsed table."""
    try:
        description = decode(table)
    except DescriptionError as error:
        return _sentence(error)
    return planned(description)


def planned(description: Description) -> None:
    """A description of the right form."""
    try:
        found, devices = plan(description)
    except DescriptionError as error:
        return _sentence(error)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Plan) == found
    names = [process.name for process in found.processes]
    assert len(set(names)) == len(names)
    known = {device.name for device in devices}
    for process in found.processes:
        assert process.memory >= 0
        for hold in process.holds:
            assert not hold.device or hold.device in known
            assert FROM_INIT <= hold.process < len(names)
    assert all(0 <= a < b < len(found.labels) for a, b in found.allowed)
    return None


def text(data: bytes) -> None:
    """Any text."""
    try:
        description = parse(data.decode(errors="replace"))
    except DescriptionError as error:
        return _sentence(error)
    return planned(description)


def _word(source: Source) -> str:
    return source.text() if source.chance(8) else source.pick(WORDS)


def _words(source: Source) -> list[str]:
    return [_word(source) for _ in range(source.count(3))]


def _entry(fields: dict[str, Any], source: Source) -> Any:
    """A table of some of these fields."""
    if source.chance(30):
        return anything(source)
    found = {name: make(source) for name, make in fields.items() if not source.chance(3)}
    if source.chance(16):
        found[_word(source)] = anything(source)
    return found


def _flag(source: Source) -> bool:
    return source.chance(2)


def _config(source: Source) -> dict[str, Any]:
    return {_word(source): anything(source) for _ in range(source.count(2))}


def _disks(source: Source) -> list[Any]:
    return [_entry({"from": _word, "writable": _flag}, source) for _ in range(source.count(2))]


FIELDS: Final[dict[str, dict[str, Any]]] = {
    "device": {
        **dict.fromkeys(("name", "file", "size"), _word),
        **dict.fromkeys(("writable", "stream"), _flag),
    },
    "process": {
        **dict.fromkeys(("name", "program", "memory", "label", "restart"), _word),
        **dict.fromkeys(("holds", "offers"), _words),
        "priority": Source.integer,
        "config": _config,
    },
    "vm": {
        **dict.fromkeys(("name", "kernel", "initrd", "append", "memory", "engine", "label"), _word),
        "disks": _disks,
    },
}


def target(data: bytes) -> None:
    """A table that is nearly right."""
    source = Source(data)
    table: dict[str, Any] = {"name": _word(source)}
    for kind, fields in FIELDS.items():
        table[kind] = [_entry(fields, source) for _ in range(source.count(3))]
    if source.chance(16):
        table[_word(source)] = anything(source)
    check(table)
