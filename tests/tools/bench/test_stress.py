"""The benchmark of guests under load: the right process, and no result of what was not measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import cli
from tools.bench import boot, stress
from tools.errors import UserError

GUEST = """
import subprocess, sys, time
large = "held = b'x' * (64 << 20); import time; time.sleep(9)"
child = subprocess.Popen([sys.executable, "-c", large])
time.sleep(0.3)
for line in {lines!r}:
    print(line, flush=True)
    time.sleep(0.1)
child.kill()
"""
"""A system whose second process is the large one."""
ROWS = [f"bench {name} {number}.5" for number, name in enumerate(stress.SCRIPTS, 1)]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stress, "_SETTLED", 0.05)


def guest(*lines: str) -> list[str]:
    return [sys.executable, "-c", GUEST.format(lines=lines)]


def test_times_are_the_guests_and_memory_that_of_the_largest_process() -> None:
    times, memory = stress.run_guest(guest("bench rest", *ROWS, "bench rest"))
    assert times == {name: number + 0.5 for number, name in enumerate(stress.SCRIPTS, 1)}
    assert memory.booted >= 64 << 20
    assert memory.stressed >= 64 << 20


@pytest.mark.parametrize(
    "lines",
    [
        ("bench rest", *ROWS[1:], "bench rest"),
        ("bench rest", *ROWS),
        ("bench rest", "bench failed fork", *ROWS, "bench rest"),
    ],
)
def test_what_was_not_measured_is_no_result(lines: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="did not run the scripts"):
        stress.run_guest(guest(*lines))


@pytest.mark.parametrize(("slower", "status"), [(1.2, 0), (1.4, 1)])
def test_ratios_are_of_medians_and_over_the_limit_is_a_failure(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    slower: float,
    status: int,
) -> None:
    mib = 1 << 20
    theirs = dict.fromkeys(stress.SCRIPTS, 2.0)
    runs = {
        "cloister": iter(
            (dict.fromkeys(theirs, 2.0 * times), stress.Memory(90 * mib, 110 * mib))
            for times in (slower, 9.0, slower)
        ),
        "qemu": iter([(theirs, stress.Memory(100 * mib, 100 * mib))] * 3),
    }

    def run_guest(command: list[str]) -> tuple[dict[str, float], stress.Memory]:
        return next(runs["qemu" if command[0] == boot.QEMU else "cloister"])

    monkeypatch.setattr(boot, "find_image", lambda: (Path("k"), Path("i")))
    monkeypatch.setattr(stress.shutil, "which", lambda _name: "/usr/bin/qemu")
    monkeypatch.setattr(stress, "run_guest", run_guest)
    assert cli.main(["bench", "stress", "--json"]) == status
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["ratios"]["all"] == slower
    assert numbers["memory_ratios"] == {"booted": 0.9, "stressed": 1.1}


def test_every_script_is_run_between_two_rests() -> None:
    text = stress.script()
    assert text.count("bench rest") == 2
    first, last = text.index("bench rest"), text.rindex("bench rest")
    assert all(first < text.index(f"pass {name} ") < last for name in stress.SCRIPTS)
