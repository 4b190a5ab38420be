"""One of the TPMs: steps are resolved, authorized and sent, and the answers taken apart."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.tpm.differential.salts import SALTS
from tests.tpm.differential.steps import (
    CODES,
    NAMES,
    NOBODY,
    POWER,
    ROWS,
    Earlier,
    Handle,
    Step,
    Use,
)
from tests.tpm.tpm20.client import (
    DECRYPT,
    ENCRYPT,
    HASH,
    SHA256,
    Session,
    b2,
    kdfa,
    plain,
    u8,
    u16,
    u32,
    with_area,
)
from tests.tpm.tpm20.client import PW as PASSWORD
from tpm.tpm20.codec import codec
from tpm.tpm20.constants import ROLE, TpmError

_READ_PUBLIC, _NV_READ_PUBLIC = CODES["ReadPublic"], CODES["NV_ReadPublic"]
_RENAMES = frozenset(("Startup", "FlushContext", "ContextLoad", "NV_GlobalWriteLock"))
"""Commands after which what they do not name in their handle area may have other Names."""


@dataclass
class Machine:
    """What a TPM can be told; a fresh one has left the factory and waits for Startup."""

    execute: Callable[[bytes, int], bytes]
    """A command at a locality."""
    power: Callable[[], None]
    """_TPM_Init."""
    fresh: Callable[[], None]
    """Become a TPM that has just left the factory."""


@dataclass
class Outcome:
    """What a step came to on a side."""

    command: bytes = b""
    response: bytes = b""
    code: int = 0
    handle: int | None = None
    fields: dict[str, bytes] = field(default_factory=dict)
    """The response's parameters by their names, decrypted."""
    sessions: tuple[str, ...] = ()
    """Of each session of the response what is comparable: attributes, and the HMAC's key."""
    is_edited: bool = False
    """The edits of the step have changed something."""
    names: tuple[bytes, ...] = ()
    meaning: tuple[bytes, ...] = ()
    """The command's parameters but for the opaque ones."""
    problem: str = ""
    """Why the response is none."""


def result_code(response: bytes) -> tuple[int, str]:
    """The response code, and what is wrong with the header."""
    if len(response) < 10:
        return -1, "shorter than a header"
    tag, size, code = struct.unpack_from(">HII", response)
    if size != len(response):
        return code, f"size {size} of {len(response)}"
    if tag not in (0x8001, 0x8002) or (code and (tag != 0x8001 or size != 10)):
        return code, f"tag {tag:#x}, size {size}"
    return code, ""


