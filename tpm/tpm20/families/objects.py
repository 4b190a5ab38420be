"""Object commands (part 3, 12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import creation, crypto, entities, objects, templates
from tpm.tpm20.codec import decode
from tpm.tpm20.constants import ALG, HT, RC, RH, TPMA_OBJECT, H, P, TpmError, about
from tpm.tpm20.objects import Object, Sequence
from tpm.tpm20.structures import (
    DIGEST_SIZE,
    CreationData,
    Derive,
    EccPoint,
    PcrSelection,
    Public,
    PublicDerived,
    PublicNamed,
    Sensitive,
    SensitiveCreate,
    Ticket,
)

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_NOT_FOR_EXTERNAL = TPMA_OBJECT.FIXED_TPM | TPMA_OBJECT.FIXED_PARENT | TPMA_OBJECT.RESTRICTED


def _parent(tpm: Tpm, handle: int) -> Object:
    held = tpm.slot(handle)
    if not isinstance(held, Object) or not held.is_parent:
        raise TpmError(RC.TYPE + H(1))
    return held


def create(
    tpm: Tpm,
    parent: int,
    in_sensitive: SensitiveCreate,
    in_public: Public,
    outside_info: bytes,
    creation_pcr: list[PcrSelection],
) -> tuple[bytes, Public, CreationData, bytes, Ticket]:
    """Part 3, 12.1."""
    above = _parent(tpm, parent)
    tpm.free_handle()
    _check_creation(above, in_public, in_sensitive)
    auth = creation.padded_auth(in_sensitive, in_public.name_alg, 1)
    data = creation.given_data(in_public, in_sensitive)
    public, sensitive = creation.make_key(in_public, auth, data, tpm.random, seeded=False)
    name = objects.object_name(public)
    info, info_hash = creation.creation_data(
        tpm, parent, public.name_alg, creation_pcr, outside_info
    )
    ticket = creation.creation_ticket(tpm, parent, name, info_hash)
    private = objects.sensitive_to_private(sensitive, name, above, tpm.random(16))
    return private, public, info, info_hash, ticket


def _check_creation(above: Object | None, template: Public, sensitive: SensitiveCreate) -> None:
    try:
        templates.check_creation(above, template, len(sensitive.data))
    except TpmError as error:
        raise TpmError(about(error.code, P(2))) from None


def load(tpm: Tpm, parent: int, in_private: bytes, in_public: Public) -> tuple[int, bytes]:
    """Part 3, 12.2."""
    handle = tpm.free_handle()
    if not in_private:
        raise TpmError(RC.SIZE + P(1))
    above = _parent(tpm, parent)
    held = above.child(in_private, in_public)
    if held is None:
        held = _unwrapped(tpm, parent, above, in_private, in_public)
        above.remember_child(in_private, in_public, held)
    tpm.objects[handle] = held
    return handle, held.name


def _unwrapped(
    tpm: Tpm, parent: int, above: Object, in_private: bytes, in_public: Public
) -> Object:
    """The object in Load's parameters."""
    name = objects.object_name(in_public)
    try:
        sensitive = objects.private_to_sensitive(in_private, name, above)
    except TpmError as error:
        raise TpmError(about(error.code, P(1))) from None
    _check_loaded(above, in_public, sensitive, 2, 1)
    if not above.has(TPMA_OBJECT.FIXED_TPM):
        templates.check_key(in_public, sensitive, 2, 1)
    return creation.loaded(tpm, in_public, sensitive, parent, name)


def _check_loaded(
    above: Object | None, public: Public, sensitive: Sensitive, in_public: int, in_private: int
) -> None:
    if len(sensitive.seed) > DIGEST_SIZE.get(public.name_alg, len(sensitive.seed)):
        raise TpmError(RC.KEY_SIZE + P(in_private))
    try:
        templates.check_public(above, public)
    except TpmError as error:
        raise TpmError(about(error.code, P(in_public))) from None


def load_external(
    tpm: Tpm, in_private: Sensitive | None, in_public: Public, hierarchy: int
) -> tuple[int, bytes]:
    """Part 3, 12.3."""
    handle = tpm.free_handle()
    if not entities.hierarchy_enabled(tpm, hierarchy):
        raise TpmError(RC.HIERARCHY + P(3))
    if in_private is not None:
        if hierarchy != RH.NULL:
            raise TpmError(RC.HIERARCHY + P(3))
        if in_public.attributes & _NOT_FOR_EXTERNAL:
            raise TpmError(RC.ATTRIBUTES + P(2))
    if in_private is None or in_public.name_alg == ALG.NULL:
        try:
            templates.check_schemes(None, in_public)
        except TpmError as error:
            raise TpmError(about(error.code, P(2))) from None
    else:
        _check_loaded(None, in_public, in_private, 2, 1)
    templates.check_key(in_public, in_private, 2, 1)
    name = objects.object_name(in_public)
    st_clear = bool(in_public.attributes & TPMA_OBJECT.ST_CLEAR)
    held = Object(in_public, in_private, name, name, hierarchy, external=True, st_clear=st_clear)
    tpm.objects[handle] = held
    return handle, name


