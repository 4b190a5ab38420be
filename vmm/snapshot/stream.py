"""A guest's state on its way out and in.

On its way out the guest may run on: memory is sent in rounds, each with what has changed since the
page was sent last, until the guest is stopped for a round that is hopefully short.  What has
changed is found by digests of the pages: engines keep no account of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from vmm.memory import PAGE
from vmm.snapshot import format, machine
from vmm.snapshot.state import SnapshotError

if TYPE_CHECKING:
    from vmm.board import Board

PIECE: Final = 60 * 1024
"""Octets of a stream in one message."""
_DIGEST: Final = 8


def _digest(page: memoryview) -> bytes:
    return hashlib.blake2b(page, digest_size=_DIGEST).digest()


class Saving:
    """Out."""

    def __init__(self, described: bytes, memory: memoryview) -> None:
        """``described`` is ``machine.describe``'s."""
        self._memory = memory
        self._sum = format.Digest()
        self._sent = [b""] * (len(memory) // PAGE)
        self._state: bytes | None = None
        self._rest = self._sum.add(format.head() + format.record(format.MACHINE, described))
        self._records = self._round()

    def finish(self, state: bytes) -> None:
        """The guest stands still in a state of ``machine.save``."""
        self._state = state
        self._records = self._last_round(state)

    def piece(self) -> bytes:
        """The next piece; empty at the end of a round, and of all."""
        while len(self._rest) < PIECE:
            following = next(self._records, None)
            if following is None:
                break
            self._rest += following
        if not self._rest and self._state is None:
            self._records = self._round()
        piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
        return piece

    def _round(self) -> Iterator[bytes]:
        """Records of the pages that are not as they were sent, next ones together."""
        start = None
        for index in range(len(self._sent) + 1):
            changed = index < len(self._sent) and self._has_changed(index)
            full = start is not None and (index - start) * PAGE >= format.CHUNK
            if start is not None and (not changed or full):
                piece = self._memory[start * PAGE : index * PAGE]
                yield self._sum.add(format.memory_record(start * PAGE, piece))
                start = None
            if changed and start is None:
                start = index

    def _has_changed(self, index: int) -> bool:
        # Memory changes while it is read: the digest is taken first, so that a page that changes
        # between the two is sent again.
        digest = _digest(self._memory[index * PAGE : (index + 1) * PAGE])
        if digest == self._sent[index]:
            return False
        self._sent[index] = digest
        return True

    def _last_round(self, state: bytes) -> Iterator[bytes]:
        yield from self._round()
        yield self._sum.add(format.record(format.STATE, state))
        yield self._sum.end()


class Loading:
    """In."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._reader = format.Reader()
        self._checked = False
        self._state: bytes | None = None

    def piece(self, data: bytes) -> None:
        """The next piece; raises ``SnapshotError`` for one that cannot be."""
        for one in self._reader.feed(data):
            if one.kind == format.MACHINE:
                machine.check(self._board, one.content)
                self._checked = True
            elif not self._checked:
                raise SnapshotError("the snapshot does not say first of what machine it is")
            elif one.kind == format.STATE:
                self._state = one.content
            else:
                format.write_into(self._board.memory.buffer, one)

    def state(self) -> bytes:
        """What the board is to be, when all has come."""
        self._reader.close()
        if self._state is None:
            raise SnapshotError("the snapshot has no state")
        return self._state
