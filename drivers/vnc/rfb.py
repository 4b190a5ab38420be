"""One client's side of the protocol that VNC speaks, without any input or output.

RFC 6143, "The Remote Framebuffer Protocol"; QEMU's extended key events as in the community's
rfbproto document (message 255, pseudo-encoding -258).

What comes from the network is handed to ``feed``; what is to go there is in ``output``.  Nothing
that a client sends is believed, and nothing of it is kept that is longer than ``LONGEST``.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Callable, Generator
from typing import Final, Protocol

from drivers.vnc.interface import PIXEL, Event, Pointer
from drivers.vnc.keys import Keys
from drivers.vnc.pixels import (
    OURS,
    RAW,
    ZLIB,
    ZRLE,
    Converter,
    Encoder,
    PixelFormat,
    colour_map,
)

VERSION: Final = b"RFB 003.008\n"
_VERSIONS: Final = {b"RFB 003.003\n": 3, b"RFB 003.005\n": 3, b"RFB 003.007\n": 7, VERSION: 8}
_NONE, _PASSWORD = 1, 2
CHALLENGE: Final = 16
DESKTOP_SIZE, EXTENDED_KEYS = -223, -258
LONGEST: Final = 4096
"""Bytes of a message at most, but for text of the clipboard, which is thrown away."""
LONGEST_TEXT: Final = 1 << 20
_MOST_RANGES: Final = 64

Parser = Generator[int, bytes, None]
"""Yields how many bytes it wants, and is sent them."""
Cipher = Callable[[bytes, bytes], bytes]
"""(password, challenge) -> what a client that knows the password answers"""


class ProtocolError(Exception):
    """The client does not speak the protocol; the text is for nobody but tests."""


class Picture(Protocol):
    """What is shown."""

    width: int
    height: int
    pixels: memoryview


class Session:
    """One client, from its first byte to its last."""

    def __init__(
        self,
        picture: Picture,
        name: str,
        happened: Callable[[list[Event]], None],
        password: bytes = b"",
        cipher: Cipher | None = None,
        challenge: bytes = bytes(CHALLENGE),
    ) -> None:
        """``happened`` is told what the person does.  With ``password`` there has to be a
        ``cipher``, and a ``challenge`` that nobody can foresee."""
        self._picture = picture
        self._name = name.encode()
        self._happened = happened
        self._password, self._cipher, self._challenge = password, cipher, challenge
        self.output = bytearray(VERSION)
        self.ready = False
        """Whether the client sees the picture and may type."""
        self._input = bytearray()
        self._keys = Keys()
        self._encoder = Encoder()
        self._converter = Converter(OURS)
        self._encoding = RAW
        self._resizes = self._extended = self._told_extended = False
        self._size = (0, 0)  # as the client knows it
        self._changed: list[tuple[int, int]] = []
        self._asked: tuple[int, int, int, int] | None = None  # for an update: x, y, width, height
        self._parser = self._parse()
        self._wanted = next(self._parser)

    # From the client

    def feed(self, data: bytes) -> None:
        """Take what came; raises ``ProtocolError`` for what cannot be."""
        self._input += data
        while len(self._input) >= self._wanted:
            taken = bytes(self._input[: self._wanted])
            del self._input[: self._wanted]
            try:
                self._wanted = self._parser.send(taken)
            except StopIteration:
                raise ProtocolError("the client was refused") from None

    def end(self) -> None:
        """The client is gone."""
        released = self._keys.release()
        if released:
            self._happened([*released])

    def _parse(self) -> Parser:
        version = _VERSIONS.get((yield len(VERSION)))
        if version is None:
            raise ProtocolError("not a version of the protocol")
        if not (yield from self._authenticate(version)):
            return
        yield 1  # whether it would share the screen: it has to
        self._size = self._picture.width, self._picture.height
        head = struct.pack(">HH", *self._size) + OURS.pack()
        self.output += head + struct.pack(">I", len(self._name)) + self._name
        self.ready = True
        while True:
            kind = (yield 1)[0]
            handler = _MESSAGES.get(kind)
            if handler is None:
                raise ProtocolError(f"there is no message {kind}")
            yield from handler(self)

    def _authenticate(self, version: int) -> Generator[int, bytes, bool]:
        kind = _PASSWORD if self._password else _NONE
        if version == 3:
            self.output += struct.pack(">I", kind)
        else:
            self.output += bytes((1, kind))
            if (yield 1)[0] != kind:
                raise ProtocolError("a kind of security that was not offered")
        good = True
        if kind == _PASSWORD:
            self.output += self._challenge
            answer = yield CHALLENGE
            good = self._cipher is not None and hmac.compare_digest(
                answer, self._cipher(self._password, self._challenge)
            )
        if version == 8 or kind == _PASSWORD:
            self.output += struct.pack(">I", 0 if good else 1)
        if not good and version == 8:
            why = b"the password is wrong"
            self.output += struct.pack(">I", len(why)) + why
        return good

    def _set_format(self) -> Parser:
        wanted = PixelFormat.unpack((yield 19)[3:])
        if not wanted.possible:
            raise ProtocolError("there are no such pixels")
        self._converter = Converter(wanted)
        if not wanted.true_colour:
            if wanted.bits != 8:
                raise ProtocolError("colours by number have eight bits")
            self.output += colour_map()
        self._changed = [(0, self._picture.height)]

    def _set_encodings(self) -> Parser:
        (count,) = struct.unpack(">xH", (yield 3))
        if 4 * count > LONGEST:
            raise ProtocolError("too many encodings")
        encodings = struct.unpack(f">{count}i", (yield 4 * count)) if count else ()
        known = [one for one in encodings if one in (RAW, ZLIB, ZRLE)]
        self._encoding = known[0] if known else RAW
        self._resizes = DESKTOP_SIZE in encodings
        self._extended = EXTENDED_KEYS in encodings

    def _ask(self) -> Parser:
        incremental, *area = struct.unpack(">BHHHH", (yield 9))
        x, y, width, height = area
        self._asked = x, y, width, height
        if not incremental:
            self.changed(y, height)

    def _key(self) -> Parser:
        down, symbol = struct.unpack(">BxxI", (yield 7))
        self._say([*self._keys.keysym(symbol, bool(down))])

    def _pointer(self) -> Parser:
        buttons, x, y = struct.unpack(">BHH", (yield 5))
        self._say([Pointer(x, y, buttons)])

    def _cut_text(self) -> Parser:
        (left,) = struct.unpack(">xxxI", (yield 7))
        if left > LONGEST_TEXT:
            raise ProtocolError("a clipboard too long")
        while left:
            left -= len((yield min(left, LONGEST)))

    def _qemu(self) -> Parser:
        kind, down, _symbol, code = struct.unpack(">BHII", (yield 11))
        if kind:
            raise ProtocolError("not an extended key event")
        if code < 0x100:
            self._say([*self._keys.code(code, bool(down))])

    def _say(self, events: list[Event]) -> None:
        if events:
            self._happened(events)

    # To the client

    def changed(self, top: int, count: int) -> None:
        """Lines of the picture changed."""
        for at, (first, many) in enumerate(self._changed):
            if top <= first + many and first <= top + count:
                start = min(top, first)
                self._changed[at] = start, max(top + count, first + many) - start
                return
        self._changed.append((top, count))
        if len(self._changed) > _MOST_RANGES:
            start = min(first for first, _ in self._changed)
            self._changed = [(start, max(sum(one) for one in self._changed) - start)]

    def update(self) -> None:
        """Tell the client what changed, if it asked and has got all that was told before."""
        if self._asked is None or self.output or not self.ready:
            return
        rectangles = []
        if self._extended and not self._told_extended:
            self._told_extended = True
            rectangles.append(_head(0, 0, 0, 0, EXTENDED_KEYS))
        picture = self._picture
        size = picture.width, picture.height
        if size != self._size and self._resizes:
            self._size = size
            self._changed = [(0, picture.height)]
            rectangles.append(_head(0, 0, *size, DESKTOP_SIZE))
        else:
            rectangles += self._rectangles(*self._asked)
        if rectangles:
            self.output += struct.pack(">BxH", 0, len(rectangles)) + b"".join(rectangles)
            self._asked = None

    def _rectangles(self, x: int, y: int, width: int, height: int) -> list[bytes]:
        """What changed in an area."""
        right = min(x + width, self._size[0], self._picture.width)
        bottom = min(y + height, self._size[1], self._picture.height)
        left, self._changed = self._changed, []
        found = []
        for top, count in left:
            first, last = max(top, y), min(top + count, bottom)
            if first < last and x < right:
                found.append(self._rectangle(x, first, right - x, last - first))
            if top + count > bottom and y + height < self._picture.height:
                self._changed.append((max(top, bottom), top + count - max(top, bottom)))
            if top < y:
                self._changed.append((top, min(count, y - top)))
        return found

    def _rectangle(self, x: int, y: int, width: int, height: int) -> bytes:
        picture = self._picture
        pitch = picture.width * PIXEL
        if width == picture.width:
            pixels = bytes(picture.pixels[y * pitch : (y + height) * pitch])
        else:
            starts = range(y * pitch + x * PIXEL, (y + height) * pitch, pitch)
            pixels = b"".join(picture.pixels[at : at + width * PIXEL] for at in starts)
        content = self._encoder.encode(self._encoding, self._converter, pixels, width)
        return _head(x, y, width, height, self._encoding) + content


def _head(x: int, y: int, width: int, height: int, encoding: int) -> bytes:
    return struct.pack(">HHHHi", x, y, width, height, encoding)


_MESSAGES: Final[dict[int, Callable[[Session], Parser]]] = {
    0: Session._set_format,
    2: Session._set_encodings,
    3: Session._ask,
    4: Session._key,
    5: Session._pointer,
    6: Session._cut_text,
    255: Session._qemu,
}
