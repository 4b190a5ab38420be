"""The VNC driver's protocol, keys and pixels, without any network."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from drivers.vnc.interface import Event, Key, Pointer
from drivers.vnc.keys import CHARACTERS, LEFT_SHIFT, OTHERS, Keys
from drivers.vnc.pixels import MAPPED, OURS, RAW, TILE, ZLIB, ZRLE, Converter, PixelFormat
from drivers.vnc.rfb import CHALLENGE, LONGEST_TEXT, VERSION, ProtocolError, Session
from drivers.vnc.secret import answer

WIDTH, HEIGHT = 150, 100
RGB565 = PixelFormat(16, 16, 0, 1, 31, 63, 31, 11, 5, 0)
RGB565_BIG = RGB565._replace(big_endian=1)
BGR233 = PixelFormat(8, 8, 0, 1, 7, 7, 3, 0, 3, 6)
HIGH = PixelFormat(32, 24, 0, 1, 255, 255, 255, 24, 16, 8)


class Shown:
    def __init__(self) -> None:
        self.width, self.height = WIDTH, HEIGHT
        self.content = bytearray(random.Random(1).randbytes(4 * WIDTH * HEIGHT))
        self.content[: 4 * WIDTH * 64] = bytes((1, 2, 3, 0)) * (WIDTH * 64)
        self.pixels = memoryview(self.content)


class Client:
    """A client that has come as far as asking for pictures, unless it is told otherwise."""

    def __init__(self, password: str = "", typed: str = "", version: bytes = VERSION) -> None:
        self.shown = Shown()
        self.events: list[Event] = []
        challenge = bytes(range(CHALLENGE))
        self.session = Session(
            self.shown, "name", self.events.extend, password.encode(), answer, challenge
        )
        assert self.take(12) == VERSION
        self.session.feed(version)
        if version[:-1].endswith(b"3"):
            assert self.take(4) == (b"\0\0\0\2" if password else b"\0\0\0\1")
        else:
            assert self.take(2) == (b"\1\2" if password else b"\1\1")
            self.session.feed(b"\2" if password else b"\1")
        if password:
            assert self.take(CHALLENGE) == challenge
            self.session.feed(answer(typed.encode(), challenge))
        if password or version == VERSION:
            assert self.take(4) == bytes(4)
        self.session.feed(b"\1")
        head = self.take(24)
        assert struct.unpack_from(">HH", head) == (WIDTH, HEIGHT)
        assert PixelFormat.unpack(head[4:20]) == OURS
        assert self.take(4) == b"name"

    def take(self, count: int) -> bytes:
        found = bytes(self.session.output[:count])
        del self.session.output[:count]
        return found

    def set(self, form: PixelFormat | None = None, *encodings: int) -> None:
        if form is not None:
            self.session.feed(b"\0\0\0\0" + form.pack())
        self.session.feed(struct.pack(f">BxH{len(encodings)}i", 2, len(encodings), *encodings))

    def ask(self, incremental: int = 0, *area: int) -> list[tuple[tuple[int, ...], bytes]]:
        """An update's rectangles: place, size and encoding, and what is left of the message."""
        self.session.feed(struct.pack(">BBHHHH", 3, incremental, *(area or (0, 0, WIDTH, HEIGHT))))
        self.session.update()
        if not self.session.output:
            return []
        kind, count = struct.unpack(">BxH", self.take(4))
        assert kind == 0
        found = []
        for _ in range(count):
            head = struct.unpack(">HHHHi", self.take(12))
            if head[4] == RAW:
                content = self.take(head[2] * head[3] * 4)
            elif head[4] > 0:
                content = self.take(struct.unpack(">I", self.take(4))[0])
            else:
                content = b""
            found.append((head, content))
        assert not self.session.output
        return found


