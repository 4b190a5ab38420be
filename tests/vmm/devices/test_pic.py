"""The 8259A pair, by its data sheet (231468-003)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import Line
from vmm.bus import PortBus
from vmm.devices.pic import Pic
from vmm.engine.interface import NO_VECTOR

MASTER, SLAVE = 0x20, 0xA0


class Pair:
    """Two controllers on ports, initialised as Linux does: vectors 30h and 38h, nothing masked."""

    def __init__(self, icw4: int = 1) -> None:
        self.cpu = Line()
        self.pic = Pic(self.cpu)
        self.ports = PortBus()
        self.pic.attach(self.ports)
        for base, vectors, cascade in ((MASTER, 0x30, 4), (SLAVE, 0x38, 2)):
            self.out(base, 0x11)
            for word in (vectors, cascade, icw4, 0):
                self.out(base + 1, word)

    def out(self, port: int, value: int) -> None:
        self.ports.write(port, 1, value)

    def read(self, port: int) -> int:
        return self.ports.read(port, 1)

    def pulse(self, number: int) -> None:
        self.pic.set_irq(number, True)
        self.pic.set_irq(number, False)


def test_nothing_reaches_the_cpu_before_initialisation() -> None:
    cpu = Line()
    pic = Pic(cpu)
    pic.set_irq(0, True)
    assert not cpu.level
    assert pic.acknowledge() == NO_VECTOR


@pytest.mark.parametrize("number", [0, 1, 3, 4, 7, 8, 12, 15])
def test_vector(number: int) -> None:
    pair = Pair()
    pair.pulse(number)
    assert pair.cpu.level
    assert pair.pic.acknowledge() == 0x30 + number
    assert not pair.cpu.level


def test_an_edge_is_latched_once() -> None:
    pair = Pair()
    pair.pic.set_irq(4, True)
    pair.pic.acknowledge()
    pair.out(MASTER, 0x20)
    assert not pair.cpu.level  # it is still up, but that is no edge
    pair.pic.set_irq(4, False)
    pair.pic.set_irq(4, True)
    assert pair.cpu.level


def test_a_level_asks_again_until_it_falls() -> None:
    pair = Pair()
    pair.out(0x4D1, 0x08)
    pair.pic.set_irq(11, True)
    for _ in range(3):
        assert pair.pic.acknowledge() == 0x3B
        assert not pair.cpu.level
        pair.out(SLAVE, 0x20)
        pair.out(MASTER, 0x20)
        assert pair.cpu.level
    pair.pic.set_irq(11, False)
    assert not pair.cpu.level


def test_priority_and_nesting() -> None:
    pair = Pair()
    pair.pulse(4)
    pair.pulse(1)
    assert pair.pic.acknowledge() == 0x31
    assert not pair.cpu.level  # 4 waits behind 1
    pair.pulse(0)
    assert pair.pic.acknowledge() == 0x30  # 0 goes first
    pair.out(MASTER, 0x20)  # ends 0
    pair.out(MASTER, 0x20)  # ends 1
    assert pair.pic.acknowledge() == 0x34


def test_specific_end_and_rotation() -> None:
    pair = Pair()
    pair.pulse(3)
    pair.pic.acknowledge()
    pair.out(MASTER, 0xE0 | 3)  # 3 becomes the lowest
    pair.pulse(3)
    pair.pulse(4)
    assert pair.pic.acknowledge() == 0x34


def test_masks_and_registers() -> None:
    pair = Pair()
    pair.out(MASTER + 1, 0x10)
    pair.pulse(4)
    assert not pair.cpu.level
    assert pair.read(MASTER + 1) == 0x10
    assert pair.read(MASTER) == 0x10  # the request register
    pair.out(MASTER + 1, 0)
    pair.pic.acknowledge()
    pair.out(MASTER, 0x0B)
    assert pair.read(MASTER) == 0x10  # in service


def test_special_mask_mode() -> None:
    pair = Pair()
    pair.pulse(1)
    pair.pic.acknowledge()
    pair.pulse(5)
    assert not pair.cpu.level
    pair.out(MASTER + 1, 0x02)
    pair.out(MASTER, 0x68)
    assert pair.pic.acknowledge() == 0x35


def test_automatic_end() -> None:
    pair = Pair(icw4=3)
    pair.pulse(0)
    assert pair.pic.acknowledge() == 0x30
    pair.pulse(5)
    assert pair.pic.acknowledge() == 0x35


def test_poll() -> None:
    pair = Pair()
    pair.pulse(6)
    pair.out(MASTER, 0x0C)
    assert pair.read(MASTER) == 0x86
    pair.out(MASTER, 0x0C)
    assert pair.read(MASTER) == 0


def test_a_slave_request_that_went_away_is_spurious() -> None:
    pair = Pair()
    pair.out(0x4D1, 0x08)
    pair.pic.slave.set_line(3, True)
    pair.pic.master.acknowledge(2)
    pair.pic.slave.set_line(3, False)
    assert pair.pic.slave.spurious() == 0x3F


def test_some_inputs_are_edge_triggered_for_good() -> None:
    pair = Pair()
    pair.out(0x4D0, 0xFF)
    pair.out(0x4D1, 0xFF)
    assert (pair.read(0x4D0), pair.read(0x4D1)) == (0xF8, 0xDE)


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.just("out"),
                st.sampled_from([0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1]),
                st.integers(0, 255),
            ),
            st.tuples(st.just("in"), st.sampled_from([0x20, 0x21, 0xA0, 0xA1, 0x4D0]), st.just(0)),
            st.tuples(st.just("irq"), st.integers(0, 15), st.integers(0, 1)),
            st.tuples(st.just("ack"), st.just(0), st.just(0)),
        ),
        max_size=60,
    )
)
def test_whatever_happens_the_pin_agrees_with_the_request(
    steps: list[tuple[str, int, int]],
) -> None:
    pair = Pair()
    for what, where, value in steps:
        if what == "out":
            pair.out(where, value)
        elif what == "in":
            assert 0 <= pair.read(where) <= 0xFF
        elif what == "irq":
            pair.pic.set_irq(where, bool(value))
        else:
            assert -1 <= pair.pic.acknowledge() <= 0xFF
        assert pair.cpu.level == (pair.pic.master.pending() >= 0)
