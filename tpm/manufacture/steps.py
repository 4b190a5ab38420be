"""The order of things: keys, then all certificates, then what cannot be taken back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from tpm.interface import Tpm
from tpm.manufacture.certificate import Facts, issue
from tpm.manufacture.client import NV, PERSISTENT, Client, Execute, ManufactureError, Refused
from tpm.manufacture.issuer import Issuer
from tpm.manufacture.profile import INDEX_BITS, KEYS, USUAL, EndorsementKey
from tpm.tpm20.codec import encode
from tpm.tpm20.constants import PT, RH
from tpm.tpm20.structures import Public

_LEAST_AT_ONCE: Final = 512


class Options(NamedTuple):
    """What is to be made."""

    keys: tuple[str, ...] = USUAL
    """Names of ``profile.KEYS``."""
    signing: bool = False
    """Keys that sign, which no profile has."""
    decryption: bool = True
    """Keys that decrypt, as the profile has them; with ``signing`` they do both."""
    persist: bool = True
    """Keep the keys at their persistent handles."""
    subject: str = ""
    """The common name in the certificates' subject, which is empty otherwise."""
    renew: bool = False
    """Replace what an earlier manufacture has left."""

    def wanted(self) -> list[EndorsementKey]:
        """The rows of the keys; raises ``ManufactureError``."""
        unknown = [name for name in self.keys if name not in KEYS]
        if unknown:
            known = ", ".join(KEYS)
            raise ManufactureError(f"there is no endorsement key {unknown[0]!r}; known are {known}")
        if not self.keys or not (self.signing or self.decryption):
            raise ManufactureError("there is nothing that the endorsement keys should do")
        rows = [KEYS[name] for name in dict.fromkeys(self.keys)]
        return [row.signing(self.decryption) for row in rows] if self.signing else rows


class Endorsed(NamedTuple):
    """An endorsement key that was made."""

    key: EndorsementKey
    certificate: bytes
    """In DER."""


@contextmanager
def powered(tpm: Tpm) -> Iterator[Execute]:
    """A TPM that has no power as a function: started up, and shut down in the end.

    Raises ``TpmError`` if it cannot be switched on, and ``ManufactureError`` if it does not start
    up: one that was suspended goes on where it was, and is not to be touched.
    """
    tpm.power_on()
    try:
        client = Client(tpm.execute)
        try:
            client.startup()
        except Refused as error:
            raise ManufactureError(f"the TPM is suspended, or broken: {error}") from None
        try:
            yield tpm.execute
        finally:
            client.shutdown()
    finally:
        tpm.power_off()


def is_manufactured(execute: Execute) -> bool:
    """Whether a TPM that has been started has a certificate of any key of the profile."""
    indices = {row.certificate_index for row in KEYS.values()}
    return not indices.isdisjoint(Client(execute).handles(NV))


def manufacture(execute: Execute, issuer: Issuer, options: Options | None = None) -> list[Endorsed]:
    """Give a TPM that has been started endorsement keys and their certificates.

    Nobody may have taken the TPM over: the authValues of platform, owner and endorsement hierarchy
    are empty.  Raises ``ManufactureError``; no NV Index is touched before all certificates are
    made.
    """
    options = options or Options()
    client, rows = Client(execute), options.wanted()
    indices, persistent = client.handles(NV), client.handles(PERSISTENT)
    if not options.renew:
        _check_free(rows, indices, persistent if options.persist else set())
    properties = client.properties()
    facts = Facts.of(properties)
    endorsed = []
    for row in rows:
        try:
            public = _make(client, row, persistent, options.persist)
        except Refused as error:
            raise ManufactureError(f"the endorsement key {row.name}: {error}") from None
        endorsed.append(Endorsed(row, issue(issuer, public, facts, options.subject)))
    at_once = properties.get(PT.NV_BUFFER_MAX, _LEAST_AT_ONCE)
    for row, certificate in endorsed:
        for index in indices & {row.certificate_index, row.template_index}:
            client.undefine(index)
        for index, content in _contents(row, certificate):
            _store(client, index, content, at_once)
    return endorsed


def _check_free(rows: list[EndorsementKey], indices: set[int], persistent: set[int]) -> None:
    for row in rows:
        for index in indices & {row.certificate_index, row.template_index}:
            raise ManufactureError(f"this TPM has the NV Index 0x{index:08x} already")
        if row.handle in persistent:
            raise ManufactureError(f"this TPM has an object at 0x{row.handle:08x} already")


def _make(client: Client, row: EndorsementKey, persistent: set[int], persist: bool) -> Public:
    """The public area of a key; what was at its persistent handle gives way."""
    handle, public = client.create_primary(RH.ENDORSEMENT, row.public)
    try:
        if row.handle in persistent:
            client.evict(row.handle)
        if persist:
            client.persist(handle, row.handle)
    finally:
        client.flush(handle)
    return public


def _contents(row: EndorsementKey, certificate: bytes) -> list[tuple[int, bytes]]:
    """What goes into which Index: the template only where it is not the profile's."""
    if row.template:
        return [(row.certificate_index, certificate)]
    template = encode(Public, row.public)
    return [(row.certificate_index, certificate), (row.template_index, template)]


def _store(client: Client, index: int, content: bytes, at_once: int) -> None:
    try:
        client.define(index, INDEX_BITS, len(content))
        client.write(index, content, at_once)
        client.lock(index)
    except Refused as error:
        raise ManufactureError(f"NV Index 0x{index:08x}: {error}") from None
