"""The demo guest: what is built, and how it runs under QEMU."""

from __future__ import annotations

import os
import selectors
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import capstone
import pytest

from images.guests import build as guests

QEMU = shutil.which("qemu-system-x86_64")
needs_qemu = pytest.mark.skipif(
    QEMU is None, reason="needs QEMU; to enable: apt-get install qemu-system-x86"
)
PROMPT = "demo> "
LIMIT = 20.0  # seconds until a run is given up


class Machine:
    """The guest under QEMU, with a person at its serial port."""

    def __init__(self, image: Path, *options: str) -> None:
        assert QEMU is not None
        command = [QEMU, "-accel", "tcg", "-m", "32", "-kernel", str(image), "-nodefaults"]
        command += ["-display", "none", "-serial", "stdio", "-no-reboot", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None and self.process.stdout is not None
        self._input, self._output = self.process.stdin, self.process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._output, selectors.EVENT_READ)
        self._pending = ""

    def send(self, text: str) -> None:
        self._input.write(text.encode())
        self._input.flush()

    def until(self, text: str) -> str:
        """All output up to and with ``text``."""
        end = time.monotonic() + LIMIT
        while text not in self._pending:
            assert self._selector.select(end - time.monotonic()), f"no {text!r} in {self._pending}"
            more = os.read(self._output.fileno(), 65536)
            assert more, f"ended without {text!r}: {self._pending}"
            self._pending += more.decode(errors="replace")
        before, _, self._pending = self._pending.partition(text)
        return before + text

    def ask(self, command: str) -> str:
        """What a command prints, without the echo and the next prompt."""
        self.send(command + "\r")
        echo, _, answer = self.until(PROMPT).partition("\r\n")
        assert echo == command
        return answer.removesuffix(PROMPT)

    def rest(self) -> str:
        """Output until the machine is off."""
        more, _ = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == 0
        return self._pending + more.decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._selector.close()
        self._input.close()
        self._output.close()


@pytest.fixture(name="image", scope="module")
def _image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guest") / "demo.bin"
    path.write_bytes(guests.build("demo"))
    return path


@pytest.fixture(name="start")
def _start(image: Path) -> Iterator[Callable[..., Machine]]:
    machines: list[Machine] = []

    def start(*options: str) -> Machine:
        machines.append(Machine(image, *options))
        return machines[-1]

    yield start
    for machine in machines:
        machine.close()


def disk(path: Path, drive: str = "", device: str = ",disable-legacy=on") -> list[str]:
    drive = f"file={path},format=raw,if=none,id=d{drive}"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive=d{device}"]


# What is built


def test_the_same_sources_give_the_same_image() -> None:
    first = guests.build("demo")
    guests.build.cache_clear()
    assert guests.build("demo") == first


def test_sources_are_all_there() -> None:
    assert guests.names() == ["demo"]
    listed = guests.sources("demo")
    assert sorted(listed) == sorted((Path(guests.__file__).parent / "demo").glob("*.asm"))


def test_unknown_guest() -> None:
    with pytest.raises(ValueError, match="known are demo"):
        guests.build("elsewhere")


def test_multiboot_header() -> None:
    image = guests.build("demo")
    magic, flags, checksum, header, load, load_end, bss_end, entry = struct.unpack_from(
        "<8I", image
    )
    assert magic == 0x1BADB002
    assert (magic + flags + checksum) % (1 << 32) == 0
    assert flags & (1 << 16), "the addresses in the header count"
    assert header == load == 0x100000
    assert load_end == load + len(image)
    assert load_end < bss_end <= 0x400000, "4 MiB of memory are enough"
    assert load < entry < load + 4096


def test_the_entry_is_code() -> None:
    image = guests.build("demo")
    entry = struct.unpack_from("<I", image, 28)[0]
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_32)
    code = image[entry - 0x100000 :][:64]
    assert [found.mnemonic for found in decoder.disasm(code, entry)][:4] == [
        "cli",
        "cld",
        "mov",
        "mov",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nop\nmove rax, 1\n", r"bad\.asm:2: .*move rax, 1"),
        ("nop\n\n  jmp nowhere\n", r"bad\.asm:3: .*jmp nowhere"),
        ("mov eax, NOTHING\n", r"bad\.asm:1: there is no constant NOTHING"),
        ("here:\nnop\nhere:\n", r"bad\.asm:3: here is already at bad\.asm:1"),
        (".set HALF, 1 +\n", r"bad\.asm:1: not a constant"),
    ],
)
def test_errors_say_where(text: str, message: str) -> None:
    lines = [guests.Line(Path("bad.asm"), at, line) for at, line in enumerate(text.split("\n"), 1)]
    with pytest.raises(guests.AssemblyError, match=message):
        guests._assemble(lines, guests.keystone.KS_MODE_64, 0x1000, {})


def test_constants_in_addresses() -> None:
    """Keystone alone gets this wrong: see build.py."""
    text = [".set SIZE, 100", "lea rax, [rip + here + SIZE * 8 + 4]", "here: nop"]
    lines = [guests.Line(Path("good.asm"), at, line) for at, line in enumerate(text, 1)]
    code = guests._assemble(lines, guests.keystone.KS_MODE_64, 0x1000, {})
    assert code == bytes.fromhex("488d05 24030000 90")


def test_command_line(tmp_path: Path) -> None:
    file = tmp_path / "demo.bin"
    assert guests.main(["demo", "-o", str(file)]) == 0
    assert file.read_bytes() == guests.build("demo")
    assert guests.main(["demo", "-o", str(tmp_path / "missing" / "demo.bin")]) == 1


# How it runs


