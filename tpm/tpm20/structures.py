"""The types of TPM 2.0 part 2, declared as its tables declare them.

A name ending in `Null` is the table's type with "+": TPM_ALG_NULL or TPM_RH_NULL is allowed. Where
part 2 has a union of a hash algorithm and nothing (the details of a scheme), the structure here has
the field `hash_alg` always, TPM_ALG_NULL where the wire has nothing: the octets are the same and no
reader has to look at the selector first.
"""

from typing import Annotated, Any, NamedTuple

from tpm.tpm20.codec import (
    U8,
    U16,
    U32,
    U64,
    Codec,
    Union,
    attributes,
    buffer,
    choice,
    listing,
    nothing,
    remembered,
    scalar,
    sized,
    structure_with,
)
from tpm.tpm20.constants import (
    ALG,
    CAP,
    ECC,
    EO,
    GENERATED_VALUE,
    HR,
    LOCALITIES,
    MAX_ACTIVE_SESSIONS,
    MAX_ALG_LIST,
    MAX_BUFFER,
    MAX_CAP_BUFFER,
    MAX_CONTEXT_SIZE,
    MAX_DIGEST_SIZE,
    MAX_ECC_BYTES,
    MAX_HASH_SIZE,
    MAX_LABEL_SIZE,
    MAX_LOADED_OBJECTS,
    MAX_NV_BUFFER,
    MAX_NV_INDEX_SIZE,
    MAX_RSA_KEY_BYTES,
    MAX_SYM_BLOCK_SIZE,
    MAX_SYM_DATA,
    MAX_SYM_KEY_SIZE,
    PCR_COUNT,
    PCR_SELECT_SIZE,
    RC,
    RH,
    SE,
    ST,
    SU,
    TPMA_NV,
    TPMA_OBJECT,
    TPMA_SESSION,
    TpmError,
)

# Scalars.
Uint8 = Annotated[int, U8]
Uint16 = Annotated[int, U16]
Uint32 = Annotated[int, U32]
Uint64 = Annotated[int, U64]
Int8 = Annotated[int, scalar("b")]
Int32 = Annotated[int, scalar("i")]
YesNo = Annotated[int, choice(U8, (0, 1), RC.VALUE)]
Startup = Annotated[int, choice(U16, (SU.CLEAR, SU.STATE), RC.VALUE)]
SessionType = Annotated[int, choice(U8, (SE.HMAC, SE.POLICY, SE.TRIAL), RC.VALUE)]
Operation = Annotated[int, choice(U16, range(EO.BITCLEAR + 1), RC.VALUE)]
Generated = Annotated[int, choice(U32, (GENERATED_VALUE,), RC.VALUE)]
Capability = Annotated[int, choice(U32, (*range(CAP.ACT + 1), CAP.VENDOR_PROPERTY), RC.VALUE)]
ClockAdjust = Annotated[int, choice(scalar("b"), range(-3, 4), RC.VALUE)]

# What this TPM implements.
HASHES = (ALG.SHA1, ALG.SHA256, ALG.SHA384, ALG.SHA512)
DIGEST_SIZE = {ALG.SHA1: 20, ALG.SHA256: 32, ALG.SHA384: 48, ALG.SHA512: 64}
CURVES = (ECC.NIST_P256, ECC.NIST_P384, ECC.NIST_P521)
RSA_BITS = (1024, 2048, 3072)
SYMMETRIC = (ALG.AES,)
BLOCK_MODES = (ALG.CTR, ALG.OFB, ALG.CBC, ALG.CFB, ALG.ECB)
MACS = (ALG.CMAC,)
RSA_SIGNATURES = (ALG.RSASSA, ALG.RSAPSS)
RSA_CIPHERS = (ALG.RSAES, ALG.OAEP)
ECC_SIGNATURES = (ALG.ECDSA, ALG.ECDAA, ALG.ECSCHNORR)
ECC_EXCHANGES = (ALG.ECDH,)
KDFS = (ALG.MGF1, ALG.KDF1_SP800_56A, ALG.KDF1_SP800_108)
SIGNATURES = (*RSA_SIGNATURES, *ECC_SIGNATURES, ALG.HMAC)


