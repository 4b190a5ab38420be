"""Debian's unmodified kernel finds the TPM, and sees the measurements that it was started with."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Literal

import pytest

from tests.vmm.backends import HostEntropy
from tests.vmm.rig import Machine
from tests.vmm.test_debian_boot import INITRAMFS, KERNEL, pytestmark
from tests.vmm.tpm_backend import EngineTpm, MemoryStorage
from tpm.eventlog import SHA256, parse, replay
from tpm.instance import Instance
from vmm.config import MIB
from vmm.outcome import End

__all__ = ["pytestmark"]

SCRIPT = """
ls /dev/tpm0 /dev/tpmrm0
mount -t securityfs securityfs /sys/kernel/security
cd /sys/kernel/security
for n in 0 1 2 3 4 5 6 7 8 9; do echo "pcr $n $(cat /sys/class/tpm/tpm0/pcr-sha256/$n)"; done
head -1 ima/ascii_runtime_measurements
echo "log $(base64 tpm0/binary_bios_measurements | tr -d '\\n')"
grep -o 'tpm_.*' /proc/iomem
dmesg | grep 'tpm_\\|Firmware Bug'
"""


@pytest.mark.parametrize("interface", ["tis", "crb"])
def test_the_guest_sees_what_was_measured(interface: Literal["tis", "crb"]) -> None:
    storage = MemoryStorage()
    script = base64.b64encode(SCRIPT.encode()).decode()
    append = f"console=ttyS0 quiet panic=-1 cloister.run={script}"
    machine = Machine(
        memory=256 * MIB,
        entropy=HostEntropy(),
        append=append,
        tpm=EngineTpm(Instance(lambda: storage)),
        tpm_interface=interface,
    )
    machine.board.load_linux(KERNEL.read_bytes(), INITRAMFS.read_bytes())
    assert machine.board.run().end is End.POWER_OFF
    machine.board.close()
    text = machine.serial.text
    assert "/dev/tpm0" in text
    assert "/dev/tpmrm0" in text
    assert "Firmware Bug" not in text
    shown = {int(n): bytes.fromhex(v) for n, v in re.findall(r"pcr (\d+) ([0-9A-F]{64})", text)}
    match = re.search(r"log ([A-Za-z0-9+/=]+)", text)
    assert match is not None, text
    events = parse(base64.b64decode(match[1])).events
    values = replay(events, SHA256)
    assert shown == {number: values[number] for number in range(10)}
    digests = {event.pcr: event.digests[SHA256] for event in events}
    assert digests[4] == hashlib.sha256(KERNEL.read_bytes()).digest()
    assert digests[8] == hashlib.sha256(append.encode()).digest()
    assert digests[9] == hashlib.sha256(INITRAMFS.read_bytes()).digest()
    aggregate = hashlib.sha256(b"".join(values[number] for number in range(10))).hexdigest()
    assert f"sha256:{aggregate} boot_aggregate" in text
