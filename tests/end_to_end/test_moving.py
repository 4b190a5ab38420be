"""Guests that are written down, read back, cloned, and sent to another Cloister."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from itertools import pairwise
from pathlib import Path

import pytest

from tests.end_to_end.rig import cloister, command, needs_linux


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path / "state"))


def shell(*commands: str) -> subprocess.CompletedProcess[str]:
    return cloister("shell", "-c", "; ".join(commands))


def test_a_snapshot_takes_a_guest_back_in_time(tmp_path: Path) -> None:
    file = tmp_path / "demo.snapshot"
    done = shell(
        *("vm start demo", "vm expect demo 'demo> '", "vm type demo echo before"),
        *("vm expect demo '\nbefore'", f"vm snapshot demo {file}", "vm type demo echo gone"),
        *("vm expect demo '\ngone'", f"vm restore demo {file}", "vm type demo echo after"),
        *("vm expect demo '\nafter'", "vm stop demo", f"vm restore demo {file}"),
        *("vm type demo echo again", "vm expect demo '\nagain'", "vm status demo"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_clone_goes_its_own_way() -> None:
    done = shell(
        *("vm start demo", "vm expect demo 'demo> '", "vm stop hello"),
        *("vm clone demo hello",),
    )
    assert done.returncode == 1
    assert "the guest's memory was 16777216, this one's is 8388608" in done.stderr


def test_files_that_are_no_snapshots_change_nothing(tmp_path: Path) -> None:
    whole = tmp_path / "demo.snapshot"
    done = shell("vm start demo", "vm expect demo 'demo> '", f"vm snapshot demo {whole}")
    assert done.returncode == 0, done.stderr
    content = whole.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    for name, octets, says in (
        ("none", None, "cannot read the snapshot"),
        ("empty", b"", "its end is missing"),
        ("text", b"something else that is long enough", "this is no snapshot"),
        ("cut", content[:-7], "its end is missing"),
        ("flipped", bytes(flipped), "damaged"),
    ):
        file = tmp_path / name
        if octets is not None:
            file.write_bytes(octets)
        done = shell("vm start demo", "vm expect demo 'demo> '", f"vm restore demo {file}")
        assert done.returncode == 1
        assert says in done.stderr, (name, done.stderr)
    done = shell("vm start demo", f"vm snapshot demo {tmp_path}/no/such/folder/file")
    assert "cannot write" in done.stderr


@needs_linux
def test_linux_goes_on_in_the_midst_of_a_computation(tmp_path: Path) -> None:
    file = tmp_path / "linux.snapshot"
    count = "'i=0; while true; do i=$((i+1)); echo number $i; sleep 0.1; done'"
    done = shell(
        *("vm start linux", "vm expect linux '# '", f"vm type linux {count}"),
        *("vm expect linux 'number 9'", f"vm snapshot linux {file}", "vm expect linux 'number 20'"),
        *("vm stop linux", f"vm restore linux {file}", "vm expect linux 'number 25'"),
        "vm console linux",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    numbers = [int(one) for one in re.findall(r"^number (\d+)", done.stdout, re.MULTILINE)]
    steps = [b - a for a, b in pairwise(numbers)]
    assert steps.count(1) == len(steps) - 1  # but for the one leap back
    assert min(steps) < 0


@pytest.mark.parametrize(
    ("name", "prompt"), [("demo", "'demo> '"), pytest.param("linux", "'# '", marks=needs_linux)]
)
def test_a_guest_moves_to_another_cloister(name: str, prompt: str, tmp_path: Path) -> None:
    there = subprocess.Popen(
        command("shell"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"CLOISTER_STATE": str(tmp_path / "there")},
    )
    assert there.stdin is not None and there.stdout is not None
    guard = threading.Timer(60, there.kill)
    guard.start()
    try:
        there.stdin.write(f"vm receive {name} 0; vm type {name} echo it is here\n")
        there.stdin.write(f"vm expect {name} 'it is here'\n" * 2)  # typed, and said
        there.stdin.write("vm list; quit\n")
        there.stdin.close()
        while "waiting" not in (line := there.stdout.readline()):
            assert line, "it ended"
        port = line.split()[-1]
        here = shell(
            *(f"vm start {name}", f"vm expect {name} {prompt}", f"vm type {name} echo it leaves"),
            *(f"vm expect {name} '\nit leaves'", f"vm migrate {name} 127.0.0.1:{port}", "vm list"),
        )
        said = there.stdout.read()
        assert here.returncode == 0, here.stderr + said
        assert f"{name} has moved" in here.stdout
        assert re.search(rf"^{name} +stopped", here.stdout, re.MULTILINE)
        assert there.wait(20) == 0, said
        assert re.search(rf"^{name} +running", said, re.MULTILINE)
    finally:
        guard.cancel()
        there.kill()
        there.wait()


def test_a_guest_with_nowhere_to_go_stays() -> None:
    done = shell("vm start demo", "vm expect demo 'demo> '", "vm migrate demo 127.0.0.1:1")
    assert "nobody waits for a guest at 127.0.0.1:1" in done.stderr
    assert "such as: vm migrate" in shell("vm start demo", "vm migrate demo nowhere").stderr