def _reference(form: PixelFormat, pixels: bytes) -> bytes:
    """Pixels in another form, one by one."""
    order = "big" if form.big_endian else "little"
    found = b""
    for at in range(0, len(pixels), 4):
        blue, green, red, _ = pixels[at : at + 4]
        value = red * form.red_most // 255 << form.red_shift
        value |= green * form.green_most // 255 << form.green_shift
        value |= blue * form.blue_most // 255 << form.blue_shift
        found += value.to_bytes(form.bits // 8, order)  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    "form", [OURS, RGB565, RGB565_BIG, BGR233, MAPPED, HIGH, HIGH._replace(big_endian=1)]
)
def test_pixels_are_what_the_client_wants(form: PixelFormat) -> None:
    pixels = bytearray(random.Random(2).randbytes(400))
    pixels[3::4] = bytes(100)
    assert Converter(form).convert(bytes(pixels)) == _reference(form, bytes(pixels))


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.007\n", VERSION])
def test_every_version_gets_the_picture(version: bytes) -> None:
    client = Client(version=version)
    ((head, content),) = client.ask()
    assert head == (0, 0, WIDTH, HEIGHT, RAW)
    assert content == client.shown.content


def test_zlib_is_one_stream() -> None:
    client = Client()
    client.set(None, ZLIB)
    stream = zlib.decompressobj()
    for _ in range(3):
        ((_, content),) = client.ask()
        assert stream.decompress(content) == client.shown.content


@pytest.mark.parametrize(("form", "size"), [(OURS, 3), (HIGH, 3), (RGB565, 2), (BGR233, 1)])
def test_zrle_is_tiles(form: PixelFormat, size: int) -> None:
    client = Client()
    client.set(form, ZRLE)
    ((_, content),) = client.ask()
    data = zlib.decompressobj().decompress(content)
    whole = _reference(form, bytes(client.shown.content))
    full = form.bits // 8
    cut = slice(1, 4) if form is HIGH else slice(0, 3) if full == 4 else slice(0, full)
    for top in range(0, HEIGHT, TILE):
        for left in range(0, WIDTH, TILE):
            wide, high = min(TILE, WIDTH - left), min(TILE, HEIGHT - top)
            tile = b"".join(
                whole[full * (y * WIDTH + x) : full * (y * WIDTH + x + 1)][cut]
                for y in range(top, top + high)
                for x in range(left, left + wide)
            )
            kind, data = data[0], data[1:]
            length = size if kind == 1 else size * wide * high
            assert kind == (1 if top == 0 else 0)
            assert data[:length] == (tile[:size] if kind == 1 else tile)
            data = data[length:]
    assert data == b""


def test_only_what_changed_is_sent() -> None:
    client = Client()
    client.ask()
    assert client.ask(1) == []
    client.session.changed(10, 5)
    client.session.changed(12, 8)
    client.session.changed(90, 1)
    client.session.update()
    assert struct.unpack(">BxH", client.take(4)) == (0, 2)
    assert struct.unpack(">HHHHi", client.take(12)) == (0, 10, WIDTH, 10, RAW)


def test_an_area_is_an_area() -> None:
    client = Client()
    ((head, content),) = client.ask(0, 20, 30, 5, 2)
    assert head == (20, 30, 5, 2, RAW)
    at = 4 * (30 * WIDTH + 20)
    assert content[:20] == client.shown.content[at : at + 20]


def test_a_new_size_is_told_to_those_who_understand_it() -> None:
    able, unable = Client(), Client()
    able.set(None, RAW, -223)
    for client in (able, unable):
        client.ask()
        client.shown.width, client.shown.height = 75, 200
        client.session.changed(0, 200)
    assert able.ask(1) == [((0, 0, 75, 200, -223), b"")]
    assert able.ask(1, 0, 0, 75, 200)[0][0] == (0, 0, 75, 200, RAW)
    assert unable.ask(1)[0][0] == (0, 0, 75, HEIGHT, RAW)


def test_passwords() -> None:
    # The example of DES that is in many books, its key's octets turned around.
    key = bytes(int(f"{octet:08b}"[::-1], 2) for octet in bytes.fromhex("133457799bbcdff1"))
    plain = bytes.fromhex("0123456789abcdef" * 2)
    assert answer(key, plain) == bytes.fromhex("85e813540f0ab405" * 2)
    Client("secret", "secret")
    with pytest.raises((ProtocolError, AssertionError)):
        Client("secret", "Secret")
    session = Session(Shown(), "", lambda _events: None, b"secret", answer)
    session.feed(VERSION + b"\2")
    with pytest.raises(ProtocolError):
        session.feed(bytes(CHALLENGE))
    assert session.output.endswith(b"the password is wrong")
    assert not session.ready


