"""The program with swtpm's command line."""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.tpms import (
    CLEAR,
    RANDOM,
    ROOT,
    code,
    connect,
    finished,
    free_ports,
    running,
    swtpm,
    transact,
)


def server(port: int) -> list[str]:
    return ["--server", f"type=tcp,port={port},bindaddr=127.0.0.1"]


def state(folder: Path) -> list[str]:
    return ["--tpm2", "--tpmstate", f"dir={folder}"]


def control(connection: socket.socket, number: int, body: bytes = b"") -> bytes:
    connection.sendall(struct.pack(">I", number) + body)
    return connection.recv(8192)


def test_serves_commands_and_control(tmp_path: Path) -> None:
    port = free_ports()
    arguments = swtpm(
        *state(tmp_path), *server(port), "--ctrl", f"type=tcp,port={port + 1}",
        "--flags", "not-need-init,startup-clear",
    )  # fmt: skip
    with running(arguments) as process, connect(port) as data, connect(port + 1) as other:
        assert len(transact(data, RANDOM)) == 28
        assert control(other, 1).hex() == "000000000001ffff"
        assert control(other, 0x0F).hex() == "0000000000000000"
        assert control(other, 3) == bytes(4)
        assert process.wait(10) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tpm2.key", "tpm2.state"]


def test_waits_for_init(tmp_path: Path) -> None:
    port = free_ports()
    arguments = swtpm(*state(tmp_path), *server(port), "--ctrl", f"type=tcp,port={port + 1}")
    with running(arguments), connect(port) as data, connect(port + 1) as other:
        assert code(transact(data, RANDOM)) == 0x101
        assert control(other, 2, bytes(4)) == bytes(4)
        assert code(transact(data, RANDOM)) == 0x100
        assert code(transact(data, CLEAR)) == 0


def test_unix_sockets_and_a_descriptor_that_is_handed_over(tmp_path: Path) -> None:
    path = tmp_path / "ctrl"
    arguments = swtpm(
        *state(tmp_path), "--ctrl", f"type=unixio,path={path},mode=0600", "--log", "level=1"
    )
    with running(arguments) as process, connect(path) as other:
        assert path.stat().st_mode & 0o777 == 0o600
        ours, theirs = socket.socketpair()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))]
        other.sendmsg([struct.pack(">I", 0x10)], rights)
        assert other.recv(100) == bytes(4)
        theirs.close()
        assert control(other, 2, bytes(4)) == bytes(4)
        with ours:
            assert code(transact(ours, CLEAR)) == 0
            assert len(transact(ours, RANDOM)) == 28
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not path.exists()


