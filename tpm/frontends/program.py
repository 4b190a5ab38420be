"""What the programs that serve a TPM share: state in a folder, and life until a signal."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

from tpm.frontends.server import Server
from tpm.interface import Version
from tpm.store import keys
from tpm.store.files import MODE, FileMedium, Folder, LockedJournal
from tpm.store.journal import Key
from tpm.versions import NAMES


def open_state(
    path: str,
    version: Version,
    key: Key | None = None,
    *,
    mode: int = MODE,
    wait: float = 0,
    say: Callable[[str], None] = lambda _text: None,
) -> LockedJournal:
    """The state in a folder, locked.  Without a key, one beside it is used, and made if need be.

    Raises ``StoreError``.
    """
    name = NAMES[version]
    with Folder(path) as folder:
        medium = FileMedium(folder, f"{name}.state", mode, wait)
        try:
            if key is None:
                key, made = keys.beside(folder, f"{name}.key")
                if made:
                    say(f"the key of the TPM's state is {path}/{name}.key; see --key")
            return LockedJournal(medium, key)
        except BaseException:
            medium.close()
            raise


def run(server: Server) -> int:
    """Serve until the server stops or a signal comes; the exit status."""
    received = []

    def stop(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        server.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run()
    finally:
        server.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return 130 if signal.SIGINT in received else 0
