"""swtpm's control channel: what a VMM does to its guest's TPM.

A request is u32 command and what that takes; the answer begins with u32 result, 0 for success, in
the numbers of TPM 1.2.  All numbers are big-endian.  Results stand after the arrow without it::

    01 GET_CAPABILITY       -> u32 commands there are
    02 INIT u32 flags       flag 1: forget the stored volatile state, once it is loaded
    03 SHUTDOWN             power off, and end the process
    04 GET_TPMESTABLISHED   -> u8 flag, 3 bytes
    05 SET_LOCALITY u8
    06 HASH_START   07 HASH_DATA u32 length, data   08 HASH_END
    09 CANCEL_TPM_CMD
    0a STORE_VOLATILE       keep the volatile state for the next INIT
    0b RESET_TPMESTABLISHED u8 locality
    0c GET_STATEBLOB u32 flags, u32 type, u32 offset -> u32 flags, u32 total, u32 length, data
    0d SET_STATEBLOB u32 flags, u32 type, u32 length, data
    0e STOP                 power off
    0f GET_CONFIG           -> u32 flags: 1 the state is encrypted under a key that was given,
                               2 so are blobs
    10 SET_DATAFD           the data channel comes along as a descriptor (UNIX sockets alone)
    11 SET_BUFFERSIZE u32   -> u32 used, u32 smallest, u32 largest
    12 GET_INFO u64 flags, u32 offset, u32 0 -> u32 total, u32 length, JSON
    13 LOCK_STORAGE u32 retries

A client waits for the answer before it sends the next request.  Some fill short requests up to four
bytes, so what arrives with a request beyond its length is dropped.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

from tpm.frontends.port import Port
from tpm.interface import BUFFER_SIZE, Blob, TpmError

SUCCESS, BAD_PARAMETER, FAIL, BAD_ORDINAL, SIZE, IO_ERROR, BAD_LOCALITY = 0, 3, 9, 10, 23, 31, 61
"""Results, as TPM 1.2 numbers them."""
DELETE_VOLATILE: Final = 1
DECRYPTED, ENCRYPTED = 1, 2
LARGEST_BLOB: Final = 1 << 20
CAPABILITIES: Final = 0x0001_FFFF
"""All commands, and framed commands on the data channel (bit 15), which TPM 1.2 lacks."""
FRAMED: Final = 1 << 15
SMALLEST_BUFFER: Final = 2808
_INFO_PIECE: Final = 3072
_INFO: Final = (
    "TPMSpecification", "TPMAttributes", "TPMFeatures", "RuntimeAlgorithms",
    "RuntimeCommands", "ActiveProfile", "AvailableProfiles", "RuntimeAttributes",
)  # fmt: skip
"""What the bits of GET_INFO's flags ask for."""
_U32: Final = struct.Struct(">I")


class Host(Protocol):
    """What the channel asks of the program around it."""

    def serve_data(self, connection: socket.socket) -> bool:
        """Serve the data channel there; False if there is one already."""

    def stop(self) -> None:
        """End the process after this turn."""

    def lock(self, retries: int) -> None:
        """Hold the state's storage from now on; raises ``TpmError``."""

    config_flags: int
    """GET_CONFIG's."""

    def seal(self, blob: bytes) -> bytes:
        """Encrypt a blob, if a key was given for that."""

    def unseal(self, blob: bytes) -> bytes:
        """Decrypt one; raises ``TpmError``."""


class Refused(Exception):
    """The answer is this result."""

    def __init__(self, result: int) -> None:
        super().__init__(result)
        self.result = result


class Request(NamedTuple):
    """A command: its fixed part, whether that ends with the length of data that follow, and
    whether the TPM must be on (True), off (False), or either."""

    layout: struct.Struct
    action: Callable[..., bytes]
    data: bool = False
    running: bool | None = None


