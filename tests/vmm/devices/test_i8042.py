"""The keyboard controller without a keyboard."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmm.bus import PortBus
from vmm.devices.i8042 import I8042


class Bench:
    def __init__(self) -> None:
        self.resets = 0
        self.a20 = True
        self.ports = PortBus()
        I8042(self._reset, self._set_a20).attach(self.ports)

    def _reset(self) -> None:
        self.resets += 1

    def _set_a20(self, enabled: bool) -> None:
        self.a20 = enabled

    def out(self, port: int, value: int) -> None:
        self.ports.write(port, 1, value)

    def read(self, port: int) -> int:
        return self.ports.read(port, 1)


def test_self_tests() -> None:
    bench = Bench()
    for command, answer in ((0xAA, 0x55), (0xAB, 0), (0xA9, 0)):
        bench.out(0x64, command)
        assert bench.read(0x64) & 1
        assert bench.read(0x60) == answer
        assert not bench.read(0x64) & 1


def test_command_byte() -> None:
    bench = Bench()
    bench.out(0x64, 0x60)
    bench.out(0x60, 0x47)
    bench.out(0x64, 0x20)
    assert bench.read(0x60) == 0x47


def test_pulse_resets() -> None:
    bench = Bench()
    bench.out(0x64, 0xFF)
    bench.out(0x64, 0xFE)
    assert bench.resets == 1


def test_a20_gates() -> None:
    bench = Bench()
    bench.out(0x64, 0xD1)
    bench.out(0x60, 0xDD)
    assert not bench.a20
    bench.out(0x92, 2)
    assert bench.a20
    assert bench.read(0x92) == 2


def test_fast_reset_is_an_edge() -> None:
    bench = Bench()
    for value in (3, 3, 2, 3):
        bench.out(0x92, value)
    assert bench.resets == 2


@given(st.lists(st.tuples(st.sampled_from([0x60, 0x64, 0x92]), st.integers(0, 255))))
def test_no_sequence_breaks_it(writes: list[tuple[int, int]]) -> None:
    bench = Bench()
    for port, value in writes:
        bench.out(port, value)
        assert all(0 <= bench.read(other) <= 0xFF for other in (0x60, 0x64, 0x92))
