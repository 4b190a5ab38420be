"""The audit server: an append-only log in which a change is visible."""

from __future__ import annotations

from typing import Final

import msgspec

from servers.audit.chain import link
from servers.audit.interface import Audit, AuditReader, Record
from servers.audit.store import DeviceStore, MemoryStore, Store
from servers.runtime import BadRequest, Environment, Failed

DETAIL: Final = 1024
"""Bytes of UTF-8 of an entry's detail; what is longer is cut off."""
EVENT: Final = 64
"""Bytes of UTF-8 of an entry's event at most."""
ANSWER: Final = 60 * 1024
"""Bytes of the entries of one answer at most."""
_encode = msgspec.msgpack.Encoder().encode


class AuditService(Audit):
    """Adding to the log."""

    def __init__(self, env: Environment, store: Store) -> None:
        self._env = env
        self._store = store

    def append(self, event: str, detail: str) -> int:
        if not 0 < len(event.encode()) <= EVENT or len(event.split()) != 1:
            raise BadRequest(f"append: event is one word of at most {EVENT} bytes")
        cut = detail.encode()[:DETAIL].decode(errors="ignore")
        source = self._env.caller or f"client-{self._env.badge}"
        store, now = self._store, self._env.clock()
        record = link(store.head, store.count + 1, now, source, event, cut)
        store.add(record)
        return record.number


class ReaderService(AuditReader):
    """Reading the log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, start: int, count: int) -> list[Record]:
        store = self._store
        found: list[Record] = []
        room = ANSWER
        for number in range(max(start, store.first), store.count + 1):
            if len(found) >= count:
                break
            record = store.get(number)
            if record is None:
                raise Failed(f"entry {number} of the audit log cannot be read")
            room -= len(_encode(record))
            if room < 0:
                break
            found.append(record)
        return found

    def count(self) -> int:
        return self._store.count

    def verify(self) -> int:
        return self._store.bad()


def main(env: Environment) -> None:
    """Serve ``audit`` and ``reader``; the log is on the device ``log``, or in memory without it."""
    store: Store = DeviceStore(env.device("log")) if env.has("log") else MemoryStore()
    env.server({"audit": AuditService(env, store), "reader": ReaderService(store)}).run()