class ControlChannel:
    """One connection."""

    def __init__(self, port: Port, host: Host, closed: Callable[[], None] | None = None) -> None:
        self.takes_descriptors = True
        self._port, self._tpm, self._host = port, port.tpm, host
        self._on_closed = closed
        self._data = b""
        self._left = 0  # bytes of HASH_DATA that are still to come
        self._hashing: bytes | None = None  # its answer, once they are there
        self._descriptors: list[int] = []
        self._sealed = (b"", b"")  # a blob that is fetched in pieces, and what it is encrypted
        none, one, byte = struct.Struct(">"), struct.Struct(">I"), struct.Struct(">B")
        three = struct.Struct(">III")
        self._requests = {
            0x01: Request(none, self._capability),
            0x02: Request(one, self._init),
            0x03: Request(none, self._shutdown),
            0x04: Request(none, self._established, running=True),
            0x05: Request(byte, self._set_locality),
            0x06: Request(none, self._do(self._tpm.hash_start), running=True),
            0x08: Request(none, self._do(self._tpm.hash_end), running=True),
            0x09: Request(none, self._do(self._cancel), running=True),
            0x0A: Request(none, self._do(self._tpm.store_volatile), running=True),
            0x0B: Request(byte, self._reset_established, running=True),
            0x0C: Request(three, self._get_state, running=True),
            0x0D: Request(three, self._set_state, data=True, running=False),
            0x0E: Request(none, self._do(self._port.power_off)),
            0x0F: Request(none, lambda: _U32.pack(host.config_flags)),
            0x10: Request(none, self._set_data),
            0x11: Request(one, self._set_buffer_size),
            0x12: Request(struct.Struct(">QII"), self._info),
            0x13: Request(one, self._lock),
        }

    @property
    def buffered(self) -> bool:
        return bool(self._data)

    @property
    def impatient(self) -> bool:
        return bool(self._data) or self._hashing is not None

    def receive(self, data: bytes) -> bytes | None:
        self._data += data
        return self.more()

    def more(self) -> bytes | None:
        if self._hashing is not None:
            return self._hash()
        if len(self._data) < 4:
            return None
        command = _U32.unpack_from(self._data)[0]
        if command == 0x07:
            return self._begin_hash()
        request = self._requests.get(command)
        if request is None:
            self._data = b""  # how long it is, nobody knows
            return _U32.pack(BAD_ORDINAL)
        size = 4 + request.layout.size
        if len(self._data) < size:
            return None
        fields = request.layout.unpack_from(self._data, 4)
        if request.data:
            if fields[-1] > LARGEST_BLOB:
                self._data = b""
                return _U32.pack(FAIL)
            size += fields[-1]
            if len(self._data) < size:
                return None
            fields = (*fields[:-1], self._data[4 + request.layout.size : size])
        self._data = b""
        return self._answer(request, fields)

    def _answer(self, request: Request, fields: tuple[object, ...]) -> bytes:
        try:
            if request.running not in (None, self._tpm.running):
                return _U32.pack(BAD_ORDINAL)
            return bytes(4) + request.action(*fields)
        except Refused as error:
            return _U32.pack(error.result)
        except TpmError as error:
            self._port.log(str(error))
            return _U32.pack(FAIL)
        except OSError as error:
            self._port.log(str(error))
            return _U32.pack(IO_ERROR)
        finally:
            self._drop_descriptors()

    def expire(self) -> bytes:
        asked = len(self._data) >= 4 or self._hashing is not None
        self._data, self._hashing = b"", None
        return _U32.pack(BAD_PARAMETER) if asked else b""

    def take_descriptor(self, fd: int) -> None:
        self._descriptors.append(fd)

    def closed(self) -> None:
        self._drop_descriptors()
        if self._on_closed is not None:
            self._on_closed()

    def _drop_descriptors(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    @staticmethod
    def _do(action: Callable[[], object]) -> Callable[[], bytes]:
        def run() -> bytes:
            action()
            return b""

        return run

    # Power

    def _capability(self) -> bytes:
        found = CAPABILITIES if self._tpm.version == "2.0" else CAPABILITIES & ~FRAMED
        return _U32.pack(found)

    def _init(self, flags: int) -> bytes:
        self._host.lock(0)
        self._port.power_on(bool(flags & DELETE_VOLATILE))
        return b""

    def _shutdown(self) -> bytes:
        self._port.power_off()
        self._host.stop()
        return b""

    def _cancel(self) -> None:
        """What was running when this came has ended: one thread executes everything."""
        self._tpm.cancel(True)
        self._tpm.cancel(False)

    def _lock(self, retries: int) -> bytes:
        self._host.lock(retries)
        return b""

    # Localities and the hash interface

    def _set_locality(self, locality: int) -> bytes:
        if not self._port.choose_locality(locality):
            raise Refused(BAD_LOCALITY)
        return b""

    def _established(self) -> bytes:
        return bytes((self._tpm.established, 0, 0, 0))

    def _reset_established(self, locality: int) -> bytes:
        if locality > 4 or not self._tpm.reset_established(locality):
            raise Refused(BAD_LOCALITY)
        return b""

    def _begin_hash(self) -> bytes | None:
        if len(self._data) < 8:
            return None
        self._left = _U32.unpack_from(self._data, 4)[0]
        self._data = self._data[8:]
        self._hashing = _U32.pack(SUCCESS if self._tpm.running else BAD_ORDINAL)
        return self._hash()

    def _hash(self) -> bytes | None:
        """Hash what has arrived, which may be a part: there can be more than fits in memory."""
        piece, self._data = self._data[: self._left], b""
        self._left -= len(piece)
        if self._tpm.running and not self._port.guarded(lambda: self._tpm.hash_data(piece)):
            self._hashing = _U32.pack(FAIL)
        if self._left:
            return None
        answer, self._hashing = self._hashing, None
        return answer

    # State

    def _get_state(self, flags: int, kind: int, offset: int) -> bytes:
        data = self._tpm.get_state(_blob(kind))
        state_flags = 0
        if data and not flags & DECRYPTED:
            if self._sealed[0] != data:
                self._sealed = (data, self._host.seal(data))
            state_flags = 0 if self._sealed[1] == data else ENCRYPTED
            data = self._sealed[1]
        data = data[offset:]
        return struct.pack(">III", state_flags, len(data), len(data)) + data

    def _set_state(self, flags: int, kind: int, data: bytes) -> bytes:
        self._host.lock(0)
        if flags & ENCRYPTED:
            data = self._host.unseal(data)
        self._tpm.set_state(_blob(kind), data)
        return b""

    # The rest

    def _set_data(self) -> bytes:
        if not self._descriptors:
            raise Refused(BAD_PARAMETER)
        fd = self._descriptors.pop(0)
        try:
            connection = socket.socket(fileno=fd)
        except OSError:
            os.close(fd)
            raise Refused(BAD_PARAMETER) from None
        if not self._host.serve_data(connection):
            connection.close()
            raise Refused(IO_ERROR)
        return b""

    def _set_buffer_size(self, wanted: int) -> bytes:
        if wanted:
            if self._tpm.running:
                raise Refused(BAD_ORDINAL)
            wanted = min(max(wanted, SMALLEST_BUFFER), BUFFER_SIZE)
            self._port.buffer_size = self._tpm.set_buffer_size(wanted)
        return struct.pack(">III", self._port.buffer_size, SMALLEST_BUFFER, BUFFER_SIZE)

    def _info(self, flags: int, offset: int, _padding: int) -> bytes:
        known = self._tpm.info()
        names = [name for bit, name in enumerate(_INFO) if flags >> bit & 1 and name in known]
        text = json.dumps({name: known[name] for name in names}, separators=(",", ":"))
        data = text.encode() + b"\0"
        if offset >= len(data) - 1:
            raise Refused(BAD_PARAMETER)
        piece = data[offset : offset + _INFO_PIECE]
        return struct.pack(">II", len(data), len(piece)) + piece


def _blob(kind: int) -> Blob:
    try:
        return Blob(kind)
    except ValueError:
        raise Refused(FAIL) from None
