"""The benchmarks measure; how fast is not for a test to say."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tools import cli
from tools.bench import boot, cpu, peers
from tools.errors import UserError

Captured = pytest.CaptureFixture[str]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the host machine needs Linux")
def test_ipc(capsys: Captured) -> None:
    assert cli.main(["bench", "ipc", "--json", "--calls", "5", "--rounds", "2"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert {"raw_socketpair_us", "mediated_call_us", "direct_call_us", "ratio"} <= set(numbers)
    assert all(number > 0 for number in numbers.values())
    assert cli.main(["bench", "ipc", "--calls", "5", "--rounds", "2"]) == 0
    shown = capsys.readouterr().out
    assert "system calls alone" in shown and "through a packet stream" in shown


@pytest.mark.parametrize("name", peers.PEERS)
def test_a_peer_answers(name: str) -> None:
    if name not in peers.installed():
        pytest.skip(f"{name} is not installed: pip install 'cloister[peers]'")
    with peers.connected(name, min(os.sched_getaffinity(0))) as call:
        assert bytes(call(b"hello")) == b"hello"  # type: ignore[call-overload]
        assert len(peers._times(call, 64, 2, 3)) == 3


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the host machine needs Linux")
def test_peers_are_those_that_are_installed(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(_core: int, _size: int, _calls: int, _rounds: int) -> dict[str, float]:
        return {"pigeon": 5e6}

    monkeypatch.setattr(peers, "measure", serve)
    assert cli.main(["bench", "ipc", "--json", "--peers", "--calls", "2", "--rounds", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["peers"] == {"pigeon": 5e6}
    assert cli.main(["bench", "ipc", "--peers", "--calls", "2", "--rounds", "1"]) == 0
    assert "pigeon" in capsys.readouterr().out


def test_tcb(capsys: Captured) -> None:
    assert cli.main(["bench", "tcb", "--json", "--runs", "1"]) in (0, 1)
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["report_s"] > 0 and numbers["what_if_s"] > 0


def test_cpu(capsys: Captured) -> None:
    assert cli.main(["bench", "cpu", "--json", "--iterations", "1000", "--runs", "1"]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert list(numbers) == list(cpu.LOOPS)
    assert all(number > 0 for number in numbers.values())
    assert cli.main(["bench", "cpu", "--iterations", "1000", "--runs", "1"]) == 0
    assert "MIPS" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("swtpm") is None, reason="the Debian package swtpm has the peer")
def test_tpm(capsys: Captured) -> None:
    chosen = ["GetRandom", "Unseal", "StartAuthSession_FlushContext", "Load_ECC", "Startup"]
    assert cli.main(["bench", "tpm", "--json", "--runs", "1", *chosen]) == 0
    numbers = json.loads(capsys.readouterr().out)
    assert list(numbers["ratios"]) == chosen
    assert all(ratio > 0 for ratio in numbers["ratios"].values())
    assert numbers["swtpm_start_seconds"] > 0 and numbers["start_seconds"] > 0
    assert cli.main(["bench", "tpm", "--runs", "1", "GetRandom", "Hash"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"GetRandom +[\d.]+ +[\d.]+ +[\d.]+ +3\.0 +(ok|over)\n", shown)
    assert re.search(r"Hash +[\d.]+ +[\d.]+ +[\d.]+ +- +-\n", shown)


def test_what_the_tpms_benchmark_cannot_do(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli.main(["bench", "tpm", "Juggle"]) == 2
    assert "'Juggle' is not measured; there are GetRandom" in capsys.readouterr().err
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli.main(["bench", "tpm"]) == 1
    assert capsys.readouterr().err.startswith("cloister: swtpm is not installed")


def test_boot_takes_the_time_until_the_line() -> None:
    program = "import time; print('early', flush=True); time.sleep(0.2); print('the line')"
    took = boot.until_line([sys.executable, "-c", program], b"the line", 20)
    assert took >= 0.2


def test_a_boot_that_does_not_get_there_says_what_it_said() -> None:
    command = [sys.executable, "-c", "print('no kernel')"]
    with pytest.raises(UserError, match=r"did not get to 'the line'.*it said 'no kernel'"):
        boot.until_line(command, b"the line", 20)


def test_boot_in_turns_after_a_first_that_does_not_count(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    times = {"cloister": iter([9.0, 3.0, 1.0, 2.0]), boot.QEMU: iter([9.0, 1.0, 1.0, 4.0])}
    monkeypatch.setattr(boot, "find_image", lambda: (Path("k"), Path("i")))
    monkeypatch.setattr(boot.shutil, "which", lambda _name: "/usr/bin/qemu")
    monkeypatch.setattr(
        boot,
        "until_line",
        lambda command: next(times[boot.QEMU if command[0] == boot.QEMU else "cloister"]),
    )
    assert cli.main(["bench", "boot", "--json"]) == 0
    expected = {"cloister_s": 2.0, "qemu_tcg_s": 1.0, "ratio": 2.0}
    assert json.loads(capsys.readouterr().out) == expected


def test_the_command_without_a_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = boot.cloister(Path("k"), Path("i"))
    assert command[:2] == [str(boot.ROOT / "cloister"), "boot"]
    monkeypatch.setattr(boot, "ROOT", tmp_path)
    missing = boot.cloister(Path("k"), Path("i"))
    assert missing[:2] == [sys.executable, "-I"]
    assert missing[4:] == [str(tmp_path), *command[1:]]


def test_boot_without_qemu(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr(boot, "find_image", lambda: (Path("k"), Path("i")))
    monkeypatch.setattr(boot.shutil, "which", lambda _name: None)
    monkeypatch.setattr(boot, "until_line", lambda _command: 1.5)
    assert cli.main(["bench", "boot", "--json"]) == 0
    expected = {"cloister_s": 1.5, "qemu_tcg_s": None, "ratio": None}
    assert json.loads(capsys.readouterr().out) == expected


def test_boot_says_how_to_get_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("CLOISTER_CACHE", str(tmp_path))
    assert cli.main(["bench", "boot"]) == 1
    assert "cloister images fetch linux" in capsys.readouterr().err


def test_nothing_is_measured_less_than_once(capsys: Captured) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["bench", "ipc", "--runs", "0"])
    assert "at least 1" in capsys.readouterr().err
