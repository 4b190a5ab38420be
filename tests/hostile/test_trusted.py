"""The attacks agree with the tool: who is not in a guest's integrity TCB cannot change the guest.

Each such process is taken over by ``compromised``, while a Debian guest watches its memory, its
disk and its TPM.  The same driver under a disk that is not protected does change that, and the tool
says so: the attack is one.
"""

from __future__ import annotations

import base64
import time
from pathlib import Path

import msgspec
import pytest

from images import cache
from servers.console.interface import ConsoleControl
from servers.init.description import (
    Description,
    DeviceEntry,
    DiskEntry,
    ProcessEntry,
    VmEntry,
)
from tools import system
from tools.tcb.graph.closure import closures
from tools.tcb.graph.model import Kind, Property
from tools.tcb.systems.description import described

LINUX = cache.folder() / "images" / "debian-tpm"
COMPROMISED = "tests.hostile.compromised"
SCRIPT = """
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
state() { tpm2 pcrread sha256:0,1,2,3,4,5,6,7,8,9; tpm2 nvread 0x1500001; }
dd if=/dev/urandom of=/tmp/m bs=64k count=64 2>/dev/null
memory=$(busybox md5sum </tmp/m)
tpm2 nvdefine -Q 0x1500001 -s 16 && echo -n 'kept in the TPM.' | tpm2 nvwrite -Q 0x1500001 -i -
tpm=$(state | busybox md5sum)
dd if=/tmp/m of=/dev/vda bs=64k conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
for round in 1 2 3; do
    sleep 0.7
    [ "$(busybox md5sum </tmp/m)" = "$memory" ] || echo "memory CHANGED"
    [ "$(state | busybox md5sum)" = "$tpm" ] || echo "TPM CHANGED"
    echo 3 >/proc/sys/vm/drop_caches
    if dd if=/dev/vda of=/tmp/r bs=64k count=64 2>/dev/null; then
        [ "$(busybox md5sum </tmp/r)" = "$memory" ] && echo "disk same" || echo "disk CHANGED"
    else
        echo "disk refused"
    fi
done
echo watched
"""
pytestmark = pytest.mark.skipif(
    not (LINUX / "vmlinuz").exists(), reason="fetch it with: cloister images fetch linux-tpm"
)


def describe(folder: Path, protected: bool) -> Description:
    """The default system with one guest, and everybody else taken over who is not to be trusted."""
    base = system.load("default").description
    evil = {"audit", "scheduler", "block0"}
    encoded = base64.b64encode(SCRIPT.encode()).decode()
    guest = VmEntry(
        name="guest",
        kernel=str(LINUX / "vmlinuz"),
        initrd=str(LINUX / "initramfs"),
        append=f"console=ttyS0 quiet panic=-1 cloister.run={encoded}",
        disks=[DiskEntry(source="block0", encrypt=protected, integrity=protected)],
        tpm="2.0",
        engine="soft",
        autostart=True,
        on_reboot="stop",
    )
    neighbour = ProcessEntry(
        name="neighbour",  # in place of another guest's monitor
        program=COMPROMISED,
        holds=["console.console", "entropy=entropy", "device:neighbour-disk"],
        offers=["vm"],
        label="guests",
        priority=80,
        executable=True,
    )
    processes = [
        msgspec.structs.replace(process, program=COMPROMISED, config={})
        if process.name in evil
        else process
        for process in base.process
    ]
    device = DeviceEntry(name="neighbour-disk", file=str(folder / "neighbour"), size="1MiB")
    return msgspec.structs.replace(
        base,
        name="attacked",
        process=[*processes, neighbour],
        device=[*base.device, device],
        vm=[guest],
    )


def trusted(description: Description) -> tuple[set[str], set[str]]:
    """Which processes are in the guest's integrity TCB, and which are not; were all honest."""
    honest = msgspec.structs.replace(
        description,
        process=[
            msgspec.structs.replace(process, program="drivers.block")
            if process.name == "block0"
            else process
            for process in description.process
        ],
    )
    graph = described(honest)
    members = set(closures(graph, "vm:guest")[Property.INTEGRITY].members())
    everybody = {each.name for each in graph.components.values() if each.kind is Kind.PROGRAM}
    return everybody & members, everybody - members


@pytest.mark.parametrize("protected", [True, False])
def test_who_is_not_trusted_cannot_change_the_guest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    description = describe(tmp_path, protected)
    inside, outside = trusted(description)
    assert {"audit", "scheduler", "neighbour"} <= outside
    assert ("block0" in outside) == protected
    assert inside >= {"guest", "guest-tpm", "console", "terminal", "entropy", "kernel", "init"}
    compromised = {p.name for p in description.process if p.program == COMPROMISED}
    assert compromised - {"block0"} == outside - {"block0"}  # all of those, and nobody else
    with system.boot(system.Source(description, tmp_path)) as running:
        console = running.open(ConsoleControl, "console.control")
        deadline = time.monotonic() + 90
        seen = b""
        while b"\nwatched" not in seen and time.monotonic() < deadline:
            time.sleep(0.2)
            seen = console.tail("guest", 8192)
    said = seen.decode(errors="replace")
    assert "\nwatched" in said, said
    assert "memory CHANGED" not in said
    assert "TPM CHANGED" not in said
    if protected:
        assert "disk CHANGED" not in said
        assert "disk refused" in said
        assert "cloister: disk0: block" in said
    else:
        assert "disk CHANGED" in said
