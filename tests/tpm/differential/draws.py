"""Values for the parameters and handles that the table of commands declares.

A parameter is drawn by its command and name, by its name alone, or by its declared type: the first
of the three that `VALUES` has. Handles are drawn by their type, but `WANTED` says what sort of
object a command can do something with.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

from tests.tpm.differential import keys
from tests.tpm.differential.policies import POLICIES, digest
from tests.tpm.differential.salts import TicketOf
from tests.tpm.differential.steps import (
    CODES,
    ROWS,
    Earlier,
    Handle,
    HandleOf,
    NameOf,
    Part,
    Parts,
)
from tests.tpm.differential.world import World
from tests.tpm.tpm20.client import (
    ENDORSEMENT,
    HASH,
    LOCKOUT,
    NULL,
    OWNER,
    PLATFORM,
    SHA1,
    SHA256,
    SHA384,
    SHA512,
    b2,
    octets,
    u8,
    u16,
    u32,
    u64,
)
from tpm.tpm20 import structures as t
from tpm.tpm20.constants import CAP

Draw = Callable[["Drawer"], "bytes | Part | Parts"]

HIERARCHIES = (OWNER, ENDORSEMENT, PLATFORM, NULL)
PCRS = (0, 1, 7, 10, 15, 16, 17, 20, 21, 22, 23)
SIZES = (0, 1, 4, 8, 16, 20, 32, 48, 63, 64, 100)
NO_SCHEME = u16(0x10)
_PARTIAL = octets(
    "305c30123110300e06035504030c07736f6d656f6e65301e170d3236303130313030303030305a170d3336303130"
    "313030303030305a30123110300e06035504030c07736f6d656f6e65a3123010300e0603551d0f0101ff04040302"
    "0780"
)
"""Issuer, validity, subject, and digitalSignature as key usage, for CertifyX509."""
_RSA_SCHEMES = (
    NO_SCHEME,
    NO_SCHEME,
    u16(0x15),
    u16(0x17) + u16(SHA256),
    u16(0x17) + u16(SHA1),
    u16(0x14) + u16(SHA256),
)

WANTED: dict[tuple[str, str], str] = {
    ("Unseal", "item"): "seal",
    ("HMAC", "handle"): "mac",
    ("HMAC_Start", "handle"): "mac",
    ("EncryptDecrypt", "key"): "cipher",
    ("EncryptDecrypt2", "key"): "cipher",
    ("RSA_Encrypt", "key"): "rsa",
    ("RSA_Decrypt", "key"): "rsa",
    ("ECDH_KeyGen", "key"): "ecdh",
    ("ECDH_ZGen", "key"): "ecdh",
    ("ZGen_2Phase", "key_a"): "ecdh",
    ("Commit", "sign"): "daa",
    ("Sign", "key"): "sign",
    ("VerifySignature", "key"): "sign",
    ("PolicySigned", "auth_object"): "sign",
    ("Create", "parent"): "parent",
    ("Load", "parent"): "parent",
    ("Import", "parent"): "parent",
    ("Duplicate", "new_parent"): "parent",
    ("Rewrap", "old_parent"): "parent",
    ("Rewrap", "new_parent"): "parent",
    ("CreateLoaded", "parent"): "parent",
    ("MakeCredential", "handle"): "parent",
    ("ActivateCredential", "key"): "parent",
    ("StartAuthSession", "tpm_key"): "seed",
}


class Drawer:
    """Draws what a command is made of."""

    def __init__(self, dice: random.Random, world: World) -> None:
        self.dice = dice
        self.world = world
        self.hours = 2
        """What ClockSet was told last."""

    # Small things.

    def one(self, *choices: Any) -> Any:
        return self.dice.choice(choices)

    def chance(self, of: float) -> bool:
        return self.dice.random() < of

    def octets(self, most: int = 64) -> bytes:
        """Octets of a likely size; the same on both sides, as everything that is drawn."""
        size = min(self.dice.choice(SIZES), most)
        return self.dice.randbytes(size)

    def hash_alg(self) -> int:
        return self.dice.choice((SHA256, SHA256, SHA256, SHA1, SHA384, SHA512))

    def auth(self) -> bytes:
        """An authValue."""
        return self.dice.choice((b"", b"", b"pw", b"secret\0", self.dice.randbytes(20)))

    def policy(self) -> str:
        return self.dice.choice(("", "", "", *POLICIES))

    # Handles.

    def handle(self, command: str, name: str, chosen: list[Handle]) -> Handle:
        declared = ROWS[command].handles[name]
        kind = declared[0] if isinstance(declared, tuple) else declared
        if self.chance(0.01):
            return self.any_handle()
        if kind is t.RhNvAuth:
            return self.dice.choice((OWNER, OWNER, PLATFORM, self.index()))
        if kind is t.RhNvIndex:
            first = chosen[-1] if chosen else None
            if isinstance(first, int) and first >> 24 == 1 and self.chance(0.95):
                return first
            return self.index()
        if kind in (t.DhObject, t.DhObjectNull, t.DhParent):
            return self._object(WANTED.get((command, name), ""), kind)
        return HANDLE_DRAWS[kind](self)

    def _object(self, wanted: str, kind: Any) -> Handle:
        if kind is not t.DhObject and self.chance(0.2):
            return self.dice.choice(HIERARCHIES) if kind is t.DhParent else NULL
        objects = self.world.objects()
        found = self.world.pick(objects, lambda one: wanted in one.tags) if wanted else None
        if found is None or self.chance(0.05):
            found = self.world.pick(self.world.things + self.world.persistent)
        return found.handle if found is not None else 0x80000000

    def index(self) -> int:
        """An NV Index."""
        known = list(self.world.indices)
        return self.dice.choice(known) if known and self.chance(0.97) else 0x01000009

    def session(self, *kinds: int) -> Handle:
        found = self.world.pick(self.world.sessions, lambda one: one.kind in kinds)
        return found.handle if found is not None else 0x03000000 if 1 in kinds else 0x02000000

    def any_handle(self) -> Handle:
        """Something that is there, or could be, of any type."""
        found: list[Handle] = [one.handle for one in self.world.things + self.world.persistent]
        found += [one.handle for one in self.world.sessions]
        found += [*self.world.indices, *HIERARCHIES, LOCKOUT, 0, 16, 24, 0x02000000, 0x03000001]
        found += [0x80000000, 0x80000002, 0x80000003, 0x81000000, 0x40000009, 0x4000000D]
        found += [0x90000000, 0xFFFFFFFF, 0x01FFFFFF, 0x02000040]
        return self.dice.choice(found)

    # Parameters.

    def parameters(self, command: str, handles: list[Handle]) -> Parts:
        self.handles = handles
        self.command = command
        out: list[bytes | Part] = []
        for name, kind in ROWS[command].parameters.items():
            draw = VALUES.get((command, name)) or VALUES.get(name) or TYPES[id(kind)]
            drawn = draw(self)
            out.extend(drawn if isinstance(drawn, tuple) else (drawn,))
        return tuple(out)

    def selections(self) -> bytes:
        """TPML_PCR_SELECTION."""
        count = self.dice.choice((0, 1, 1, 1, 2, 4))
        return u32(count) + b"".join(
            u16(self.hash_alg())
            + self.one(b"\3", b"\3", b"\3", b"\3", b"\2", b"\4")[:1]
            + self.one(b"\0\0\0", b"\1\0\1", b"\0\0\xff", b"\xff\xff\xff", b"\0\4\0")
            for _ in range(count)
        )

    def digest(self, alg: int | None = None) -> bytes:
        """TPM2B_DIGEST of a digest's size, most of the time."""
        size = hashlib.new(HASH[alg or self.hash_alg()]).digest_size
        return b2(self.octets()) if self.chance(0.1) else b2(self.dice.randbytes(size))

    def scheme(self, place: int) -> bytes:
        """A signature scheme for the signing key at a place of the handle area."""
        thing = self.world.thing(self.handles[place])
        tags = thing.tags if thing is not None else frozenset()
        choices = [NO_SCHEME]
        if thing is None or thing.kind in ("ECC any", "RSA any", "HMAC any") or self.chance(0.1):
            alg = u16(self.hash_alg())
            if "rsa" in tags or not tags:
                choices += [u16(0x14) + alg, u16(0x16) + alg]
            if "ecc" in tags or not tags:
                choices += [u16(0x18) + alg, u16(0x1C) + alg]
            if "mac" in tags or not tags:
                choices += [u16(5) + alg]
        return self.dice.choice(choices)

    def point(self) -> bytes:
        """TPM2B_ECC_POINT."""
        x, y = keys.coordinates(self.one(3, 3, 3, 4))
        kind = self.dice.randrange(10)
        if kind == 0:
            return b2(b2(y) + b2(x))
        if kind == 1:
            return b2(b2(b"") * 2)
        return b2(b2(x) + b2(y))

    def codes(self) -> bytes:
        """TPML_CC."""
        count = self.dice.choice((0, 0, 1, 2, 3))
        names = [self.dice.choice(list(CODES)) for _ in range(count)]
        return u32(count) + b"".join(u32(CODES[name]) for name in names)

    def digests(self) -> bytes:
        """TPML_DIGEST_VALUES."""
        count = self.dice.choice((0, 1, 1, 2, 4))
        algs = [self.hash_alg() for _ in range(count)]
        sizes = [hashlib.new(HASH[alg]).digest_size for alg in algs]
        return u32(count) + b"".join(
            u16(alg) + self.dice.randbytes(size) for alg, size in zip(algs, sizes, strict=True)
        )

    def capability(self) -> tuple[bytes, ...]:
        """TPM_CAP and the first property."""
        first = self.one(0, 0x01000000, 0x02000000, 0x03000000, 0x40000000, 0x80000000, 0x81000000)
        kind, first = self.one(
            (CAP.HANDLES, first),
            (CAP.HANDLES, first),
            (CAP.PCRS, self.one(0, 0, 1)),
            (CAP.PCR_PROPERTIES, self.dice.randrange(0x16)),
            (CAP.TPM_PROPERTIES, self.one(0x100, 0x200, 0x200, self.dice.randrange(0x216))),
            (CAP.PP_COMMANDS, self.one(0, 0x12D)),
            (CAP.AUDIT_COMMANDS, self.one(0, 0x140, 0x150)),
            (CAP.AUTH_POLICIES, self.one(0, 0x40000001, 0x4000000B)),
            (CAP.ALGS, 0),
            (CAP.COMMANDS, 0),
            (CAP.ECC_CURVES, 0),
            (self.one(0x100, 10, 11, 0x7FFFFFFF), 0),
        )
        return u32(kind), u32(first)

    def comparison(self, size: int) -> bytes:
        """Operand, offset and operation of PolicyNV and PolicyCounterTimer."""
        offset = self.dice.randrange(size + 1)
        operand = self.octets(max(size - offset, 1))
        return b2(operand) + u16(offset) + u16(self.dice.randrange(13))

    def policy_digest(self) -> bytes:
        name = self.dice.choice(list(POLICIES))
        return b2(self.one(digest(name), digest(name), b"", bytes(20)))


