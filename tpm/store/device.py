"""State on devices that a process was handed: one for the journal, one for its key.

Whoever prepares the devices before a system runs finds the same in the files behind them.
"""

from __future__ import annotations

import os
from typing import Final

from servers.runtime import Device
from tpm.store.files import FileMedium, Folder, LockedJournal
from tpm.store.journal import Journal, Medium, StoreDamaged, StoreError
from tpm.store.keys import KEY_SIZE

KEY_MAGIC: Final = b"cltpmkey"
_KEY_DEVICE: Final = 4096
"""Bytes of a new key's file."""


class DeviceMedium:
    """A device as a journal's medium."""

    def __init__(self, device: Device) -> None:
        self.size = device.size
        self._access = device.access

    def read_at(self, offset: int, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self._access.read_at(offset + len(data), size - len(data))
            if not piece:
                break
            data += piece
        return data

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            count = self._access.write_from(offset, [view])
            if count <= 0:
                raise OSError(5, "the device takes no more")
            view, offset = view[count:], offset + count

    def sync(self) -> None:
        self._access.sync()


def device_key(medium: Medium) -> bytes:
    """The key on a device, which begins as zeros: then one is made."""
    wanted = len(KEY_MAGIC) + KEY_SIZE
    found = medium.read_at(0, wanted)
    if len(found) < wanted:
        raise StoreError(f"the device of the TPM's key has less than {wanted} bytes")
    if not any(found):
        found = KEY_MAGIC + os.urandom(KEY_SIZE)
        medium.write_at(0, found)
        medium.sync()
    if not found.startswith(KEY_MAGIC):
        raise StoreDamaged("there is no key on the device of the TPM's key")
    return found[len(KEY_MAGIC) :]


def device_journal(state: Device, key: Device) -> Journal:
    """The journal on a device; raises ``StoreError``."""
    return Journal(DeviceMedium(state), device_key(DeviceMedium(key)))


def file_journal(path: str) -> LockedJournal:
    """The journal in a file that is a device when a system runs, with its key in ``path``.key.

    Both are made if need be.  Raises ``StoreError``.
    """
    place, name = os.path.split(os.path.abspath(path))
    with Folder(place) as folder:
        state = FileMedium(folder, name)
        try:
            key = FileMedium(folder, f"{name}.key", size=_KEY_DEVICE)
            try:
                return LockedJournal(state, device_key(key))
            finally:
                key.close()
        except BaseException:
            state.close()
            raise
