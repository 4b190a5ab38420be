"""Encoding ACPI Machine Language.

ACPI Specification 6.4, chapter 20 (AML) and 6.4 (resource descriptors).  Every function returns the
bytes of one term; terms are joined by concatenation.
"""

from __future__ import annotations

import struct


def name_string(path: str) -> bytes:
    r"""A name of up to four characters, or a path of them with dots; ``\`` makes it absolute."""
    root, rest = (b"\\", path[1:]) if path.startswith("\\") else (b"", path)
    segments = [segment.ljust(4, "_").encode() for segment in rest.split(".") if segment]
    if len(segments) <= 1:
        return root + b"".join(segments)
    if len(segments) == 2:
        return root + b"\x2e" + b"".join(segments)
    return root + b"\x2f" + bytes([len(segments)]) + b"".join(segments)


def package_length(size: int) -> bytes:
    """``PkgLength``: the size of what follows, its own bytes included (20.2.4)."""
    for extra in range(4):
        total = size + extra + 1
        if total < (0x40 if extra == 0 else 1 << (4 + 8 * extra)):
            if extra == 0:
                return bytes([total])
            return bytes([extra << 6 | total & 15]) + (total >> 4).to_bytes(extra, "little")
    raise ValueError("an AML object of more than 256 MiB")


def integer(value: int) -> bytes:
    if value in (0, 1):
        return bytes([value])
    for prefix, size in ((0x0A, 1), (0x0B, 2), (0x0C, 4), (0x0E, 8)):
        if value < 1 << 8 * size:
            return bytes([prefix]) + value.to_bytes(size, "little")
    raise ValueError("an AML integer of more than 64 bits")


def string(text: str) -> bytes:
    return b"\x0d" + text.encode("ascii") + b"\0"


def buffer(data: bytes) -> bytes:
    body = integer(len(data)) + data
    return b"\x11" + package_length(len(body)) + body


def package(*elements: bytes) -> bytes:
    body = bytes([len(elements)]) + b"".join(elements)
    return b"\x12" + package_length(len(body)) + body


def name(path: str, value: bytes) -> bytes:
    return b"\x08" + name_string(path) + value


def scope(path: str, *terms: bytes) -> bytes:
    body = name_string(path) + b"".join(terms)
    return b"\x10" + package_length(len(body)) + body


def device(path: str, *terms: bytes) -> bytes:
    body = name_string(path) + b"".join(terms)
    return b"\x5b\x82" + package_length(len(body)) + body


def eisa_id(text: str) -> bytes:
    """A Plug and Play identifier such as PNP0A03, compressed (19.3.4)."""
    letters = [ord(letter) - 0x40 for letter in text[:3]]
    value = letters[0] << 26 | letters[1] << 21 | letters[2] << 16 | int(text[3:], 16)
    return integer(int.from_bytes(value.to_bytes(4, "big"), "little"))


# Resource descriptors


def resources(*descriptors: bytes) -> bytes:
    """A resource template: a buffer with an end tag."""
    return buffer(b"".join(descriptors) + b"\x79\0")


def io_ports(base: int, count: int) -> bytes:
    return struct.pack("<BBHHBB", 0x47, 1, base, base, 1, count)


def irq(number: int) -> bytes:
    """An edge-triggered ISA interrupt."""
    return struct.pack("<BH", 0x22, 1 << number)


def _window(tag: int, layout: str, kind: int, flags: int, first: int, last: int) -> bytes:
    """An address space descriptor that the device passes on (6.4.3.5)."""
    values = struct.pack(f"<BBB5{layout}", kind, 0x0C, flags, 0, first, last, 0, last - first + 1)
    return struct.pack("<BH", tag, len(values)) + values


def bus_window(first: int, last: int) -> bytes:
    return _window(0x88, "H", 2, 0, first, last)


def io_window(first: int, last: int) -> bytes:
    return _window(0x88, "H", 1, 3, first, last)


def memory_window(first: int, last: int) -> bytes:
    """32-bit, not cached, writable."""
    return _window(0x87, "I", 0, 1, first, last)
