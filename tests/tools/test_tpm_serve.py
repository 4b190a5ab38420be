"""``cloister tpm serve``: both protocols at once, and errors in one sentence."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.tpms import (
    CLEAR,
    RANDOM,
    code,
    command,
    connect,
    finished,
    free_ports,
    running,
    transact,
)


def serve(*arguments: str) -> list[str]:
    return command("tools.cli", "tpm", "serve", *arguments)


def addresses(process: subprocess.Popen[str]) -> list[str]:
    """What it says when it begins to listen."""
    assert process.stdout is not None
    found = []
    while (line := process.stdout.readline()) != "ready\n":
        assert line, "it ended"
        found += re.findall(r"(?:unix:\S+|[\d.]+:\d+)", line)
    return [address.rstrip(",") for address in found]


def test_both_protocols_reach_one_tpm(tmp_path: Path) -> None:
    arguments = serve(
        "--state", str(tmp_path), "--swtpm", "127.0.0.1:0", "--mssim", f"unix:{tmp_path}/mssim"
    )
    with running(arguments) as process:
        data, control, framed, platform = addresses(process)
        with connect(int(data.rpartition(":")[2])) as raw:
            assert code(transact(raw, RANDOM)) == 0x100
            assert code(transact(raw, CLEAR)) == 0
            with connect(Path(framed.removeprefix("unix:"))) as other:
                other.sendall(struct.pack(">IBI", 8, 0, len(RANDOM)) + RANDOM)
                assert len(other.recv(100)) == 36
            with connect(Path(platform.removeprefix("unix:"))) as port:
                for signal_number in (1, 11, 17):
                    port.sendall(struct.pack(">I", signal_number))
                    assert port.recv(4) == bytes(4)
            assert code(transact(raw, RANDOM)) == 0x100
        with connect(int(control.rpartition(":")[2])) as channel:
            channel.sendall(struct.pack(">I", 1))
            assert channel.recv(8).hex() == "000000000001ffff"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


@pytest.mark.parametrize("startup", ["clear", "state"])
def test_startup(tmp_path: Path, startup: str) -> None:
    port = free_ports()
    with running(
        serve("--state", str(tmp_path), "--swtpm", f"localhost:{port}", "--startup", startup)
    ), connect(port) as data:  # fmt: skip
        assert code(transact(data, RANDOM)) == {"clear": 0, "state": 0x100}[startup]


def test_a_key_of_ones_own(tmp_path: Path) -> None:
    folder, key = tmp_path / "state", tmp_path / "key"
    folder.mkdir()
    key.write_text("ab" * 32)
    port = free_ports()
    with running(serve("--state", str(folder), "--swtpm", str(port), "--key", str(key))):
        connect(port).close()
    assert [path.name for path in folder.iterdir()] == ["tpm2.state"]
    done = finished(serve("--state", str(folder), "--swtpm", str(port), "--password", str(key)))
    assert "another key" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        ([], "say where to serve", 2),
        (["--swtpm", "nowhere"], "'nowhere' is no address", 1),
        (["--swtpm", "unix:"], "needs a path", 1),
        (["--swtpm", "host.invalid:1"], "there is no host 'host.invalid'", 1),
        (["--swtpm", "127.0.0.1:99999"], "is no address", 1),
        (["--mssim", "192.0.2.1:5000"], "this machine has no such address", 1),
        (["--swtpm", "unix:/nowhere/x"], "cannot listen on /nowhere/x", 1),
    ],
)
def test_errors(tmp_path: Path, arguments: list[str], said: str, status: int) -> None:
    done = finished(serve("--state", str(tmp_path), *arguments))
    assert done.returncode == status
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