class Side:
    """A TPM and what happened on it so far in this sequence."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.sent: list[bytes] = []
        """Every command that a step became, before its edits."""
        self._handles: dict[int, int] = {}
        self._made: dict[tuple[int, str], bytes] = {}
        self._sessions: dict[int, Session] = {}
        self._names: dict[int, bytes] = {}

    # What parts ask.

    def made(self, step: int, name: str) -> bytes | None:
        if name == "nonce" and step in self._sessions:
            return b2(self._sessions[step].nonce_tpm)
        return self._made.get((step, name))

    def handle(self, handle: Handle) -> int:
        if isinstance(handle, Earlier):
            return self._handles.get(handle.step, NOBODY)
        return handle

    def made_handle(self, step: int) -> bool:
        """Something was given a handle by a step."""
        return step in self._handles

    def name(self, handle: int) -> bytes:
        """The Name of what a handle stands for; asked of the TPM when it is not known."""
        kind = handle >> 24
        if kind not in (0x80, 0x81, 0x01):
            return u32(handle)
        known = self._names.get(handle)
        if known is None:
            code = _NV_READ_PUBLIC if kind == 1 else _READ_PUBLIC
            response = self.machine.execute(plain(code, [handle]), 0)
            known = b"" if result_code(response)[0] else _second_tpm2b(response[10:])
            self._names[handle] = known
        return known

    def session_handle(self, use: Use) -> int:
        return PASSWORD if use.session is None else self.handle(use.session)

    # Steps.

    def run(self, step: Step) -> Outcome:
        if step.name == POWER:
            self.machine.power()
            self._forget_names(step, [])
            return Outcome()
        handles = [self.handle(one) for one in step.handles]
        names = tuple(self.name(one) for one in handles)
        parts = [one if isinstance(one, bytes) else one.resolve(self) for one in step.parameters]
        meaning = tuple(
            octets
            for part, octets in zip(step.parameters, parts, strict=True)
            if isinstance(part, bytes) or not part.opaque
        )
        parameters = b"".join(parts)
        command = self._command(step, handles, names, parameters)
        self.sent.append(command)
        outcome = Outcome(step.edited(command), names=names, meaning=meaning)
        outcome.is_edited = outcome.command != command
        outcome.response = self.machine.execute(outcome.command, step.locality)
        outcome.code, outcome.problem = result_code(outcome.response)
        if not outcome.code and not outcome.problem:
            self._answer(step, outcome, parameters)
            self._forget_names(step, handles)
        return outcome

    def _forget_names(self, step: Step, handles: list[int]) -> None:
        """Names that the step may have changed. To ask for them again can take a slot."""
        if step.edits or step.name == POWER or ROWS[step.name].extensive:
            self._names.clear()
            return
        if step.name == "EvictControl":
            place = int.from_bytes(self.sent[-1][-4:], "big")
            self._names.pop(place, None)
            if handles[1] in self._names and handles[1] != place:
                self._names[place] = self._names[handles[1]]
            return
        if step.name in _RENAMES:
            held = self._names.items()
            self._names = {handle: name for handle, name in held if handle >> 24 == 0x81}
            return
        created = self._handles.get(step.number)
        for handle in [*handles, *([created] if created is not None else [])]:
            if handle >> 24 == 1 or handle == created:
                self._names.pop(handle, None)

    # The command.

    def _command(
        self, step: Step, handles: list[int], names: tuple[bytes, ...], parameters: bytes
    ) -> bytes:
        code = CODES[step.name]
        if not step.uses:
            return plain(code, handles, parameters)
        parameters = self._encrypted(step, parameters)
        area = b""
        for place, use in enumerate(step.uses):
            session = self._session(use)
            if session is None:
                handle = self.session_handle(use)
                area += u32(handle) + b2(b"") + u8(use.attributes) + b2(use.auth)
                continue
            alg = HASH[session.hash_alg]
            content = u32(code) + b"".join(names) + parameters
            signed = hashlib.new(alg, content).digest() + step.nonce(place) + session.nonce_tpm
            signed += self._other_nonces(step, place) + u8(use.attributes)
            mac = use.auth if use.in_clear else session.hmac(_hmac_auth(use), signed)
            area += u32(session.handle) + b2(step.nonce(place)) + u8(use.attributes) + b2(mac)
        return with_area(code, handles, area, parameters)

    def _session(self, use: Use) -> Session | None:
        return None if use.session is None else self._sessions.get(use.session.step)

    def _encrypted(self, step: Step, parameters: bytes) -> bytes:
        for place, use in enumerate(step.uses):
            session = self._session(use)
            if session is not None and use.attributes & DECRYPT and len(parameters) >= 2:
                end = 2 + int.from_bytes(parameters[:2], "big")
                content = session.crypt(
                    _entity_auth(step, place),
                    step.nonce(place),
                    session.nonce_tpm,
                    parameters[2:end],
                    True,
                )
                return parameters[:2] + content + parameters[end:]
        return parameters

    def _other_nonces(self, step: Step, place: int) -> bytes:
        """The nonces of the sessions that encrypt, for a first one that authorizes."""
        if place or not auth_count(step.name):
            return b""
        out, seen = b"", {0}
        for bit in (DECRYPT, ENCRYPT):
            for other, use in enumerate(step.uses):
                session = self._session(use)
                if session is not None and use.attributes & bit:
                    if other not in seen:
                        out += session.nonce_tpm
                    seen.add(other)
                    break
        return out

    # The response.

    def _answer(self, step: Step, outcome: Outcome, parameters: bytes) -> None:
        name = step.name
        if step.edits:
            sent = int.from_bytes(outcome.command[6:10], "big")
            name = NAMES.get(sent, name)
        row, response, at = ROWS[name], outcome.response, 10
        if row.handle_out:
            outcome.handle = int.from_bytes(response[10:14], "big")
            self._handles[step.number] = outcome.handle
            at = 14
        end = len(response)
        answer = response[at:]
        if response[:2] == b"\x80\x02":
            size = int.from_bytes(response[at : at + 4], "big")
            at, end = at + 4, at + 4 + size
            answer = response[at:end]
            answer, outcome.sessions = self._response_area(step, answer, response[end:])
        try:
            outcome.fields = _fields(name, answer)
        except (TpmError, struct.error) as error:
            if not step.edits:  # with them it may be encrypted in an unknown way
                outcome.problem = f"the response does not unmarshal: {error}"
            return
        for field_name, octets in outcome.fields.items():
            self._made[step.number, field_name] = octets
        if name == "StartAuthSession" and not step.edits:
            self._start_session(step, outcome, parameters)
        if name == "ContextLoad":
            self._continue_session(step, outcome.handle)

    def _response_area(
        self, step: Step, answer: bytes, area: bytes
    ) -> tuple[bytes, tuple[str, ...]]:
        """The parameters, decrypted, and how each session signed them."""
        told, at, clear = [], 0, answer
        for place, use in enumerate(step.uses):
            if at + 2 > len(area):
                told.append("missing")
                continue
            nonce, at = _tpm2b(area, at)
            attributes, at = area[at], at + 1
            mac, at = _tpm2b(area, at)
            session = self._session(use)
            if session is None:
                told.append(f"{len(nonce)} {attributes:#x} {len(mac)}")
                continue
            session.nonce_tpm = nonce
            alg = HASH[session.hash_alg]
            rp_hash = hashlib.new(alg, u32(0) + u32(CODES[step.name]) + answer).digest()
            signed = rp_hash + nonce + step.nonce(place) + u8(attributes)
            told.append(f"{len(nonce)} {attributes:#x} {_signer(session, step, use, signed, mac)}")
            if attributes & ENCRYPT and len(answer) >= 2:
                end = 2 + int.from_bytes(answer[:2], "big")
                auth = _entity_auth(step, place)
                content = session.crypt(auth, nonce, step.nonce(place), answer[2:end], False)
                clear = answer[:2] + content + answer[end:]
        if at != len(area):
            told.append(f"{len(area) - at} octets more")
        return clear, tuple(told)

    def _start_session(self, step: Step, outcome: Outcome, parameters: bytes) -> None:
        assert outcome.handle is not None
        session = _parse_start(parameters)
        session.handle = outcome.handle
        session.nonce_tpm = _tpm2b(outcome.fields["nonce_tpm"], 0)[0]
        caller = _tpm2b(parameters, 0)[0]
        salt = b""
        for part in step.parameters:
            if isinstance(part, SALTS):
                salt = part.salt
        bound = step.info.bind_auth if step.info is not None else b""
        if salt or step.handles[1] != 0x40000007:
            alg = HASH[session.hash_alg]
            bits = hashlib.new(alg).digest_size * 8
            session.key = kdfa(alg, bound + salt, b"ATH", session.nonce_tpm, caller, bits)
        # Whoever had the handle before is not there any more.
        others = self._sessions.items()
        self._sessions = {one: old for one, old in others if old.handle != session.handle}
        self._sessions[step.number] = session

    def _continue_session(self, step: Step, handle: int | None) -> None:
        """A session that comes back has its old handle: the step that made it still names it."""
        found = [session for session in self._sessions.values() if session.handle == handle]
        if found:
            self._sessions[step.number] = found[-1]


def auth_count(name: str) -> int:
    """How many handles of a command need authorization."""
    handles = ROWS[name].handles.values()
    return sum(isinstance(one, tuple) and one[1] != ROLE.NONE for one in handles)


def _hmac_auth(use: Use) -> bytes:
    return use.auth if use.with_auth else b""


def _entity_auth(step: Step, place: int) -> bytes:
    return step.uses[place].auth if place < auth_count(step.name) else b""


def _signer(session: Session, step: Step, use: Use, signed: bytes, mac: bytes) -> str:
    """Whose authValue was in the key of the response's HMAC."""
    if not mac:
        return "nobody"
    candidates = {"entity": _hmac_auth(use), "nothing": b"", "other": use.auth}
    if step.info is not None and hasattr(step.info, "new_auth"):
        candidates["new"] = step.info.new_auth.rstrip(b"\0")
    for who, auth in candidates.items():
        if session.hmac(auth, signed) == mac:
            return who
    return "wrong"


