"""The framing of GDB's remote serial protocol (Debugging with GDB, appendix E.1).

A packet is ``$``, its content, ``#`` and a checksum of two digits; ``+`` and ``-`` acknowledge it.
0x03 outside of packets is the person's Control-C.
"""

from __future__ import annotations

from typing import Final

INTERRUPT: Final = b"\x03"
"""What ``Packets.feed`` gives for a Control-C; no packet is that."""
MOST = 64 * 1024
"""Longer packets are dropped as damaged: nobody sends them."""
_ESCAPED: Final = frozenset(b"#$}*")


def checksum(content: bytes) -> bytes:
    return b"%02x" % (sum(content) & 0xFF)


def packet(content: bytes) -> bytes:
    """A packet with this content."""
    escaped = b"".join(
        bytes((0x7D, octet ^ 0x20)) if octet in _ESCAPED else bytes((octet,)) for octet in content
    )
    return b"$" + escaped + b"#" + checksum(escaped)


def _unescape(content: bytes) -> bytes:
    out = bytearray()
    octets = iter(content)
    for octet in octets:
        out.append(next(octets, 0x20) ^ 0x20 if octet == 0x7D else octet)
    return bytes(out)


class Packets:
    """Packets out of a stream of octets."""

    def __init__(self) -> None:
        self._held = b""
        self.acknowledge = True
        """Whether packets are acknowledged, as they are until both sides agree not to."""

    def feed(self, data: bytes) -> tuple[list[bytes], bytes]:
        """The contents of the packets that are complete now, and what to answer at once."""
        self._held += data
        found: list[bytes] = []
        answer = b""
        while self._held:
            first = self._held[:1]
            if first != b"$":
                if first == INTERRUPT:
                    found.append(INTERRUPT)
                self._held = self._held[1:]
                continue
            end = self._held.find(b"#")
            if end < 0 or len(self._held) < end + 3:
                if len(self._held) > MOST:
                    self._held = b""
                    answer += b"-"
                break
            content, given = self._held[1:end], self._held[end + 1 : end + 3]
            self._held = self._held[end + 3 :]
            right = not self.acknowledge or checksum(content) == given.lower()
            if self.acknowledge:
                answer += b"+" if right else b"-"
            if right:
                found.append(_unescape(content))
        return found, answer
