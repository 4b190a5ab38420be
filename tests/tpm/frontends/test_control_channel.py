"""swtpm's control channel, byte for byte, and by swtpm's own client."""

from __future__ import annotations

import array
import hashlib
import json
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.tpm.fake import FakeTpm, echo, echoed
from tests.tpm.frontends.serving import Serving, receive, serving, transact
from tpm.frontends import sockets
from tpm.frontends.port import Port
from tpm.frontends.server import Options, Server
from tpm.interface import Blob, TpmError

OK, FAIL, BAD_ORDINAL, BAD_PARAMETER = (struct.pack(">I", n) for n in (0, 9, 10, 3))


def number(value: int) -> bytes:
    return struct.pack(">I", value)


def test_capabilities() -> None:
    with serving() as found:
        assert found.control(1, size=8).hex() == "000000000001ffff"
    with serving(FakeTpm("1.2")) as found:
        assert found.control(1, size=8).hex() == "0000000000017fff"


def test_power() -> None:
    with serving() as found:
        assert found.control(0x0E) == OK
        assert not found.fake.running
        assert found.control(2, number(1)) == OK
        assert found.fake.log[-1] == ("on", True)
        assert found.control(2, number(0)) == OK
        assert found.fake.log[-1] == ("on", False)
        assert found.control(3) == OK
        found.thread.join(5)
        assert not found.thread.is_alive()
        assert not found.fake.running


def test_what_needs_power_or_none() -> None:
    with serving() as found:
        assert found.control(0x0D, struct.pack(">III", 0, 1, 0)) == BAD_ORDINAL
        assert found.control(0x11, number(3000)) == BAD_ORDINAL
        found.control(0x0E)
        for command, body in ((4, b""), (6, b""), (8, b""), (9, b""), (0x0A, b""), (0x0B, b"\3"),
                              (0x0C, bytes(12)), (7, number(3) + b"abc")):  # fmt: skip
            assert found.control(command, body) == BAD_ORDINAL, command


def test_localities() -> None:
    with serving() as found:
        client = found.data()
        assert found.control(5, b"\3") == OK
        assert transact(client, echo(b"x")) == echoed(b"x", 3)
        assert found.control(5, b"\5").hex() == "0000003d"
        assert transact(client, echo(b"x")) == echoed(b"x", 3)
    with serving(reject_locality_4=True) as found:
        assert found.control(5, b"\4").hex() == "0000003d"


def test_hashing_and_the_flag() -> None:
    with serving() as found:
        assert found.control(4, size=8) == bytes(8)
        assert found.control(6) == OK
        data = bytes(range(256)) * 4096
        assert found.control(7, number(len(data)) + data) == OK
        assert found.control(7, number(0)) == OK
        assert found.control(8) == OK
        assert found.fake.log[-1] == hashlib.sha256(data).hexdigest()
        assert found.control(4, size=8).hex() == "0000000001000000"
        assert found.control(0x0B, b"\2").hex() == "0000003d"
        assert found.control(0x0B, b"\7").hex() == "0000003d"
        assert found.control(0x0B, b"\3") == OK
        assert found.control(4, size=8) == bytes(8)
        assert found.control(7, number(1) + b"x") == FAIL


def test_state_blobs() -> None:
    with serving() as found:
        fake = found.fake
        whole = fake.blobs[Blob.PERMANENT]
        answer = found.control(0x0C, struct.pack(">III", 1, 1, 0), 16 + len(whole))
        assert answer == struct.pack(">IIII", 0, 0, len(whole), len(whole)) + whole
        answer = found.control(0x0C, struct.pack(">III", 1, 1, 8990), 26)
        assert answer == struct.pack(">IIII", 0, 0, 10, 10) + whole[8990:]
        assert found.control(0x0C, struct.pack(">III", 1, 3, 0), 16) == bytes(16)
        assert found.control(0x0C, struct.pack(">III", 1, 9, 0)) == FAIL
        assert found.control(0x0A) == OK
        assert fake.log[-1] == "store volatile"
        found.control(0x0E)
        new = bytes(range(256)) * 300
        assert found.control(0x0D, struct.pack(">III", 0, 2, len(new)) + new) == OK
        assert fake.blobs[Blob.VOLATILE] == new
        assert found.control(0x0D, struct.pack(">III", 0, 1, 5) + b"bad!!") == FAIL
        assert found.log[-1] == "this is no state"
        assert found.control(0x0D, struct.pack(">III", 2, 1, 5) + b"other") == FAIL
        assert found.control(0x0D, struct.pack(">III", 0, 1, 1 << 30)) == FAIL
        assert fake.blobs[Blob.PERMANENT] == whole


def test_blobs_under_a_migration_key() -> None:
    def turned(data: bytes) -> bytes:
        return data[::-1]

    options = Options(config_flags=2, seal=turned, unseal=turned)
    with serving(options=options) as found:
        assert found.control(0x0F, size=8).hex() == "0000000000000002"
        found.fake.blobs[Blob.PERMANENT] = b"abc"
        answer = found.control(0x0C, struct.pack(">III", 0, 1, 0), 19)
        assert answer == struct.pack(">IIII", 0, 2, 3, 3) + b"cba"
        found.control(0x0E)
        assert found.control(0x0D, struct.pack(">III", 2, 1, 3) + b"zyx") == OK
        assert found.fake.blobs[Blob.PERMANENT] == b"xyz"


