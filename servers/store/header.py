"""The header of qcow2 images (docs/interop/qcow2.txt of QEMU): what it says, and a new one.

  00 "QFI" FBh  04 version  08 u64 place and 10 u32 size of the backing file's name
  14 bits of a cluster  18 u64 size  20 encryption  24 entries and 28 u64 place of the L1 table
  30 u64 place and 38 u32 clusters of the refcount table  3C snapshots and 40 u64 their place
  version 3: 48 u64 incompatible, 50 compatible, 58 auto-clear features
             60 bits of a refcount, as a power of two  64 length  68 u8 compression

All numbers are big-endian.  Reading and writing need neither files nor services, so that tools use
this, too.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

MAGIC: Final = b"QFI\xfb"
LENGTH_2, LENGTH_3 = 72, 104
_COMMON: Final = struct.Struct(">4sIQIIQIIQQIIQ")
_FEATURES: Final = struct.Struct(">QQQII")
DIRTY, CORRUPT, DATA_FILE, COMPRESSION, SUBCLUSTERS = 1, 2, 4, 8, 16
AUTOCLEAR_AT: Final = 0x58
FORMAT_OF_BACKING: Final = 0xE2792ACA
MOST_L1: Final = 8 << 20
"""Bytes of an L1 table at most."""
MOST_REFCOUNT_TABLE: Final = 8 << 20
PROBE: Final = 4096
"""Bytes from the beginning of a file that ``parse`` wants."""
CLUSTER_BITS: Final = range(9, 22)
LARGEST: Final = 1 << 46
"""Bytes of a disk at most."""


class ImageError(ValueError):
    """The image cannot be used; the text is one sentence that begins with the reason."""


class Header(NamedTuple):
    """What an image says of itself.  Places are bytes from its beginning."""

    version: int
    cluster_bits: int
    size: int
    """Bytes of the disk."""
    l1_at: int
    l1_entries: int
    refcounts_at: int
    refcounts_clusters: int
    refcount_order: int
    backing: str = ""
    """The backing file's name, as it is written there."""
    backing_format: str = ""
    snapshots: int = 0
    autoclear: int = 0

    @property
    def cluster(self) -> int:
        """Bytes of a cluster."""
        return 1 << self.cluster_bits


def is_qcow2(data: bytes) -> bool:
    return data[:4] == MAGIC


def parse(data: bytes) -> Header:
    """The header at the beginning of ``data``; raises ``ImageError``."""
    if not is_qcow2(data):
        raise ImageError("it is not a qcow2 image: its first four bytes are others")
    if len(data) < LENGTH_2:
        raise ImageError("its header is cut short")
    (_, version, backing_at, backing_size, bits, size, encryption, l1_entries, l1_at, table_at,
     table_clusters, snapshots, _) = _COMMON.unpack_from(data)  # fmt: skip
    if version not in (2, 3):
        raise ImageError(f"it has version {version} of qcow2, versions 2 and 3 can be read")
    if encryption:
        raise ImageError("it is encrypted, which the store does not do")
    autoclear, order, length = 0, 4, LENGTH_2
    if version == 3:
        if len(data) < LENGTH_3:
            raise ImageError("its header is cut short")
        incompatible, _, autoclear, order, length = _FEATURES.unpack_from(data, LENGTH_2)
        compression = data[LENGTH_3] if length > LENGTH_3 and len(data) > LENGTH_3 else 0
        _check_features(incompatible, compression)
    header = Header(
        version, bits, size, l1_at, l1_entries, table_at, table_clusters, order,
        _name(data, backing_at, backing_size),
        _backing_format(data, length, backing_at),
        snapshots, autoclear,
    )  # fmt: skip
    _check(header)
    return header


def _check_features(incompatible: int, compression: int) -> None:
    if incompatible & CORRUPT:
        raise ImageError("it is marked as corrupt; repair it with 'qemu-img check -r all'")
    if incompatible & DIRTY:
        raise ImageError(
            "its reference counts were not brought up to date when it was last used; "
            "repair it with 'qemu-img check -r all'"
        )
    if incompatible & DATA_FILE:
        raise ImageError("its data is in a file of its own, which the store does not do")
    if incompatible & SUBCLUSTERS:
        raise ImageError("it has subclusters (extended L2 entries), which the store does not do")
    if incompatible & ~0x1F:
        raise ImageError(f"it needs features that are not known: {incompatible & ~0x1F:#x}")
    if compression:
        raise ImageError("its clusters are compressed by another method than deflate")