@needs_qemu
def test_shell(start: Callable[..., Machine]) -> None:
    machine = start()
    banner = machine.until(PROMPT)
    assert "Cloister demo guest" in banner
    assert " 32 MiB: " in banner
    listed = machine.ask("help")
    for command in ("ticks", "uptime", "mem", "disk", "echo", "fault", "triple", "reboot", "off"):
        assert f"\n  {command}" in "\n" + listed
    assert machine.ask("ticks").endswith(": the timer runs\r\n")
    assert machine.ask("uptime").startswith("up 0 min ")
    assert "code, read-only" in machine.ask("mem")
    assert machine.ask("disk") == "disk: there is none\r\n"
    assert machine.ask("echo") == "\r\n"
    assert machine.ask("echo  a b ") == "a b \r\n"
    assert machine.ask("  echo x") == "x\r\n"
    assert machine.ask("nonsense here") == "nonsense: no such command; type help\r\n"
    assert machine.ask("hel") == "hel: no such command; type help\r\n"
    assert machine.ask("") == ""
    machine.send("off\r")
    assert machine.rest() == "off\r\npower off\r\n"


@needs_qemu
def test_line_editing(start: Callable[..., Machine]) -> None:
    machine = start()
    machine.until(PROMPT)
    machine.send("\b\x7fecho abx\b\x7fc\r")
    rub_out = "\b \b"
    assert machine.until(PROMPT) == f"echo abx{rub_out}{rub_out}c\r\nac\r\n{PROMPT}"
    machine.send("xy\x03echo 1\n")
    assert machine.until(PROMPT) == f"xy{rub_out}{rub_out}echo 1\r\n1\r\n{PROMPT}"
    machine.send("echo 2\r\necho 3\r\n")
    assert machine.until(PROMPT).endswith(f"\r\n2\r\n{PROMPT}")
    assert machine.until(PROMPT).endswith(f"\r\n3\r\n{PROMPT}")
    answer = machine.ask("echo " + "x" * 122)
    assert answer == "x" * 122 + "\r\n"
    machine.send("echo " + "y" * 300 + "\r")
    assert machine.until(PROMPT).count("y") == 2 * 122


@needs_qemu
def test_no_input_is_lost(start: Callable[..., Machine]) -> None:
    """More than the ring holds arrives while nobody reads."""
    machine = start()
    machine.until(PROMPT)
    machine.send("ticks\r" + "".join(f"echo line {at}\r" for at in range(300)))
    for at in range(300):
        machine.until(f"\r\nline {at}\r\n")


@needs_qemu
def test_user_mode_is_contained(start: Callable[..., Machine]) -> None:
    machine = start()
    machine.until(PROMPT)
    for _ in range(3):
        report = machine.ask("fault")
        assert "exception in the user program: page fault, it reads at 0x100000, not" in report
        assert "vector 14, error code 0x5, RIP 0x80000" in report
        assert "CR2 0x100000" in report
    assert machine.ask("echo alive") == "alive\r\n"


@needs_qemu
@pytest.mark.parametrize("command", ["triple", "reboot"])
def test_reset(start: Callable[..., Machine], command: str) -> None:
    machine = start()
    machine.until(PROMPT)
    machine.send(command + "\r")
    assert "safe to switch off" not in machine.rest()  # QEMU ends, by -no-reboot


@needs_qemu
@pytest.mark.parametrize("board", ["pc", "q35"])
@pytest.mark.parametrize("device", [",disable-legacy=on", ",disable-legacy=off"])
def test_counter_goes_on_across_boots(
    start: Callable[..., Machine], tmp_path: Path, board: str, device: str
) -> None:
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(1 << 20))
    for boot in (1, 2):
        options = [*disk(file, device=device), "-machine", board, "-append", "quiet auto"]
        output = start(*options).rest()
        assert "2048 sectors, 1024 KiB, can flush\r\n" in output
        assert f"boot counter: {boot}\r\npower off\r\n" in output
        assert PROMPT not in output
        assert file.read_bytes()[:24] == b"CLOISTER" + struct.pack("<QQ", boot, 0)


@needs_qemu
def test_counter_goes_on_within_a_boot(start: Callable[..., Machine], tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    file.write_bytes(b"CLOISTER" + struct.pack("<Q", 41) + bytes(4096 - 16))
    machine = start(*disk(file))
    machine.until(PROMPT)
    for count in range(42, 55):  # the queue's rings go round
        assert machine.ask("disk").endswith(f"boot counter: {count}\r\n")


@needs_qemu
def test_what_is_not_ours_is_left_alone(start: Callable[..., Machine], tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    contents = bytes(510) + b"\x55\xaa" + bytes(512)
    file.write_bytes(contents)
    machine = start(*disk(file))
    machine.until(PROMPT)
    assert "left alone" in machine.ask("disk")
    assert file.read_bytes() == contents


@needs_qemu
def test_read_only_disk(start: Callable[..., Machine], tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    file.write_bytes(b"CLOISTER" + struct.pack("<Q", 7) + bytes(496))
    machine = start(*disk(file, drive=",readonly=on"))
    machine.until(PROMPT)
    answer = machine.ask("disk")
    assert ", read-only\r\n" in answer
    assert answer.endswith("boot counter: 7\r\n")


@needs_qemu
@pytest.mark.parametrize("options", [("-cpu", "qemu64,-nx"), ("-m", "4096"), ("-no-acpi",)])
def test_other_machines(start: Callable[..., Machine], options: tuple[str, ...]) -> None:
    machine = start(*options)
    machine.until(PROMPT)
    assert machine.ask("ticks").endswith(": the timer runs\r\n")
    assert machine.ask("mem").count("no-execute") == (0 if "-cpu" in options else 2)
    machine.send("off\r")
    if options == ("-no-acpi",):
        machine.until("It is now safe to switch off.\r\n")
    else:
        machine.rest()
