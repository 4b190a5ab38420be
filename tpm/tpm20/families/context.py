"""Context management (part 3, 28; part 1, 30)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tpm.tpm20 import crypto, entities, plain
from tpm.tpm20.codec import write_buffer
from tpm.tpm20.constants import (
    CONTEXT_GAP_MAX,
    CONTEXT_HASH,
    CONTEXT_KEY_BITS,
    HR,
    HT,
    MAX_LOADED_SESSIONS,
    MAX_PERSISTENT_OBJECTS,
    RC,
    RH,
    H,
    P,
    TpmError,
)
from tpm.tpm20.objects import Object, Sequence, Slot
from tpm.tpm20.sessions import Session
from tpm.tpm20.structures import DIGEST_SIZE, SAVED_OBJECTS, Context

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_OBJECT, _SEQUENCE, _ST_CLEAR_OBJECT = SAVED_OBJECTS
_DIGEST_SIZE = DIGEST_SIZE[CONTEXT_HASH]


def _counters(tpm: Tpm, saved_handle: int) -> bytes:
    """What makes a context of before a TPM Reset, or a Restart, be one no more."""
    counters = tpm.state.total_reset_count.to_bytes(8, "big")
    if saved_handle == _ST_CLEAR_OBJECT:
        counters += tpm.reset.clear_count.to_bytes(4, "big")
    return counters


def _key_and_iv(
    tpm: Tpm, sequence: bytes, saved_handle: int, hierarchy: int
) -> tuple[bytes, bytes]:
    bits = CONTEXT_KEY_BITS + 128
    handle = saved_handle.to_bytes(4, "big")
    proof = tpm.proof(hierarchy)
    material = crypto.kdfa(CONTEXT_HASH, proof, b"CONTEXT", sequence, handle, bits)
    return material[: CONTEXT_KEY_BITS // 8], material[CONTEXT_KEY_BITS // 8 :]


def _integrity(
    tpm: Tpm, sequence: bytes, saved_handle: int, hierarchy: int, encrypted: bytes
) -> bytes:
    content = _counters(tpm, saved_handle) + sequence + saved_handle.to_bytes(4, "big") + encrypted
    return crypto.hmac(CONTEXT_HASH, tpm.proof(hierarchy), content)


def _protect(tpm: Tpm, sequence: int, saved_handle: int, hierarchy: int, content: Any) -> Context:
    octets = sequence.to_bytes(8, "big")
    key, iv = _key_and_iv(tpm, octets, saved_handle, hierarchy)
    encrypted = crypto.cfb_encrypt(key, iv, plain.pack(plain.save(content)))
    integrity = _integrity(tpm, octets, saved_handle, hierarchy, encrypted)
    return Context(sequence, saved_handle, hierarchy, write_buffer(integrity) + encrypted)


def context_save(tpm: Tpm, save: int) -> tuple[Context]:
    """Part 3, 28.2."""
    if save >> 24 != HT.TRANSIENT:
        return (_save_session(tpm, save),)
    held = tpm.objects[save]
    tpm.void_shutdown()
    tpm.reset.object_context_id += 1
    if isinstance(held, Sequence):
        held.fold()
        saved_handle, hierarchy = _SEQUENCE, RH.NULL
    else:
        saved_handle = _ST_CLEAR_OBJECT if held.st_clear else _OBJECT
        hierarchy = held.hierarchy
    return (_protect(tpm, tpm.reset.object_context_id, saved_handle, hierarchy, held),)


def _gap_is_full(tpm: Tpm) -> bool:
    """No identifier is left that can be told from the oldest saved session's (part 1, 30.5)."""
    saved = tpm.reset.saved_sessions
    return bool(saved) and tpm.reset.session_context_id - min(saved.values()) >= CONTEXT_GAP_MAX


def _save_session(tpm: Tpm, handle: int) -> Context:
    if _gap_is_full(tpm):
        raise TpmError(RC.CONTEXT_GAP)
    tpm.void_shutdown()
    sequence = tpm.reset.session_context_id
    context = _protect(tpm, sequence, handle, RH.NULL, tpm.sessions.pop(handle))
    tpm.reset.saved_sessions[handle] = sequence
    tpm.reset.session_context_id += 1
    return context


