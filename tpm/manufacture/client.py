"""The commands of the manufacturing step, with the empty authValues of a TPM that is new."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from tpm.tpm20.codec import codec, decode, encode, write_buffer
from tpm.tpm20.constants import ALG, CAP, CC, HT, PT, RH, ST, SU
from tpm.tpm20.structures import CapabilityData, NvPublic2B, Public, Public2B

Execute = Callable[[bytes], bytes]
"""A command's octets to its response's."""

_PASSWORD: Final = struct.pack(">IHBH", RH.PW, 0, 1, 0)
_HEADER: Final = struct.Struct(">HII")
_ALL: Final = 0xFFFFFFFF
NV, PERSISTENT = HT.NV_INDEX, HT.PERSISTENT
"""For ``Client.handles``."""


class ManufactureError(Exception):
    """It cannot be done; the text is one sentence."""


class Refused(ManufactureError):
    """The TPM answered with an error."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what} failed, the TPM answers with code 0x{code:x}")
        self.code = code


def _octets(handles: Sequence[int]) -> bytes:
    return b"".join([handle.to_bytes(4, "big") for handle in handles])


class Client:
    """A TPM 2.0 that is at hand as a function."""

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    def call(
        self, name: str, handles: Sequence[int] = (), parameters: bytes = b"", passwords: int = 0
    ) -> bytes:
        """What follows a response's header, the session area's size left out.

        The first ``passwords`` handles are authorized.  Raises ``Refused``.
        """
        sessions = _PASSWORD * passwords
        area = len(sessions).to_bytes(4, "big") + sessions if passwords else b""
        body = _octets(handles) + area + parameters
        tag = ST.SESSIONS if passwords else ST.NO_SESSIONS
        response = self._execute(_HEADER.pack(tag, 10 + len(body), getattr(CC, name)) + body)
        _, _, code = _HEADER.unpack_from(response)
        if code:
            raise Refused(f"TPM2_{name}", code)
        return response[10:]

    def startup(self) -> None:
        self.call("Startup", (), SU.CLEAR.to_bytes(2, "big"))

    def shutdown(self) -> None:
        self.call("Shutdown", (), SU.CLEAR.to_bytes(2, "big"))

    def _capability(self, capability: int, first: int) -> tuple[bool, list[Any]]:
        answer = self.call("GetCapability", (), struct.pack(">III", capability, first, _ALL))
        data: CapabilityData = decode(CapabilityData, answer[1:])
        return bool(answer[0]), data.data

    def properties(self) -> dict[int, int]:
        """The fixed properties (TPM_PT)."""
        return dict(self._capability(CAP.TPM_PROPERTIES, PT.FAMILY_INDICATOR)[1])

    def handles(self, kind: int) -> set[int]:
        """All handles of a type (TPM_HT) that stand for something."""
        found: list[int] = []
        first, more = kind << 24, True
        while more:
            more, some = self._capability(CAP.HANDLES, first)
            found += some
            first = found[-1] + 1 if found else first
        return set(found)

    def create_primary(self, hierarchy: int, template: Public) -> tuple[int, Public]:
        """A primary key with an empty authValue: its handle and public area."""
        sensitive = write_buffer(write_buffer(b"") + write_buffer(b""))
        public = encode(Public2B, template)
        parameters = sensitive + public + write_buffer(b"") + bytes(4)
        answer = self.call("CreatePrimary", [hierarchy], parameters, 1)
        made: Public = codec(Public2B).read(answer, 8)[0]
        return int.from_bytes(answer[:4], "big"), made

    def flush(self, handle: int) -> None:
        self.call("FlushContext", (), _octets([handle]))

    def persist(self, handle: int, persistent: int) -> None:
        """A copy of an object that outlives a reset."""
        self.call("EvictControl", [RH.OWNER, handle], _octets([persistent]), 1)

    def evict(self, persistent: int) -> None:
        """Forget a persistent object."""
        self.persist(persistent, persistent)

    def define(self, index: int, attributes: int, size: int) -> None:
        """An NV Index of the platform's, with an empty authValue."""
        public = encode(NvPublic2B, (index, ALG.SHA256, attributes, b"", size))
        self.call("NV_DefineSpace", [RH.PLATFORM], write_buffer(b"") + public, 1)

    def undefine(self, index: int) -> None:
        self.call("NV_UndefineSpace", [RH.PLATFORM, index], b"", 1)

    def write(self, index: int, content: bytes, at_once: int) -> None:
        """Fill an Index, ``at_once`` bytes in a command."""
        for offset in range(0, len(content), at_once):
            piece = write_buffer(content[offset : offset + at_once])
            parameters = piece + offset.to_bytes(2, "big")
            self.call("NV_Write", [RH.PLATFORM, index], parameters, 1)

    def lock(self, index: int) -> None:
        """Nobody writes the Index again, as far as its attributes say so."""
        self.call("NV_WriteLock", [RH.PLATFORM, index], b"", 1)

    def read(self, index: int, at_once: int) -> bytes:
        """The whole of an Index that needs no authorization but the empty one."""
        answer = self.call("NV_ReadPublic", [index])
        size = codec(NvPublic2B).read(answer, 0)[0].data_size
        content = b""
        while len(content) < size:
            count = min(at_once, size - len(content))
            asked = struct.pack(">HH", count, len(content))
            content += self.call("NV_Read", [index, index], asked, 1)[6 : 6 + count]
        return content