def read_public(tpm: Tpm, handle: int) -> tuple[Public, bytes, bytes]:
    """Part 3, 12.4."""
    held = tpm.object(handle)
    return held.public, held.name, held.qualified_name


def unseal(tpm: Tpm, item: int) -> tuple[bytes]:
    """Part 3, 12.7."""
    held = tpm.slot(item)
    if not isinstance(held, Object) or held.public.type != ALG.KEYEDHASH:
        raise TpmError(RC.TYPE + H(1))
    kind = TPMA_OBJECT.DECRYPT | TPMA_OBJECT.SIGN | TPMA_OBJECT.RESTRICTED
    if held.public.attributes & kind:
        raise TpmError(RC.ATTRIBUTES + H(1))
    assert held.sensitive is not None
    return (held.sensitive.sensitive,)


def object_change_auth(tpm: Tpm, handle: int, parent: int, new_auth: bytes) -> tuple[bytes]:
    """Part 3, 12.8."""
    held = tpm.slot(handle)
    if isinstance(held, Sequence):
        raise TpmError(RC.TYPE + H(1))
    auth = objects.pad_auth(new_auth, held.public.name_alg)
    if auth is None:
        raise TpmError(RC.SIZE + P(1))
    above = tpm.slot(parent)
    if isinstance(above, Sequence) or held.qualified_name != objects.qualified_name(
        above.qualified_name, held.name, held.public.name_alg
    ):
        raise TpmError(RC.TYPE + H(2))
    assert held.sensitive is not None
    sensitive = held.sensitive._replace(auth=auth)
    return (objects.sensitive_to_private(sensitive, held.name, above, tpm.random(16)),)


def create_loaded(
    tpm: Tpm, parent: int, in_sensitive: SensitiveCreate, in_public: bytes
) -> tuple[int, bytes, Public, bytes]:
    """Part 3, 12.9: a primary, an ordinary or a derived object, as the parent is."""
    is_primary = parent >> 24 == HT.PERMANENT
    above = None if is_primary else tpm.slot(parent)
    if isinstance(above, Sequence) or (
        above is not None and not above.is_parent and not above.is_derivation_parent
    ):
        raise TpmError(RC.TYPE + H(1))
    handle = tpm.free_handle()
    derives = above is not None and above.is_derivation_parent
    template = _template(in_public, derives)
    auth = creation.padded_auth(in_sensitive, template.name_alg, 1)
    private = b""
    if above is None:
        _check_creation(None, template, in_sensitive)
        public, sensitive = make_primary(tpm, parent, template, auth, in_sensitive)
    elif derives:
        public, sensitive = _derive(above, template, auth, in_sensitive)
    else:
        _check_creation(above, template, in_sensitive)
        data = creation.given_data(template, in_sensitive)
        public, sensitive = creation.make_key(template, auth, data, tpm.random, seeded=False)
        name = objects.object_name(public)
        private = objects.sensitive_to_private(sensitive, name, above, tpm.random(16))
    held = creation.loaded(tpm, public, sensitive, parent)
    tpm.objects[handle] = held
    return handle, private, public, held.name


def make_primary(
    tpm: Tpm, hierarchy: int, template: Public, auth: bytes, in_sensitive: SensitiveCreate
) -> tuple[Public, Sensitive]:
    """The key that a hierarchy's seed and the template decide.

    What an endorsement key protects ends with TPM2_Clear, though the key itself does not: its own
    seed depends on the proofs that Clear changes.
    """
    source = creation.primary_random(tpm, hierarchy, template, in_sensitive.data)
    stir = b""
    if hierarchy == RH.ENDORSEMENT:
        stir = tpm.state.owner_proof + tpm.state.endorsement_proof
    data = creation.given_data(template, in_sensitive)
    return creation.make_key(template, auth, data, source.generate, seeded=True, stir=stir)


def _template(octets: bytes, derives: bool) -> Public:
    try:
        template: Public = decode(PublicDerived if derives else PublicNamed, octets)
    except TpmError as error:
        raise TpmError(about(error.code, P(2))) from None
    return template


def _derive(
    above: Object, template: Public, auth: bytes, in_sensitive: SensitiveCreate
) -> tuple[Public, Sensitive]:
    """A derived object (part 1, 28): a function of its parent, label and context alone."""
    if template.type == ALG.RSA:
        raise TpmError(RC.TYPE + P(2))
    if template.attributes & TPMA_OBJECT.SENSITIVE_DATA_ORIGIN:
        raise TpmError(RC.ATTRIBUTES)
    try:
        templates.check_public(above, template)
    except TpmError as error:
        raise TpmError(about(error.code, P(2))) from None
    given: Derive = template.unique
    if in_sensitive.data:
        private: Derive = decode(Derive, in_sensitive.data)
        given = Derive(given.label or private.label, given.context or private.context)
    assert above.sensitive is not None
    scheme = above.public.parameters
    secret = above.sensitive.sensitive
    source = crypto.kdf_stream(scheme.hash_alg, secret, given.label, given.context)
    empty = EccPoint(b"", b"") if template.type == ALG.ECC else b""
    return creation.make_key(template._replace(unique=empty), auth, b"", source, seeded=True)