def _content(tpm: Tpm, context: Context) -> Any:
    """The plain data in a context that this TPM has saved."""
    blob = context.blob
    if blob[:2] != _DIGEST_SIZE.to_bytes(2, "big") or len(blob) < 2 + _DIGEST_SIZE + 8:
        raise TpmError(RC.SIZE + P(1))
    integrity, encrypted = blob[2 : 2 + _DIGEST_SIZE], blob[2 + _DIGEST_SIZE :]
    octets = context.sequence.to_bytes(8, "big")
    expected = _integrity(tpm, octets, context.saved_handle, context.hierarchy, encrypted)
    if not crypto.equal(integrity, expected):
        raise TpmError(RC.INTEGRITY + P(1))
    key, iv = _key_and_iv(tpm, octets, context.saved_handle, context.hierarchy)
    return plain.unpack(crypto.cfb_decrypt(key, iv, encrypted))


def context_load(tpm: Tpm, context: Context) -> tuple[int]:
    """Part 3, 28.3."""
    content = _content(tpm, context)
    if context.saved_handle >> 24 != HT.TRANSIENT:
        return (_load_session(tpm, context, content),)
    if not entities.hierarchy_enabled(tpm, context.hierarchy):
        raise TpmError(RC.HIERARCHY + P(1))
    handle = tpm.free_handle()
    kind = Sequence if context.saved_handle == _SEQUENCE else Object
    held: Slot = plain.restore(kind, content)
    tpm.objects[handle] = held
    return (handle,)


def _load_session(tpm: Tpm, context: Context, content: Any) -> int:
    handle = context.saved_handle
    saved = tpm.reset.saved_sessions
    if saved.get(handle) != context.sequence:
        raise TpmError(RC.HANDLE + P(1))
    if len(tpm.sessions) >= MAX_LOADED_SESSIONS:
        raise TpmError(RC.SESSION_MEMORY)
    last_slot = len(tpm.sessions) == MAX_LOADED_SESSIONS - 1
    if last_slot and _gap_is_full(tpm) and saved[handle] != min(saved.values()):
        raise TpmError(RC.CONTEXT_GAP)
    tpm.void_shutdown()
    tpm.sessions[handle] = plain.restore(Session, content)
    del saved[handle]
    return handle


def flush_context(tpm: Tpm, flush: int) -> None:
    """Part 3, 28.4."""
    if flush >> 24 == HT.TRANSIENT:
        if flush not in tpm.objects:
            raise TpmError(RC.HANDLE + P(1))
        del tpm.objects[flush]
        return
    # Saved sessions are told by their numbers, as if all were HMAC sessions.
    for handle in (flush, flush ^ entities.OTHER_KIND):
        if handle in tpm.sessions or handle in tpm.reset.saved_sessions:
            tpm.flush_session(handle)
            return
    raise TpmError(RC.HANDLE + P(1))


def evict_control(tpm: Tpm, auth: int, handle: int, persistent: int) -> None:
    """Part 3, 28.5: make a transient object persistent, or remove a persistent one."""
    held = tpm.slot(handle)
    if not isinstance(held, Object) or held.is_temporary or held.st_clear or held.sensitive is None:
        raise TpmError(RC.ATTRIBUTES + H(2))
    if held.persistent and held.persistent != persistent:
        raise TpmError(RC.HANDLE + H(2))
    of_platform = held.hierarchy == RH.PLATFORM
    if auth == RH.OWNER and of_platform:
        raise TpmError(RC.HIERARCHY + H(2))
    state = tpm.state
    if held.persistent:
        del state.persistent[persistent]
        state.changed = True
        return
    if auth == RH.PLATFORM and not of_platform:
        raise TpmError(RC.HIERARCHY + H(2))
    if (persistent >= HR.PLATFORM_PERSISTENT) != (auth == RH.PLATFORM):
        raise TpmError(RC.RANGE + P(1))
    if persistent in state.persistent:
        raise TpmError(RC.NV_DEFINED)
    if len(state.persistent) >= MAX_PERSISTENT_OBJECTS:
        raise TpmError(RC.NV_SPACE)
    state.persistent[persistent] = dataclasses.replace(held, persistent=persistent)
    state.changed = True
