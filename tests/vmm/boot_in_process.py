"""Boot a guest in this process, for development: no kernel, no servers, no isolation.

    python tests/vmm/boot_in_process.py --kernel K [--initrd I] [--append A] [--memory 256]
        [--disk F]... [--cpu qemu64] [--until TEXT]

Standard input and output are the serial port.  Milestones go to standard error.
"""

from __future__ import annotations

import argparse
import mmap
import os
import sys
import threading
import time
from pathlib import Path

START = time.monotonic()
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.vmm.backends import FileBlock, HostEntropy  # noqa: E402
from vmm.backends import Backends  # noqa: E402
from vmm.board import Board  # noqa: E402
from vmm.config import MIB, VmConfig  # noqa: E402
from vmm.memory import GuestMemory  # noqa: E402
from vmm.outcome import End  # noqa: E402
from vmm.pacer import Waiter  # noqa: E402


def milestone(text: str) -> None:
    print(f"[{time.monotonic() - START:7.3f}] {text}", file=sys.stderr, flush=True)


class Console:
    """Writes to standard output; notes when a text first appears."""

    def __init__(self, marks: list[str]) -> None:
        self._marks = [mark.encode() for mark in marks]
        self._tail = b""

    def write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        self._tail = (self._tail + data)[-4096:]
        for mark in [mark for mark in self._marks if mark in self._tail]:
            milestone(f"seen: {mark.decode()}")
            self._marks.remove(mark)


def feed(board: Board) -> None:
    while data := os.read(0, 4096):
        board.receive(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernel", required=True, type=Path)
    parser.add_argument("--initrd", type=Path)
    parser.add_argument("--append", default="")
    parser.add_argument("--memory", type=int, default=256, help="MiB")
    parser.add_argument("--disk", action="append", default=[], type=Path)
    parser.add_argument("--cpu", default="qemu64")
    parser.add_argument("--kaslr", action="store_true")
    parser.add_argument("--mark", action="append", default=["Linux version", "HELLO-FROM-INIT"])
    arguments = parser.parse_args()
    milestone("imported")
    config = VmConfig(
        memory=arguments.memory * MIB,
        append=arguments.append,
        cpu=arguments.cpu,
        kaslr=arguments.kaslr,
    )
    disks = tuple(FileBlock(path) for path in arguments.disk)
    backends = Backends(Console(arguments.mark), disks, HostEntropy())
    sys.setswitchinterval(0.0005)
    waiter = Waiter()
    memory = GuestMemory(memoryview(mmap.mmap(-1, config.memory)))
    board = Board(config, memory, backends, idle=waiter.idle, wake=waiter.wake)
    milestone("board made")
    initrd = arguments.initrd.read_bytes() if arguments.initrd else b""
    board.load_kernel(arguments.kernel.read_bytes(), initrd)
    milestone("kernel loaded")
    threading.Thread(target=feed, args=(board,), daemon=True).start()
    try:
        outcome = board.run()
    except KeyboardInterrupt:
        return 130
    milestone(f"{outcome.end.value} {outcome.report}")
    return 0 if outcome.end is End.POWER_OFF else 1


if __name__ == "__main__":
    sys.exit(main())