def test_a_password_cannot_be_gone_around() -> None:
    session = Session(Shown(), "", lambda _events: None, b"secret", answer)
    with pytest.raises(ProtocolError):
        session.feed(VERSION + b"\1")


def test_keys_and_pointer() -> None:
    client = Client()
    client.session.feed(struct.pack(">BBxxI", 4, 1, ord("a")))
    client.session.feed(struct.pack(">BBHH", 5, 1, 3, 4))
    client.session.feed(struct.pack(">BBHII", 255, 0, 1, 0xFF52, 0xC8))
    client.session.end()
    assert client.events == [
        *(Key(0x1E, True), Pointer(3, 4, 1), Key(0xC8, True)),
        *(Key(0x1E, False), Key(0xC8, False)),
    ]


def test_the_clipboard_is_thrown_away() -> None:
    client = Client()
    client.session.feed(struct.pack(">BxxxI", 6, 100_000))
    for _ in range(100):
        client.session.feed(bytes(1000))
        assert len(client.session._input) < 5000
    client.session.feed(struct.pack(">BBHH", 5, 0, 1, 1))
    assert client.events == [Pointer(1, 1, 0)]
    with pytest.raises(ProtocolError):
        client.session.feed(struct.pack(">BxxxI", 6, LONGEST_TEXT + 1))


@pytest.mark.parametrize(
    "message",
    [
        b"\x09",
        struct.pack(">BxH", 2, 0xFFFF),
        b"\0\0\0\0" + OURS._replace(bits=24).pack(),
        b"\0\0\0\0" + OURS._replace(red_shift=200).pack(),
        b"\0\0\0\0" + OURS._replace(green_most=0).pack(),
        b"\0\0\0\0" + OURS._replace(true_colour=0).pack(),
        struct.pack(">BBHII", 255, 7, 1, 0, 0),
    ],
)
def test_nonsense_is_the_end(message: bytes) -> None:
    with pytest.raises(ProtocolError):
        Client().session.feed(message)


@pytest.mark.parametrize("seed", range(20))
def test_clients_may_send_anything(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(30):
        client = Client()
        try:
            for _ in range(40):
                kind = dice.choice((0, 2, 3, 3, 4, 5, 6, 255, dice.randrange(256)))
                client.session.feed(bytes([kind]) + dice.randbytes(dice.randrange(24)))
                client.session.changed(dice.randrange(HEIGHT), dice.randrange(HEIGHT))
                client.session.update()
                client.session.output.clear()
                assert len(client.session._changed) <= 64
        except ProtocolError:
            pass
        client.session.end()
    fresh = Session(Shown(), "", lambda _events: None)
    with pytest.raises(ProtocolError):
        while True:
            fresh.feed(dice.randbytes(100))


def test_every_character_is_typed_with_the_right_shift() -> None:
    for symbol, (code, shifted) in CHARACTERS.items():
        keys, held, typed = Keys(), set(), []
        for key in [*keys.keysym(symbol, True), *keys.keysym(symbol, False)]:
            (held.add if key.down else held.discard)(key.code)
            if key.code == code and key.down:
                typed.append(LEFT_SHIFT in held)
        assert typed == [shifted]
        assert not held


def test_shift_is_let_go_of_where_a_character_needs_none() -> None:
    keys = Keys()
    keys.keysym(0xFFE1, True)
    assert keys.keysym(ord("1"), True) == [
        Key(LEFT_SHIFT, False),
        Key(2, True),
        Key(LEFT_SHIFT, True),
    ]
    assert keys.keysym(ord("!"), True) == [Key(2, True)]


def test_capitals_lock() -> None:
    keys = Keys()
    keys.keysym(0xFFE5, True)
    keys.keysym(0xFFE5, False)
    assert keys.keysym(ord("A"), True) == [Key(0x1E, True)]


def test_codes_are_codes() -> None:
    assert all(0 < code < 0x100 for code in OTHERS.values())
    assert Keys().keysym(0x1234567, True) == []
    assert Keys().keysym(ord("a"), False) == []
