"""The keyboard controller with keyboard and mouse."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vmm.bus import PortBus
from vmm.devices.i8042 import I8042
from vmm.devices.ps2_mouse import LEFT, MIDDLE

A, F7, PAUSE, RIGHT_CTRL, UP = 0x1E, 0x41, 0xC6, 0x9D, 0xC8


class Bench:
    def __init__(self) -> None:
        self.resets = 0
        self.a20 = True
        self.lines = [False, False]
        self.ports = PortBus()
        self.controller = I8042(
            self._reset,
            self._set_a20,
            lambda level: self.lines.__setitem__(0, level),
            lambda level: self.lines.__setitem__(1, level),
        )
        self.controller.attach(self.ports)

    def _reset(self) -> None:
        self.resets += 1

    def _set_a20(self, enabled: bool) -> None:
        self.a20 = enabled

    def out(self, port: int, value: int) -> None:
        self.ports.write(port, 1, value)

    def read(self, port: int) -> int:
        return self.ports.read(port, 1)

    def drain(self) -> list[int]:
        """All that there is to read, 100h added to what is the mouse's."""
        found = []
        while (status := self.read(0x64)) & 1:
            found.append(self.read(0x60) + (0x100 if status & 0x20 else 0))
        return found

    def ask_keyboard(self, *values: int) -> list[int]:
        for value in values:
            self.out(0x60, value)
        return self.drain()

    def ask_mouse(self, *values: int) -> list[int]:
        for value in values:
            self.out(0x64, 0xD4)
            self.out(0x60, value)
        return [value - 0x100 for value in self.drain()]

    def modes(self, value: int) -> None:
        self.out(0x64, 0x60)
        self.out(0x60, value)

    def press(self, *codes: int) -> list[int]:
        for code in codes:
            self.controller.keyboard.key(code, True)
            self.controller.keyboard.key(code, False)
        return self.drain()


def test_self_tests() -> None:
    bench = Bench()
    for command, answer in ((0xAA, 0x55), (0xAB, 0), (0xA9, 0), (0xA4, 0xF1)):
        bench.out(0x64, command)
        assert bench.read(0x64) & 1
        assert bench.read(0x60) == answer
        assert not bench.read(0x64) & 1


def test_command_byte() -> None:
    bench = Bench()
    bench.modes(0x47)
    bench.out(0x64, 0x20)
    assert bench.read(0x60) == 0x47
    bench.out(0x64, 0xAD)
    bench.out(0x64, 0xA7)
    bench.out(0x64, 0x20)
    assert bench.read(0x60) == 0x77


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
    bench.out(0x64, 0xDD)
    assert not bench.a20


def test_fast_reset_is_an_edge() -> None:
    bench = Bench()
    for value in (3, 3, 2, 3):
        bench.out(0x92, value)
    assert bench.resets == 2


def test_keys_come_translated_to_set_1() -> None:
    bench = Bench()
    assert bench.press(A, F7, RIGHT_CTRL, UP) == [
        *(0x1E, 0x9E, 0x41, 0xC1),
        *(0xE0, 0x1D, 0xE0, 0x9D, 0xE0, 0x48, 0xE0, 0xC8),
    ]
    assert bench.press(PAUSE) == [0xE1, 0x1D, 0x45, 0xE1, 0x9D, 0xC5]


def test_keys_come_in_set_2_without_translation() -> None:
    bench = Bench()
    bench.modes(0x05)
    assert bench.press(A, F7, UP) == [
        *(0x1C, 0xF0, 0x1C, 0x83, 0xF0, 0x83),
        *(0xE0, 0x75, 0xE0, 0xF0, 0x75),
    ]


def test_the_other_sets() -> None:
    bench = Bench()
    bench.modes(0x05)
    assert bench.ask_keyboard(0xF0, 1) == [0xFA, 0xFA]
    assert bench.press(A, UP) == [0x1E, 0x9E, 0xE0, 0x48, 0xE0, 0xC8]
    assert bench.ask_keyboard(0xF0, 3) == [0xFA, 0xFA]
    assert bench.press(A, UP) == [0x1C, 0xF0, 0x1C, 0x63, 0xF0, 0x63]
    assert bench.ask_keyboard(0xF0, 0) == [0xFA, 0xFA, 3]
    assert bench.ask_keyboard(0xF7) == [0xFA]
    assert bench.press(A) == [0x1C]
    assert bench.ask_keyboard(0xFC, 0x1C) == [0xFA, 0xFA]  # make and break for this key
    assert bench.press(A) == [0x1C, 0xF0, 0x1C]
    assert bench.press(UP) == [0x63]


