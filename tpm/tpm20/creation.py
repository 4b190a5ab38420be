"""Making objects: from randomness, from a hierarchy's seed or from a derivation parent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto, crypto_raw, entities, pcrs, tickets
from tpm.tpm20.codec import encode, write_buffer
from tpm.tpm20.constants import ALG, HT, RC, ST, TPMA_OBJECT, P, TpmError
from tpm.tpm20.crypto import Drbg, Random
from tpm.tpm20.objects import Object, object_name, pad_auth, qualified_name
from tpm.tpm20.structures import (
    DIGEST_SIZE,
    LOCALITY_BITS,
    CreationData,
    PcrSelection,
    Public,
    Sensitive,
    SensitiveCreate,
    Ticket,
)
from tpm.tpm20.templates import check_symmetric_key, symmetric_unique

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_SMALLEST_EXPONENT = 65537


def padded_auth(sensitive: SensitiveCreate, name_alg: int, parameter: int) -> bytes:
    """authValue for a new object; `TPM_RC_SIZE` for that parameter if it is too long."""
    auth = pad_auth(sensitive.auth, name_alg)
    if auth is None:
        raise TpmError(RC.SIZE + P(parameter))
    return auth


def primary_random(tpm: Tpm, hierarchy: int, template: Public, data: bytes) -> Drbg:
    """The random source of a primary object (part 1, 27.6.2): seed, template and data decide."""
    label = write_buffer(b"Primary Object Creation")
    content = tpm.seed(hierarchy) + label + write_buffer(object_name(template))
    return Drbg(content + write_buffer(data))


def make_key(
    template: Public, auth: bytes, data: bytes, random: Random, seeded: bool, stir: bytes = b""
) -> tuple[Public, Sensitive]:
    """The public and sensitive area of a new object, its template checked.

    Where `seeded`, everything comes from `random`; else the library may use its own generator.
    `stir` changes the object's own seed, but not its key.
    """
    public = template
    if template.type == ALG.RSA:
        public, secret = _make_rsa(template, random, seeded)
    elif template.type == ALG.ECC:
        secret, point = crypto.ecc_generate(template.parameters.curve, random)
        public = template._replace(unique=point)
    else:
        secret = _symmetric_secret(template, data, random)
    seed = random(DIGEST_SIZE[template.name_alg])
    if stir:
        seed = crypto.hmac(template.name_alg, seed, stir)
    sensitive = Sensitive(template.type, auth, seed, secret)
    if template.type in (ALG.RSA, ALG.ECC):
        parent = TPMA_OBJECT.RESTRICTED | TPMA_OBJECT.DECRYPT
        if template.attributes & (parent | TPMA_OBJECT.SIGN) != parent:
            sensitive = sensitive._replace(seed=b"")
    else:
        public = template._replace(unique=symmetric_unique(template, sensitive))
    return public, sensitive


def _make_rsa(template: Public, random: Random, seeded: bool) -> tuple[Public, bytes]:
    bits = template.parameters.key_bits
    exponent = template.parameters.exponent or crypto.DEFAULT_EXPONENT
    if exponent < _SMALLEST_EXPONENT or not crypto_raw.is_small_prime(exponent):
        raise TpmError(RC.RANGE)
    if seeded or exponent != crypto.DEFAULT_EXPONENT:
        prime, other = crypto_raw.rsa_primes(bits, exponent, random)
        modulus = prime * other
    else:
        modulus, prime = crypto.rsa_generate(bits, exponent)
    unique = modulus.to_bytes(bits // 8, "big")
    return template._replace(unique=unique), prime.to_bytes(bits // 16, "big")


def _symmetric_secret(template: Public, data: bytes, random: Random) -> bytes:
    is_key = template.attributes & (TPMA_OBJECT.SIGN | TPMA_OBJECT.DECRYPT)
    if template.type == ALG.SYMCIPHER:
        if not data:
            return random(template.parameters.key_bits // 8)
        check_symmetric_key(template, data)
        return data
    hash_alg = template.parameters.hash_alg
    if hash_alg == ALG.NULL:
        hash_alg = template.name_alg
    if not data:
        return random(DIGEST_SIZE[hash_alg])
    if is_key and len(data) > crypto.BLOCK_SIZE[hash_alg]:
        raise TpmError(RC.SIZE)
    return data


def given_data(template: Public, sensitive: SensitiveCreate) -> bytes:
    """The caller's sensitive data; none where the TPM is its origin."""
    if template.attributes & TPMA_OBJECT.SENSITIVE_DATA_ORIGIN:
        return b""
    return sensitive.data


def loaded(
    tpm: Tpm, public: Public, sensitive: Sensitive | None, parent: int, name: bytes = b""
) -> Object:
    """An object as it is in a slot, below a parent or a hierarchy; `name` if it is known."""
    name = name or object_name(public)
    st_clear = bool(public.attributes & TPMA_OBJECT.ST_CLEAR)
    if parent >> 24 == HT.PERMANENT:
        above, hierarchy = parent.to_bytes(4, "big"), parent
    else:
        held = tpm.object(parent)
        above, hierarchy = held.qualified_name, held.hierarchy
        st_clear = st_clear or held.st_clear
    qualified = qualified_name(above, name, public.name_alg)
    return Object(public, sensitive, name, qualified, hierarchy, st_clear=st_clear)


def creation_data(
    tpm: Tpm, parent: int, name_alg: int, selection: list[PcrSelection], outside_info: bytes
) -> tuple[CreationData, bytes]:
    """TPMS_CREATION_DATA and its digest."""
    parent_alg = ALG.NULL
    above = qualified = parent.to_bytes(4, "big")
    if parent >> 24 != HT.PERMANENT:
        held = tpm.object(parent)
        parent_alg, above, qualified = held.public.name_alg, held.name, held.qualified_name
    data = CreationData(
        selection,
        pcrs.values_digest(tpm, name_alg, selection),
        LOCALITY_BITS[tpm.locality] if tpm.locality < len(LOCALITY_BITS) else tpm.locality,
        parent_alg,
        above,
        qualified,
        outside_info,
    )
    return data, crypto.digest(name_alg, encode(CreationData, data))


def creation_ticket(tpm: Tpm, parent: int, name: bytes, creation_hash: bytes) -> Ticket:
    """The ticket that says that this TPM made the object."""
    hierarchy = entities.hierarchy(tpm, parent)
    return tickets.make(tpm, ST.CREATION, hierarchy, name + creation_hash)
