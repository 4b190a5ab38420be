"""Guests' states between VMMs, files and other Cloisters: snapshot, restore, clone, migrate.

A migration is a conversation over TCP.  The stream of `vmm/snapshot/format.py` goes one way; then
the receiver says READY, the sender GO, the receiver RUNNING.  The sender's guest stands still from
the end of the stream on, and ends when RUNNING has come: at no time can both run.  If the line
breaks between GO and RUNNING, the sender cannot know whether the other runs, keeps its guest still,
and says so.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from servers.runtime import KernelError, ServiceError
from tools.errors import UserError
from vmm.interface import Vm
from vmm.snapshot import format
from vmm.snapshot.state import SnapshotError
from vmm.snapshot.stream import PIECE

DEFAULT_PORT: Final = 4444
READY, GO, RUNNING = b"READY\n", b"GO   \n", b"RUN  \n"
ROUNDS: Final = 8
"""How often the memory of a running guest is sent at most."""
SHORT: Final = 1 << 20
"""Octets of a round that is short enough for the guest to be stopped."""
_PATIENCE: Final = 30.0

Progress = Callable[[int], None]
"""Called with the octets of the stream so far."""


def _round(vm: Vm) -> Iterator[bytes]:
    while piece := vm.save_piece():
        yield piece


def _whole(vm: Vm) -> Iterator[bytes]:
    """The stream of a guest that stands still for all of it, so that it is as short as can be."""
    vm.save_begin()
    vm.save_stop()
    yield from _round(vm)


def _live(vm: Vm) -> Iterator[bytes]:
    """The stream of a guest that runs on as long as that makes sense."""
    vm.save_begin()
    for _ in range(ROUNDS):
        size = 0
        for piece in _round(vm):
            size += len(piece)
            yield piece
        if size < SHORT:
            break
    vm.save_stop()
    yield from _round(vm)


def _counted(stream: Iterator[bytes], progress: Progress) -> Iterator[bytes]:
    size = 0
    for piece in stream:
        size += len(piece)
        progress(size)
        yield piece


def _nothing(_size: int) -> None:
    pass


# Files


def snapshot(vm: Vm, path: Path, progress: Progress = _nothing) -> int:
    """Write a guest's state to a file, which is there whole or not at all; its size."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            try:
                for piece in _counted(_whole(vm), progress):
                    file.write(piece)
            finally:
                with suppress(KernelError, ServiceError):
                    vm.save_end(go_on=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    finally:
        with suppress(OSError):
            os.unlink(name)
    return path.stat().st_size


def _pieces(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise UserError(f"cannot read the snapshot {path}: {error.strerror}") from None


def verify(path: Path) -> None:
    """Raise ``UserError`` for a file that is no whole snapshot."""
    reader = format.Reader()
    try:
        for piece in _pieces(path):
            for _ in reader.feed(piece):
                pass
        reader.close()
    except SnapshotError as error:
        raise UserError(f"{path}: {error}") from None


def restore(vm: Vm, path: Path, progress: Progress = _nothing) -> None:
    """Make a guest be what a file holds.  The file is read twice: first to see that it is whole."""
    verify(path)
    _load(vm, _counted(_pieces(path), progress))
    vm.load_end(go_on=True)


def _load(vm: Vm, stream: Iterator[bytes]) -> None:
    vm.load_begin()
    for piece in stream:
        vm.load_piece(piece)


def clone(vm: Vm, other: Vm, progress: Progress = _nothing) -> None:
    """Make another guest be what this one is, which goes on."""
    try:
        _load(other, _counted(_whole(vm), progress))
    finally:
        vm.save_end(go_on=True)
    other.load_end(go_on=True)


# Other Cloisters


def _word(line: socket.socket, wanted: bytes) -> None:
    got = b""
    while len(got) < len(wanted):
        part = line.recv(len(wanted) - len(got))
        if not part:
            raise OSError("the connection was closed")
        got += part
    if got != wanted:
        raise OSError("it says what it should not")


def migrate(vm: Vm, host: str, port: int, progress: Progress = _nothing) -> None:
    """Send a guest to where ``receive`` waits.  It stands still here at the end: end it."""
    try:
        line = socket.create_connection((host, port), timeout=_PATIENCE)
    except OSError as error:
        raise UserError(f"nobody waits for a guest at {host}:{port}: {error}") from None
    with line:
        try:
            for piece in _counted(_live(vm), progress):
                line.sendall(piece)
            _word(line, READY)
        except (OSError, KernelError, ServiceError) as error:
            with suppress(KernelError, ServiceError):
                vm.save_end(go_on=True)
            raise UserError(f"the guest stays here and goes on: {error}") from None
        try:
            line.sendall(GO)
            _word(line, RUNNING)
        except OSError as error:
            vm.save_end(go_on=False)
            raise UserError(
                "the line broke at the last moment, so nobody here knows whether the guest runs at "
                f"{host}:{port} ({error}): look there, and if it does not, 'vm resume' it here"
            ) from None
        vm.save_end(go_on=False)


def _stream(line: socket.socket) -> Iterator[bytes]:
    """The stream that comes, up to its last record."""
    reader = format.Reader()
    while not reader.ended:
        piece = line.recv(PIECE)
        if not piece:
            raise OSError("the connection was closed before all had come")
        for _ in reader.feed(piece):
            pass
        yield piece


class Receiver:
    """Waits on loopback or another address for a guest."""

    def __init__(self, address: str, port: int) -> None:
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind((address, port))
        except (OSError, OverflowError) as error:
            self._listener.close()
            raise UserError(f"cannot wait for a guest at {address}:{port}: {error}") from None
        self._listener.listen(1)
        self.port: int = self._listener.getsockname()[1]

    def receive(self, vm: Vm, progress: Progress = _nothing) -> str:
        """Be the guest that comes; from where it came."""
        line, (host, *_) = self._listener.accept()
        with line:
            line.settimeout(_PATIENCE)
            try:
                _load(vm, _counted(_stream(line), progress))
                vm.load_end(go_on=False)
                line.sendall(READY)
                _word(line, GO)
            except (OSError, SnapshotError) as error:
                raise UserError(f"the guest from {host} did not come: {error}") from None
            vm.load_go()
            with suppress(OSError):
                line.sendall(RUNNING)
        return str(host)

    def close(self) -> None:
        self._listener.close()
