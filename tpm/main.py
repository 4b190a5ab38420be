"""A TPM's process: one TPM, its state on a device, its clients told apart by their badges.

The TPM has no power until the machine that it belongs to is switched on or reset, which its
hardware says through ``platform``.  So when this process is replaced while the machine runs, the
machine's software finds a TPM that is broken, and not one whose PCRs it could fill anew.
"""

from __future__ import annotations

import importlib
from functools import partial
from typing import Final

import msgspec

from servers.runtime import (
    BadRequest,
    Environment,
    Failed,
    KernelError,
    NotPermitted,
    ProcessFailed,
)
from tpm.interface import (
    BUFFER_SIZE,
    HARDWARE_LOCALITY,
    LOCALITIES,
    Tpm,
    TpmDevice,
    TpmError,
    TpmFacts,
    TpmPlatform,
    Version,
)
from tpm.store.device import device_journal
from tpm.store.journal import Journal, StoreError
from tpm.versions import available, make

_ENGINES: Final[dict[Version, str]] = {"2.0": "tpm.tpm20", "1.2": "tpm.tpm12"}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """This process's configuration in the system description."""

    version: Version = "2.0"


def prepare() -> None:
    """Load what must be read from files while that is allowed."""
    for version in available():
        importlib.import_module(_ENGINES[version])


def _execute(tpm: Tpm, command: bytes, locality: int) -> bytes:
    if len(command) > BUFFER_SIZE:
        raise BadRequest(f"execute: a command has at most {BUFFER_SIZE} bytes")
    return tpm.execute(command, locality)


def _facts(tpm: Tpm) -> TpmFacts:
    return TpmFacts(tpm.version, tpm.established, tpm.running)


class DeviceService(TpmDevice):
    """What the machine's software reaches."""

    def __init__(self, tpm: Tpm) -> None:
        self._tpm = tpm

    def execute(self, command: bytes, locality: int) -> bytes:
        if not 0 <= locality < HARDWARE_LOCALITY:
            raise NotPermitted(f"execute: locality {locality} is not the software's")
        return _execute(self._tpm, command, locality)

    def facts(self) -> TpmFacts:
        return _facts(self._tpm)

    def reset_established(self, locality: int) -> bool:
        return locality < HARDWARE_LOCALITY and self._tpm.reset_established(locality)


class PlatformService(TpmPlatform):
    """What the machine's hardware reaches."""

    def __init__(self, tpm: Tpm) -> None:
        self._tpm = tpm

    def reset(self) -> None:
        try:
            self._tpm.power_on()
        except TpmError as error:
            raise Failed(str(error)) from None

    def execute(self, command: bytes, locality: int) -> bytes:
        if not 0 <= locality < LOCALITIES:
            raise BadRequest(f"execute: there is no locality {locality}")
        return _execute(self._tpm, command, locality)

    def facts(self) -> TpmFacts:
        return _facts(self._tpm)

    def cancel(self, on: bool) -> None:
        self._tpm.cancel(on)

    def hash(self, pieces: list[bytes]) -> None:
        try:
            self._tpm.hash_start()
            for piece in pieces:
                self._tpm.hash_data(piece)
            self._tpm.hash_end()
        except TpmError as error:
            raise Failed(str(error)) from None


def _storage(env: Environment) -> Journal:
    try:
        return device_journal(env.device("state"), env.device("key"))
    except KernelError as error:
        raise StoreError(f"the devices of the TPM's state cannot be used: {error}") from None
    except OSError as error:
        raise StoreError(f"the TPM's state cannot be read: {error.strerror}") from None


def main(env: Environment) -> None:
    """Serve ``device`` and ``platform``; the state is on the devices ``state`` and ``key``."""
    settings = env.config(Settings)
    try:
        tpm = make(settings.version, partial(_storage, env), lambda _text: None)
    except TpmError as error:
        raise ProcessFailed(str(error)) from None
    env.server({"device": DeviceService(tpm), "platform": PlatformService(tpm)}).run()
