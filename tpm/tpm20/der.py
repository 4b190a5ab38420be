"""Distinguished encoding (ITU-T X.690) as far as a certificate's outline needs it."""

from __future__ import annotations

from collections.abc import Iterator

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, NULL, OBJECT_IDENTIFIER = 1, 2, 3, 4, 5, 6
SEQUENCE = 0x30


class DerError(ValueError):
    """The octets are not such an encoding."""


def context(number: int) -> int:
    """The tag of a constructed context-specific element."""
    return 0xA0 | number


def element(tag: int, *contents: bytes) -> bytes:
    """Tag, length and contents."""
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def integer(number: int) -> bytes:
    """An INTEGER that is not negative."""
    return element(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def object_identifier(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER from its usual notation."""
    first, second, *rest = [int(part) for part in dotted.split(".")]
    out = b""
    for arc in (40 * first + second, *rest):
        septets = [arc & 0x7F]
        while arc := arc >> 7:
            septets.append(arc & 0x7F | 0x80)
        out += bytes(reversed(septets))
    return element(OBJECT_IDENTIFIER, out)


def elements(octets: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Tag, contents and whole encoding of each element; `DerError` if it does not come out even."""
    at = 0
    while at < len(octets):
        start = at
        if len(octets) < at + 2:
            raise DerError("an element without a length")
        tag, size = octets[at], octets[at + 1]
        at += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(octets[at : at + count], "big")
            at += count
            if count not in (1, 2) or size < (0x80, 0x100)[count - 1]:
                raise DerError("a length that is not the shortest")
        content = octets[at : at + size]
        at += size
        if at > len(octets):
            raise DerError("an element that is cut short")
        yield tag, content, octets[start:at]


def only(octets: bytes, tag: int) -> bytes:
    """The contents of the one element that is there, with that tag."""
    found = list(elements(octets))
    if len(found) != 1 or found[0][0] != tag:
        raise DerError("another element than wanted")
    return found[0][1]


def bits(octets: bytes) -> int:
    """A BIT STRING of up to 32 bits: its first bit is bit 31."""
    content = only(octets, BIT_STRING)
    if not content or content[0] > 7 or len(content) > 5:
        raise DerError("not a short bit string")
    return int.from_bytes(content[1:].ljust(4, b"\0"), "big")
