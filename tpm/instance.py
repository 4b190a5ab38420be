"""A TPM 2.0 with a memory: the engine, and the storage that its state is written to.

What a response says is persistent has been written before the response is passed on.  The state is
kept as one blob for each persistent object and NV index and one for all the rest, so that a command
writes what it changed.  If writing fails, the TPM answers TPM_RCFAILURE["2.0"] until its power is
switched off and on: then it is what the storage says.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

from tpm.interface import BUFFER_SIZE, FAILURE, Blob, TpmError
from tpm.store.journal import StoreError

if TYPE_CHECKING:
    from tpm.tpm20 import Tpm as Engine

STATE, VOLATILE, ESTABLISHED = "state", "volatile", "established"
_SPLIT: Final = {"persistent": "object", "nv": "nv"}
"""Fields of the state that are a blob an entry, by handle, and what the blobs are called."""
_MAGIC: Final = "cloister tpm 2.0"
_FEATURES: Final = {"TPMFeatures": {"RSAKeySizes": [2048, 3072]}}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Storage(Protocol):
    """Named blobs, such as a ``Journal``."""

    def load(self) -> dict[str, bytes]: ...

    def commit(self, changes: Mapping[str, bytes | None]) -> None:
        """All or nothing; raises ``StoreError`` or ``OSError``."""


def milliseconds() -> int:
    """The engine's clock."""
    return time.monotonic_ns() // 1_000_000


def split(state: dict[str, Any]) -> dict[str, bytes]:
    """The state as blobs."""
    blobs = {STATE: _encode({k: v for k, v in state.items() if k not in _SPLIT})}
    for field, name in _SPLIT.items():
        blobs.update({f"{name}.{h:08x}": _encode(entry) for h, entry in state[field].items()})
    return blobs


def join(blobs: Mapping[str, bytes]) -> dict[str, Any]:
    """The state from its blobs."""
    state: dict[str, Any] = _decode(blobs[STATE])
    for field, name in _SPLIT.items():
        prefix = f"{name}."
        state[field] = {
            int(key.removeprefix(prefix), 16): _decode(data)
            for key, data in blobs.items()
            if key.startswith(prefix)
        }
    return state


def _is_state(name: str) -> bool:
    return name == STATE or name.partition(".")[0] in _SPLIT.values()


