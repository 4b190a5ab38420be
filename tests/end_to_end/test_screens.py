"""Screens through the whole system: screenshots as files, and VNC clients over the network."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import time
import zlib
from pathlib import Path

import pytest

from servers.display import bar
from tests.end_to_end.rig import booted, cloister
from tests.vmm.rig import multiboot
from tools import screens
from tools.bench.net import free_port
from vmm.devices import acpi_pm

MODE = ";".join(
    f"mov dx, 0x1ce; mov ax, {index}; out dx, ax; mov dx, 0x1cf; mov ax, {value}; out dx, ax"
    for index, value in ((4, 0), (1, 640), (2, 480), (3, 32), (4, 0x41))
)
"""Sets 640 by 480 with 32 bits."""
PAINT = "cld; mov edi, 0xe0000000; mov ecx, 307200; mov eax, 0xff8000; rep stosd"
OFF = (
    f"mov dx, {acpi_pm.CONTROL}; mov ax, {acpi_pm.SLEEP_NOW | acpi_pm.SLEEP_TYPE_OFF << 10};"
    "out dx, ax; hlt"
)
"""What Linux does to power off, ACPI S5."""
ORANGE = (0xFF, 0x80, 0x00)


def guest(folder: Path, *lines: str) -> str:
    """A guest that draws; the file of its kernel."""
    path = folder / "painter"
    path.write_bytes(multiboot(";".join((MODE, PAINT, *lines))))
    return str(path)


def pixel(path: Path, x: int, y: int) -> tuple[tuple[int, int], tuple[int, int, int]]:
    """A picture's size, and the colour at a place."""
    file = path.read_bytes()
    width, height = struct.unpack_from(">II", file, 16)
    at, data = 33, b""
    while at < len(file):
        length, kind = struct.unpack_from(">I4s", file, at)
        data += file[at + 8 : at + 8 + length] if kind == b"IDAT" else b""
        at += 12 + length
    raw = zlib.decompress(data)
    line = y
    while raw[line * (3 * width + 1)] == 2:  # like the line above
        line -= 1
    start = line * (3 * width + 1) + 1 + 3 * x
    return (width, height), (raw[start], raw[start + 1], raw[start + 2])


def test_a_screenshot_when_the_guest_ends(tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    painter = guest(tmp_path, OFF)
    done = cloister("boot", "--kernel", painter, "--memory", "8M", "--screenshot", str(shot))
    assert done.returncode == 0, done.stderr
    size, colour = pixel(shot, 300, bar.HEIGHT + 200)
    assert size == (640, 480 + bar.HEIGHT)
    assert colour == ORANGE
    assert pixel(shot, 5, 2)[1] in bar.LABELS


def test_a_screenshot_after_a_while(tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    arguments = ("--memory", "8M", "--screenshot", str(shot), "--screenshot-after", "1")
    painter = guest(tmp_path, "again: hlt; jmp again")
    done = cloister("boot", "--kernel", painter, *arguments, "--timeout", "2")
    assert done.returncode == 1
    assert "still running" in done.stderr
    assert pixel(shot, 300, bar.HEIGHT + 200)[1] == ORANGE


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--screenshot", "/nowhere/x.png"), "does not exist"),
        (("--screenshot-after", "3"), "goes with --screenshot"),
        (("--vnc", "70000"), "a port is"),
        (("--vnc-password", "x"), "goes with --vnc"),
        (("--vnc", "5999", "--vnc-password", "/nowhere"), "cannot read"),
    ],
)
def test_bad_arguments(arguments: tuple[str, ...], text: str) -> None:
    done = cloister("boot", "--kernel", "guest:demo", *arguments)
    assert done.returncode in (1, 2)
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


class Client:
    """A VNC client of few words."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), 10)
        assert self.read(12) == b"RFB 003.008\n"
        self.sock.sendall(b"RFB 003.008\n")
        assert self.read(2) == b"\1\1"
        self.sock.sendall(b"\1")
        assert self.read(4) == bytes(4)
        self.sock.sendall(b"\1")
        self.width, self.height = struct.unpack_from(">HH", self.read(20))
        self.read(*struct.unpack(">I", self.read(4)))

    def read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self.sock.recv(count - len(found))
            assert piece, "hung up"
            found += piece
        return found

    def picture(self) -> bytes:
        self.sock.sendall(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        head = struct.unpack(">BxHHHHHi", self.read(16))
        assert head == (0, 1, 0, 0, self.width, self.height, 0)
        return self.read(4 * self.width * self.height)

    def key(self, symbol: int) -> None:
        for down in (1, 0):
            self.sock.sendall(struct.pack(">BBxxI", 4, down, symbol))


def test_a_vnc_client_sees_the_guest_and_types(tmp_path: Path) -> None:
    # It shows each code that its keyboard says as a line of that much blue.
    painter = guest(
        tmp_path,
        "mov edi, 0xe0000000",
        "again: in al, 0x64; test al, 1; jz again; in al, 0x60; movzx eax, al",
        "mov [edi], eax; add edi, 4; jmp again",
    )
    port = free_port()
    with booted("--kernel", painter, "--memory", "8M", "--vnc", str(port)):
        deadline = time.monotonic() + 20
        while True:
            client = Client(port)
            if (client.width, client.height) == (640, 480 + bar.HEIGHT):
                break
            assert time.monotonic() < deadline
            time.sleep(0.1)
        at = 4 * 640 * bar.HEIGHT
        while client.picture()[-4:-1] != b"\x00\x80\xff":
            assert time.monotonic() < deadline
        client.key(ord("b"))
        client.key(0xFF52)
        wanted = bytes.fromhex("30 b0 e0 48 e0 c8")
        while client.picture()[at : at + 24 : 4] != wanted:
            assert time.monotonic() < deadline
        others = [Client(port) for _ in range(3)]
        assert all(other.picture()[-4:-1] == b"\x00\x80\xff" for other in others)
        client.sock.sendall(b"\xee" * 100)  # nonsense: this one is hung up, the others are not
        assert others[0].picture()[-4:-1] == b"\x00\x80\xff"


@pytest.mark.skipif(not shutil.which("gvnccapture"), reason="needs Debian's package gvncviewer")
def test_a_real_client(tmp_path: Path) -> None:
    port = free_port()
    painter = guest(tmp_path, "again: hlt; jmp again")
    with booted("--kernel", painter, "--memory", "8M", "--vnc", str(port)):
        shot = tmp_path / "vnc.png"
        for _ in range(50):
            command = ["gvnccapture", f"127.0.0.1:{port - 5900}", str(shot)]
            try:  # it never ends if the size changes before its first picture
                subprocess.run(command, capture_output=True, timeout=3, check=False)
            except subprocess.TimeoutExpired:
                continue
            if shot.exists() and struct.unpack_from(">II", shot.read_bytes(), 16)[1] > 480:
                break
            time.sleep(0.1)
        assert struct.unpack_from(">II", shot.read_bytes(), 16) == (640, 480 + bar.HEIGHT)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = cloister("boot", "--kernel", guest(tmp_path, OFF), "--vnc", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr


def test_the_names_of_keys() -> None:
    assert screens.codes("ctrl-alt-delete") == [0x1D, 0x38, 0xD3]
    assert screens.codes("a") == [0x1E]
    with pytest.raises(screens.UserError, match="no key"):
        screens.codes("ctrl-nonsense")
