"""Measured boot: the PCRs are what replaying the log gives, and what is started decides them."""

from __future__ import annotations

import hashlib
import itertools
import random
import struct

import pytest

from tests.vmm.rig import Machine, multiboot
from tests.vmm.tpm_backend import EngineTpm, HeldTpm, MemoryStorage
from tpm.eventlog import SHA1, SHA256, SHA384, SHA512, EventType, parse, replay
from tpm.instance import Instance
from vmm.boot import BootError
from vmm.boot.measure import LOG_AT, LOG_SIZE, Firmware, measure
from vmm.outcome import End

POWER_OFF = "mov dx, 0x604; mov ax, 0x3400; out dx, ax; hlt"


def new_tpm() -> EngineTpm:
    ticks = itertools.count()
    storage = MemoryStorage()
    tpm = Instance(lambda: storage, random.Random(1).randbytes, lambda: next(ticks))
    tpm.power_on()
    return EngineTpm(tpm)


def pcrs(tpm: EngineTpm, algorithm: int, size: int) -> dict[int, bytes]:
    """PCR 0 to 15 of a bank."""
    found = {}
    for number in range(16):
        select = (1 << number).to_bytes(3, "little")
        body = struct.pack(">IHB", 1, algorithm, 3) + select
        answer = tpm.execute(struct.pack(">HII", 0x8001, 10 + len(body), 0x17E) + body, 0)
        found[number] = answer[-size:]
    return found


def test_pcrs_are_what_the_log_says() -> None:
    tpm = new_tpm()
    log = measure(tpm, b"kernel", b"initrd", "console=ttyS0", "memory=1")
    found = parse(log)
    assert set(found.algorithms) == {SHA1, SHA256, SHA384, SHA512}
    for algorithm, size in ((SHA1, 20), (SHA256, 32), (SHA384, 48), (SHA512, 64)):
        values = replay(found.events, algorithm)
        assert pcrs(tpm, algorithm, size) == {number: values[number] for number in range(16)}


def test_what_is_measured_where() -> None:
    events = parse(measure(new_tpm(), b"kernel", b"initrd", "quiet", "memory=1")).events
    said = [(event.pcr, event.type, event.data) for event in events]
    assert [(pcr, kind) for pcr, kind, _ in said[:2]] == [
        (0, EventType.S_CRTM_VERSION),
        (1, EventType.PLATFORM_CONFIG_FLAGS),
    ]
    assert said[2:10] == [(pcr, EventType.SEPARATOR, bytes(4)) for pcr in range(8)]
    assert said[10:] == [
        (4, EventType.IPL, b"kernel\0"),
        (8, EventType.IPL, b"kernel_cmdline: quiet\0"),
        (9, EventType.IPL, b"initrd\0"),
    ]
    for event, data in zip(events[10:], (b"kernel", b"quiet", b"initrd"), strict=True):
        assert event.digests[SHA256] == hashlib.sha256(data).digest()
    assert len(parse(measure(new_tpm(), b"kernel", b"", "quiet", "")).events) == 12


@pytest.mark.parametrize(
    ("change", "changed"),
    [(("K", b"i", "c", "b"), 4), (("k", b"I", "c", "b"), 9), (("k", b"i", "C", "b"), 8),
     (("k", b"i", "c", "B"), 1)],
)  # fmt: skip
def test_each_part_has_its_pcr(change: tuple[str, bytes, str, str], changed: int) -> None:
    def values(kernel: str, initrd: bytes, line: str, board: str) -> dict[int, bytes]:
        log = measure(new_tpm(), kernel.encode(), initrd, line, board)
        return replay(parse(log).events, SHA256)

    before, after = values("k", b"i", "c", "b"), values(*change)
    assert {number for number in before if before[number] != after[number]} == {changed}


def test_the_platform_hierarchy_is_out_of_reach_afterwards() -> None:
    tpm = new_tpm()
    measure(tpm, b"k", b"", "", "")
    firmware = Firmware(tpm)
    with pytest.raises(BootError, match="0x9a2"):  # TPM_RC_BAD_AUTH of the first session
        firmware.hand_over(b"mine")


def test_a_tpm_that_refuses_ends_the_boot() -> None:
    held = HeldTpm()
    with pytest.raises(BootError, match="refused command 0x17a with code 0x143"):
        measure(held, b"k", b"", "", "")


def test_a_log_that_does_not_fit() -> None:
    with pytest.raises(BootError, match="event log"):
        measure(new_tpm(), b"k", b"", "x" * LOG_SIZE, "")


def test_the_log_is_where_the_table_says() -> None:
    tpm = new_tpm()
    machine = Machine(tpm=tpm, append="hello")
    kernel = multiboot(POWER_OFF)
    machine.board.load_kernel(kernel)
    memory = machine.board.memory
    events = parse(memory.read(LOG_AT, LOG_SIZE)).events
    assert events[-1].digests[SHA256] == hashlib.sha256(b"hello").digest()
    assert events[-2].digests[SHA256] == hashlib.sha256(kernel).digest()
    image = memory.read(0xE0000, 0x2000)
    table = image[image.index(b"TPM2\x4c") :]
    assert struct.unpack_from("<IQ", table, 64) == (LOG_SIZE, LOG_AT)
    assert machine.board.run().end is End.POWER_OFF
    machine.board.close()


def test_a_reset_of_the_machine_resets_the_tpm() -> None:
    """A guest that resets and resets finds the PCRs as each boot makes them, and no more."""
    tpm = new_tpm()
    machine = Machine(tpm=tpm, restart_on_reset=True)
    machine.board.load_kernel(multiboot("mov dx, 0xcf9; mov al, 6; out dx, al; hlt"))
    before = pcrs(tpm, SHA256, 32)
    resets = 0
    real = tpm.reset

    def counted() -> None:
        nonlocal resets
        resets += 1
        if resets == 3:
            machine.board.stop()
        real()

    tpm.reset = counted  # type: ignore[method-assign]
    machine.board.run()
    machine.board.close()
    assert resets == 3
    assert pcrs(tpm, SHA256, 32) == before