def _alg(allowed: tuple[int, ...], error: int) -> Codec:
    return choice(U16, frozenset(allowed), error)


def _alg_null(allowed: tuple[int, ...], error: int) -> Codec:
    return choice(U16, frozenset((*allowed, ALG.NULL)), error)


# Algorithms (part 2, 9.27 to 9.36 and 11).
AlgId = Uint16
AlgHash = Annotated[int, _alg(HASHES, RC.HASH)]
AlgHashNull = Annotated[int, _alg_null(HASHES, RC.HASH)]
AlgPublic = Annotated[int, _alg((ALG.RSA, ALG.KEYEDHASH, ALG.ECC, ALG.SYMCIPHER), RC.TYPE)]
AlgSymNull = Annotated[int, _alg_null((*SYMMETRIC, ALG.XOR), RC.SYMMETRIC)]
AlgSymObject = Annotated[int, _alg(SYMMETRIC, RC.SYMMETRIC)]
AlgSymObjectNull = Annotated[int, _alg_null(SYMMETRIC, RC.SYMMETRIC)]
AlgSymMode = Annotated[int, _alg((*BLOCK_MODES, *MACS), RC.MODE)]
AlgSymModeNull = Annotated[int, _alg_null((*BLOCK_MODES, *MACS), RC.MODE)]
AlgCipherModeNull = Annotated[int, _alg_null(BLOCK_MODES, RC.MODE)]
AlgMacSchemeNull = Annotated[int, _alg_null((*HASHES, *MACS), RC.SYMMETRIC)]
AlgKdf = Annotated[int, _alg(KDFS, RC.KDF)]
AlgKdfNull = Annotated[int, _alg_null(KDFS, RC.KDF)]
AlgRsaSchemeNull = Annotated[int, _alg_null((*RSA_SIGNATURES, *RSA_CIPHERS), RC.VALUE)]
AlgRsaDecryptNull = Annotated[int, _alg_null(RSA_CIPHERS, RC.VALUE)]
AlgEccSchemeNull = Annotated[int, _alg_null((*ECC_SIGNATURES, *ECC_EXCHANGES), RC.SCHEME)]
AlgKeyedHashNull = Annotated[int, _alg_null((ALG.HMAC, ALG.XOR), RC.VALUE)]
AlgSigSchemeNull = Annotated[int, _alg_null(SIGNATURES, RC.SCHEME)]
AlgKeyExchange = Annotated[int, _alg(ECC_EXCHANGES, RC.SCHEME)]
EccCurve = Annotated[int, choice(U16, CURVES, RC.CURVE)]
RsaKeyBits = Annotated[int, choice(U16, RSA_BITS, RC.VALUE)]
AesKeyBits = Annotated[int, choice(U16, (128, 256), RC.VALUE)]

# Handles (part 2, 9).
PCRS = range(PCR_COUNT)
NV_INDICES = range(HR.NV_INDEX, HR.NV_INDEX + 0x1000000)
HMAC_SESSIONS = range(HR.HMAC_SESSION, HR.HMAC_SESSION + MAX_ACTIVE_SESSIONS)
POLICY_SESSIONS = range(HR.POLICY_SESSION, HR.POLICY_SESSION + MAX_ACTIVE_SESSIONS)
TRANSIENTS = range(HR.TRANSIENT, HR.TRANSIENT + MAX_LOADED_OBJECTS)
PERSISTENTS = range(HR.PERSISTENT, HR.PERSISTENT + 0x1000000)
_HIERARCHIES = (RH.OWNER, RH.ENDORSEMENT, RH.PLATFORM)


