"""The commands that are measured, and how much longer than swtpm's each may take.

A row prepares a TPM and gives a function that runs the command once, takes the time of that alone,
and puts the TPM back in order.  What could be remembered from one time to the next differs each
time: primary keys have another template, and loaded keys come from a pool.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, NamedTuple

from tools.bench.tpm.wire import (
    CREATE,
    CREATE_PRIMARY,
    FLUSH_CONTEXT,
    LOAD,
    NULL,
    OWNER,
    STARTUP,
    Client,
    authorized,
    buffers,
    command,
    creation,
    handle,
    tpm2b,
    u8,
    u16,
    u32,
)

Run = Callable[[int], int]
"""The command once: the number of the time -> nanoseconds."""

SMALL: Final = 3.0
CRYPTO: Final = 1.1
"""Limits of the ratio to swtpm, for commands that hardly compute, and for those that do."""
KEYS: Final = 31
SEEDED_KEYS: Final = 121
"""RSA keys that are generated: the time for one depends on luck, and all the more for a primary
key, where both search for primes alike."""
POOL: Final = 8

SHA256, ECDSA, RSASSA, NONE = 0xB, 0x18, 0x14, u16(0x10)
_AES_CFB = u16(6) + u16(128) + u16(0x43)
_FIXED = 0x12 | 0x20 | 0x40 | 0x400
"""fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA."""
_RESTRICTED, _DECRYPT, _SIGN = 0x10000, 0x20000, 0x40000
_STORAGE = _FIXED | _RESTRICTED | _DECRYPT
_PCRS = u32(1) + u16(SHA256) + u8(3) + bytes.fromhex("ff0000")
_INDEX = 0x01500000
_SCHEME = {"ECC": u16(ECDSA) + u16(SHA256), "RSA": u16(RSASSA) + u16(SHA256)}


class Row(NamedTuple):
    """One command, or two that belong together."""

    prepare: Callable[[Client], Run]
    limit: float | None = None
    rounds: int = 41
    batch: int = 10
    """Times in each round."""


# Templates (TPMT_PUBLIC)


def _template(kind: int, attributes: int, parameters: bytes, unique: bytes) -> bytes:
    return u16(kind) + u16(SHA256) + u32(attributes) + tpm2b(b"") + parameters + unique


def storage(kind: str, number: int = 0) -> bytes:
    """A storage key; another number is another key."""
    unique = tpm2b(hashlib.sha256(u32(number)).digest())
    if kind == "ECC":
        parameters = _AES_CFB + NONE + u16(3) + NONE
        return _template(0x23, _STORAGE, parameters, unique + tpm2b(b""))
    return _template(1, _STORAGE, _AES_CFB + NONE + u16(2048) + u32(0), unique)


def signer(kind: str, restricted: bool = False) -> bytes:
    """A key that signs; a restricted one signs what the TPM says alone."""
    attributes = _FIXED | _SIGN | (_RESTRICTED if restricted else 0)
    if kind == "ECC":
        parameters = NONE + _SCHEME[kind] + u16(3) + NONE
        return _template(0x23, attributes, parameters, tpm2b(b"") * 2)
    return _template(1, attributes, NONE + _SCHEME[kind] + u16(2048) + u32(0), tpm2b(b""))


def _sealed() -> bytes:
    return _template(8, 0x12 | 0x40 | 0x400, NONE, tpm2b(b""))


def _hmac_key() -> bytes:
    return _template(8, _FIXED | _SIGN, u16(5) + u16(SHA256), tpm2b(b""))


def _aes_key() -> bytes:
    return _template(0x25, _FIXED | _SIGN | _DECRYPT, _AES_CFB, tpm2b(b""))


def _rsa_decryptor() -> bytes:
    return _template(1, _FIXED | _DECRYPT, NONE + NONE + u16(2048) + u32(0), tpm2b(b""))


def _ecdh_key() -> bytes:
    parameters = NONE + NONE + u16(3) + NONE
    return _template(0x23, _FIXED | _DECRYPT, parameters, tpm2b(b"") * 2)


# Ways to run a command


def _same(octets: bytes) -> Callable[[Client], Run]:
    """The same command each time."""

    def prepare(tpm: Client) -> Run:
        return lambda _number: tpm.timed(octets)[0]

    return prepare


def _flushing(tpm: Client, octets: bytes) -> int:
    """Run a command whose response has a handle, and flush that."""
    took, response = tpm.timed(octets)
    tpm.flush(handle(response))
    return took


def _child(tpm: Client, template: bytes, data: bytes = b"") -> int:
    """A loaded key below a storage key, which is flushed again."""
    parent = tpm.create_primary(storage("ECC"))
    key = tpm.load(parent, tpm.create(parent, template, data))
    tpm.flush(parent)
    return key


def _with_key(
    template: bytes, octets: Callable[[int], bytes], data: bytes = b""
) -> Callable[[Client], Run]:
    """The same command each time, about a loaded key."""

    def prepare(tpm: Client) -> Run:
        made = octets(_child(tpm, template, data))
        return lambda _number: tpm.timed(made)[0]

    return prepare


# The commands


def _session(tpm: Client) -> Run:
    start = command(0x176, [NULL, NULL], tpm2b(bytes(16)) + tpm2b(b"") + u8(0) + NONE + u16(SHA256))

    def run(_number: int) -> int:
        took, response = tpm.timed(start)
        return took + tpm.timed(command(FLUSH_CONTEXT, [], response[10:14]))[0]

    return run


def _nv(octets: bytes) -> Callable[[Client], Run]:
    """A command about an ordinary NV Index of 32 octets that was written."""

    def prepare(tpm: Client) -> Run:
        public = u32(_INDEX) + u16(SHA256) + u32(0x02060006) + tpm2b(b"") + u16(32)
        tpm.exchange(authorized(0x122, [OWNER, _INDEX]))  # NV_UndefineSpace, if there is one
        tpm.call(authorized(0x12A, [OWNER], tpm2b(b"") + tpm2b(public)))
        tpm.call(_nv_write(0))
        return lambda number: tpm.timed(octets or _nv_write(number))[0]

    return prepare


def _nv_write(number: int) -> bytes:
    content = hashlib.sha256(u32(number)).digest()
    return authorized(0x137, [_INDEX, _INDEX], tpm2b(content) + u16(0))


def _primary(kind: str) -> Callable[[Client], Run]:
    def prepare(tpm: Client) -> Run:
        def run(number: int) -> int:
            content = creation(storage(kind, 1 + number))
            return _flushing(tpm, authorized(CREATE_PRIMARY, [OWNER], content))

        return run

    return prepare


def _create(template: bytes, data: bytes = b"") -> Callable[[Client], Run]:
    def prepare(tpm: Client) -> Run:
        octets = authorized(CREATE, [tpm.create_primary(storage("ECC"))], creation(template, data))
        return lambda _number: tpm.timed(octets)[0]

    return prepare


def _load(kind: str) -> Callable[[Client], Run]:
    def prepare(tpm: Client) -> Run:
        parent = tpm.create_primary(storage("ECC"))
        pool = [tpm.create(parent, signer(kind)) for _ in range(POOL)]
        made = [authorized(LOAD, [parent], parts) for parts in pool]
        return lambda number: _flushing(tpm, made[number % POOL])

    return prepare


def _contexts(tpm: Client) -> Run:
    save = command(0x162, [_child(tpm, signer("ECC"))])

    def run(_number: int) -> int:
        took, response = tpm.timed(save)
        again, loaded = tpm.timed(command(0x161, [], response[10:]))
        tpm.flush(handle(loaded))
        return took + again

    return run


def _verify(tpm: Client) -> Run:
    key = _child(tpm, signer("ECC"))
    signature = tpm.call(_sign(key))[14:-5]
    octets = command(0x177, [key], tpm2b(_DIGEST) + signature)
    return lambda _number: tpm.timed(octets)[0]


def _rsa_decrypt(scheme: bytes) -> Callable[[Client], Run]:
    def prepare(tpm: Client) -> Run:
        key = _child(tpm, _rsa_decryptor())
        response = tpm.call(command(0x174, [key], tpm2b(b"secret") + scheme + tpm2b(b"")))
        octets = authorized(0x159, [key], buffers(response, 10, 1)[0] + scheme + tpm2b(b""))
        return lambda _number: tpm.timed(octets)[0]

    return prepare


def _ecdh(tpm: Client) -> Run:
    key = _child(tpm, _ecdh_key())
    response = tpm.call(command(0x163, [key]))
    octets = authorized(0x154, [key], b"".join(buffers(response, 10, 2)[1:]))
    return lambda _number: tpm.timed(octets)[0]


def _startup(tpm: Client) -> Run:
    def run(_number: int) -> int:
        tpm.reset()
        return tpm.timed(command(STARTUP, [], u16(0)))[0]

    return run


_DIGEST: Final = hashlib.sha256(b"message").digest()
_NO_TICKET: Final = u16(0x8024) + u32(NULL) + tpm2b(b"")


def _sign(key: int) -> bytes:
    return authorized(0x15D, [key], tpm2b(_DIGEST) + NONE + _NO_TICKET)


def _quote(key: int) -> bytes:
    return authorized(0x158, [key], tpm2b(b"nonce") + NONE + _PCRS)


_EXTEND: Final = authorized(0x182, [16], u32(1) + u16(SHA256) + _DIGEST)

COMMANDS: Final[dict[str, Row]] = {
    "GetRandom": Row(_same(command(0x17B, [], u16(32))), SMALL),
    "PCR_Read": Row(_same(command(0x17E, [], _PCRS)), SMALL),
    "PCR_Extend": Row(_same(_EXTEND), SMALL),
    "Unseal": Row(_with_key(_sealed(), lambda key: authorized(0x15E, [key]), b"secret"), SMALL),
    "StartAuthSession_FlushContext": Row(_session, SMALL),
    "NV_Read": Row(_nv(authorized(0x14E, [_INDEX, _INDEX], u16(32) + u16(0))), SMALL),
    "NV_Write": Row(_nv(b"")),
    "Hash": Row(_same(command(0x17D, [], tpm2b(bytes(64)) + u16(SHA256) + u32(NULL)))),
    "HMAC": Row(
        _with_key(_hmac_key(), lambda key: authorized(0x155, [key], tpm2b(bytes(64)) + NONE))
    ),
    "EncryptDecrypt2": Row(
        _with_key(
            _aes_key(),
            lambda key: authorized(
                0x193, [key], tpm2b(bytes(64)) + u8(0) + u16(0x43) + tpm2b(bytes(16))
            ),
        )
    ),
    "GetCapability": Row(_same(command(0x17A, [], u32(6) + u32(0x100) + u32(64)))),
    "ReadPublic": Row(_with_key(signer("ECC"), lambda key: command(0x173, [key]))),
    "ReadClock": Row(_same(command(0x181))),
    "ContextSave_ContextLoad": Row(_contexts),
    "Quote_ECC": Row(_with_key(signer("ECC", restricted=True), _quote), CRYPTO),
    "Quote_RSA": Row(_with_key(signer("RSA", restricted=True), _quote), CRYPTO, batch=4),
    "Sign_ECC": Row(_with_key(signer("ECC"), _sign), CRYPTO),
    "Sign_RSA": Row(_with_key(signer("RSA"), _sign), CRYPTO, batch=4),
    "VerifySignature": Row(_verify),
    "RSA_Decrypt_OAEP": Row(_rsa_decrypt(u16(0x17) + u16(SHA256)), batch=4),
    "RSA_Decrypt_RSAES": Row(_rsa_decrypt(u16(0x15)), batch=4),
    "ECDH_ZGen": Row(_ecdh),
    "CreatePrimary_ECC": Row(_primary("ECC"), CRYPTO),
    "CreatePrimary_RSA": Row(_primary("RSA"), CRYPTO, SEEDED_KEYS, 1),
    "Create_ECC": Row(_create(signer("ECC")), CRYPTO),
    "Create_RSA": Row(_create(signer("RSA")), CRYPTO, KEYS, 1),
    "Create_Sealed": Row(_create(_sealed(), b"secret")),
    "Load_ECC": Row(_load("ECC"), CRYPTO),
    "Load_RSA": Row(_load("RSA"), CRYPTO),
    "Startup": Row(_startup, batch=1),
}
"""In the order in which they are measured."""
