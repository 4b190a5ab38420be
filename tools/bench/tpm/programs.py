"""The two programs, started in the same way: their ports, their state in a folder that is new."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tools.bench.tpm.wire import STARTUP, Client, command, u16
from tools.errors import UserError
from tools.system import ROOT

PEER: Final = "swtpm"
TIMEOUT: Final = 20.0
"""Seconds in which a program is expected to answer."""
_PAUSE: Final = 0.001
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1));"
    "from tools.swtpm import main; sys.exit(main(sys.argv[1:]))"
)
_STARTUP: Final = command(STARTUP, [], u16(0))
_BEFORE_STARTUP: Final = 0x100
"""TPM_RC_INITIALIZE, which says that it was started already."""


def ours() -> list[str]:
    """Cloister's TPM with swtpm's command line: its launcher where there is one."""
    launcher = ROOT / "cloister-swtpm"
    return (
        [str(launcher)] if launcher.exists() else [sys.executable, "-I", "-c", _PROGRAM, str(ROOT)]
    )


def theirs() -> list[str]:
    """Debian's swtpm; an error if it is not there."""
    found = shutil.which(PEER)
    if found is None:
        raise UserError("swtpm is not installed, and is what this compares with: apt install swtpm")
    return [found]


def _two_ports() -> int:
    """The first of two ports that are free."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@contextmanager
def running(program: list[str]) -> Iterator[tuple[Client, float]]:
    """A client of a program's TPM, and the seconds from its start to its first answer."""
    port = _two_ports()
    with tempfile.TemporaryDirectory(prefix="cloister-bench-") as folder:
        arguments = (
            *("socket", "--tpm2", "--flags", "not-need-init", "--tpmstate", f"dir={folder}"),
            *("--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}"),
        )
        start = time.perf_counter()
        process = subprocess.Popen(
            [*program, *arguments], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            name = PEER if program[0].endswith("/swtpm") else "cloister"
            data = _connect(process, port, name)
            client = Client(name, data, _connect(process, port + 1, name))
            client.call(_STARTUP)
            took = time.perf_counter() - start
            try:
                yield client, took
            finally:
                client.close()
        finally:
            process.terminate()
            process.wait()


def _connect(process: subprocess.Popen[bytes], port: int, name: str) -> socket.socket:
    end = time.monotonic() + TIMEOUT
    while True:
        try:
            found = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        except ConnectionRefusedError:
            if process.poll() is not None:
                raise UserError(f"{name} ended with status {process.returncode}") from None
            if time.monotonic() > end:
                raise UserError(f"{name} does not listen after {TIMEOUT:g} s") from None
            time.sleep(_PAUSE)
        else:
            found.settimeout(TIMEOUT)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return found
