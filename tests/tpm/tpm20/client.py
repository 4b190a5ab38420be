"""A client of a TPM 2.0 for tests, written against part 1 and knowing nothing of the engine.

It has its own marshalling, KDF, HMAC and parameter encryption, so that a mistake that the engine
makes on both sides of a computation shows. `Client` talks to anything that executes octets: the
engine, or swtpm as an oracle.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

try:
    from cryptography.hazmat.decrepit.ciphers.modes import CFB
except ImportError:
    from cryptography.hazmat.primitives.ciphers.modes import CFB

from tpm.tpm20 import Tpm

PW = 0x40000009
OWNER, NULL, LOCKOUT, ENDORSEMENT, PLATFORM = (
    0x40000001,
    0x40000007,
    0x4000000A,
    0x4000000B,
    0x4000000C,
)
SHA1, SHA256, SHA384, SHA512 = 0x4, 0xB, 0xC, 0xD
HASH = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384", SHA512: "sha512"}
CONTINUE, EXCLUSIVE, RESET, DECRYPT, ENCRYPT, AUDIT = 0x01, 0x02, 0x04, 0x20, 0x40, 0x80


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def b2(content: bytes) -> bytes:
    """A TPM2B."""
    return u16(len(content)) + content


def octets(text: str) -> bytes:
    """Hexadecimal with spaces."""
    return bytes.fromhex(text.replace(" ", ""))


def plain(code: int, handles: Sequence[int] = (), parameters: bytes = b"") -> bytes:
    """A command without sessions."""
    body = b"".join(map(u32, handles)) + parameters
    return u16(0x8001) + u32(10 + len(body)) + u32(code) + body


def with_area(code: int, handles: Sequence[int], area: bytes, parameters: bytes) -> bytes:
    """A command with a session area of any content."""
    body = b"".join(map(u32, handles)) + u32(len(area)) + area + parameters
    return u16(0x8002) + u32(10 + len(body)) + u32(code) + body


def password(value: bytes = b"") -> bytes:
    """A password's part of a session area."""
    return u32(PW) + b2(b"") + u8(CONTINUE) + b2(value)


def rc(response: bytes) -> int:
    """The response code of a well-formed response."""
    tag, size, code = struct.unpack(">HII", response[:10])
    assert size == len(response)
    assert tag in (0x8001, 0x8002)
    assert code == 0 or response[:6] == octets("8001 0000000a")
    return int(code)


