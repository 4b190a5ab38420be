"""The shell's commands, on both machines, without a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import cli
from tools.shell.commands import COMMANDS

ROOT = Path(__file__).resolve().parents[3]
BOTH = str(ROOT / "tests" / "support" / "programs" / "both.toml")
NO_HOST = not sys.platform.startswith("linux")
MACHINES = ["sim", pytest.param("host", marks=pytest.mark.skipif(NO_HOST, reason="needs Linux"))]

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))


def shell(commands: str, machine: str = "sim", system: str = BOTH) -> int:
    return cli.main(["shell", system, "--machine", machine, "-c", commands])


@pytest.mark.parametrize("machine", MACHINES)
def test_looking(machine: str, capsys: Captured) -> None:
    commands = "ps; threads; spaces; endpoints; caps worker; caps init; trace 5; help"
    assert shell(commands, machine) == 0
    shown = capsys.readouterr().out
    assert "endpoint of counter" in shown
    assert "counter for worker" in shown  # the badge of worker's capability
    assert "init, slot" in shown
    assert "faults of worker" in shown
    for line in shown.splitlines():
        assert line == line.rstrip()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_killed_process_runs_again(machine: str, capsys: Captured) -> None:
    assert shell("kill counter; ps; stop worker; start worker", machine) == 0
    shown = capsys.readouterr().out
    assert "counter was killed and runs again" in shown
    assert ("is now" in shown) == (machine == "host")
    row = next(line.split() for line in shown.splitlines() if line.startswith("counter  "))
    assert row[-1] == "2"
    assert "worker stopped" in shown


@pytest.mark.parametrize(
    ("commands", "sentence"),
    [
        ("nonsense", "there is no command 'nonsense'"),
        ("caps", "name a process"),
        ("caps nobody", "there is no process named 'nobody'"),
        ("kill nobody", "there is no process named 'nobody'"),
        ("stop worker; caps worker", "worker is not running"),
        ("start worker", "worker is running already"),
        ("vm", "say what to do"),
        ("vm pause worker", "worker is not a virtual machine"),
        ("trace many", "'many' is not a number of events"),
        ("break", ""),
        ("break nothing", "name a system call"),
        ("log", "there is no process named 'audit'"),
        ("ps 'a", "no closing quotation"),
        ("tcb nobody", "there is no 'nobody' in"),
    ],
)
def test_errors_are_one_sentence(commands: str, sentence: str, capsys: Captured) -> None:
    assert shell(commands) == bool(sentence)
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == bool(sentence)


def test_the_first_failure_ends_it(tmp_path: Path, capsys: Captured) -> None:
    script = tmp_path / "script"
    script.write_text("# a comment\n\nps\nkill nobody\nspaces\n")
    assert cli.main(["shell", BOTH, "--machine", "sim", "--script", str(script)]) == 1
    said = capsys.readouterr()
    assert f"{script}, line 4: there is no process" in said.err
    assert "mappings" not in said.out


def test_the_simulator_is_needed_for_its_commands(capsys: Captured) -> None:
    if NO_HOST:
        pytest.skip("the host machine needs Linux")
    assert shell("step", "host") == 1
    assert "--machine sim" in capsys.readouterr().err


def test_steps_breakpoints_and_the_way_back(capsys: Captured) -> None:
    commands = "where; break counter reply_recv; kill counter; run; where; back 3; break off; run 3"
    assert shell(f"{commands}; seed; seed 9; step 2") == 0
    shown = capsys.readouterr().out
    assert "the same run" in shown
    assert "recorded: 3 steps more, which 'run 3' repeats" not in shown  # it was run again
    assert "seed 9, step" in shown


def test_a_breakpoint_names_who_and_what(capsys: Captured) -> None:
    assert shell("back 10000; break init space_create; run; run") == 0
    shown = capsys.readouterr().out
    assert shown.count("further: init calls space_create") == 2


def test_every_command_is_explained(capsys: Captured) -> None:
    assert shell("; ".join(f"help {name}" for name in COMMANDS)) == 0
    assert capsys.readouterr().out.count("\n") >= len(COMMANDS)


@pytest.mark.skipif(NO_HOST, reason="the host machine needs Linux")
@pytest.mark.parametrize("machine", ["host", "sim"])
def test_control_c_ends_it_with_all_processes(machine: str) -> None:
    command = [sys.executable, "-m", "tools.cli", "shell", BOTH, "--machine", machine]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("ps\n")
        process.stdin.flush()
        rows = [process.stdout.readline().split() for _ in range(5)]
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    pids = [int(row[1]) for row in rows[1:] if row[1].isdigit()]
    assert bool(pids) == (machine == "host")
    deadline = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


GUEST = (
    "vm start demo; vm expect demo demo> 20; vm type demo echo 'one; two'; "
    "vm expect demo 'one; two' 20; vm expect demo 'one; two' 20; vm list; vm pause demo; vm list; "
    "vm resume demo; vm status demo; vm console demo; vm type demo off; vm wait demo 20; "
    "vm list; log 3; log verify"
)


@pytest.mark.skipif(NO_HOST, reason="the host machine needs Linux")
def test_a_guest_from_start_to_end(capsys: Captured) -> None:
    assert shell(GUEST, "host", "default") == 0
    shown = capsys.readouterr().out
    rows = [line.split()[:2] for line in shown.splitlines() if line.startswith("demo  ")]
    assert rows == [["demo", state] for state in ("running", "paused", "stopped")]
    assert "one; two" in shown
    assert "demo stopped: power off" in shown
    assert "the chain is whole" in shown


@pytest.mark.skipif(NO_HOST, reason="the host machine needs Linux")
def test_what_a_guest_does_not_say_is_an_error(capsys: Captured) -> None:
    assert shell("vm start demo; vm expect demo nonsense 0.1", "host", "default") == 1
    assert "demo did not say 'nonsense' in 0.1 s" in capsys.readouterr().err