def _nonce(draw: Drawer) -> bytes:
    return b2(draw.dice.randbytes(draw.one(16, 16, 20, 32, 32, 15, 64)))


def _object_name(draw: Drawer) -> bytes | Part:
    found = draw.world.pick(draw.world.objects())
    if found is None or draw.chance(0.1):
        return b2(u16(SHA256) + draw.dice.randbytes(32))
    return NameOf(found.handle)


def _flush(draw: Drawer) -> Part:
    handles: list[Handle] = [one.handle for one in draw.world.things]
    handles += [one.handle for one in draw.world.sessions]
    return HandleOf(draw.dice.choice(handles) if handles else 0x80000000)


def _parms(draw: Drawer) -> bytes:
    kind = keys.KINDS[draw.dice.choice(list(keys.KINDS))]
    return u16(kind.type) + kind.parameters


def _nv_offset(draw: Drawer) -> bytes:
    return u16(draw.one(0, 0, 0, 0, 1, 4, 8, 31, 2048))


def _policy_or(draw: Drawer) -> bytes:
    count = draw.one(2, 2, 2, 3, 8, 1)
    names = [draw.dice.choice(list(POLICIES)) for _ in range(count)]
    return u32(count) + b"".join(b2(digest(name)) for name in names)


def _policy_pcr(draw: Drawer) -> bytes:
    return b2(draw.one(b"", b"", b"", bytes(32), hashlib.sha256(bytes(32)).digest()))


