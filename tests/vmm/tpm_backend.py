"""TPM backends for tests of the board: one that is held, and one in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal

from tests.tpm.fake import FakeTpm


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
