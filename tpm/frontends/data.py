"""The channel that carries commands, in either framing.

*Raw* (swtpm): a command and its response as they are; the length is in the header.  *Framed*
(mssim, the TPM 2.0 reference simulator; swtpm takes it too), numbers big-endian::

    8   u8 locality, u32 length, command   ->  u32 length, response, u32 0
    5   hash start          7  hash end    ->  u32 0
    6   u32 length, data                   ->  u32 0
    15  u32 client's version               ->  u32 server's version, u32 what it is, u32 0
    16  u32 length, data: a response to give to the next command  ->  u32 0
    20  the client ends the session            21  the server is to stop

A frame begins with one of these numbers, which no command does: behind its tag comes its length,
of which the upper half is zero.  So a channel needs not be told which framing it is.

A raw message whose length cannot be right (shorter than a header, longer than the buffer, more
bytes there than it says and these no command; or the rest does not come in time) is answered with
the TPM's error for that, once, and what arrived with it is dropped.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from tpm.frontends.loop import Hangup
from tpm.frontends.port import BAD_SIZE, HEADER, TAGS, Port

HASH_START, HASH_DATA, HASH_END, SEND_COMMAND, HANDSHAKE, ALTERNATIVE, SESSION_END, STOP = (
    5, 6, 7, 8, 15, 16, 20, 21
)  # fmt: skip
FRAMES: Final = frozenset((5, 6, 7, 8, 15, 16, 20, 21))
SERVER_VERSION: Final = 1
ENDPOINT: Final = 1 | 4 | 8
"""There is a platform port, commands are not filtered, physical presence is supported."""
DONE: Final = bytes(4)
_U32: Final = struct.Struct(">I")
_SEND: Final = struct.Struct(">IBI")
LARGEST_PIECE: Final = 1 << 20
"""Bytes of one HASH_DATA at most."""


class DataChannel:
    """One connection."""

    takes_descriptors = False

    def __init__(
        self,
        port: Port,
        *,
        once: bool = False,
        closed: Callable[[], None] | None = None,
        stop: Callable[[], None] | None = None,
    ) -> None:
        """``once``: hang up after each answer.  ``stop``: the client wants the server to end."""
        self._port = port
        self._version = port.tpm.version
        self._once = once
        self._closed, self._stop = closed, stop
        self._data = b""
        self._alternative: bytes | None = None

    @property
    def buffered(self) -> bool:
        return bool(self._data)

    @property
    def impatient(self) -> bool:
        return bool(self._data) and not self._framed()

    def receive(self, data: bytes) -> bytes | None:
        if not self._data and len(data) >= HEADER.size:
            size = HEADER.unpack_from(data)[1]
            if size == len(data) <= self._port.buffer_size:  # nearly always
                return self._done(self._port.execute(data))
        self._data += data
        return self.more()

    def more(self) -> bytes | None:
        if not self._data:
            return None
        answer = self._frame() if self._framed() else self._raw()
        return answer if answer is None else self._done(answer)

    def expire(self) -> bytes:
        self._data = b""
        return self._done(BAD_SIZE[self._version])

    def take_descriptor(self, fd: int) -> None:
        raise NotImplementedError

    def closed(self) -> None:
        if self._closed is not None:
            self._closed()

    def _done(self, answer: bytes) -> bytes:
        if self._once:
            raise Hangup(answer)
        return answer

    def _framed(self) -> bool:
        return int.from_bytes(self._data[:4].ljust(4, b"\xff"), "big") in FRAMES

    # Raw

    def _raw(self) -> bytes | None:
        data = self._data
        if len(data) < HEADER.size:
            return None
        size = _U32.unpack_from(data, 2)[0]
        if HEADER.size <= size <= self._port.buffer_size:
            if size > len(data):
                return None
            rest = data[size:]
            if not rest or int.from_bytes(rest[:2], "big") in TAGS[self._version]:
                self._data = rest
                return self._port.execute(data[:size])
        self._data = b""
        return BAD_SIZE[self._version]

    # Framed

    def _frame(self) -> bytes | None:
        kind = _U32.unpack_from(self._data)[0]
        if kind == SEND_COMMAND:
            return self._send()
        if kind in (HASH_DATA, ALTERNATIVE):
            return self._with_data(kind)
        if kind == HANDSHAKE:
            if self._take(8) is None:
                return None
            return _U32.pack(SERVER_VERSION) + _U32.pack(ENDPOINT) + DONE
        self._take(4)
        if kind in (HASH_START, HASH_END):
            tpm = self._port.tpm
            self._port.guarded(tpm.hash_start if kind == HASH_START else tpm.hash_end)
            return DONE
        if kind == STOP and self._stop is not None:
            self._stop()
        raise Hangup

    def _take(self, size: int) -> bytes | None:
        """Remove the first ``size`` bytes, if they are there."""
        if len(self._data) < size:
            return None
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def _send(self) -> bytes | None:
        if len(self._data) < _SEND.size:
            return None
        _, locality, size = _SEND.unpack_from(self._data)
        if size > self._port.buffer_size:
            raise Hangup(self._wrap(BAD_SIZE[self._version]))
        taken = self._take(_SEND.size + size)
        if taken is None:
            return None
        command = taken[_SEND.size :]
        if self._alternative is not None:
            answer, self._alternative = self._alternative, None
        elif size < HEADER.size:
            answer = BAD_SIZE[self._version]
        else:
            answer = self._port.execute(command, locality)
        return self._wrap(answer)

    @staticmethod
    def _wrap(answer: bytes) -> bytes:
        return _U32.pack(len(answer)) + answer + DONE

    def _with_data(self, kind: int) -> bytes | None:
        if len(self._data) < 8:
            return None
        size = _U32.unpack_from(self._data, 4)[0]
        if size > LARGEST_PIECE:
            raise Hangup
        taken = self._take(8 + size)
        if taken is None:
            return None
        if kind == ALTERNATIVE:
            self._alternative = taken[8:]
        else:
            self._port.guarded(lambda: self._port.tpm.hash_data(taken[8:]))
        return DONE
