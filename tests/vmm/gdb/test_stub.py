"""The debugger's stub: packets, registers, memory, breakpoints; and nothing that a debugger sends
breaks it."""

from __future__ import annotations

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm.engine.interface import Registers, Segment
from vmm.gdb.packets import INTERRUPT, Packets, checksum, packet
from vmm.gdb.stub import Stub
from vmm.gdb.target import LAYOUT_32, LAYOUT_64


class FakeMachine:
    """64 KiB at 0x1000, and registers that tell themselves apart."""

    def __init__(self, long_mode: bool = True) -> None:
        self.registers = Registers(general=list(range(0x100, 0x110)), rip=0x2000, rflags=0x246)
        self.registers.efer = 0x500 if long_mode else 0
        self.registers.cs = Segment(0x10, 0 if long_mode else 0x30)
        self.memory = bytearray(64 * 1024)
        self.breakpoints: set[int] = set()
        self.done: list[str] = []

    def get_registers(self) -> Registers:
        return self.registers

    def set_registers(self, registers: Registers) -> None:
        self.registers = registers

    def read_memory(self, linear: int, length: int) -> bytes:
        return bytes(self.memory[linear - 0x1000 :][:length]) if linear >= 0x1000 else b""

    def write_memory(self, linear: int, data: bytes) -> bool:
        at = linear - 0x1000
        if at < 0 or at + len(data) > len(self.memory):
            return False
        self.memory[at : at + len(data)] = data
        return True

    def set_breakpoints(self, addresses: Collection[int]) -> None:
        self.breakpoints = set(addresses)

    def proceed(self, step: bool) -> None:
        self.done.append("step" if step else "go")

    def interrupt(self) -> None:
        self.done.append("interrupt")

    def monitor(self, command: str) -> str:
        return f"you said {command}\n"


class Debugger:
    """The other side."""

    def __init__(self, long_mode: bool = True) -> None:
        self.machine = FakeMachine(long_mode)
        self.heard = b""
        self.stub = Stub(self.machine, self._hear)

    def _hear(self, data: bytes) -> None:
        self.heard += data

    def ask(self, content: bytes) -> bytes:
        """The content of the one answer."""
        self.heard = b""
        self.stub.feed(packet(content))
        assert self.heard.startswith(b"+$"), self.heard
        found, _ = Packets().feed(self.heard[1:])
        assert len(found) == 1
        return found[0]


@pytest.fixture
def debugger() -> Debugger:
    return Debugger()


def test_registers_are_in_the_order_of_the_description(debugger: Debugger) -> None:
    answer = debugger.ask(b"g")
    sizes = [one.size for one in LAYOUT_64.core]
    assert len(answer) == 2 * sum(sizes)
    assert answer[:32] == b"0001000000000000" + b"0301000000000000"  # rax, rbx
    assert debugger.ask(b"p10") == b"0020000000000000"  # rip
    assert debugger.ask(b"p12") == b"10000000"  # cs
    assert debugger.ask(b"p18") == b"x" * 20  # st0
    assert debugger.ask(b"P0=1122334455667788") == b"OK"
    assert debugger.machine.registers.general[0] == 0x8877665544332211
    assert debugger.ask(b"p99") == b"E16"


def test_a_processor_in_real_mode_has_linear_addresses() -> None:
    debugger = Debugger(long_mode=False)
    assert len(debugger.ask(b"g")) == 2 * sum(one.size for one in LAYOUT_32.core)
    assert debugger.ask(b"p8") == b"30200000"
    assert debugger.ask(b"P8=40200000") == b"OK"
    assert debugger.machine.registers.rip == 0x2010
    assert b"<architecture>i386</architecture>" in debugger.ask(
        b"qXfer:features:read:target.xml:0,fff"
    )


def test_the_description_comes_in_pieces(debugger: Debugger) -> None:
    xml, at = b"", 0
    while True:
        piece = debugger.ask(b"qXfer:features:read:target.xml:%x,100" % at)
        xml += piece[1:]
        at += len(piece) - 1
        if piece[:1] == b"l":
            break
    assert xml.decode() == LAYOUT_64.xml()


