"""Unpacking a Linux kernel's payload on the host.

The formats are those of ``scripts/Makefile.lib`` in the kernel's source: the compressed stream,
followed by the unpacked size as a 32-bit number.  A payload in a format that has no decoder on this
host is left to the kernel's own unpacking program, which costs time and nothing else.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable
from typing import Final

from vmm.boot import BootError

MAX_SIZE = 1 << 30
"""No kernel is larger; a payload that says so is refused before anything is allocated."""
LZ4_LEGACY = b"\x02\x21\x4c\x18"
LZ4_BLOCK = 8 << 20
LZMA_MEMORY = 512 << 20
"""Bytes that unpacking LZMA may take at most; the stream says how much it needs."""


def unpack(payload: bytes) -> bytes | None:
    """The kernel proper, or None if the format is not known here.  ``BootError`` if damaged."""
    if len(payload) < 8:
        raise BootError("the kernel's payload is empty")
    (size,) = struct.unpack_from("<I", payload, len(payload) - 4)
    if size > MAX_SIZE:
        raise BootError("the kernel's payload is damaged: it claims to unpack to more than 1 GiB")
    decoder = next((found for magic, found in _DECODERS if payload.startswith(magic)), None)
    if decoder is None:
        return None
    if not size:  # which some would take for no limit
        raise BootError("the kernel's payload is damaged: it claims to unpack to nothing")
    try:
        return decoder(payload, size)
    except (lzma.LZMAError, zlib.error, OSError, ValueError) as error:
        raise BootError(f"the kernel's payload is damaged: {error}") from error
    except MemoryError as error:
        raise BootError("there is too little memory to unpack the kernel's payload") from error


def _xz(stream: bytes, size: int) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, LZMA_MEMORY).decompress(stream, size)


def _lzma(stream: bytes, size: int) -> bytes:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, LZMA_MEMORY).decompress(stream, size)


def _gzip(stream: bytes, size: int) -> bytes:
    return zlib.decompressobj(31).decompress(stream, size)


def _bzip2(stream: bytes, size: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(stream, size)


def _lz4(stream: bytes, size: int) -> bytes | None:
    """The legacy LZ4 frame: blocks of 8 MiB, each after its compressed size.

    LZ4 Frame format description, "Legacy frame".
    """
    try:
        import lz4.block  # type: ignore[import-untyped]
    except ImportError:
        return None
    blocks = []
    left = size
    view = memoryview(stream)[:-4]
    at = 4
    while left > 0:
        if at + 4 > len(view):
            raise ValueError("the LZ4 stream ends early")
        (length,) = struct.unpack_from("<I", view, at)
        at += 4
        if at + length > len(view):
            raise ValueError("the LZ4 stream ends early")
        try:
            block = lz4.block.decompress(view[at : at + length], min(left, LZ4_BLOCK))
        except lz4.block.LZ4BlockError as error:
            raise ValueError(str(error)) from error
        if not block:
            raise ValueError("the LZ4 stream has an empty block")
        blocks.append(block)
        left -= len(block)
        at += length
    return b"".join(blocks)


_DECODERS: Final[tuple[tuple[bytes, Callable[[bytes, int], bytes | None]], ...]] = (
    (LZ4_LEGACY, _lz4),
    (b"\xfd7zXZ\0", _xz),
    (b"\x5d\0\0", _lzma),
    (b"\x1f\x8b", _gzip),
    (b"BZh", _bzip2),
)
"""What a stream of each format begins with, and its decoder, which is told how much to unpack."""
