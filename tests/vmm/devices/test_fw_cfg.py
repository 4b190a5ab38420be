"""What firmware is told (QEMU, docs/specs/fw_cfg)."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from tests.vmm.rig import new_memory
from vmm.bus import PortBus
from vmm.config import MIB
from vmm.devices.fw_cfg import DIRECTORY, ERROR, READ, SELECT, SKIP, WRITE, FwCfg

REQUEST = 0x1000


class Bench:
    def __init__(self) -> None:
        self.ports, self.memory = PortBus(), new_memory(4 * MIB)
        self.invalidated: list[tuple[int, int]] = []
        device = FwCfg(self.memory, lambda at, length: self.invalidated.append((at, length)))
        device.tell({5: b"\1\0"}, {"b": b"second", "a/file": b"first file"})
        device.attach(self.ports)

    def select(self, item: int) -> None:
        self.ports.write(0x510, 2, item)

    def read(self, count: int) -> bytes:
        return bytes(self.ports.read(0x511, 1) for _ in range(count))

    def ask(self, control: int, length: int, address: int, at: int = REQUEST) -> int:
        """A request; returns what its control says afterwards."""
        self.memory.write(at, struct.pack(">IIQ", control, length, address))
        self.ports.write(0x514, 4, 0)
        self.ports.write(0x518, 4, int.from_bytes(struct.pack(">I", at), "little"))
        return int.from_bytes(self.memory.read(at, 4), "big")

    def files(self) -> dict[str, tuple[int, int]]:
        self.select(DIRECTORY)
        (count,) = struct.unpack(">I", self.read(4))
        found = {}
        for _ in range(count):
            size, item, name = struct.unpack(">IHxx56s", self.read(64))
            found[name.rstrip(b"\0").decode()] = (item, size)
        return found


def test_it_is_there_and_has_dma() -> None:
    bench = Bench()
    bench.select(0)
    assert bench.read(6) == b"QEMU\0\0"
    bench.select(1)
    assert bench.read(4) == b"\3\0\0\0"
    words = [bench.ports.read(port, 4) for port in (0x514, 0x518)]
    assert words == [0x5145_4D55, 0x2043_4647]


def test_files_are_found_by_name() -> None:
    bench = Bench()
    files = bench.files()
    assert {name: size for name, (_, size) in files.items()} == {"a/file": 10, "b": 6}
    bench.select(files["a/file"][0])
    assert bench.read(12) == b"first file\0\0"
    bench.select(5)
    assert bench.read(2) == b"\1\0"


def test_items_come_by_dma() -> None:
    bench = Bench()
    item, _ = bench.files()["b"]
    bench.memory.write(0x2000, b"x" * 10)
    assert bench.ask(item << 16 | SELECT | READ, 4, 0x2000) == 0
    assert bench.memory.read(0x2000, 6) == b"secoxx"
    assert bench.ask(READ, 4, 0x2000) == 0  # goes on, and zeros follow
    assert bench.memory.read(0x2000, 6) == b"nd\0\0xx"
    assert (0x2000, 4) in bench.invalidated
    assert bench.ask(item << 16 | SELECT | SKIP, 3, 0) == 0
    assert bench.read(3) == b"ond"


def test_what_cannot_be_done_is_said() -> None:
    bench = Bench()
    assert bench.ask(5 << 16 | SELECT | WRITE, 2, 0x2000) == ERROR
    assert bench.ask(5 << 16 | SELECT | READ, 2, 1 << 40) == ERROR
    assert bench.ask(READ, 0xFFFF_FFFF, 0x2000) == ERROR


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.integers(0x510, 0x51B), st.sampled_from([1, 2, 4]), st.integers(0, 0xFFFF_FFFF)
            ),
            st.tuples(st.just(0x518), st.just(4), st.sampled_from([0x0010_0000, 0x0100_0000])),
        ),
        max_size=60,
    ),
    st.binary(min_size=16, max_size=64),
)
def test_no_access_breaks_it(accesses: list[tuple[int, int, int]], request: bytes) -> None:
    bench = Bench()
    bench.memory.write(REQUEST, request)
    for port, size, value in accesses:
        bench.ports.write(port, size, value & (1 << 8 * size) - 1)
        assert 0 <= bench.ports.read(port, size) < 1 << 8 * size
