"""Debian's kernel and tpm2-tools in guests: on Cloister's boards, and in QEMU beside its TPM."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from images import cache
from kernel.abi import DebugOp, Right
from servers.console.interface import ConsoleControl
from servers.init.description import VmEntry
from tests.end_to_end.rig import ROOT, cloister, pids
from tools import system
from tools.trace.names import Cap
from tpm.eventlog import SHA256, parse, replay

LINUX = cache.folder() / "images" / "debian-tpm"
needs_tools = pytest.mark.skipif(
    not (LINUX / "vmlinuz").exists(), reason="fetch it with: cloister images fetch linux-tpm"
)
pytestmark = needs_tools

SECRET = "what nobody may know"
SCRIPT = f"""
busybox mount -t securityfs s /sys/kernel/security
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
ls /dev/tpm0 /dev/tpmrm0
K=0x81000001 P=sha256:0,4,8,9
tpm2 pcrread sha256
if tpm2 readpublic -Q -c $K 2>/dev/null; then
tpm2 unseal -c $K -p pcr:$P && echo && echo unsealed || echo refused
else
cd /tmp
echo -n '{SECRET}' >s
tpm2 createprimary -Q -c p && tpm2 createpolicy -Q --policy-pcr -l $P -L d &&
tpm2 create -Q -C p -L d -i s -u u -r v && tpm2 load -Q -C p -u u -r v -c c &&
tpm2 evictcontrol -Q -c c $K && echo sealed
fi
echo "log $(base64 /sys/kernel/security/tpm0/binary_bios_measurements | tr -d '\\n')"
head -1 /sys/kernel/security/ima/ascii_runtime_measurements
dmesg | grep -i tpm
"""
GREETING = """
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
ls /dev/tpm0 /dev/tpmrm0
tpm2 getrandom --hex 8 && echo
tpm2 pcrread sha256:0,10
mount -t securityfs s /sys/kernel/security
head -1 /sys/kernel/security/ima/ascii_runtime_measurements
"""


def append(script: str, more: str = "") -> str:
    encoded = base64.b64encode(script.encode()).decode()
    return f"console=ttyS0 quiet panic=-1 {more}cloister.run={encoded}"


def boot(state: Path, interface: str, more: str = "") -> str:
    """What a guest with a TPM says."""
    done = cloister(
        *("boot", "--kernel", str(LINUX / "vmlinuz"), "--initrd", str(LINUX / "initramfs")),
        *("--append", append(SCRIPT, more), "--tpm", "2.0", "--tpm-interface", interface),
        *("--tpm-state", str(state), "--timeout", "100"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "timed out" not in done.stdout
    return done.stdout


def shown_pcrs(text: str) -> dict[int, bytes]:
    found = re.findall(r"^ +(\d+) *: 0x([0-9A-F]{64})", text, re.MULTILINE)
    return {int(number): bytes.fromhex(value) for number, value in found}


def boot_aggregate(text: str) -> str:
    found = re.search(r"^10 \w+ ima-\w+ sha256:(\w+) boot_aggregate", text, re.MULTILINE)
    assert found, text
    return found[1]


@pytest.mark.parametrize("interface", ["tis", "crb"])
def test_a_secret_is_for_the_system_that_sealed_it(interface: str, tmp_path: Path) -> None:
    state = tmp_path / "tpm"
    first = boot(state, interface)
    assert "sealed" in first
    log = re.search(r"^log (\S+)", first, re.MULTILINE)
    assert log
    values = replay(parse(base64.b64decode(log[1])).events, SHA256)
    pcrs = shown_pcrs(first)
    assert {number: pcrs[number] for number in range(10)} == {n: values[n] for n in range(10)}
    assert any(pcrs[number] != bytes(32) for number in (8, 9))
    everything = b"".join(values[number] for number in range(10))
    assert boot_aggregate(first) == hashlib.sha256(everything).hexdigest()
    again = boot(state, interface)
    assert f"{SECRET}\n" in again.replace("\r", "")
    assert "unsealed" in again
    other = boot(state, interface, more="init.other=1 ")
    assert SECRET not in other
    assert "refused" in other
    assert shown_pcrs(other)[8] != pcrs[8]


def test_guests_side_by_side_have_tpms_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes with different secrets; no VMM holds a way to the other's."""
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    base = system.load("default")
    guests = [
        VmEntry(name=name, kernel="guest:demo", memory="16MiB", tpm="2.0", autostart=True)
        for name in ("a", "b")
    ]
    both = msgspec.structs.replace(base.description, vm=guests)
    with system.boot(system.Source(both, base.folder)) as running:
        consoles = running.open(ConsoleControl, "console.control")
        deadline = time.monotonic() + 30
        while not all(b"demo>" in consoles.tail(name, 4096) for name in ("a", "b")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        spaces = {row[1]: row[0] for row in running.debug(DebugOp.SPACES)}
        caps = [Cap(*row) for row in running.debug(DebugOp.CAPABILITIES)]
        assert pids(running)["a-tpm"] != pids(running)["b-tpm"]

    def reach(name: str, right: Right) -> set[int]:
        held = [cap for cap in caps if cap.space == spaces[name] and cap.kind == "Endpoint"]
        return {cap.object for cap in held if cap.rights & right}

    for name, other in (("a", "b"), ("b", "a")):
        assert reach(name, Right.SEND) & reach(f"{name}-tpm", Right.RECEIVE)
        assert not reach(name, Right.SEND) & reach(f"{other}-tpm", Right.RECEIVE)
    states = [next(tmp_path.rglob(f"{name}.tpm")).read_bytes() for name in ("a", "b")]
    assert any(states[0]) and states[0] != states[1]


QEMU = shutil.which("qemu-system-x86_64")


@pytest.mark.skipif(QEMU is None, reason="there is no QEMU: the Debian package qemu-system-x86")
@pytest.mark.parametrize("device", ["tpm-tis", "tpm-crb"])
def test_a_guest_of_qemu_has_the_tpm(device: str, tmp_path: Path) -> None:
    control = tmp_path / "ctrl"
    (tmp_path / "state").mkdir()
    serve = [
        *(sys.executable, "-m", "tools.cli", "swtpm", "socket", "--tpm2"),
        *("--ctrl", f"type=unixio,path={control}", "--tpmstate", f"dir={tmp_path / 'state'}"),
    ]
    with subprocess.Popen(serve, cwd=ROOT) as server:
        try:
            deadline = time.monotonic() + 20
            while not control.exists():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            guest = [
                *(
                    str(QEMU),
                    "-accel",
                    "tcg",
                    "-m",
                    "256",
                    "-nographic",
                    "-no-reboot",
                    "-nodefaults",
                ),
                *("-serial", "stdio", "-kernel", str(LINUX / "vmlinuz")),
                *("-initrd", str(LINUX / "initramfs"), "-append", append(GREETING)),
                *("-chardev", f"socket,id=tpm,path={control}"),
                *("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", f"{device},tpmdev=tpm0"),
            ]
            done = subprocess.run(
                guest, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
            )
        finally:
            server.terminate()
            server.wait(20)
    said = done.stdout.replace("\r", "")
    assert "/dev/tpm0" in said and "/dev/tpmrm0" in said, said + done.stderr
    assert re.search(r"^[0-9a-f]{16}$", said, re.MULTILINE), said
    assert 0 in shown_pcrs(said)
    assert set(boot_aggregate(said)) != {"0"}