class Instance:
    """One TPM 2.0.  See ``tpm.interface.Tpm`` for what its methods mean."""

    version: Literal["2.0"] = "2.0"

    def __init__(
        self,
        storage: Callable[[], Storage],
        random: Callable[[int], bytes] = os.urandom,
        clock: Callable[[], int] = milliseconds,
        log: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """``storage`` is called when the state is first wanted; it raises ``StoreError``."""
        self._open, self._random, self._clock, self._log = storage, random, clock, log
        self._storage: Storage | None = None
        self._names: set[str] = set()  # of the blobs of the state
        self._engine: Engine | None = None
        self._established = False
        self._stored_volatile = False
        self._failed = False
        self._presence = False

    # Power

    @property
    def running(self) -> bool:
        return self._engine is not None

    def lock(self) -> None:
        """Open the storage, and hold it from now on; raises ``TpmError``."""
        if self._storage is None:
            try:
                self._storage = self._open()
            except StoreError as error:
                raise TpmError(str(error)) from None

    def _stored(self) -> Storage:
        self.lock()
        assert self._storage is not None
        return self._storage

    def power_on(self, delete_volatile: bool = False) -> None:
        from tpm.tpm20 import State, StateError
        from tpm.tpm20 import Tpm as Engine

        self._engine = None
        storage = self._stored()
        blobs = storage.load()
        self._names = {name for name in blobs if _is_state(name)}
        self._established = blobs.get(ESTABLISHED) == b"\1"
        try:
            state = State.restore(join(blobs)) if STATE in blobs else None
            engine = Engine(state, self._random, self._clock)
            if VOLATILE in blobs:
                engine.restore_volatile(_decode(blobs[VOLATILE]))
                engine.restart_clock()
        except (StateError, msgspec.DecodeError, ValueError, TypeError) as error:
            raise TpmError(f"the TPM's state cannot be used: {error}") from None
        engine.physical_presence = lambda: self._presence
        self._failed = False
        self._stored_volatile = VOLATILE in blobs and not delete_volatile
        if VOLATILE in blobs and delete_volatile:
            self._commit({VOLATILE: None})
        self._engine = engine
        if engine.state.changed:
            self._save(engine)

    def power_off(self) -> None:
        self._engine = None

    # Commands

    def execute(self, command: bytes, locality: int = 0) -> bytes:
        engine = self._engine
        if engine is None or self._failed:
            return FAILURE["2.0"]
        response = engine.execute(command, locality)
        if engine.state.changed:
            try:
                self._save(engine)
            except TpmError as error:
                self._log(str(error))
                return FAILURE["2.0"]
        if engine.fault is not None:
            self._log(f"command {command[:64].hex()} failed:\n{engine.fault}")
            engine.fault = None
        return response

    def _save(self, engine: Engine) -> None:
        """Write what changed; raises ``TpmError``, and the TPM has failed then."""
        blobs: dict[str, bytes | None] = {**split(engine.state.save())}
        names = set(blobs)
        blobs.update(dict.fromkeys(self._names - names))
        if self._stored_volatile:  # it belongs to the state before this
            blobs[VOLATILE] = None
            self._stored_volatile = False
        self._commit(blobs)
        self._names = names
        engine.state.changed = False

    def _commit(self, changes: Mapping[str, bytes | None]) -> None:
        try:
            self._stored().commit(changes)
        except (StoreError, OSError) as error:
            self._failed = True
            raise TpmError(f"the TPM's state cannot be written: {error}") from None

    def cancel(self, on: bool) -> None:
        """A command has ended by the time that this can be called: it is carried out at once."""

    def set_physical_presence(self, on: bool) -> None:
        self._presence = on

    def set_buffer_size(self, size: int) -> int:
        return min(size, BUFFER_SIZE) if size else BUFFER_SIZE

    # The hash interface

    def hash_start(self) -> None:
        self._on().hash_start()

    def hash_data(self, data: bytes) -> None:
        self._on().hash_data(data)

    def hash_end(self) -> None:
        engine = self._on()
        launched = engine.started and engine.drtm is not None
        engine.hash_end()
        if engine.state.changed:
            self._save(engine)
        if launched:
            self._set_established(True)

    def _on(self) -> Engine:
        if self._engine is None:
            raise TpmError("the TPM has no power")
        return self._engine

    @property
    def established(self) -> bool:
        return self._established

    def reset_established(self, locality: int) -> bool:
        if locality < 3:
            return False
        self._set_established(False)
        return True

    def _set_established(self, value: bool) -> None:
        self._established = value
        self._commit({ESTABLISHED: b"\1" if value else None})

    # State from outside

    def get_state(self, blob: Blob) -> bytes:
        if blob is Blob.PERMANENT:
            return _encode([_MAGIC, self._on().state.save(), self._established])
        if blob is Blob.VOLATILE:
            return _encode([_MAGIC, self._on().save_volatile()])
        return b""  # what Shutdown(STATE) saved is a part of the permanent state

    def set_state(self, blob: Blob, data: bytes) -> None:
        if self.running:
            raise TpmError("the state of a running TPM cannot be replaced")
        if blob is Blob.SAVESTATE:
            if data:
                raise TpmError("a TPM 2.0 has no saved state of its own")
            return
        content = _content(data)
        if blob is Blob.VOLATILE:
            self._commit({VOLATILE: _encode(content[0])})
            return
        from tpm.tpm20 import State, StateError

        try:
            blobs = split(State.restore(content[0]).save())
        except (StateError, ValueError, TypeError) as error:
            raise TpmError(f"this is no permanent state of a TPM: {error}") from None
        old = dict.fromkeys(name for name in self._stored().load() if name != VOLATILE)
        flag = {ESTABLISHED: b"\1"} if content[1:] == [True] else {}
        self._commit({**old, **blobs, **flag})

    def store_volatile(self) -> None:
        self._commit({VOLATILE: _encode(self._on().save_volatile())})
        self._stored_volatile = True

    def info(self) -> dict[str, object]:
        from tpm.tpm20.facts import INFO

        return INFO | _FEATURES


def _content(data: bytes) -> list[Any]:
    """What is in a blob behind the magic; raises ``TpmError``."""
    try:
        found = _decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) < 2 or found[0] != _MAGIC:
        raise TpmError("this is no state of a TPM 2.0 of this program")
    return found[1:]
