"""What the TPM says of itself: algorithms, properties (part 2, 6.13; PC Client profile), time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import constants as c
from tpm.tpm20.constants import ALG, PT, TPMA_ALGORITHM, TPMA_PERMANENT, TPMA_STARTUP_CLEAR
from tpm.tpm20.structures import CURVES, ClockInfo, TimeInfo

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_A = TPMA_ALGORITHM
_HASH_METHOD = _A.HASH | _A.METHOD
_ASYM_SIGN = _A.ASYMMETRIC | _A.SIGNING
_SYM_MODE = _A.SYMMETRIC | _A.ENCRYPTING

ALGORITHMS: tuple[tuple[int, int], ...] = (
    (ALG.RSA, _A.ASYMMETRIC | _A.OBJECT),
    (ALG.SHA1, _A.HASH),
    (ALG.HMAC, _A.HASH | _A.SIGNING),
    (ALG.AES, _A.SYMMETRIC),
    (ALG.MGF1, _HASH_METHOD),
    (ALG.KEYEDHASH, _A.HASH | _A.OBJECT | _A.SIGNING | _A.ENCRYPTING),
    (ALG.XOR, _A.HASH | _A.SYMMETRIC),
    (ALG.SHA256, _A.HASH),
    (ALG.SHA384, _A.HASH),
    (ALG.SHA512, _A.HASH),
    (ALG.RSASSA, _ASYM_SIGN),
    (ALG.RSAES, _A.ASYMMETRIC | _A.ENCRYPTING),
    (ALG.RSAPSS, _ASYM_SIGN),
    (ALG.OAEP, _A.ASYMMETRIC | _A.ENCRYPTING),
    (ALG.ECDSA, _ASYM_SIGN),
    (ALG.ECDH, _A.ASYMMETRIC | _A.METHOD),
    (ALG.ECDAA, _ASYM_SIGN),
    (ALG.ECSCHNORR, _ASYM_SIGN),
    (ALG.KDF1_SP800_56A, _HASH_METHOD),
    (ALG.KDF1_SP800_108, _HASH_METHOD),
    (ALG.ECC, _A.ASYMMETRIC | _A.OBJECT),
    (ALG.SYMCIPHER, _A.OBJECT),
    (ALG.CMAC, _A.SYMMETRIC | _A.SIGNING),
    (ALG.CTR, _SYM_MODE),
    (ALG.OFB, _SYM_MODE),
    (ALG.CBC, _SYM_MODE),
    (ALG.CFB, _SYM_MODE),
    (ALG.ECB, _SYM_MODE),
)


def _text(characters: str) -> int:
    return int.from_bytes(characters.encode().ljust(4, b"\0")[:4], "big")


FIRMWARE_VERSION = (0x00010000, 0x00000000)

_FIXED = {
    PT.FAMILY_INDICATOR: _text("2.0"),
    PT.LEVEL: 0,
    PT.REVISION: 159,
    PT.DAY_OF_YEAR: 312,  # revision 1.59 is of 8 November 2019
    PT.YEAR: 2019,
    PT.MANUFACTURER: _text("CLOI"),
    PT.VENDOR_STRING_1: _text("Cloi"),
    PT.VENDOR_STRING_2: _text("ster"),
    PT.VENDOR_STRING_3: 0,
    PT.VENDOR_STRING_4: 0,
    PT.VENDOR_TPM_TYPE: 1,
    PT.FIRMWARE_VERSION_1: FIRMWARE_VERSION[0],
    PT.FIRMWARE_VERSION_2: FIRMWARE_VERSION[1],
    PT.INPUT_BUFFER: c.MAX_BUFFER,
    PT.HR_TRANSIENT_MIN: c.MAX_LOADED_OBJECTS,
    PT.HR_PERSISTENT_MIN: c.MIN_EVICT_OBJECTS,
    PT.HR_LOADED_MIN: c.MAX_LOADED_SESSIONS,
    PT.ACTIVE_SESSIONS_MAX: c.MAX_ACTIVE_SESSIONS,
    PT.PCR_COUNT: c.PCR_COUNT,
    PT.PCR_SELECT_MIN: c.PCR_SELECT_SIZE,
    PT.CONTEXT_GAP_MAX: c.CONTEXT_GAP_MAX,
    PT.NV_COUNTERS_MAX: 0,  # no limit of their own
    PT.NV_INDEX_MAX: c.MAX_NV_INDEX_SIZE,
    PT.MEMORY: 0x6,  # objects in RAM, and NV shared by Indices and objects
    PT.CLOCK_UPDATE: c.CLOCK_UPDATE_INTERVAL,
    PT.CONTEXT_HASH: c.CONTEXT_HASH,
    PT.CONTEXT_SYM: ALG.AES,
    PT.CONTEXT_SYM_SIZE: c.CONTEXT_KEY_BITS,
    PT.ORDERLY_COUNT: 255,
    PT.MAX_COMMAND_SIZE: c.MAX_COMMAND_SIZE,
    PT.MAX_RESPONSE_SIZE: c.MAX_RESPONSE_SIZE,
    PT.MAX_DIGEST: c.MAX_DIGEST_SIZE,
    PT.MAX_OBJECT_CONTEXT: c.MAX_CONTEXT_SIZE + 18,
    PT.MAX_SESSION_CONTEXT: c.MAX_CONTEXT_SIZE + 18,
    PT.PS_FAMILY_INDICATOR: 1,  # PC Client
    PT.PS_LEVEL: 0,
    PT.PS_REVISION: 0x00000105,
    PT.PS_DAY_OF_YEAR: 0,
    PT.PS_YEAR: 0,
    PT.SPLIT_MAX: 128,
    PT.VENDOR_COMMANDS: 0,
    PT.NV_BUFFER_MAX: c.MAX_NV_BUFFER,
    PT.MODES: 0,
    PT.MAX_CAP_BUFFER: c.MAX_CAP_BUFFER,
}


def values(tpm: Tpm) -> dict[int, int]:
    """Every property and its value now."""
    from tpm.tpm20.dispatcher import COMMANDS

    count = len(COMMANDS)
    return {
        **_FIXED,
        PT.TOTAL_COMMANDS: count,
        PT.LIBRARY_COMMANDS: count,
        **_variable(tpm),
    }


def _permanent(tpm: Tpm) -> int:
    state = tpm.state
    flags = (
        (state.owner_auth, TPMA_PERMANENT.OWNER_AUTH_SET),
        (state.endorsement_auth, TPMA_PERMANENT.ENDORSEMENT_AUTH_SET),
        (state.lockout_auth, TPMA_PERMANENT.LOCKOUT_AUTH_SET),
        (state.disable_clear, TPMA_PERMANENT.DISABLE_CLEAR),
        (state.failed_tries >= state.max_tries, TPMA_PERMANENT.IN_LOCKOUT),
        (True, TPMA_PERMANENT.TPM_GENERATED_EPS),
    )
    return sum(bit for is_set, bit in flags if is_set)


def _startup_clear(tpm: Tpm) -> int:
    flags = (
        (tpm.platform_enabled, TPMA_STARTUP_CLEAR.PH_ENABLE),
        (tpm.clear.storage_enabled, TPMA_STARTUP_CLEAR.SH_ENABLE),
        (tpm.clear.endorsement_enabled, TPMA_STARTUP_CLEAR.EH_ENABLE),
        (tpm.clear.platform_nv_enabled, TPMA_STARTUP_CLEAR.PH_ENABLE_NV),
        (tpm.was_orderly, TPMA_STARTUP_CLEAR.ORDERLY),
    )
    return sum(bit for is_set, bit in flags if is_set)


def _variable(tpm: Tpm) -> dict[int, int]:
    state = tpm.state
    active = len(tpm.sessions) + len(tpm.reset.saved_sessions)
    room = c.MAX_PERSISTENT_OBJECTS - len(state.persistent)
    counters = sum(index.kind == c.NT.COUNTER for index in state.nv.values())
    return {
        PT.PERMANENT: _permanent(tpm),
        PT.STARTUP_CLEAR: _startup_clear(tpm),
        PT.HR_NV_INDEX: len(state.nv),
        PT.HR_LOADED: len(tpm.sessions),
        PT.HR_LOADED_AVAIL: c.MAX_LOADED_SESSIONS - len(tpm.sessions),
        PT.HR_ACTIVE: active,
        PT.HR_ACTIVE_AVAIL: c.MAX_ACTIVE_SESSIONS - active,
        PT.HR_TRANSIENT_AVAIL: c.MAX_LOADED_OBJECTS - len(tpm.objects),
        PT.HR_PERSISTENT: len(state.persistent),
        PT.HR_PERSISTENT_AVAIL: room,
        PT.NV_COUNTERS: counters,
        PT.NV_COUNTERS_AVAIL: max(0, c.MAX_NV_INDICES - len(state.nv)),
        PT.ALGORITHM_SET: state.algorithm_set,
        PT.LOADED_CURVES: len(CURVES),
        PT.LOCKOUT_COUNTER: state.failed_tries,
        PT.MAX_AUTH_FAIL: state.max_tries,
        PT.LOCKOUT_INTERVAL: state.recovery_time,
        PT.LOCKOUT_RECOVERY: state.lockout_recovery,
        PT.NV_WRITE_RECOVERY: 0,
        PT.AUDIT_COUNTER_0: state.audit_counter >> 32,
        PT.AUDIT_COUNTER_1: state.audit_counter & 0xFFFFFFFF,
    }


def time_info(tpm: Tpm) -> TimeInfo:
    """TPMS_TIME_INFO as it is now (part 1, 36)."""
    state = tpm.state
    clock = ClockInfo(tpm.clock, state.reset_count, tpm.reset.restart_count, state.clock_safe)
    return TimeInfo(tpm.time, clock)
