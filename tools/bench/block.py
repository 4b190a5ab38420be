"""A guest's disk: ``dd`` in Debian's kernel, through virtio and IDE, beside QEMU's software engine.

The same kernel, initial RAM disk and raw image are used by both, in turns.  What is measured is one
pass over the beginning of the disk, with the guest's caches emptied before: reading, and writing
with all of it on stable storage at the end.  The image lies in the host's page cache.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

from tools.bench import boot
from tools.errors import UserError

RUNS: Final = 3
TIMEOUT: Final = 180.0
LIMIT: Final = 0.5
"""The ratio to QEMU's throughput that is promised, and of a protected disk's to a plain one's."""
PROTECTED: Final = "protected"
DISK: Final = 512 << 20
"""Bytes of the image."""
DEVICES: Final = {"virtio": "/dev/vda", "ide": "/dev/sda"}
BLOCKS: Final = {"4k": 128 << 20, "1M": 256 << 20}
"""``dd``'s block size -> bytes to move."""
_ROW: Final = re.compile(r"bench (read|write) (4k|1M) ([0-9.]+)")
_SCRIPT: Final = """
now() { read -r up rest </proc/uptime; echo $up; }
pass() {
    name=$1; shift
    echo 3 >/proc/sys/vm/drop_caches
    begin=$(now); "$@" 2>/dev/null || echo "bench failed"; end=$(now)
    echo "bench $name $(busybox awk "BEGIN { print $end - $begin }")"
}
dd if=/dev/zero of=DEVICE bs=1M count=MOST conv=fsync 2>/dev/null
"""


class Result(NamedTuple):
    """Medians, by interface and then by ``read 4k`` and the like; empty without QEMU."""

    cloister_mb_s: dict[str, dict[str, float]]
    qemu_tcg_mb_s: dict[str, dict[str, float]]
    ratios: dict[str, dict[str, float]]
    protected_ratios: dict[str, float]
    """Of a disk with encryption and integrity to one without, both through virtio."""
    limit: float = LIMIT


def script(device: str) -> str:
    """What the guest runs."""
    lines = [_SCRIPT.replace("DEVICE", device).replace("MOST", str(max(BLOCKS.values()) >> 20))]
    for size, total in BLOCKS.items():
        count = total // (4096 if size == "4k" else 1 << 20)
        lines.append(f"pass 'write {size}' dd if=/dev/zero of={device} bs={size} count={count} "
                     "conv=fsync")  # fmt: skip
        lines.append(f"pass 'read {size}' dd if={device} of=/dev/null bs={size} count={count}")
    return "\n".join(lines)


def append(interface: str) -> str:
    """The kernel's command line."""
    encoded = base64.b64encode(script(DEVICES[interface]).encode()).decode()
    modules = "cloister.modules=ata " if interface == "ide" else ""
    return f"console=ttyS0 quiet panic=-1 {modules}cloister.run={encoded}"


def commands(interface: str, image: Path) -> dict[str, list[str]]:
    """How each system is started."""
    kernel, initrd = boot.find_image()
    if interface == PROTECTED:
        started = boot.cloister(kernel, initrd, append("virtio"))
        image = image.with_name("protected.img")
        with image.open("ab") as file:
            os.truncate(file.fileno(), DISK)
        return {"cloister": [*started, "--disk", f"{image}:raw:encrypt:integrity"]}
    started = boot.cloister(kernel, initrd, append(interface))
    found = {"cloister": [*started, "--disk", f"{image}:raw:{interface}"]}
    if shutil.which(boot.QEMU):
        drive = f"file={image},format=raw,if={interface}"
        found["qemu"] = [*boot.qemu(kernel, initrd, append(interface)), "-drive", drive]
    return found


def rates(command: list[str]) -> dict[str, float]:
    """MB/s of each pass in one guest."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False
    )
    rows = _ROW.findall(done.stdout.decode(errors="replace"))
    if len(rows) != 2 * len(BLOCKS) or any(not float(seconds) for _, _, seconds in rows):
        name = os.path.basename(command[0])
        last = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise UserError(f"{name} did not measure its disk: {last.rpartition(chr(10))[2]!r}")
    return {f"{what} {size}": BLOCKS[size] / 1e6 / float(s) for what, size, s in rows}


def measure(runs: int = RUNS) -> Result:
    """Boot guests in turns, and compare."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {"cloister": {}, "qemu": {}}
    with tempfile.TemporaryDirectory(prefix="cloister-bench-") as folder:
        image = Path(folder) / "disk.img"
        with image.open("wb") as file:
            os.truncate(file.fileno(), DISK)
        for interface in [name for _ in range(runs) for name in (*DEVICES, PROTECTED)]:
            for system, command in commands(interface, image).items():
                passes = found[system].setdefault(interface, defaultdict(list))
                for name, rate in rates(command).items():
                    passes[name].append(rate)
    ours, theirs = _medians(found["cloister"]), _medians(found["qemu"])
    ratios = {
        interface: {name: round(rate / theirs[interface][name], 2) for name, rate in row.items()}
        for interface, row in ours.items()
        if interface in theirs
    }
    plain, protected = ours["virtio"], ours[PROTECTED]
    return Result(
        ours, theirs, ratios, {name: round(protected[name] / plain[name], 2) for name in plain}
    )


def _medians(found: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    return {
        interface: {name: round(statistics.median(rates), 1) for name, rates in passes.items()}
        for interface, passes in found.items()
    }