def kdfa(alg: str, key: bytes, label: bytes, u: bytes, v: bytes, bits: int) -> bytes:
    out = b""
    for counter in itertools.count(1):
        if len(out) * 8 >= bits:
            return out[: bits // 8]
        content = u32(counter) + label + b"\0" + u + v + u32(bits)
        out += hmac.new(key, content, alg).digest()
    raise AssertionError


@dataclass
class Session:
    """A session's client side."""

    handle: int
    hash_alg: int
    nonce_tpm: bytes
    key: bytes = b""
    symmetric: tuple[int, int] = (0x10, 0)
    """AES (6) with key bits, XOR (10) with hash algorithm, or null (16)."""
    attributes: int = CONTINUE
    bound_auth: bytes | None = None
    """The authValue of the entity that it is bound to, when it authorizes that entity."""
    password: bool = False
    no_auth: bool = False
    """A policy session that does not use the authValue."""
    nonce: bytes = b""

    def hmac(self, auth: bytes, content: bytes) -> bytes:
        use_auth = b"" if self.no_auth or self.bound_auth is not None else auth
        key = self.key + use_auth
        return hmac.new(key, content, HASH[self.hash_alg]).digest() if key else b""

    def crypt(self, auth: bytes, newer: bytes, older: bytes, content: bytes, out: bool) -> bytes:
        key = self.key + auth
        alg, parameter = self.symmetric
        if alg == 0x10:
            return content
        if alg == 0xA:
            # The session's hash algorithm (part 1, 21.2), whatever the symmetric definition says.
            mask = kdfa(HASH[self.hash_alg], key, b"XOR", newer, older, len(content) * 8)
            return bytes(a ^ b for a, b in zip(content, mask, strict=True))
        size = parameter // 8
        made = kdfa(HASH[self.hash_alg], key, b"CFB", newer, older, parameter + 128)
        cipher = Cipher(algorithms.AES(made[:size]), CFB(made[size:]))
        return (cipher.encryptor() if out else cipher.decryptor()).update(content)


class Failed(Exception):
    """A response code that is not success."""

    def __init__(self, code: int) -> None:
        super().__init__(hex(code))
        self.code = code


@dataclass
class Reply:
    """A response taken apart."""

    handle: int
    parameters: bytes

    def tpm2b(self, index: int = 0) -> bytes:
        """The `index`th parameter, where all before it are TPM2Bs."""
        at = 0
        for _ in range(index):
            at += 2 + int.from_bytes(self.parameters[at : at + 2], "big")
        size = int.from_bytes(self.parameters[at : at + 2], "big")
        return self.parameters[at + 2 : at + 2 + size]


@dataclass
class Client:
    """Commands with sessions over something that executes octets."""

    execute: Callable[[bytes], bytes]
    names: dict[int, bytes] = field(default_factory=dict)
    """Names of objects and NV Indices; other handles are their own Names."""

    def name(self, handle: int) -> bytes:
        return self.names.get(handle, u32(handle))

    def call(
        self,
        code: int,
        handles: Sequence[int] = (),
        parameters: bytes = b"",
        auths: Sequence[bytes | tuple[Session, bytes]] = (),
        handle_out: bool = False,
    ) -> Reply:
        """`auths` are passwords, or sessions with the authValue of the entity they authorize.

        Raises `Failed`; checks the HMAC of every session in the response.
        """
        if not auths:
            response = self.execute(plain(code, handles, parameters))
            _raise(response)
            if handle_out:
                return Reply(int.from_bytes(response[10:14], "big"), response[14:])
            return Reply(0, response[10:])
        parameters = self._encrypt(parameters, auths)
        area = self._area(code, handles, parameters, auths)
        response = self.execute(with_area(code, handles, area, parameters))
        _raise(response)
        return self._reply(code, response, auths, handle_out)

    def _encrypt(self, parameters: bytes, auths: Sequence[bytes | tuple[Session, bytes]]) -> bytes:
        for one in auths:
            if isinstance(one, tuple):
                one[0].nonce = os.urandom(16)
        for one in auths:
            if isinstance(one, tuple) and one[0].attributes & DECRYPT:
                session, auth = one
                end = 2 + int.from_bytes(parameters[:2], "big")
                nonces = (session.nonce, session.nonce_tpm)
                content = session.crypt(auth, *nonces, parameters[2:end], True)
                return parameters[:2] + content + parameters[end:]
        return parameters

    def _area(
        self,
        code: int,
        handles: Sequence[int],
        parameters: bytes,
        auths: Sequence[bytes | tuple[Session, bytes]],
    ) -> bytes:
        names = b"".join(map(self.name, handles))
        area = b""
        for index, one in enumerate(auths):
            if isinstance(one, bytes):
                area += password(one)
                continue
            session, auth = one
            cp_hash = hashlib.new(HASH[session.hash_alg], u32(code) + names + parameters).digest()
            extra = self._extra_nonces(index, auths)
            content = cp_hash + session.nonce + session.nonce_tpm + extra + u8(session.attributes)
            mac = auth if session.password else session.hmac(auth, content)
            area += u32(session.handle) + b2(session.nonce) + u8(session.attributes) + b2(mac)
        return area

    @staticmethod
    def _extra_nonces(index: int, auths: Sequence[bytes | tuple[Session, bytes]]) -> bytes:
        if index:
            return b""
        others = [one[0] for one in auths[1:] if isinstance(one, tuple)]
        decrypt = [one for one in others if one.attributes & DECRYPT]
        encrypt = [one for one in others if one.attributes & ENCRYPT and one not in decrypt]
        return b"".join(one.nonce_tpm for one in decrypt + encrypt)

    def _reply(
        self,
        code: int,
        response: bytes,
        auths: Sequence[bytes | tuple[Session, bytes]],
        handle_out: bool,
    ) -> Reply:
        assert response[:2] == u16(0x8002)
        handle, at = 0, 10
        if handle_out:
            handle, at = int.from_bytes(response[10:14], "big"), 14
        size = int.from_bytes(response[at : at + 4], "big")
        at += 4
        parameters, at = response[at : at + size], at + size
        answer = parameters
        for one in auths:
            nonce, at = _take(response, at)
            attributes, at = response[at], at + 1
            mac, at = _take(response, at)
            if isinstance(one, bytes):
                assert (nonce, attributes, mac) == (b"", CONTINUE, b"")
                continue
            session, auth = one
            session.nonce_tpm = nonce
            rp_hash = hashlib.new(HASH[session.hash_alg], u32(0) + u32(code) + parameters).digest()
            content = rp_hash + nonce + session.nonce + u8(attributes)
            expected = b"" if session.password else session.hmac(auth, content)
            assert mac == expected, "the response's HMAC is wrong"
            if session.attributes & ENCRYPT:
                end = 2 + int.from_bytes(parameters[:2], "big")
                clear = session.crypt(auth, nonce, session.nonce, parameters[2:end], False)
                answer = parameters[:2] + clear + parameters[end:]
        assert at == len(response)
        return Reply(handle, answer)

    # Frequent commands.

    def startup(self, kind: int = 0) -> None:
        self.call(0x144, [], u16(kind))

    def start_session(
        self,
        kind: int = 0,
        hash_alg: int = SHA256,
        symmetric: tuple[int, int] = (0x10, 0),
        bind: int = NULL,
        bind_auth: bytes = b"",
        tpm_key: int = NULL,
        salt: tuple[bytes, bytes] = (b"", b""),
    ) -> Session:
        """An HMAC (0), policy (1) or trial (3) session; `salt` is the secret and its encryption."""
        nonce = os.urandom(16)
        wire = u16(symmetric[0])
        if symmetric[0] == 0xA:
            wire += u16(symmetric[1])
        elif symmetric[0] == 6:
            wire += u16(symmetric[1]) + u16(0x43)
        content = b2(nonce) + b2(salt[1]) + u8(kind) + wire + u16(hash_alg)
        reply = self.call(0x176, [tpm_key, bind], content, handle_out=True)
        nonce_tpm = reply.tpm2b()
        key = b""
        if bind != NULL or salt[0]:
            bits = hashlib.new(HASH[hash_alg]).digest_size * 8
            secret = bind_auth + salt[0]
            key = kdfa(HASH[hash_alg], secret, b"ATH", nonce_tpm, nonce, bits)
        return Session(reply.handle, hash_alg, nonce_tpm, key, symmetric, no_auth=kind != 0)

    def create_primary(
        self, public: bytes, hierarchy: int = OWNER, auth: bytes = b"", data: bytes = b""
    ) -> tuple[int, bytes]:
        """Handle and public area of a new primary object."""
        content = b2(b2(auth) + b2(data)) + b2(public) + b2(b"") + u32(0)
        reply = self.call(0x131, [hierarchy], content, [b""], handle_out=True)
        made = reply.tpm2b()
        self.names[reply.handle] = object_name(made)
        return reply.handle, made

    def create(
        self,
        parent: int,
        public: bytes,
        auth: bytes = b"",
        data: bytes = b"",
        parent_auth: bytes = b"",
    ) -> tuple[bytes, bytes]:
        """Private and public part of a new object."""
        content = b2(b2(auth) + b2(data)) + b2(public) + b2(b"") + u32(0)
        reply = self.call(0x153, [parent], content, [parent_auth])
        return reply.tpm2b(0), reply.tpm2b(1)

    def load(self, parent: int, private: bytes, public: bytes) -> int:
        content = b2(private) + b2(public)
        reply = self.call(0x157, [parent], content, [b""], handle_out=True)
        self.names[reply.handle] = reply.tpm2b()
        assert reply.tpm2b() == object_name(public)
        return reply.handle

    def flush(self, handle: int) -> None:
        self.call(0x165, [], u32(handle))


def _take(response: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(response[at : at + 2], "big")
    return response[at + 2 : end], end


def _raise(response: bytes) -> None:
    code = rc(response)
    if code:
        raise Failed(code)


def object_name(public: bytes) -> bytes:
    """The Name of a TPMT_PUBLIC."""
    alg = public[2:4]
    return alg + hashlib.new(HASH[int.from_bytes(alg, "big")], public).digest()


# Templates.

FIXED = 0x12 | 0x20
"""fixedTPM, fixedParent, sensitiveDataOrigin."""
WITH_AUTH, NO_DA, RESTRICTED, DECRYPTS, SIGNS = 0x40, 0x400, 0x10000, 0x20000, 0x40000


def template(
    kind: int,
    attributes: int,
    parameters: bytes,
    unique: bytes,
    policy: bytes = b"",
    name_alg: int = SHA256,
) -> bytes:
    """A TPMT_PUBLIC."""
    return u16(kind) + u16(name_alg) + u32(attributes) + b2(policy) + parameters + unique


_AES_CFB = u16(6) + u16(128) + u16(0x43)
_NONE = u16(0x10)
STORAGE = FIXED | WITH_AUTH | NO_DA | RESTRICTED | DECRYPTS


def ecc_storage(attributes: int = STORAGE, curve: int = 3) -> bytes:
    return template(0x23, attributes, _AES_CFB + _NONE + u16(curve) + _NONE, b2(b"") * 2)


def rsa_storage(attributes: int = STORAGE, bits: int = 2048) -> bytes:
    return template(1, attributes, _AES_CFB + _NONE + u16(bits) + u32(0), b2(b""))


def ecc_signing(attributes: int = FIXED | WITH_AUTH | NO_DA | SIGNS, curve: int = 3) -> bytes:
    parameters = _NONE + u16(0x18) + u16(SHA256) + u16(curve) + _NONE
    return template(0x23, attributes, parameters, b2(b"") * 2)


def rsa_key(attributes: int, bits: int = 2048) -> bytes:
    return template(1, attributes, _NONE + _NONE + u16(bits) + u32(0), b2(b""))


def sealed(attributes: int = 0x12 | WITH_AUTH | NO_DA, policy: bytes = b"") -> bytes:
    return template(8, attributes, _NONE, b2(b""), policy)


def hmac_key(attributes: int = FIXED | WITH_AUTH | NO_DA | SIGNS) -> bytes:
    return template(8, attributes, u16(5) + u16(SHA256), b2(b""))


def aes_key(attributes: int = FIXED | WITH_AUTH | NO_DA | DECRYPTS) -> bytes:
    return template(0x25, attributes, _AES_CFB, b2(b""))


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def engine(clock: Callable[[], int] | None = None) -> Tpm:
    """A new TPM."""
    return Tpm(None, os.urandom, clock or Clock())


def execute_checked(tpm: Tpm) -> Callable[[bytes], bytes]:
    """The engine's `execute`, failing the test if a command ran into a defect."""

    def execute(command: bytes) -> bytes:
        response = tpm.execute(command)
        assert tpm.fault is None, tpm.fault
        return response

    return execute


def started(clock: Callable[[], int] | None = None) -> tuple[Tpm, Client]:
    """A new TPM that has had TPM2_Startup(CLEAR), and a client of it."""
    tpm = engine(clock)
    client = Client(execute_checked(tpm))
    client.startup()
    return tpm, client
