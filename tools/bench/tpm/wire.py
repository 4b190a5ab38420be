"""A client of a TPM 2.0 that takes time: raw commands on one connection (part 1, 18)."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Sequence
from typing import Final

from tools.errors import UserError

NO_SESSIONS, SESSIONS = 0x8001, 0x8002
PW: Final = 0x40000009
OWNER: Final = 0x40000001
NULL: Final = 0x40000007
CONTROL_INIT: Final = struct.pack(">II", 2, 0)
"""swtpm's control channel: switch on or reset."""

STARTUP, SHUTDOWN, FLUSH_CONTEXT, GET_CAPABILITY = 0x144, 0x145, 0x165, 0x17A
CREATE_PRIMARY, CREATE, LOAD = 0x131, 0x153, 0x157


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def tpm2b(content: bytes) -> bytes:
    return u16(len(content)) + content


_PASSWORD: Final = u32(PW) + tpm2b(b"") + u8(1) + tpm2b(b"")


def command(code: int, handles: Sequence[int] = (), parameters: bytes = b"") -> bytes:
    """A command without sessions."""
    body = b"".join(map(u32, handles)) + parameters
    return u16(NO_SESSIONS) + u32(10 + len(body)) + u32(code) + body


def authorized(code: int, handles: Sequence[int], parameters: bytes = b"", auths: int = 1) -> bytes:
    """A command whose first ``auths`` handles are authorized by an empty password."""
    area = _PASSWORD * auths
    body = b"".join(map(u32, handles)) + u32(len(area)) + area + parameters
    return u16(SESSIONS) + u32(10 + len(body)) + u32(code) + body


def handle(response: bytes) -> int:
    """The handle that a response begins with."""
    return int.from_bytes(response[10:14], "big")


def buffers(response: bytes, at: int, count: int) -> list[bytes]:
    """So many TPM2Bs of a response, each with its size."""
    found = []
    for _ in range(count):
        end = at + 2 + int.from_bytes(response[at : at + 2], "big")
        found.append(response[at:end])
        at = end
    return found


class Client:
    """One connection to one TPM."""

    def __init__(self, name: str, data: socket.socket, control: socket.socket) -> None:
        self.name = name
        self._data, self._control = data, control

    def timed(self, octets: bytes) -> tuple[int, bytes]:
        """Nanoseconds until the response was there, and the response; a failure is an error."""
        start = time.perf_counter_ns()
        response = self.exchange(octets)
        took = time.perf_counter_ns() - start
        code = int.from_bytes(response[6:10], "big")
        if code:
            number = int.from_bytes(octets[6:10], "big")
            raise UserError(f"{self.name} answered the command {number:#x} with {code:#x}")
        return took, response

    def exchange(self, octets: bytes) -> bytes:
        """The response, whatever it is."""
        self._data.sendall(octets)
        response = self._data.recv(4096)
        while len(response) < 10 or len(response) < int.from_bytes(response[2:6], "big"):
            more = self._data.recv(4096)
            if not more:
                raise UserError(f"{self.name} has hung up")
            response += more
        return response

    def call(self, octets: bytes) -> bytes:
        return self.timed(octets)[1]

    def flush(self, number: int) -> None:
        self.call(command(FLUSH_CONTEXT, [], u32(number)))

    def flush_all(self) -> None:
        """Flush all that is loaded."""
        for kind in (0x02, 0x03, 0x80):
            listed = self.call(command(GET_CAPABILITY, [], u32(1) + u32(kind << 24) + u32(64)))
            for at in range(19, len(listed), 4):
                self.flush(int.from_bytes(listed[at : at + 4], "big"))

    def reset(self) -> None:
        """An orderly shutdown, and _TPM_Init; TPM2_Startup is the caller's."""
        self.call(command(SHUTDOWN, [], u16(0)))
        self._control.sendall(CONTROL_INIT)
        if self._control.recv(4) != bytes(4):
            raise UserError(f"{self.name} does not reset")

    def create_primary(self, template: bytes) -> int:
        content = tpm2b(tpm2b(b"") * 2) + tpm2b(template) + tpm2b(b"") + u32(0)
        return handle(self.call(authorized(CREATE_PRIMARY, [OWNER], content)))

    def create(self, parent: int, template: bytes, data: bytes = b"") -> bytes:
        """The private and the public part, as Load takes them."""
        response = self.call(authorized(CREATE, [parent], creation(template, data)))
        return b"".join(buffers(response, 14, 2))

    def load(self, parent: int, parts: bytes) -> int:
        return handle(self.call(authorized(LOAD, [parent], parts)))

    def close(self) -> None:
        self._data.close()
        self._control.close()


def creation(template: bytes, data: bytes = b"") -> bytes:
    """The parameters of Create and of CreatePrimary."""
    return tpm2b(tpm2b(b"") + tpm2b(data)) + tpm2b(template) + tpm2b(b"") + u32(0)