def test_memory(debugger: Debugger) -> None:
    assert debugger.ask(b"M1000,4:01020304") == b"OK"
    assert debugger.ask(b"m1000,4") == b"01020304"
    assert debugger.ask(b"m0,4") == b"E0e"
    assert debugger.ask(b"M0,1:00") == b"E0e"
    assert debugger.ask(b"M1000,4:0102") == b"E16"


def test_binary_memory_may_hold_any_octet(debugger: Debugger) -> None:
    content = bytes(range(256))
    assert debugger.ask(b"X1000,100:" + content) == b"OK"
    assert bytes(debugger.machine.memory[:256]) == content


def test_breakpoints_and_running(debugger: Debugger) -> None:
    assert debugger.ask(b"Z0,2000,1") == b"OK"
    assert debugger.ask(b"Z1,3000,1") == b"OK"
    assert debugger.machine.breakpoints == {0x2000, 0x3000}
    assert debugger.ask(b"z0,2000,1") == b"OK"
    assert debugger.machine.breakpoints == {0x3000}
    assert debugger.ask(b"Z2,2000,1") == b""  # no watchpoints
    debugger.heard = b""
    debugger.stub.feed(packet(b"vCont;c"))
    assert (debugger.heard, debugger.machine.done) == (b"+", ["go"])
    debugger.stub.stopped()
    assert debugger.heard == b"+" + packet(b"T05thread:1;")
    debugger.heard = b""
    debugger.stub.feed(packet(b"s"))
    debugger.stub.feed(INTERRUPT)
    debugger.stub.stopped()
    assert debugger.heard.endswith(packet(b"T02thread:1;"))
    assert debugger.machine.done == ["go", "step", "interrupt"]


def test_leaving_takes_the_breakpoints_away(debugger: Debugger) -> None:
    debugger.ask(b"Z0,2000,1")
    assert debugger.ask(b"D") == b"OK"
    assert debugger.machine.breakpoints == set()
    assert debugger.machine.done == ["go"]
    other = Debugger()
    other.ask(b"Z0,2000,1")
    other.stub.close()
    assert other.machine.breakpoints == set()
    assert other.machine.done == ["go"]


def test_commands_of_the_machine(debugger: Debugger) -> None:
    answer = debugger.ask(b"qRcmd," + b"exits".hex().encode())
    assert bytes.fromhex(answer.decode()) == b"you said exits\n"


def test_damaged_packets_are_asked_for_again(debugger: Debugger) -> None:
    debugger.stub.feed(b"$g#00")
    assert debugger.heard == b"-"
    debugger.heard = b""
    debugger.stub.feed(packet(b"QStartNoAckMode"))
    assert debugger.heard == b"+" + packet(b"OK")
    debugger.heard = b""
    debugger.stub.feed(b"$?#00")
    assert debugger.heard == packet(b"T05thread:1;")


@given(st.binary(max_size=300), st.integers(1, 7))
def test_packets_survive_any_division(content: bytes, size: int) -> None:
    packets, found = Packets(), []
    octets = packet(content)
    assert octets[-2:] == checksum(octets[1:-3])
    for at in range(0, len(octets), size):
        found += packets.feed(octets[at : at + size])[0]
    assert found == [content]


_NAMES = [b"?", b"c", b"C", b"s", b"S", b"v", b"vCont;", b"D", b"k", b"g", b"G", b"p", b"P", b"m"]
_NAMES += [b"M", b"X", b"Z0,", b"z1,", b"q", b"qRcmd,", b"qXfer:features:read:target.xml:", b"Q"]
_NAMES += [b"H", b"T", b"!", b"\xff"]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.tuples(
                st.sampled_from(_NAMES),
                st.one_of(
                    st.binary(max_size=20),
                    st.text("0123456789abcdef,:;=", max_size=20).map(str.encode),
                ),
            ).map(lambda parts: packet(parts[0] + parts[1])),
        ),
        max_size=10,
    )
)
def test_nothing_that_a_debugger_sends_breaks_the_stub(pieces: list[bytes]) -> None:
    debugger = Debugger()
    for piece in pieces:
        debugger.stub.feed(piece)
        debugger.stub.stopped()
    assert len(debugger.machine.breakpoints) <= 10
