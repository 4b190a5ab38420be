"""Symmetric encryption (part 3, 15.2 and 15.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tpm.tpm20 import crypto
from tpm.tpm20.constants import ALG, MAX_SYM_BLOCK_SIZE, RC, TPMA_OBJECT, H, P, TpmError
from tpm.tpm20.objects import Object
from tpm.tpm20.structures import BLOCK_MODES

if TYPE_CHECKING:
    from tpm.tpm20.engine import Tpm

_BLOCK = MAX_SYM_BLOCK_SIZE
_WHOLE_BLOCKS = (ALG.CBC, ALG.ECB)


def encrypt_decrypt(
    tpm: Tpm, key: int, decrypt: int, mode: int, iv_in: bytes, in_data: bytes
) -> tuple[bytes, bytes]:
    """Part 3, 15.2."""
    held = _key(tpm, key, decrypt)
    mode = _mode(held, mode, 2)
    _check_sizes(mode, iv_in, 3, in_data, 4)
    return _crypt(held, decrypt, mode, iv_in, in_data)


def encrypt_decrypt2(
    tpm: Tpm, key: int, in_data: bytes, decrypt: int, mode: int, iv_in: bytes
) -> tuple[bytes, bytes]:
    """Part 3, 15.3: the data come first, where a session can encrypt them."""
    held = _key(tpm, key, decrypt)
    mode = _mode(held, mode, 3)
    _check_sizes(mode, iv_in, 4, in_data, 1)
    return _crypt(held, decrypt, mode, iv_in, in_data)


def _key(tpm: Tpm, handle: int, decrypt: int) -> Object:
    held = tpm.slot(handle)
    if not isinstance(held, Object) or held.public.type != ALG.SYMCIPHER:
        raise TpmError(RC.KEY + H(1))
    wanted = TPMA_OBJECT.DECRYPT if decrypt else TPMA_OBJECT.SIGN
    if held.has(TPMA_OBJECT.RESTRICTED) or not held.has(wanted):
        raise TpmError(RC.ATTRIBUTES + H(1))
    if held.public.parameters.mode not in (*BLOCK_MODES, ALG.NULL):
        raise TpmError(RC.MODE + H(1))
    return held


def _mode(held: Object, given: int, parameter: int) -> int:
    own: int = held.public.parameters.mode
    chosen = own if given == ALG.NULL else given
    if chosen == ALG.NULL or own not in (ALG.NULL, chosen):
        raise TpmError(RC.MODE + P(parameter))
    return chosen


def _check_sizes(mode: int, iv: bytes, iv_number: int, data: bytes, data_number: int) -> None:
    if len(iv) != (0 if mode == ALG.ECB else _BLOCK):
        raise TpmError(RC.SIZE + P(iv_number))
    if mode in _WHOLE_BLOCKS and len(data) % _BLOCK:
        raise TpmError(RC.SIZE + P(data_number))


def _crypt(held: Object, decrypt: int, mode: int, iv: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The data and the IV with which the next piece of them goes on."""
    if not data:
        return data, iv
    assert held.sensitive is not None
    # The tail of a stream is filled with zeros: where the last block's keystream is the next IV, it
    # shows in them.
    filled = data + bytes(-len(data) % _BLOCK)
    out = crypto.aes(held.sensitive.sensitive, mode, iv, filled, bool(decrypt))
    result = out[: len(data)]
    if mode == ALG.ECB:
        return result, b""
    if mode == ALG.CTR:
        counter = int.from_bytes(iv, "big") + len(filled) // _BLOCK
        return result, (counter % (1 << 128)).to_bytes(_BLOCK, "big")
    if mode == ALG.OFB:
        last = zip(filled[-_BLOCK:], out[-_BLOCK:], strict=True)
        return result, bytes(a ^ b for a, b in last)
    cipher = data if decrypt else result
    return result, cipher[-(len(cipher) % _BLOCK or _BLOCK) :].ljust(_BLOCK, b"\0")