def test_buffer_size() -> None:
    with serving() as found:
        assert found.control(0x11, number(0), 16) == struct.pack(">IIII", 0, 4096, 2808, 4096)
        found.control(0x0E)
        for wanted, used in ((1, 2808), (3000, 3000), (9999, 4096), (3000, 3000)):
            answer = found.control(0x11, number(wanted), 16)
            assert answer == struct.pack(">IIII", 0, used, 2808, 4096)
        found.control(2, number(0))
        assert transact(found.data(), echo(bytes(3000))).hex() == "80010000000a00000142"


def test_info() -> None:
    with serving() as found:
        with found.connect(found.control_port) as client:
            client.sendall(struct.pack(">IQII", 0x12, 1, 0, 0))
            result, total, length = struct.unpack(">III", receive(client, 12))
            text = receive(client, length)
        assert (result, total) == (0, length)
        assert text[-1:] == b"\0"
        assert json.loads(text[:-1])["TPMSpecification"]["family"] == "2.0"
        assert found.control(0x12, struct.pack(">QII", 1, 9999, 0)) == BAD_PARAMETER


def test_storage_lock() -> None:
    calls = []

    def lock(retries: int) -> None:
        calls.append(retries)
        if retries > 5:
            raise TpmError("somebody else holds it")

    with serving(options=Options(lock=lock)) as found:
        assert found.control(0x13, number(3)) == OK
        assert found.control(0x13, number(6)) == FAIL
        assert calls == [3, 6]


def test_unknown_commands_and_half_ones() -> None:
    with serving() as found, found.connect(found.control_port) as client:
        for command in (0, 0x14, 0xFFFFFFFF):
            client.sendall(number(command))
            assert receive(client, 4) == BAD_ORDINAL
        client.sendall(number(2) + b"\0")
        assert receive(client, 4) == BAD_PARAMETER
        client.sendall(number(0x0F))
        assert receive(client, 8) == bytes(8)


def test_requests_that_are_filled_up() -> None:
    with serving() as found, found.connect(found.control_port) as client:
        for _ in range(3):
            client.sendall(number(5) + b"\1\xaa\xbb\xcc")
            assert receive(client, 4) == OK
        client.sendall(number(0x0B) + b"\3\0\0\0")
        assert receive(client, 4) == OK
        client.sendall(b"\xaa\xbb\xcc")  # arrives by itself: nothing was asked
        time.sleep(0.7)
        client.sendall(number(0x0F))
        assert receive(client, 8) == bytes(8)
        assert transact(found.data(), echo(b"x")) == echoed(b"x", 1)


def hand_over(client: socket.socket, fds: list[int]) -> bytes:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    client.sendmsg([number(0x10)], rights)
    return receive(client, 4)


def test_the_data_channel_as_a_descriptor(tmp_path: Path) -> None:
    fake = FakeTpm()
    server = Server(Port(fake, log=lambda _text: None))
    path = str(tmp_path / "control")
    server.listen_control(sockets.listen(sockets.Address(path=path)))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(path)
    assert hand_over(client, []) == BAD_PARAMETER
    with (tmp_path / "file").open("w") as file:
        assert hand_over(client, [file.fileno()]) == BAD_PARAMETER
    ours, theirs = socket.socketpair()
    ours.settimeout(5)
    assert hand_over(client, [theirs.fileno()]) == OK
    theirs.close()
    assert transact(ours, echo(b"hello")) == echoed(b"hello")
    more, other = socket.socketpair()
    assert hand_over(client, [other.fileno()]).hex() == "0000001f"
    ours.close()
    transact_until_free(client, other)
    other.close()
    more.settimeout(5)
    assert transact(more, echo(b"again")) == echoed(b"again")
    client.sendall(number(3))
    assert receive(client, 4) == OK
    thread.join(5)
    server.close()
    assert not Path(path).exists()


def transact_until_free(client: socket.socket, data: socket.socket) -> None:
    for _ in range(100):
        if hand_over(client, [data.fileno()]) == OK:
            return
    raise AssertionError("the data channel stays taken")


def test_control_connections_on_a_pipe_may_end_the_server() -> None:
    with serving(options=Options(end_with_control=True)) as found:
        found.connect(found.control_port).close()
        found.thread.join(5)
        assert not found.thread.is_alive()


@pytest.mark.skipif(shutil.which("swtpm_ioctl") is None, reason="needs the package swtpm-tools")
def test_swtpms_own_client(tmp_path: Path) -> None:
    def ioctl(found: Serving, *arguments: str) -> str:
        done = subprocess.run(
            ["swtpm_ioctl", "--tcp", f"127.0.0.1:{found.control_port}", *arguments],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (arguments, done.stderr)
        return done.stdout

    with serving() as found:
        assert "0x1ffff" in ioctl(found, "-c")
        assert ioctl(found, "-e").strip().endswith("0")
        (tmp_path / "data").write_bytes(b"measured")
        ioctl(found, "-l", "4")
        ioctl(found, "-h", str(tmp_path / "data"))
        assert ioctl(found, "-e").strip().endswith("1")
        ioctl(found, "-r", "3")
        assert "config" in ioctl(found, "-g")
        ioctl(found, "-v")
        ioctl(found, "--save", "permanent", str(tmp_path / "blob"))
        assert (tmp_path / "blob").read_bytes() == found.fake.blobs[Blob.PERMANENT]
        assert "4096" in ioctl(found, "-b", "0")
        assert "TPMSpecification" in ioctl(found, "--info", "1")
        ioctl(found, "--stop")
        (tmp_path / "new").write_bytes(bytes(5000))
        ioctl(found, "--load", "permanent", str(tmp_path / "new"))
        assert found.fake.blobs[Blob.PERMANENT] == bytes(5000)
        ioctl(found, "-i")
        ioctl(found, "-C")
        ioctl(found, "-s")
        found.thread.join(5)
        assert not found.thread.is_alive()
