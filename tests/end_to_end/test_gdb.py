"""Debian's gdb debugs a guest."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.end_to_end.rig import command

pytestmark = pytest.mark.skipif(
    shutil.which("gdb") is None, reason="there is no gdb: the Debian package gdb has it"
)


@contextmanager
def debugged_guest() -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A guest that waits for input, and where a debugger finds it."""
    boot = command("boot", "--kernel", "guest:demo", "--memory", "16M", "--gdb", "0")
    with subprocess.Popen(
        boot, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as guest:
        assert guest.stderr is not None and guest.stdout is not None
        said = guest.stderr.readline().decode()
        found = re.search(r"target remote (:\d+)", said)
        assert found, said
        while b"demo guest" not in guest.stdout.readline():
            pass
        try:
            yield guest, found.group(1)
        finally:
            guest.kill()


def typed(guest: subprocess.Popen[bytes], text: bytes) -> None:
    assert guest.stdin is not None
    with suppress(BrokenPipeError):
        guest.stdin.write(text)
        guest.stdin.flush()


def switched_off(guest: subprocess.Popen[bytes]) -> int:
    """Type until it is off, as a person would."""
    for _ in range(30):
        typed(guest, b"off\n")
        with suppress(subprocess.TimeoutExpired):
            return guest.wait(1)
    return guest.wait(1)


def awake(guest: subprocess.Popen[bytes], where: str, *commands: str) -> str:
    """The same with a guest that has something to do, as somebody types."""
    over = threading.Event()

    def type_on() -> None:
        while not over.wait(0.3):
            typed(guest, b"\n")

    typist = threading.Thread(target=type_on)
    typist.start()
    try:
        return gdb(where, *commands)
    finally:
        over.set()
        typist.join()


def gdb(where: str, *commands: str) -> str:
    """What gdb prints."""
    script = ["set confirm off", "set pagination off", f"target remote {where}", *commands]
    words = [word for line in script for word in ("-ex", line)]
    done = subprocess.run(
        ["gdb", "-nx", "-batch", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert "warning: Remote failure" not in done.stderr
    return done.stdout + done.stderr


def test_registers_memory_steps_breakpoints_and_leaving() -> None:
    with debugged_guest() as (guest, where):
        said = awake(
            guest,
            where,
            *("p/x $cr0 & 1", "p/x $cs", "p $rip == $pc", "x/2i $pc", "stepi"),
            *("set $here = $pc", "hbreak *$here", "continue", "p $pc == $here", "delete"),
            *("set *(int *)0x500 = 0x12345678", "x/wx 0x500"),
            *("set $old = $r15", "set $r15 = 77", "p $r15", "set $r15 = $old"),
            *("monitor translate 0x500", "monitor exits", "monitor nonsense", "detach"),
        )
        assert "$1 = 0x1\n" in said
        assert "$3 = 1\n" in said
        assert re.search(r"Breakpoint 1, 0x[0-9a-f]+ in \?\? \(\)", said), said
        assert "$4 = 1\n" in said
        assert "0x500:\t0x12345678" in said
        assert "$5 = 77" in said
        assert "0x500: 0x500" in said
        assert re.search(r"halted \d+", said)
        assert "there is no command 'nonsense'" in said
        assert switched_off(guest) == 0  # it goes on as if nothing had been


def test_a_debugger_that_vanishes_leaves_the_guest_running() -> None:
    with debugged_guest() as (guest, where):
        gdb(where, "hbreak *$pc", "kill")
        again = gdb(where, "p 6 * 7", "monitor registers", "disconnect")
        assert "$1 = 42" in again
        assert "rip" in again
        assert switched_off(guest) == 0


def test_the_machine_can_be_ended_from_the_debugger() -> None:
    with debugged_guest() as (guest, where):
        gdb(where, "monitor quit", "detach")
        assert guest.wait(30) in (0, 1)
