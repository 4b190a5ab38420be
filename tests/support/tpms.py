"""TPM programs for tests: started on free ports, spoken to in raw bytes, ended in the end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLEAR = bytes.fromhex("8001 0000000c 00000144 0000")
RANDOM = bytes.fromhex("8001 0000000c 0000017b 0010")
START = 20.0
"""Seconds in which a program begins to listen."""


def free_ports(count: int = 2) -> int:
    """The first of some consecutive ports that are free."""
    for first in range(20_000 + os.getpid() * 7 % 20_000, 60_000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                found = socket.socket()
                sockets.append(found)
                found.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return first
        finally:
            for found in sockets:
                found.close()
    raise AssertionError("no free ports")


def command(module: str, *arguments: str) -> list[str]:
    """A program of the tools, as the launcher starts it."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1));"
        f"from {module} import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-I", "-c", code, str(ROOT), *arguments]


def swtpm(*arguments: str) -> list[str]:
    return command("tools.swtpm", "socket", *arguments)


def finished(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a program that ends."""
    return subprocess.run(
        arguments, capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL
    )


def connect(where: int | Path) -> socket.socket:
    """A connection to a port or path, once somebody listens there."""
    until = time.monotonic() + START
    while True:
        found = socket.socket(socket.AF_INET if isinstance(where, int) else socket.AF_UNIX)
        found.settimeout(10)
        try:
            found.connect(("127.0.0.1", where) if isinstance(where, int) else str(where))
            return found
        except OSError:
            found.close()
            if time.monotonic() > until:
                raise
            time.sleep(0.01)


def transact(connection: socket.socket, data: bytes) -> bytes:
    """A raw command and its response."""
    connection.sendall(data)
    answer = connection.recv(4096)
    while len(answer) < 6 or len(answer) < int.from_bytes(answer[2:6], "big"):
        piece = connection.recv(4096)
        assert piece, f"closed after {answer.hex()}"
        answer += piece
    return answer


def code(answer: bytes) -> int:
    """A response's code."""
    return int.from_bytes(answer[6:10], "big")


@contextmanager
def running(arguments: Sequence[str], fds: Sequence[int] = ()) -> Iterator[subprocess.Popen[str]]:
    """A program that runs until the test is over."""
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        pass_fds=fds,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
