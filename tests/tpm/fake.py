"""A TPM that answers what tests can check, for what is around a TPM.

It knows the commands that clients begin with; everything else it answers with TPM_RC_COMMAND_CODE.
Code 0xF000 answers the locality and the rest of the command, 0xF001 raises an exception.
"""

from __future__ import annotations

import hashlib
import struct

from tpm.interface import BUFFER_SIZE, Blob, TpmError, Version

HEADER = struct.Struct(">HII")
ECHO, BREAK, STARTUP, SHUTDOWN, GET_RANDOM = 0xF000, 0xF001, 0x144, 0x145, 0x17B


def command(code: int, body: bytes = b"") -> bytes:
    return HEADER.pack(0x8001, HEADER.size + len(body), code) + body


def response(body: bytes = b"", code: int = 0) -> bytes:
    return HEADER.pack(0x8001, HEADER.size + len(body), code) + body


def echo(text: bytes) -> bytes:
    return command(ECHO, text)


def echoed(text: bytes, locality: int = 0) -> bytes:
    return response(bytes((locality,)) + text)


class FakeTpm:
    """See above; ``log`` has what was done to it."""

    def __init__(self, version: Version = "2.0", running: bool = True) -> None:
        self.version: Version = version
        self.running = running
        self.established = False
        self.log: list[object] = []
        self.blobs = {Blob.PERMANENT: b"permanent" * 1000, Blob.VOLATILE: b"v"}
        self.buffer_size = BUFFER_SIZE
        self.hashed: bytes | None = None

    def lock(self) -> None:
        self.log.append("lock")

    def power_on(self, delete_volatile: bool = False) -> None:
        self.log.append(("on", delete_volatile))
        self.running = True

    def power_off(self) -> None:
        self.log.append("off")
        self.running = False

    def execute(self, data: bytes, locality: int = 0) -> bytes:
        code = HEADER.unpack_from(data)[2]
        self.log.append((code, locality))
        if code == ECHO:
            return echoed(data[HEADER.size :], locality)
        if code == BREAK:
            raise RuntimeError("a fault of the engine")
        if code in (STARTUP, SHUTDOWN):
            return response()
        if code == GET_RANDOM:
            size = int.from_bytes(data[10:12], "big")
            return response(struct.pack(">H", size) + bytes(range(size % 256)))
        return response(code=0x143)

    def cancel(self, on: bool) -> None:
        self.log.append(("cancel", on))

    def set_physical_presence(self, on: bool) -> None:
        self.log.append(("presence", on))

    def set_buffer_size(self, size: int) -> int:
        self.buffer_size = size or self.buffer_size
        return self.buffer_size

    def hash_start(self) -> None:
        self.hashed = b""

    def hash_data(self, data: bytes) -> None:
        if self.hashed is None:
            raise TpmError("no hash was started")
        self.hashed += data

    def hash_end(self) -> None:
        assert self.hashed is not None
        self.log.append(hashlib.sha256(self.hashed).hexdigest())
        self.hashed = None
        self.established = True

    def reset_established(self, locality: int) -> bool:
        if locality < 3:
            return False
        self.established = False
        return True

    def get_state(self, blob: Blob) -> bytes:
        return self.blobs.get(blob, b"")

    def set_state(self, blob: Blob, data: bytes) -> None:
        if data.startswith(b"bad"):
            raise TpmError("this is no state")
        self.blobs[blob] = data

    def store_volatile(self) -> None:
        self.log.append("store volatile")

    def info(self) -> dict[str, object]:
        return {
            "TPMSpecification": {"family": self.version, "level": 0, "revision": 159},
            "TPMFeatures": {"RSAKeySizes": [2048, 3072]},
        }