def _new_time(draw: Drawer) -> bytes:
    """Hours from any other: the clocks of the two sides differ by seconds."""
    draw.hours += 1
    hours = draw.hours - 3 if draw.chance(0.2) else draw.hours
    return u64(draw.one(hours * 3_600_000, hours * 3_600_000, 1 << 63, 0xFFFF000000000000))


def _nv_data(draw: Drawer) -> bytes:
    handle = draw.handles[-1]
    index = draw.world.indices.get(handle) if isinstance(handle, int) else None
    size = index.size if index is not None and draw.chance(0.6) else draw.one(*SIZES)
    return b2(draw.dice.randbytes(min(size, 1024)))


def _nv_size(draw: Drawer) -> bytes:
    handle = draw.handles[-1]
    index = draw.world.indices.get(handle) if isinstance(handle, int) else None
    return u16(index.size if index is not None and draw.chance(0.7) else draw.one(*SIZES, 2000))


def _comparison_nv(draw: Drawer) -> bytes:
    return draw.comparison(8)


def _algorithms(draw: Drawer) -> bytes:
    algs = [draw.one(1, 4, 6, 0xB, 0x23, 0x18, 0x99) for _ in range(draw.one(0, 1, 2))]
    return u32(len(algs)) + b"".join(map(u16, algs))


