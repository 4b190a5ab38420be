"""What the two interfaces to a TPM have in common: localities, commands, interrupts.

TCG PC Client Platform TPM Profile (PTP) 1.05, 6.2 (localities) and 6.6 (interrupts).

A locality says who speaks: 0 the operating system, 1 to 3 its trusted parts, 4 the machine itself.
One locality has the TPM at a time; others ask for it and get it when it is given up, the highest
first, or seize it from a lower one.  Locality 4 belongs to the chipset: what the guest's software
does there has no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from vmm.backends import Tpm
from vmm.devices import IrqLine
from vmm.devices.virtio.device import Answer, Post

BASE: Final = 0xFED4_0000
PAGE: Final = 0x1000
LOCALITIES: Final = 5
SIZE: Final = LOCALITIES * PAGE
SOFTWARE_LOCALITIES: Final = 4
"""0 to 3: those that the guest's software may use."""
VENDOR, DEVICE, REVISION = 0x434C, 0x0001, 1
"""Identity of the interface; no driver depends on it."""
HEADER_SIZE: Final = 10
INT_GLOBAL: Final = 1 << 31


class Localities:
    """Who has the TPM, and who waits for it."""

    def __init__(self, granted: Callable[[int], None]) -> None:
        """``granted`` is called when a locality gets what it had to wait for."""
        self.active: int | None = None
        self.requests: set[int] = set()
        self.seized: set[int] = set()
        self._granted = granted

    def request(self, locality: int) -> None:
        if self.active is None:
            self.active = locality
        elif self.active != locality:
            self.requests.add(locality)

    def withdraw(self, locality: int) -> None:
        """Wait no longer."""
        self.requests.discard(locality)

    def may_seize(self, locality: int) -> bool:
        return self.active is None or self.active < locality

    def seize(self, locality: int) -> None:
        """Take the TPM from a lower locality; nothing happens if that has it no more."""
        if not self.may_seize(locality):
            return
        if self.active is not None:
            self.seized.add(self.active)
        self.requests.discard(locality)
        self.active = locality

    def release(self) -> None:
        """The active locality gives up the TPM."""
        self.active = None
        if self.requests:
            self.active = max(self.requests)
            self.requests.remove(self.active)
            self._granted(self.active)


class Executor:
    """Has the backend execute one command at a time.

    A command cannot be taken back: one that is to be aborted is cancelled, and what is to follow
    waits until its answer is there, which is thrown away.
    """

    def __init__(self, backend: Tpm, post: Post) -> None:
        self._backend, self._post = backend, post
        self._done: Callable[[bytes], None] | None = None
        self._after: list[Callable[[], None]] = []

    @property
    def busy(self) -> bool:
        return self._done is not None

    def start(self, command: bytes, locality: int, done: Callable[[bytes], None]) -> None:
        """``done`` gets the response, on the vCPU thread, unless the command is aborted."""
        self._done = done
        answer = Answer(self._post, self._finish)
        self._backend.submit(command, locality, answer.give)
        answer.settle()

    def cancel(self) -> None:
        """Ask the TPM to give up the command, which it answers somehow all the same."""
        if self.busy:
            self._backend.cancel()

    def abort(self, after: Callable[[], None]) -> None:
        """Throw the command away; ``after`` is called once nothing is running any more."""
        if not self.busy:
            after()
            return
        if not self._after:
            self._backend.cancel()
        self._after.append(after)

    def _finish(self, response: bytes) -> None:
        done, after = self._done, self._after
        self._done, self._after = None, []
        for action in after:
            action()
        if done is not None and not after:
            done(response)


class Interrupts:
    """One interrupt line, with an enable and a status register."""

    def __init__(self, line: IrqLine, supported: int, fixed: int = 0) -> None:
        """``supported`` are the bits of both registers; those of ``fixed`` cannot be changed."""
        self._line = line
        self._supported, self._fixed = supported, fixed
        self.enable = fixed
        self.status = 0

    def set_enable(self, value: int) -> None:
        self.enable = value & (self._supported | INT_GLOBAL) | self._fixed
        self._update()

    def clear(self, bits: int) -> None:
        """The guest has seen to these."""
        self.status &= ~bits
        self._update()

    def raise_(self, bits: int) -> None:
        if self.enable & INT_GLOBAL:
            self.status |= bits & self.enable & self._supported
        self._update()

    def _update(self) -> None:
        self._line(bool(self.status and self.enable & INT_GLOBAL))


def read_registers(read: Callable[[int], int], register: int, size: int) -> int:
    """A read of any width from 32-bit registers."""
    value, first = 0, register & ~3
    for at in range(first, register + size, 4):
        value |= read(at) << 8 * (at - first)
    return value >> 8 * (register & 3) & (1 << 8 * size) - 1


def command_size(header: bytes | bytearray) -> int:
    """The size that a command says it has."""
    return int.from_bytes(header[2:6], "big")
