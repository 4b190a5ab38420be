"""Assembles the guests of ``images/guests/``: ``python -m images.guests.build demo -o demo.bin``.

A guest is a flat multiboot 1 image of three parts, each assembled in one go at its own address::

    0x100000  boot     32-bit: multiboot header, page tables, the way into long mode
    then      shell    64-bit, linked for user mode at ``USER_BASE``; here only as bytes to copy
    then      kernel   64-bit; its zeroed memory (.bss) follows the image

Each 64-bit part begins with a table of four addresses that this module writes: entry, start of
data, start of bss, end.  Parts built later get the addresses of earlier ones as constants.

Keystone knows no sections, so ``.text``, ``.data`` and ``.bss`` are sorted here.  It miscounts an
address such as ``[rip + label + CONSTANT * 8]`` without a word, so constants (``.set``, names in
capitals) are replaced by numbers here.  Nor does it say where it failed: then every line is
assembled alone, and the first that fails is the one to blame.
"""

from __future__ import annotations

import argparse
import ast
import operator
import re
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import keystone

LOAD_ADDRESS: Final = 0x100000
USER_BASE: Final = 0x80_0000_0000
PAGE: Final = 4096
TABLE: Final = struct.Struct("<4Q")
_HERE: Final = Path(__file__).parent
_LABEL: Final = re.compile(r"^\s*([A-Za-z_]\w*):")
_SET: Final = re.compile(r"^\s*\.set\s+(?P<name>\w+)\s*,(?P<value>.*)$")
# Strings, characters and comments are matched first, so that no name is found in them.
_WORD: Final = re.compile(
    r"""(?:"(?:\\.|[^"\\])*")|'[^']'|#.*|\b0x\w+|\b(?P<name>[A-Z][A-Z0-9_]+)\b"""
)
_OPERATORS: Final[dict[type[ast.operator], Callable[[int, int], int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
}
_SECTIONS: Final = (".text", ".data", ".bss")


class AssemblyError(Exception):
    """A source that keystone refuses; the message begins with file and line."""


class Guest(NamedTuple):
    """The source files of a guest's parts, in their order in memory."""

    common: tuple[str, ...]
    boot: tuple[str, ...]
    shell: tuple[str, ...]
    kernel: tuple[str, ...]


GUESTS: Final[dict[str, Guest]] = {
    "demo": Guest(
        common=("constants.asm",),
        boot=("boot32.asm",),
        shell=("shell.asm", "shell_lib.asm"),
        kernel=(
            "kernel64.asm",
            "serial.asm",
            "memory.asm",
            "interrupts.asm",
            "user.asm",
            "pci.asm",
            "virtio_blk.asm",
            "power.asm",
        ),
    ),
}


class Line(NamedTuple):
    path: Path
    number: int
    text: str


class Part(NamedTuple):
    """A 64-bit part: what is in the image, and the addresses of its table."""

    image: bytes
    entry: int
    data: int
    bss: int
    end: int


def names() -> list[str]:
    """The guests that ``build`` knows."""
    return list(GUESTS)


def sources(name: str) -> list[Path]:
    """All files that ``build(name)`` reads."""
    guest = _guest(name)
    return [_HERE / name / file for files in guest for file in files]


@lru_cache
def build(name: str) -> bytes:
    """The image of a guest; the same sources always give the same bytes."""
    guest = _guest(name)
    folder = _HERE / name
    common = _read(folder, guest.common)
    constants = {"LOAD_ADDRESS": LOAD_ADDRESS, "USER_BASE": USER_BASE}

    shell_at = LOAD_ADDRESS + PAGE
    shell = _part(common, _read(folder, guest.shell), USER_BASE, constants)
    kernel_at = shell_at + len(shell.image)
    constants |= {
        "SHELL_AT": shell_at,
        "SHELL_SIZE": len(shell.image),
        "SHELL_ENTRY": shell.entry,
        "SHELL_DATA": shell.data,
        "SHELL_END": shell.end,
    }
    kernel = _part(common, _read(folder, guest.kernel), kernel_at, constants)
    constants |= {
        "KERNEL_ENTRY": kernel.entry,
        "LOAD_END": kernel_at + len(kernel.image),
        "BSS_START": kernel.bss,
        "BSS_END": kernel.end,
    }
    lines = [*common, *_read(folder, guest.boot)]
    boot = _assemble(lines, keystone.KS_MODE_32, LOAD_ADDRESS, constants)
    if len(boot) > PAGE:
        raise AssemblyError(f"{folder / guest.boot[0]}: {len(boot)} bytes are more than one page")
    return boot.ljust(PAGE, b"\0") + shell.image + kernel.image


def _guest(name: str) -> Guest:
    if name not in GUESTS:
        raise ValueError(f"there is no guest {name!r}; known are {', '.join(GUESTS)}")
    return GUESTS[name]


def _read(folder: Path, files: Iterable[str]) -> list[Line]:
    found: list[Line] = []
    for file in files:
        path = folder / file
        text = path.read_text(encoding="ascii")
        found += [Line(path, at, line) for at, line in enumerate(text.splitlines(), 1)]
    return found


def _part(common: list[Line], lines: list[Line], at: int, constants: Mapping[str, int]) -> Part:
    """Assemble a 64-bit part: its table, then text, data and bss, each from a new page."""
    sorted_lines: dict[str, list[Line]] = {section: [] for section in _SECTIONS}
    section, path = ".text", None
    for line in lines:
        if line.path != path:
            section, path = ".text", line.path
        word = line.text.split("#")[0].strip()
        if word in _SECTIONS:
            section = word
        else:
            sorted_lines[section].append(line)

    def own(*texts: str) -> list[Line]:
        return [Line(Path(__file__), 0, text) for text in texts]

    code = _assemble(
        [
            *common,
            *own(".quad start, part_data, part_bss, part_end"),
            *sorted_lines[".text"],
            *own(f".align {PAGE}", "part_data:"),
            *sorted_lines[".data"],
            *own(f".align {PAGE}", "part_bss:"),
            *sorted_lines[".bss"],
            *own(f".align {PAGE}", "part_end:", ".byte 0"),
        ],
        keystone.KS_MODE_64,
        at,
        constants,
    )
    entry, data, bss, end = TABLE.unpack_from(code)
    if len(code) != end - at + 1:
        raise AssemblyError(f"{lines[0].path}: {len(code):#x} bytes, and labels up to {end:#x}")
    return Part(code[: bss - at], entry, data, bss, end)


def _assemble(lines: list[Line], mode: int, at: int, constants: Mapping[str, int]) -> bytes:
    assembler = keystone.Ks(keystone.KS_ARCH_X86, mode)
    lines = _substitute(lines, constants)
    _check_labels(lines)
    try:
        code, _ = assembler.asm("\n".join([*(line.text for line in lines), ""]), at, as_bytes=True)
    except keystone.KsError as error:
        raise _blame(assembler, lines, at, str(error)) from None
    if code is None:
        raise AssemblyError(f"{lines[-1].path}: nothing was assembled")
    return bytes(code)


def _substitute(lines: list[Line], constants: Mapping[str, int]) -> list[Line]:
    """Take ``.set`` lines and comments out, and put numbers in the place of constants."""
    known = dict(constants)
    found: list[Line] = []

    def replace(match: re.Match[str], line: Line) -> str:
        name = match["name"]
        if name is None:
            return "" if match[0].startswith("#") else match[0]
        if name not in known:
            raise AssemblyError(f"{line.path}:{line.number}: there is no constant {name}")
        return str(known[name])

    for line in lines:
        setting = _SET.match(line.text)
        text = setting["value"] if setting else line.text
        text = _WORD.sub(lambda match, line=line: replace(match, line), text).strip()
        if setting is None:
            found.append(line._replace(text=text))
            continue
        try:
            known[setting["name"]] = _evaluate(ast.parse(text, mode="eval").body)
        except (SyntaxError, ValueError):
            raise AssemblyError(f"{line.path}:{line.number}: not a constant: {text}") from None
    return found


def _evaluate(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_evaluate(node.left), _evaluate(node.right))
    raise ValueError("not a constant expression")


def _check_labels(lines: list[Line]) -> None:
    seen: dict[str, Line] = {}
    for line in lines:
        match = _LABEL.match(line.text)
        if match is None:
            continue
        first = seen.setdefault(match[1], line)
        if first is not line:
            where = f"{first.path.name}:{first.number}"
            raise AssemblyError(f"{line.path}:{line.number}: {match[1]} is already at {where}")


def _blame(assembler: keystone.Ks, lines: list[Line], at: int, reason: str) -> AssemblyError:
    """Find the line that cannot be assembled even when all labels are known."""
    matches = [_LABEL.match(line.text) for line in lines]
    known = [f".set {match[1]}, {at + 64:#x}" for match in matches if match]
    for line in lines:
        text = _LABEL.sub("", line.text)
        if text.startswith((".rept", ".endr")):
            continue
        try:
            assembler.asm("\n".join([*known, text, ""]), at)
        except keystone.KsError as error:
            return AssemblyError(f"{line.path}:{line.number}: {error}: {text}")
    return AssemblyError(f"{lines[-1].path}: {reason}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Assemble a guest of Cloister's own.")
    parser.add_argument("name", choices=names())
    parser.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    chosen = parser.parse_args(arguments)
    try:
        chosen.output.write_bytes(build(chosen.name))
    except (AssemblyError, OSError) as error:
        print(f"build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