def _signature(draw: Drawer) -> bytes:
    """TPMT_SIGNATURE that nobody made."""
    alg = draw.hash_alg()
    size = hashlib.new(HASH[alg]).digest_size
    two = b2(draw.dice.randbytes(32)) * 2
    return (
        u16(draw.one(0x18, 0x1A, 0x1C)) + u16(alg) + two
        if draw.chance(0.5)
        else draw.one(
            u16(5) + u16(alg) + draw.dice.randbytes(size),
            u16(0x14) + u16(alg) + b2(draw.dice.randbytes(128)),
            u16(0x10),
        )
    )


VALUES: dict[str | tuple[str, str], Draw] = {
    "nonce_caller": _nonce,
    "startup_type": lambda draw: u16(draw.one(0, 1)),
    "shutdown_type": lambda draw: u16(draw.one(0, 1)),
    "full_test": lambda draw: u8(draw.one(0, 1)),
    "to_test": _algorithms,
    ("GetRandom", "bytes_requested"): lambda draw: u16(draw.one(0, 1, 8, 32, 64, 65, 0xFFFF)),
    "capability": lambda draw: draw.capability(),
    "property": lambda draw: (),
    "property_count": lambda draw: u32(draw.one(0, 1, 1, 8, 64, 254, 1000, 0xFFFFFFFF)),
    "hash_alg": lambda draw: u16(draw.one(SHA256, SHA1, SHA384, SHA512, 0x10, 0x3F)),
    ("PCR_SetAuthPolicy", "pcr"): lambda draw: u32(draw.one(20, 21, 22, 0, 23)),
    "auth_policy": lambda draw: draw.policy_digest(),
    ("PCR_SetAuthPolicy", "auth_policy"): lambda draw: b2(draw.one(b"", bytes(32), bytes(20))),
    "hierarchy": lambda draw: u32(draw.one(*HIERARCHIES, NULL, LOCKOUT)),
    "in_scheme": lambda draw: draw.scheme(0),
    ("Certify", "in_scheme"): lambda draw: draw.scheme(1),
    ("CertifyX509", "in_scheme"): lambda draw: draw.scheme(1),
    ("GetTime", "in_scheme"): lambda draw: draw.scheme(1),
    ("GetCommandAuditDigest", "in_scheme"): lambda draw: draw.scheme(1),
    ("GetSessionAuditDigest", "in_scheme"): lambda draw: draw.scheme(1),
    ("RSA_Encrypt", "in_scheme"): lambda draw: draw.one(*_RSA_SCHEMES),
    ("RSA_Decrypt", "in_scheme"): lambda draw: draw.one(*_RSA_SCHEMES),
    ("ZGen_2Phase", "in_scheme"): lambda draw: u16(draw.one(0x19, 0x19, 0x1D, 0x10)),
    "message": lambda draw: b2(draw.octets()),
    "cipher_text": lambda draw: b2(draw.dice.randbytes(draw.one(128, 128, 127, 129, 0))),
    "label": lambda draw: b2(draw.one(b"", b"label\0", b"label")),
    "in_point": lambda draw: draw.point(),
    "p1": lambda draw: draw.point(),
    "s2": lambda draw: b2(draw.one(b"", b"\1\2\3")),
    "y2": lambda draw: b2(draw.one(b"", draw.dice.randbytes(32))),
    "in_qs_b": lambda draw: draw.point(),
    "in_qe_b": lambda draw: draw.point(),
    "counter": lambda draw: u16(draw.one(0, 1, 2, 3)),
    "curve": lambda draw: u16(draw.one(3, 3, 4, 5, 0, 6, 0x20)),
    "mode": lambda draw: u16(draw.one(0x10, 0x43, 0x42, 0x40, 0x41, 0x44, 0x3F)),
    "decrypt": lambda draw: u8(draw.one(0, 1)),
    "iv_in": lambda draw: b2(draw.dice.randbytes(draw.one(16, 16, 16, 0, 15))),
    ("EncryptDecrypt", "in_data"): lambda draw: b2(draw.octets()),
    ("EncryptDecrypt2", "in_data"): lambda draw: b2(draw.octets()),
    "digests": lambda draw: draw.digests(),
    "pcr_select": lambda draw: draw.selections(),
    "pcr_digest": _policy_pcr,
    "hash_list": _policy_or,
    "locality": lambda draw: u8(draw.one(1, 2, 8, 16, 31, 32, 0, 255)),
    ("PolicyNV", "operand_b"): lambda draw: draw.comparison(8),
    ("PolicyCounterTimer", "operand_b"): lambda draw: (
        b2(draw.one(bytes(4), bytes(8), b"\0"))
        + u16(draw.one(16, 20, 24, 17))
        + u16(draw.dice.randrange(13))
    ),
    "operation": lambda draw: (),
    ("PolicyNV", "offset"): lambda draw: (),
    ("PolicyCounterTimer", "offset"): lambda draw: (),
    "code": lambda draw: u32(CODES[draw.dice.choice(list(CODES))]),
    "cp_hash": lambda draw: b2(draw.one(b"", b"", bytes(32), bytes(20))),
    ("PolicyCpHash", "cp_hash"): lambda draw: draw.digest(SHA256),
    "name_hash": lambda draw: draw.digest(SHA256),
    "template_hash": lambda draw: draw.digest(SHA256),
    "object_name": _object_name,
    "new_parent_name": _object_name,
    "key_sign": _object_name,
    "auth_name": _object_name,
    "include_object": lambda draw: u8(draw.one(0, 1)),
    "written_set": lambda draw: u8(draw.one(0, 1)),
    "approved_policy": lambda draw: draw.policy_digest(),
    "policy_ref": lambda draw: b2(draw.one(b"", b"reference")),
    "nonce_tpm": lambda draw: b2(b""),
    "expiration": lambda draw: u32(draw.one(0, 0, 3600, 0xFFFFFFFF - 3600)),
    "timeout": lambda draw: b2(draw.one(b"", u64(1 << 40))),
    "check_ticket": lambda draw: TicketOf(-1, "", 0x8022),
    "ticket": lambda draw: TicketOf(-1, "", draw.one(0x8023, 0x8025)),
    "creation_ticket": lambda draw: TicketOf(-1, "", 0x8021),
    "validation": lambda draw: TicketOf(-1, "", 0x8024),
    "creation_hash": lambda draw: draw.digest(SHA256),
    ("VerifySignature", "digest"): lambda draw: draw.digest(),
    ("Sign", "digest"): lambda draw: draw.digest(SHA256),
    "audit_alg": lambda draw: u16(draw.one(0x10, 0x10, SHA256, SHA1, SHA512)),
    "set_list": lambda draw: draw.codes(),
    "clear_list": lambda draw: draw.codes(),
    ("SetCommandCodeAuditStatus", "clear_list"): lambda draw: draw.one(u32(0), draw.codes()),
    "allocation": lambda draw: draw.selections(),
    "selection_in": lambda draw: draw.selections(),
    "pcrs": lambda draw: draw.selections(),
    "enable": lambda draw: u32(draw.one(OWNER, ENDORSEMENT, PLATFORM, 0x4000000D, NULL)),
    "state": lambda draw: u8(draw.one(0, 1, 1)),
    "disable": lambda draw: u8(draw.one(0, 0, 1)),
    "new_max_tries": lambda draw: u32(draw.one(0, 3, 10, 32)),
    "new_recovery_time": lambda draw: u32(draw.one(0, 1000, 100000)),
    "lockout_recovery": lambda draw: u32(draw.one(0, 1000, 100000)),
    "algorithm_set": lambda draw: u32(draw.one(0, 1)),
    "flush": _flush,
    "persistent": lambda draw: u32(draw.one(0x81000000, 0x81000001, 0x81800000, 0x82000000)),
    "new_time": _new_time,
    "rate_adjust": lambda draw: u8(draw.one(0, 0, 1, 3, 4, 0xFD, 0xFC)),
    "parameters": _parms,
    "data": lambda draw: b2(draw.octets()),
    ("NV_Write", "data"): _nv_data,
    ("NV_Extend", "data"): _nv_data,
    "offset": _nv_offset,
    "size": _nv_size,
    "bits": lambda draw: u64(draw.one(0, 1, 1 << 63, 0xFF00)),
    "reserved": lambda draw: b2(b"x" if draw.chance(0.05) else b""),
    "partial_certificate": lambda draw: b2(draw.one(_PARTIAL, _PARTIAL, draw.octets())),
    "symmetric": lambda draw: draw.one(u16(0x10), u16(6) + u16(128) + u16(0x43)),
    "signature": _signature,
    "auth": _signature,
    ("PCR_SetAuthValue", "auth"): lambda draw: b2(draw.auth()),
    "name": _object_name,
    "event_data": lambda draw: b2(draw.octets()),
}
_BUFFERS = (
    t.Digest,
    t.Data,
    t.MaxBuffer,
    t.SensitiveData,
    t.Private,
    t.EncryptedSecret,
    t.IdObject,
)
TYPES: dict[int, Draw] = {id(kind): lambda draw: b2(draw.octets()) for kind in _BUFFERS}
HANDLE_DRAWS: dict[Any, Callable[[Drawer], Handle]] = {
    t.DhEntity: lambda draw: draw.one(*HIERARCHIES[:3], LOCKOUT, 16, draw.index(), 0x80000000),
    t.DhEntityNull: lambda draw: draw.one(*HIERARCHIES, LOCKOUT, 16, draw.index()),
    t.DhPcr: lambda draw: draw.dice.choice((*PCRS, 24)),
    t.DhPcrNull: lambda draw: draw.dice.choice((*PCRS, NULL)),
    t.DhContext: lambda draw: draw.any_handle(),
    t.ShPolicy: lambda draw: draw.session(1, 3),
    t.ShHmac: lambda draw: draw.session(0),
    t.RhHierarchy: lambda draw: draw.one(OWNER, ENDORSEMENT, PLATFORM, PLATFORM),
    t.RhHierarchyNull: lambda draw: draw.one(*HIERARCHIES),
    t.RhHierarchyAuth: lambda draw: draw.one(OWNER, ENDORSEMENT, PLATFORM, LOCKOUT),
    t.RhPlatform: lambda draw: PLATFORM,
    t.RhEndorsement: lambda draw: ENDORSEMENT,
    t.RhProvision: lambda draw: draw.one(OWNER, PLATFORM),
    t.RhClear: lambda draw: draw.one(LOCKOUT, PLATFORM),
    t.RhLockout: lambda draw: LOCKOUT,
}

__all__ = ["Drawer", "Earlier"]