class AnyOf:
    """Handles in any of several ranges or among single values.

    A range is all handles of a type, or so few that they are kept one by one.
    """

    def __init__(self, *ranges: range, values: tuple[int, ...] = ()) -> None:
        whole = [one for one in ranges if len(one) == 1 << 24]
        self._types = frozenset(one.start >> 24 for one in whole)
        self._values = frozenset(values).union(*(one for one in ranges if one not in whole))

    def __contains__(self, handle: Any) -> bool:
        return handle in self._values or handle >> 24 in self._types


def _handle(*ranges: range, values: tuple[int, ...] = ()) -> Codec:
    return choice(U32, AnyOf(*ranges, values=values), RC.VALUE)


Handle = Uint32
DhObject = Annotated[int, _handle(TRANSIENTS, PERSISTENTS)]
DhObjectNull = Annotated[int, _handle(TRANSIENTS, PERSISTENTS, values=(RH.NULL,))]
DhParent = Annotated[int, _handle(TRANSIENTS, PERSISTENTS, values=(*_HIERARCHIES, RH.NULL))]
DhPersistent = Annotated[int, _handle(PERSISTENTS)]
DhEntity = Annotated[
    int,
    _handle(TRANSIENTS, PERSISTENTS, NV_INDICES, PCRS, values=(*_HIERARCHIES, RH.LOCKOUT)),
]
DhEntityNull = Annotated[
    int,
    _handle(TRANSIENTS, PERSISTENTS, NV_INDICES, PCRS, values=(*_HIERARCHIES, RH.LOCKOUT, RH.NULL)),
]
DhPcr = Annotated[int, _handle(PCRS)]
DhPcrNull = Annotated[int, _handle(PCRS, values=(RH.NULL,))]
DhContext = Annotated[int, _handle(HMAC_SESSIONS, POLICY_SESSIONS, TRANSIENTS)]
SAVED_OBJECTS = (0x80000000, 0x80000001, 0x80000002)
DhSaved = Annotated[int, _handle(HMAC_SESSIONS, POLICY_SESSIONS, values=SAVED_OBJECTS)]
ShHmac = Annotated[int, _handle(HMAC_SESSIONS)]
ShPolicy = Annotated[int, _handle(POLICY_SESSIONS)]
ShAuthSession = Annotated[int, _handle(HMAC_SESSIONS, POLICY_SESSIONS, values=(RH.PW,))]
RhHierarchy = Annotated[int, _handle(values=_HIERARCHIES)]
RhHierarchyNull = Annotated[int, _handle(values=(*_HIERARCHIES, RH.NULL))]
RhEnables = Annotated[int, _handle(values=(*_HIERARCHIES, RH.PLATFORM_NV))]
RhHierarchyAuth = Annotated[int, _handle(values=(*_HIERARCHIES, RH.LOCKOUT))]
RhHierarchyPolicy = RhHierarchyAuth
RhPlatform = Annotated[int, _handle(values=(RH.PLATFORM,))]
RhEndorsement = Annotated[int, _handle(values=(RH.ENDORSEMENT,))]
RhProvision = Annotated[int, _handle(values=(RH.OWNER, RH.PLATFORM))]
RhClear = Annotated[int, _handle(values=(RH.LOCKOUT, RH.PLATFORM))]
RhNvAuth = Annotated[int, _handle(NV_INDICES, values=(RH.OWNER, RH.PLATFORM))]
RhLockout = Annotated[int, _handle(values=(RH.LOCKOUT,))]
RhNvIndex = Annotated[int, _handle(NV_INDICES)]

# Attributes (part 2, 8).
ObjectAttributes = Annotated[int, attributes(U32, TPMA_OBJECT.DEFINED)]
SessionAttributes = Annotated[int, attributes(U8, 0xFF & ~TPMA_SESSION.RESERVED)]
NvAttributes = Annotated[int, attributes(U32, 0xFFFFFFFF & ~TPMA_NV.RESERVED)]
Locality = Uint8