def test_descriptors_from_birth(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    mine, its = socket.socketpair()
    fds = (theirs.fileno(), its.fileno())
    arguments = swtpm(
        *state(tmp_path), "--server", f"type=tcp,fd={fds[0]}",
        "--ctrl", f"type=unixio,clientfd={fds[1]},terminate", "--flags", "startup-clear",
    )  # fmt: skip
    with running(arguments, fds) as process, ours, mine:
        theirs.close()
        its.close()
        ours.settimeout(20)
        assert len(transact(ours, RANDOM)) == 28
        assert control(mine, 4) == bytes(8)
        mine.close()
        assert process.wait(10) == 0


def test_terminate(tmp_path: Path) -> None:
    port = free_ports()
    arguments = swtpm(*state(tmp_path), *server(port), "--flags", "startup-clear", "-t")
    with running(arguments) as process:
        with connect(port) as data:
            transact(data, RANDOM)
        assert process.wait(10) == 0


def test_disconnect(tmp_path: Path) -> None:
    port = free_ports()
    arguments = swtpm(
        *state(tmp_path), "--server", f"port={port},disconnect", "--flags", "startup-clear"
    )
    with running(arguments), connect(port) as data:
        assert len(transact(data, RANDOM)) == 28
        assert data.recv(1) == b""


def test_daemon_with_pid_and_log(tmp_path: Path) -> None:
    port, pid, log = free_ports(), tmp_path / "pid", tmp_path / "log"
    arguments = swtpm(
        *state(tmp_path), *server(port), "--flags", "startup-clear", "--daemon",
        "--pid", f"file={pid}", "--log", f"file={log},level=20,prefix=tpm: ,truncate",
    )  # fmt: skip
    assert finished(arguments).returncode == 0
    with connect(port) as data:
        assert len(transact(data, RANDOM)) == 28
    number = int(pid.read_text())
    os.kill(number, signal.SIGTERM)
    for _ in range(500):
        if not pid.exists():
            break
        time.sleep(0.01)
    assert not pid.exists()
    assert log.read_text().startswith("tpm: the key of the TPM's state is")


def test_a_kill_at_any_time_loses_nothing(tmp_path: Path) -> None:
    """The clock of a TPM never goes back, and Startup counts resets: so both show lost writes."""
    read_clock = bytes.fromhex("8001 0000000a 00000181")
    resets = []
    for _ in range(4):
        port = free_ports()
        arguments = swtpm(*state(tmp_path), *server(port), "--flags", "startup-clear")
        with running(arguments) as process, connect(port) as data:
            answer = transact(data, read_clock)
            assert code(answer) == 0
            resets.append(int.from_bytes(answer[26:30], "big"))
            process.kill()
    assert resets == list(range(resets[0], resets[0] + 4))


def test_keys(tmp_path: Path) -> None:
    folder, key, other = tmp_path / "state", tmp_path / "key", tmp_path / "other"
    folder.mkdir()
    key.write_text("00" * 32)
    other.write_text("password\n")
    port = free_ports()
    common = [*state(folder), *server(port), "--flags", "startup-clear"]
    with running(swtpm(*common, "--key", f"file={key},mode=aes-256-cbc")), connect(port) as data:
        assert len(transact(data, RANDOM)) == 28
    assert [path.name for path in folder.iterdir()] == ["tpm2.state"]
    for wrong in (f"pwdfile={other}", f"pwdfile={other},kdf=pbkdf2"):
        done = finished(swtpm(*common, "--key", wrong))
        assert done.returncode == 1
        assert "another key" in done.stderr
    done = finished(swtpm(*common))
    assert "another key" in done.stderr
    fd = os.open(key, os.O_RDONLY)
    arguments = swtpm(*common, "--key", f"fd={fd}", "--ctrl", f"type=tcp,port={port + 1}")
    with running(arguments, [fd]), connect(port) as data, connect(port + 1) as channel:
        assert len(transact(data, RANDOM)) == 28
        assert control(channel, 0x0F).hex() == "0000000000000001"
    os.close(fd)
    with running(swtpm(*common, "--key", f"file={key},remove=true")), connect(port):
        assert not key.exists()


def blob(connection: socket.socket, flags: int) -> tuple[int, bytes]:
    """The permanent state, and how it is encrypted."""
    connection.sendall(struct.pack(">IIII", 0x0C, flags, 1, 0))
    data = b""
    while len(data) < 16 or len(data) < 16 + struct.unpack_from(">I", data, 12)[0]:
        data += connection.recv(65536)
    result, state_flags, _, _ = struct.unpack_from(">IIII", data)
    assert result == 0
    return state_flags, data[16:]


def test_blobs_move_under_a_migration_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("11" * 16)
    port = free_ports(4)
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    common = ["--migration-key", f"file={tmp_path / 'key'}"]
    arguments = swtpm(
        *state(here), *common, *server(port), "--ctrl", f"type=tcp,port={port + 1}",
        "--flags", "startup-clear",
    )  # fmt: skip
    with running(arguments), connect(port + 1) as channel:
        flags, sealed = blob(channel, 0)
        assert flags == 2
        flags, clear = blob(channel, 1)
        assert flags == 0
        assert clear not in sealed
        assert control(channel, 0x0F).hex() == "0000000000000002"
    arguments = swtpm(
        *state(there), *common, *server(port + 2), "--ctrl", f"type=tcp,port={port + 3}",
        "--migration", "incoming",
    )  # fmt: skip
    with running(arguments), connect(port + 3) as channel:
        body = struct.pack(">III", 2, 1, len(sealed))
        assert control(channel, 0x0D, body + bytes(len(sealed))) == struct.pack(">I", 9)
        assert control(channel, 0x0D, body + sealed) == bytes(4)
        assert control(channel, 2, bytes(4)) == bytes(4)
        assert blob(channel, 1)[1][:400] == clear[:400]


def test_incoming_migration_locks_when_it_is_told_to(tmp_path: Path) -> None:
    port = free_ports(4)
    first = swtpm(*state(tmp_path), *server(port), "--flags", "startup-clear")
    second = swtpm(
        *state(tmp_path), *server(port + 2), "--ctrl", f"type=tcp,port={port + 3}",
        "--migration", "incoming",
    )  # fmt: skip
    with running(second), connect(port + 3) as channel:
        with running(first), connect(port) as data:
            transact(data, RANDOM)
            assert control(channel, 0x13, struct.pack(">I", 2)) == struct.pack(">I", 9)
        assert control(channel, 0x13, struct.pack(">I", 100)) == bytes(4)


def test_what_it_can() -> None:
    done = finished(swtpm("--print-capabilities", "--tpm2"))
    assert done.returncode == 0
    said = json.loads(done.stdout)
    assert said["type"] == "swtpm"
    assert {"tpm-2.0", "tpm-send-command-header", "cmdarg-key-fd"} <= set(said["features"])


def test_which_states_there_are(tmp_path: Path) -> None:
    assert json.loads(finished(swtpm(*state(tmp_path), "--print-states")).stdout)["states"] == []
    port = free_ports()
    with running(swtpm(*state(tmp_path), *server(port))), connect(port):
        pass
    found = json.loads(finished(swtpm(*state(tmp_path), "--print-states")).stdout)
    assert found["states"] == ["permall"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server", "port=1,what=2"], "--server has no 'what'"),
        (["--server", "port=x"], "'x' is no number"),
        (["--server", "port=70000"], "not between 0 and 65535"),
        (["--server", "type=carrier-pigeon"], "it is tcp or unixio"),
        (["--server", "type=unixio"], "needs path="),
        (["--server", "type=tcp,port=0", "--flags", "wrong"], "--flags has no 'wrong'"),
        (["--server", "fd=99"], "is no socket"),
        (["--server", "port=0", "--key", "file=/none"], "/none"),
        (["--server", "port=0", "--key", "mode=aes-cbc"], "needs one of file="),
        (["--server", "port=0", "--runas", "nobody-of-that-name"], "there is no user"),
        ([], "say where to serve"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_errors_are_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = finished(swtpm(*state(tmp_path), *arguments))
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("cloister-swtpm: ")


def test_what_is_in_the_way(tmp_path: Path) -> None:
    port = free_ports()
    with running(swtpm(*state(tmp_path), *server(port))), connect(port):
        other = tmp_path / "other"
        other.mkdir()
        done = finished(swtpm(*state(other), *server(port)))
        assert f"127.0.0.1:{port} is in use by another program" in done.stderr
        done = finished(swtpm(*state(tmp_path), *server(port + 1)))
        assert "tpm2.state is in use by another instance" in done.stderr
    done = finished(swtpm(*state(tmp_path / "none"), *server(port)))
    assert f"the folder {tmp_path}/none does not exist" in done.stderr
    done = finished(swtpm("--tpm2", *server(port)))
    assert "say where the TPM's state is" in done.stderr
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in ("log", "pid"):
        (tmp_path / name).symlink_to(victim)
        written = (f"--{name}", f"file={tmp_path}/{name}")
        done = finished(swtpm(*state(tmp_path), *server(port), *written))
        assert "symbolic link" in done.stderr
        assert done.returncode == 1
    (tmp_path / "tpm2.state").unlink()
    (tmp_path / "tpm2.state").symlink_to(victim)
    done = finished(swtpm(*state(tmp_path), *server(port)))
    assert "tpm2.state is a symbolic link" in done.stderr
    assert victim.read_bytes() == b"precious"


def test_another_command() -> None:
    from tests.support.tpms import command

    done = finished(command("tools.swtpm", "cuse"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert finished(command("tools.swtpm", "--version")).stdout.startswith("TPM emulator version")


def test_a_link_called_swtpm(tmp_path: Path) -> None:
    program = tmp_path / "swtpm"
    program.symlink_to(ROOT / "cloister-swtpm")
    done = subprocess.run(
        [str(program), "socket", "--print-capabilities"],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert "tpm-2.0" in done.stdout