def test_every_key_says_the_same_in_sets_1_and_2() -> None:
    plain, translated = Bench(), Bench()
    plain.modes(0x05)
    plain.ask_keyboard(0xF0, 1)
    for code in range(256):
        assert plain.press(code) == translated.press(code), hex(code)


def test_keyboard_commands() -> None:
    bench = Bench()
    assert bench.ask_keyboard(0xFF) == [0xFA, 0xAA]
    assert bench.ask_keyboard(0xF2) == [0xFA, 0xAB, 0x41]  # translated as well
    assert bench.ask_keyboard(0xED, 2) == [0xFA, 0xFA]
    assert bench.controller.keyboard.lamps == 2
    assert bench.ask_keyboard(0xF3, 0x20) == [0xFA, 0xFA]
    assert bench.ask_keyboard(0xEE) == [0xEE]
    assert bench.ask_keyboard(0xFE) == [0xEE]
    assert bench.ask_keyboard(0x12) == [0xFE]
    assert bench.ask_keyboard(0xF5) == [0xFA]
    assert bench.press(A) == []
    assert bench.ask_keyboard(0xF4) == [0xFA]
    assert bench.press(A) == [0x1E, 0x9E]


def test_interrupts_follow_the_output_byte() -> None:
    bench = Bench()
    bench.modes(0x47)
    bench.controller.keyboard.key(A, True)
    assert bench.lines == [True, False]
    assert bench.read(0x60) == 0x1E
    assert bench.lines == [False, False]
    bench.ask_mouse(0xF4)
    bench.controller.mouse.move(3, 0, 0, 0)
    assert bench.lines == [False, True]
    bench.drain()
    assert bench.lines == [False, False]


def test_a_disabled_port_keeps_what_it_has_to_say() -> None:
    bench = Bench()
    bench.out(0x64, 0xAD)
    assert bench.press(A) == []
    bench.out(0x64, 0xAE)
    assert bench.drain() == [0x1E, 0x9E]


def test_mouse_packets() -> None:
    bench = Bench()
    assert bench.ask_mouse(0xFF) == [0xFA, 0xAA, 0]
    bench.controller.mouse.move(5, 5, 0, 0)
    assert bench.drain() == []  # it is off
    assert bench.ask_mouse(0xF6, 0xF4) == [0xFA, 0xFA]
    bench.controller.mouse.move(10, 3, 1, LEFT)
    assert bench.drain() == [0x129, 0x10A, 0x1FD]
    bench.controller.mouse.move(-1, 0, 0, MIDDLE)
    assert bench.drain() == [0x11C, 0x1FF, 0x100]


def test_the_wheel_is_found_by_the_sample_rates() -> None:
    bench = Bench()
    assert bench.ask_mouse(0xF2) == [0xFA, 0]
    for rates, kind in (((200, 100, 80), 3), ((200, 200, 80), 4)):
        for rate in rates:
            bench.ask_mouse(0xF3, rate)
        assert bench.ask_mouse(0xF2) == [0xFA, kind]
    bench.ask_mouse(0xF4)
    bench.controller.mouse.move(0, 0, -1, 0x10)
    assert bench.drain() == [0x108, 0x100, 0x100, 0x121]


def test_far_moves_take_several_packets() -> None:
    bench = Bench()
    bench.ask_mouse(0xF4)
    bench.controller.mouse.move(1000, 0, 0, 0)
    assert sum(bench.drain()[1::3]) - 4 * 0x100 == 1000


def test_a_guest_that_reads_nothing_costs_no_memory() -> None:
    bench = Bench()
    bench.ask_mouse(0xF4)
    for _ in range(10_000):
        bench.controller.keyboard.key(A, True)
        bench.controller.mouse.move(1, 1, 1, 0)
        bench.out(0x64, 0xAA)
        bench.out(0x60, 0xF2)
    assert len(bench.drain()) < 400


@given(st.lists(st.tuples(st.sampled_from([0x60, 0x64, 0x92, 1, 2]), st.integers(0, 255))))
def test_no_sequence_breaks_it(writes: list[tuple[int, int]]) -> None:
    bench = Bench()
    for port, value in writes:
        if port == 1:
            bench.controller.keyboard.key(value, bool(value & 1))
        elif port == 2:
            bench.controller.mouse.move(value - 128, value, value & 3, value)
        else:
            bench.out(port, value)
        assert all(0 <= bench.read(other) <= 0xFF for other in (0x60, 0x64, 0x92))