# Buffers (part 2, 10.4).
Digest = Annotated[bytes, buffer(MAX_DIGEST_SIZE)]
Data = Annotated[bytes, buffer(MAX_HASH_SIZE)]
Nonce = Digest
Auth = Digest
Operand = Digest
Event = Annotated[bytes, buffer(MAX_BUFFER)]
MaxBuffer = Annotated[bytes, buffer(MAX_BUFFER)]
MaxNvBuffer = Annotated[bytes, buffer(MAX_NV_BUFFER)]
Timeout = Annotated[bytes, buffer(8)]
Iv = Annotated[bytes, buffer(MAX_SYM_BLOCK_SIZE)]
Name = Annotated[bytes, buffer(MAX_HASH_SIZE)]
SymKey = Annotated[bytes, buffer(MAX_SYM_KEY_SIZE)]
SensitiveData = Annotated[bytes, buffer(MAX_SYM_DATA)]
Label = Annotated[bytes, buffer(MAX_LABEL_SIZE)]
PublicKeyRsa = Annotated[bytes, buffer(MAX_RSA_KEY_BYTES)]
PrivateKeyRsa = Annotated[bytes, buffer(MAX_RSA_KEY_BYTES // 2)]
EccParameter = Annotated[bytes, buffer(MAX_ECC_BYTES)]
EncryptedSecret = Annotated[bytes, buffer(MAX_RSA_KEY_BYTES)]
Private = Annotated[bytes, buffer(1024)]
IdObject = Annotated[bytes, buffer(2 * MAX_HASH_SIZE)]
Template = Annotated[bytes, buffer(1024)]
ContextData = Annotated[bytes, buffer(MAX_CONTEXT_SIZE)]
Attest2B = Annotated[bytes, buffer(MAX_BUFFER * 2)]


# PCR and digests (part 2, 10.3, 10.5, 10.6).
def _pcr_select() -> Codec:
    def read(octets: bytes, at: int) -> tuple[bytes, int]:
        size, at = U8.read(octets, at)
        if size != PCR_SELECT_SIZE:
            raise TpmError(RC.VALUE)
        end = at + size
        if end > len(octets):
            raise TpmError(RC.INSUFFICIENT)
        return octets[at:end], end

    def write(select: bytes) -> bytes:
        return bytes((len(select),)) + select

    return Codec(read, write)


def _hash_value(null: bool) -> Codec:
    known = {**DIGEST_SIZE, ALG.NULL: 0} if null else DIGEST_SIZE
    read_alg = U16.read

    def read(octets: bytes, at: int) -> tuple[Any, int]:
        alg, at = read_alg(octets, at)
        size = known.get(alg)
        if size is None:
            raise TpmError(RC.HASH)
        end = at + size
        if end > len(octets):
            raise TpmError(RC.INSUFFICIENT)
        return (alg, octets[at:end]), end

    def write(value: tuple[int, bytes]) -> bytes:
        return value[0].to_bytes(2, "big") + value[1]

    return Codec(read, write)


PcrSelect = Annotated[bytes, _pcr_select()]
Ha = Annotated[tuple[int, bytes], _hash_value(null=False)]
HaNull = Annotated[tuple[int, bytes], _hash_value(null=True)]
DigestValues = Annotated[list[tuple[int, bytes]], listing(Ha, len(HASHES))]
DigestList = Annotated[list[bytes], listing(Digest, 8)]
PolicyOrList = Annotated[list[bytes], listing(Digest, 8, minimum=2)]


class PcrSelection(NamedTuple):
    """TPMS_PCR_SELECTION: bit n % 8 of octet n / 8 of `select` is PCR n."""

    hash: AlgHash
    select: PcrSelect


PcrSelections = Annotated[list[PcrSelection], listing(PcrSelection, len(HASHES))]
CommandCodes = Annotated[list[int], listing(Uint32, (MAX_CAP_BUFFER - 8) // 4)]
AlgList = Annotated[list[int], listing(Uint16, MAX_ALG_LIST)]
AlgIds = Annotated[list[int], listing(Uint16, MAX_ALG_LIST)]


# Tickets (part 2, 10.7).
class Ticket(NamedTuple):
    """TPMT_TK_*: `digest` is empty for a NULL ticket."""

    tag: Uint16
    hierarchy: RhHierarchyNull
    digest: Digest


def _ticket(*tags: int) -> Codec:
    return structure_with(Ticket, tag=choice(U16, tags, RC.TAG))


TkCreation = Annotated[Ticket, _ticket(ST.CREATION)]
TkVerified = Annotated[Ticket, _ticket(ST.VERIFIED)]
TkAuth = Annotated[Ticket, _ticket(ST.AUTH_SIGNED, ST.AUTH_SECRET)]
TkHashcheck = Annotated[Ticket, _ticket(ST.HASHCHECK)]


# Symmetric algorithms (part 2, 11.1).
_NO_BITS = nothing(0)
_NO_ALG = nothing(ALG.NULL)


class SymDef(NamedTuple):
    """TPMT_SYM_DEF: for XOR `key_bits` is the hash algorithm and there is no mode."""

    algorithm: AlgSymNull
    key_bits: Annotated[
        int, Union("algorithm", {ALG.AES: AesKeyBits, ALG.XOR: AlgHash, ALG.NULL: _NO_BITS})
    ]
    mode: Annotated[
        int, Union("algorithm", {ALG.AES: AlgSymModeNull, ALG.XOR: _NO_ALG, ALG.NULL: _NO_ALG})
    ]


class SymDefObject(NamedTuple):
    """TPMT_SYM_DEF_OBJECT."""

    algorithm: AlgSymObjectNull
    key_bits: Annotated[int, Union("algorithm", {ALG.AES: AesKeyBits, ALG.NULL: _NO_BITS})]
    mode: Annotated[int, Union("algorithm", {ALG.AES: AlgSymModeNull, ALG.NULL: _NO_ALG})]


NO_SYMMETRIC = SymDefObject(ALG.NULL, 0, ALG.NULL)
SymCipherParms = Annotated[SymDefObject, structure_with(SymDefObject, algorithm=AlgSymObject)]


# Schemes (part 2, 11.2).
def _scheme_hash(with_hash: tuple[int, ...], without: tuple[int, ...]) -> Union:
    kinds: dict[int, Any] = dict.fromkeys(with_hash, AlgHash)
    return Union("scheme", kinds | dict.fromkeys((*without, ALG.NULL), _NO_ALG))


def _scheme_count(schemes: tuple[int, ...]) -> Union:
    kinds: dict[int, Any] = dict.fromkeys((*schemes, ALG.NULL), _NO_BITS)
    return Union("scheme", kinds | {ALG.ECDAA: Uint16})


class Scheme(NamedTuple):
    """TPMT_SIG_SCHEME, TPMT_RSA_SCHEME, TPMT_ECC_SCHEME, TPMT_RSA_DECRYPT, TPMT_KDF_SCHEME.

    `commit_count` is the counter of ECDAA.
    """

    scheme: AlgSigSchemeNull
    hash_alg: Annotated[int, _scheme_hash(SIGNATURES, ())]
    commit_count: Annotated[int, _scheme_count(SIGNATURES)]


NO_SCHEME = Scheme(ALG.NULL, ALG.NULL, 0)
SigScheme = Annotated[Scheme, structure_with(Scheme)]
RsaScheme = Annotated[
    Scheme,
    structure_with(
        Scheme,
        scheme=AlgRsaSchemeNull,
        hash_alg=Annotated[int, _scheme_hash((*RSA_SIGNATURES, ALG.OAEP), (ALG.RSAES,))],
        commit_count=_NO_BITS,
    ),
]
RsaDecrypt = Annotated[
    Scheme,
    structure_with(
        Scheme,
        scheme=AlgRsaDecryptNull,
        hash_alg=Annotated[int, _scheme_hash((ALG.OAEP,), (ALG.RSAES,))],
        commit_count=_NO_BITS,
    ),
]
EccScheme = Annotated[
    Scheme,
    structure_with(
        Scheme,
        scheme=AlgEccSchemeNull,
        hash_alg=Annotated[int, _scheme_hash((*ECC_SIGNATURES, *ECC_EXCHANGES), ())],
        commit_count=Annotated[int, _scheme_count((*ECC_SIGNATURES, *ECC_EXCHANGES))],
    ),
]
KdfScheme = Annotated[
    Scheme,
    structure_with(
        Scheme,
        scheme=AlgKdfNull,
        hash_alg=Annotated[int, _scheme_hash(KDFS, ())],
        commit_count=_NO_BITS,
    ),
]


class KeyedHashScheme(NamedTuple):
    """TPMT_KEYEDHASH_SCHEME."""

    scheme: AlgKeyedHashNull
    hash_alg: Annotated[int, _scheme_hash((ALG.HMAC, ALG.XOR), ())]
    kdf: Annotated[
        int, Union("scheme", {ALG.XOR: AlgKdfNull, ALG.HMAC: _NO_ALG, ALG.NULL: _NO_ALG})
    ]


# Keys (part 2, 11.2.4, 11.2.5 and 12).
class EccPoint(NamedTuple):
    """TPMS_ECC_POINT."""

    x: EccParameter
    y: EccParameter


EccPoint2B = Annotated[EccPoint, sized(EccPoint)]


class RsaParms(NamedTuple):
    """TPMS_RSA_PARMS: exponent 0 means 65537."""

    symmetric: SymDefObject
    scheme: RsaScheme
    key_bits: RsaKeyBits
    exponent: Uint32


class EccParms(NamedTuple):
    """TPMS_ECC_PARMS."""

    symmetric: SymDefObject
    scheme: EccScheme
    curve: EccCurve
    kdf: KdfScheme


PARAMETERS: dict[int, Any] = {
    ALG.RSA: RsaParms,
    ALG.ECC: EccParms,
    ALG.KEYEDHASH: KeyedHashScheme,
    ALG.SYMCIPHER: SymCipherParms,
}


class PublicParms(NamedTuple):
    """TPMT_PUBLIC_PARMS."""

    type: AlgPublic
    parameters: Annotated[Any, Union("type", PARAMETERS)]


class Public(NamedTuple):
    """TPMT_PUBLIC: `unique` is an `EccPoint` for ECC and octets for the other types."""

    type: AlgPublic
    name_alg: AlgHashNull
    attributes: ObjectAttributes
    auth_policy: Digest
    parameters: Annotated[Any, Union("type", PARAMETERS)]
    unique: Annotated[
        Any,
        Union(
            "type",
            {
                ALG.RSA: PublicKeyRsa,
                ALG.ECC: EccPoint,
                ALG.KEYEDHASH: Digest,
                ALG.SYMCIPHER: Digest,
            },
        ),
    ]


class Derive(NamedTuple):
    """TPMS_DERIVE."""

    label: Label
    context: Label


PublicNamed = Annotated[Public, structure_with(Public, name_alg=AlgHash)]
PublicDerived = Annotated[
    Public,
    structure_with(
        Public,
        name_alg=AlgHash,
        unique=Annotated[Any, Union("type", dict.fromkeys(PARAMETERS, Derive))],
    ),
]
Public2B = Annotated[Public, remembered(sized(PublicNamed))]
Public2BNull = Annotated[Public, sized(Public)]


class Sensitive(NamedTuple):
    """TPMT_SENSITIVE: `sensitive` is a prime factor, a private scalar, data or a key."""

    type: AlgPublic
    auth: Auth
    seed: Digest
    sensitive: Annotated[
        bytes,
        Union(
            "type",
            {
                ALG.RSA: PrivateKeyRsa,
                ALG.ECC: EccParameter,
                ALG.KEYEDHASH: SensitiveData,
                ALG.SYMCIPHER: SymKey,
            },
        ),
    ]


Sensitive2B = Annotated[Sensitive | None, sized(Sensitive, may_be_empty=True)]


class SensitiveCreate(NamedTuple):
    """TPMS_SENSITIVE_CREATE."""

    auth: Auth
    data: SensitiveData


SensitiveCreate2B = Annotated[SensitiveCreate, sized(SensitiveCreate)]


class SignatureRsa(NamedTuple):
    """TPMS_SIGNATURE_RSA."""

    hash: AlgHash
    sig: PublicKeyRsa


class SignatureEcc(NamedTuple):
    """TPMS_SIGNATURE_ECC."""

    hash: AlgHash
    r: EccParameter
    s: EccParameter


class Signature(NamedTuple):
    """TPMT_SIGNATURE: `signature` is an (algorithm, digest) pair for HMAC, None for NULL."""

    sig_alg: AlgSigSchemeNull
    signature: Annotated[
        Any,
        Union(
            "sig_alg",
            {
                **dict.fromkeys(RSA_SIGNATURES, SignatureRsa),
                **dict.fromkeys(ECC_SIGNATURES, SignatureEcc),
                ALG.HMAC: Ha,
                ALG.NULL: nothing(None),
            },
        ),
    ]


SignatureNotNull = Annotated[
    Signature, structure_with(Signature, sig_alg=_alg(SIGNATURES, RC.SCHEME))
]


class EccDetail(NamedTuple):
    """TPMS_ALGORITHM_DETAIL_ECC."""

    curve: Uint16
    key_size: Uint16
    kdf: KdfScheme
    sign: EccScheme
    p: EccParameter
    a: EccParameter
    b: EccParameter
    gx: EccParameter
    gy: EccParameter
    n: EccParameter
    h: EccParameter


# Time (part 2, 10.11).
class ClockInfo(NamedTuple):
    """TPMS_CLOCK_INFO: `clock` in milliseconds."""

    clock: Uint64
    reset_count: Uint32
    restart_count: Uint32
    safe: YesNo


class TimeInfo(NamedTuple):
    """TPMS_TIME_INFO: `time` in milliseconds since the TPM was powered."""

    time: Uint64
    clock_info: ClockInfo


# Attestation (part 2, 10.12).
class CertifyInfo(NamedTuple):
    """TPMS_CERTIFY_INFO."""

    name: Name
    qualified_name: Name


class QuoteInfo(NamedTuple):
    """TPMS_QUOTE_INFO."""

    pcr_select: PcrSelections
    pcr_digest: Digest


class CommandAuditInfo(NamedTuple):
    """TPMS_COMMAND_AUDIT_INFO."""

    audit_counter: Uint64
    digest_alg: Uint16
    audit_digest: Digest
    command_digest: Digest


class SessionAuditInfo(NamedTuple):
    """TPMS_SESSION_AUDIT_INFO."""

    exclusive_session: YesNo
    session_digest: Digest


class CreationInfo(NamedTuple):
    """TPMS_CREATION_INFO."""

    object_name: Name
    creation_hash: Digest


class NvCertifyInfo(NamedTuple):
    """TPMS_NV_CERTIFY_INFO."""

    index_name: Name
    offset: Uint16
    nv_contents: Annotated[bytes, buffer(MAX_NV_INDEX_SIZE)]


class NvDigestCertifyInfo(NamedTuple):
    """TPMS_NV_DIGEST_CERTIFY_INFO."""

    index_name: Name
    nv_digest: Digest


class TimeAttestInfo(NamedTuple):
    """TPMS_TIME_ATTEST_INFO."""

    time: TimeInfo
    firmware_version: Uint64


class Attest(NamedTuple):
    """TPMS_ATTEST."""

    magic: Generated
    type: Uint16
    qualified_signer: Name
    extra_data: Data
    clock_info: ClockInfo
    firmware_version: Uint64
    attested: Annotated[
        Any,
        Union(
            "type",
            {
                ST.ATTEST_CERTIFY: CertifyInfo,
                ST.ATTEST_CREATION: CreationInfo,
                ST.ATTEST_QUOTE: QuoteInfo,
                ST.ATTEST_COMMAND_AUDIT: CommandAuditInfo,
                ST.ATTEST_SESSION_AUDIT: SessionAuditInfo,
                ST.ATTEST_TIME: TimeAttestInfo,
                ST.ATTEST_NV: NvCertifyInfo,
                ST.ATTEST_NV_DIGEST: NvDigestCertifyInfo,
            },
        ),
    ]


class CreationData(NamedTuple):
    """TPMS_CREATION_DATA."""

    pcr_select: PcrSelections
    pcr_digest: Digest
    locality: Locality
    parent_name_alg: Uint16
    parent_name: Name
    parent_qualified_name: Name
    outside_info: Data


CreationData2B = Annotated[CreationData, sized(CreationData)]


# NV (part 2, 13).
class NvPublic(NamedTuple):
    """TPMS_NV_PUBLIC."""

    nv_index: RhNvIndex
    name_alg: AlgHash
    attributes: NvAttributes
    auth_policy: Digest
    data_size: Annotated[int, choice(U16, range(MAX_NV_INDEX_SIZE + 1), RC.SIZE)]


NvPublic2B = Annotated[NvPublic, sized(NvPublic)]


# Context (part 2, 14).
class Context(NamedTuple):
    """TPMS_CONTEXT."""

    sequence: Uint64
    saved_handle: DhSaved
    hierarchy: RhHierarchyNull
    blob: ContextData


# Capabilities (part 2, 10.8 to 10.10).
class AlgProperty(NamedTuple):
    """TPMS_ALG_PROPERTY."""

    alg: Uint16
    properties: Uint32


class TaggedProperty(NamedTuple):
    """TPMS_TAGGED_PROPERTY."""

    property: Uint32
    value: Uint32


class TaggedPcrSelect(NamedTuple):
    """TPMS_TAGGED_PCR_SELECT."""

    tag: Uint32
    select: PcrSelect


class TaggedPolicy(NamedTuple):
    """TPMS_TAGGED_POLICY."""

    handle: Uint32
    policy: HaNull


class ActData(NamedTuple):
    """TPMS_ACT_DATA."""

    handle: Uint32
    timeout: Uint32
    attributes: Uint32


_CAPABILITY_ROOM = MAX_CAP_BUFFER - 8
CAPABILITY_ITEM_SIZE = {
    CAP.ALGS: 6,
    CAP.HANDLES: 4,
    CAP.COMMANDS: 4,
    CAP.PP_COMMANDS: 4,
    CAP.AUDIT_COMMANDS: 4,
    CAP.TPM_PROPERTIES: 8,
    CAP.PCR_PROPERTIES: 8,
    CAP.ECC_CURVES: 2,
    CAP.AUTH_POLICIES: 4 + MAX_HASH_SIZE,
    CAP.ACT: 12,
}
_CAPABILITY_ITEM: dict[int, Any] = {
    CAP.ALGS: AlgProperty,
    CAP.HANDLES: Uint32,
    CAP.COMMANDS: Uint32,
    CAP.PP_COMMANDS: Uint32,
    CAP.AUDIT_COMMANDS: Uint32,
    CAP.PCRS: PcrSelection,
    CAP.TPM_PROPERTIES: TaggedProperty,
    CAP.PCR_PROPERTIES: TaggedPcrSelect,
    CAP.ECC_CURVES: Uint16,
    CAP.AUTH_POLICIES: TaggedPolicy,
    CAP.ACT: ActData,
}


def capability_limit(capability: int) -> int:
    """How many items of a capability fit an answer (part 2, 10.10.1)."""
    return _CAPABILITY_ROOM // CAPABILITY_ITEM_SIZE[capability]


class CapabilityData(NamedTuple):
    """TPMS_CAPABILITY_DATA: a list of what the capability names."""

    capability: Capability
    data: Annotated[
        list[Any],
        Union("capability", {cap: listing(item, 256) for cap, item in _CAPABILITY_ITEM.items()}),
    ]


LOCALITY_BITS = tuple(1 << locality for locality in range(LOCALITIES))
