"""TPM backends for tests of the board: one that is held, and one in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from tests.tpm.fake import FakeTpm
from tpm.interface import Tpm


class HeldTpm:
    """A TPM whose answers wait, if ``held``, until ``release`` is called."""

    def __init__(self, version: Literal["1.2", "2.0"] = "2.0", held: bool = False) -> None:
        self.fake = FakeTpm(version)
        self.version = version
        self.established = False
        self.buffer_size = 4096
        self.held = held
        self.waiting: deque[Callable[[], None]] = deque()
        self.cancelled = 0

    def submit(self, command: bytes, locality: int, complete: Callable[[bytes], None]) -> None:
        self.waiting.append(lambda: complete(self.fake.execute(command, locality)))
        if not self.held:
            self.release()

    def release(self) -> None:
        while self.waiting:
            self.waiting.popleft()()

    def cancel(self) -> None:
        self.cancelled += 1

    def reset_established(self, locality: int) -> None:
        self.established = False

    def reset(self) -> None:
        self.fake.power_on()

    def execute(self, command: bytes, locality: int) -> bytes:
        return self.fake.execute(command, locality)


class EngineTpm:
    """A TPM whose answers come on another thread, as those of a TPM's process do."""

    def __init__(self, tpm: Tpm, buffer_size: int = 4096) -> None:
        self.tpm = tpm
        self.version = tpm.version
        self.established = False
        self.buffer_size = buffer_size
        self._pool = ThreadPoolExecutor(1)

    def submit(self, command: bytes, locality: int, complete: Callable[[bytes], None]) -> None:
        self._pool.submit(lambda: complete(self.tpm.execute(command, locality)))

    def cancel(self) -> None:
        pass

    def reset_established(self, locality: int) -> None:
        self.established = not self.tpm.reset_established(locality)

    def reset(self) -> None:
        self._pool.submit(self.tpm.power_on).result()

    def execute(self, command: bytes, locality: int) -> bytes:
        return self._pool.submit(lambda: self.tpm.execute(command, locality)).result()


class MemoryStorage:
    """State that lasts as long as the test."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.commits = 0

    def load(self) -> dict[str, bytes]:
        return dict(self.blobs)

    def commit(self, changes: Mapping[str, bytes | None]) -> None:
        self.commits += 1
        for name, data in changes.items():
            if data is None:
                self.blobs.pop(name, None)
            else:
                self.blobs[name] = data