def _parse_start(parameters: bytes) -> Session:
    """The session that StartAuthSession's parameters ask for."""
    _, at = _tpm2b(parameters, 0)
    _, at = _tpm2b(parameters, at)
    at += 1
    algorithm = int.from_bytes(parameters[at : at + 2], "big")
    symmetric, at = (algorithm, 0), at + 2
    if algorithm != 0x10:
        symmetric = (algorithm, int.from_bytes(parameters[at : at + 2], "big"))
        at += 2 if algorithm == 0xA else 4
    hash_alg = int.from_bytes(parameters[at : at + 2], "big")
    return Session(0, hash_alg if hash_alg in HASH else SHA256, b"", symmetric=symmetric)


def _fields(name: str, octets: bytes) -> dict[str, bytes]:
    found, at = {}, 0
    for field_name, kind in ROWS[name].returns.items():
        _, end = codec(kind).read(octets, at)
        found[field_name] = octets[at:end]
        at = end
    if at != len(octets):
        raise struct.error(f"{len(octets) - at} octets more")
    return found


def _tpm2b(octets: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + int.from_bytes(octets[at : at + 2], "big")
    return octets[at + 2 : end], end


def _second_tpm2b(octets: bytes) -> bytes:
    return _tpm2b(octets, _tpm2b(octets, 0)[1])[0]


__all__ = ["Machine", "Outcome", "Side", "auth_count", "result_code", "u16"]