def _check(header: Header) -> None:
    """That tables are where tables can be, and large enough."""
    if header.cluster_bits not in CLUSTER_BITS:
        raise ImageError(
            f"its clusters have 2^{header.cluster_bits} bytes, 2^9 to 2^21 are possible"
        )
    if header.refcount_order > 6:
        raise ImageError(
            f"its reference counts have 2^{header.refcount_order} bits, 64 are possible"
        )
    if header.size > LARGEST:
        raise ImageError(f"its disk has {header.size} bytes, {LARGEST >> 40} TiB are possible")
    needed = -(-header.size // (header.cluster * header.cluster // 8))
    if header.l1_entries < needed or header.l1_entries * 8 > MOST_L1:
        raise ImageError(f"its L1 table has {header.l1_entries} entries, {needed} are needed")
    table_bytes = header.refcounts_clusters << header.cluster_bits
    if not 0 < table_bytes <= MOST_REFCOUNT_TABLE:
        raise ImageError(f"its refcount table has {header.refcounts_clusters} clusters")
    for at, what in ((header.l1_at, "L1"), (header.refcounts_at, "refcount")):
        if at % header.cluster or (not at and (what == "refcount" or header.l1_entries)):
            raise ImageError(f"its {what} table is at {at:#x}, where no cluster begins")
        if at >> 56:
            raise ImageError(f"its {what} table is at {at:#x}, beyond any image's end")


def _name(data: bytes, at: int, size: int) -> str:
    if not at:
        return ""
    if size > 1023 or at + size > len(data):
        raise ImageError("the name of its backing file is not in its header")
    try:
        return data[at : at + size].decode()
    except UnicodeDecodeError:
        raise ImageError("the name of its backing file is no text") from None


def _backing_format(data: bytes, at: int, end: int) -> str:
    """The extension that names it, if there is one."""
    end = min(end or len(data), len(data))
    while at + 8 <= end:
        kind, size = struct.unpack_from(">II", data, at)
        if not kind:
            break
        if kind == FORMAT_OF_BACKING:
            return data[at + 8 : at + 8 + min(size, 32)].decode("ascii", "replace")
        at += 8 + -(-size // 8) * 8
    return ""


def empty(size: int, backing: str = "", backing_format: str = "", cluster_bits: int = 16) -> bytes:
    """A new image, version 3: header, refcount table and block, and the L1 table.

    ``size`` is rounded up to whole sectors.  Raises ``ImageError``.
    """
    size = -(-size // 512) * 512
    cluster = 1 << cluster_bits
    entries = max(1, -(-size // (cluster * cluster // 8)))
    l1_clusters = -(-entries * 8 // cluster)
    used = 3 + l1_clusters
    if used > cluster // 2:
        raise ImageError(f"a disk of {size} bytes is too large for one image")
    header = _header(size, entries, backing, backing_format, cluster_bits)
    table = struct.pack(">Q", 2 * cluster).ljust(cluster, b"\0")
    block = struct.pack(">H", 1) * used
    parts = (header.ljust(cluster, b"\0"), table, block.ljust(cluster, b"\0"))
    return b"".join(parts) + bytes(l1_clusters * cluster)


def _header(size: int, entries: int, backing: str, backing_format: str, bits: int) -> bytes:
    cluster = 1 << bits
    name = backing.encode()
    extension = b""
    if backing_format:
        encoded = backing_format.encode()
        extension = struct.pack(">II", FORMAT_OF_BACKING, len(encoded))
        extension += encoded + bytes(-len(encoded) % 8)
    extension += bytes(8)
    at = LENGTH_3 + 8 + len(extension)
    if len(name) > 1023 or at + len(name) > min(cluster, PROBE):
        raise ImageError("the name of its backing file is too long")
    common = _COMMON.pack(
        MAGIC, 3, at if name else 0, len(name), bits, size, 0, entries, 3 * cluster,
        cluster, 1, 0, 0,
    )  # fmt: skip
    features = _FEATURES.pack(0, 0, 0, 4, LENGTH_3 + 8)
    return common + features + bytes(8) + extension + name
