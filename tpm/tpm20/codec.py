"""Marshalling from declarations (TPM 2.0 part 1, 11; part 2, 4).

A structure is declared once, as a `NamedTuple` whose fields are annotated with the wire type, as in
part 2's tables:

    class PcrSelection(NamedTuple):
        hash: AlgHash                  # Annotated[int, choice(U16, ..., RC.HASH)]
        select: PcrSelect

A `Codec` is a pair of functions made from such a declaration: `read(buffer, position)` gives the
value and the position behind it, `write(value)` gives the octets. Values are integers, octets,
tuples and lists, so that a command allocates no more than its content. `read` raises `TpmError`
with the code that part 2 names for the type; a buffer that ends early shows as `struct.error` from
a scalar, which whoever starts a read (`decode`, the dispatcher) turns into `TPM_RC_INSUFFICIENT`:
a test at each scalar would cost more than all the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Container, Mapping
from functools import cache
from typing import Any, NamedTuple, get_type_hints

from tpm.tpm20.constants import RC, TpmError

Reader = Callable[[bytes, int], tuple[Any, int]]
Writer = Callable[[Any], bytes]

_read_u16 = struct.Struct(">H").unpack_from


class Codec(NamedTuple):
    """How a type reads and writes itself; `tpm2b` if its octets begin with their 16-bit size."""

    read: Reader
    write: Writer
    tpm2b: bool = False


class Union(NamedTuple):
    """A field whose type depends on the value of an earlier field of the structure (TPMU_*)."""

    selector: str
    types: Mapping[int, Any]


def scalar(form: str) -> Codec:
    """An unsigned integer; `form` is its letter in `struct`, big-endian."""
    packer = struct.Struct(">" + form)
    unpack, size, pack = packer.unpack_from, packer.size, packer.pack

    def read(buffer: bytes, at: int) -> tuple[int, int]:
        return unpack(buffer, at)[0], at + size

    return Codec(read, pack)


U8, U16, U32, U64 = scalar("B"), scalar("H"), scalar("I"), scalar("Q")


def choice(base: Codec, allowed: Container[int], error: int) -> Codec:
    """An integer that is one of `allowed`, else `error` (TPMI_* and constrained TPM_*)."""
    read_base = base.read

    def read(buffer: bytes, at: int) -> tuple[int, int]:
        value, after = read_base(buffer, at)
        if value not in allowed:
            raise TpmError(error)
        return value, after

    return Codec(read, base.write)


def attributes(base: Codec, defined: int) -> Codec:
    """A bit field (TPMA_*): a bit outside `defined` is `TPM_RC_RESERVED_BITS`."""
    read_base = base.read

    def read(buffer: bytes, at: int) -> tuple[int, int]:
        value, after = read_base(buffer, at)
        if value & ~defined:
            raise TpmError(RC.RESERVED_BITS)
        return value, after

    return Codec(read, base.write)


def nothing(value: Any) -> Codec:
    """A member that takes no octets (TPMS_EMPTY, or nothing at all): reads as `value`."""

    def read(buffer: bytes, at: int) -> tuple[Any, int]:
        return value, at

    def write(value: Any) -> bytes:
        return b""

    return Codec(read, write)


def buffer(limit: int, minimum: int = 0) -> Codec:
    """A TPM2B of octets, `minimum` to `limit` of them, else `TPM_RC_SIZE`."""

    def read(octets: bytes, at: int) -> tuple[bytes, int]:
        size = _read_u16(octets, at)[0]
        at += 2
        if not minimum <= size <= limit:
            raise TpmError(RC.SIZE)
        end = at + size
        if end > len(octets):
            raise TpmError(RC.INSUFFICIENT)
        return octets[at:end], end

    return Codec(read, write_buffer, tpm2b=True)


def write_buffer(value: bytes) -> bytes:
    """A TPM2B's octets: the size and the content."""
    return len(value).to_bytes(2, "big") + value


def sized(content: Any, may_be_empty: bool = False) -> Codec:
    """A TPM2B around a structure; where `may_be_empty`, size 0 reads as None.

    The content is read without regard to the size and must then have taken exactly that many
    octets, else `TPM_RC_SIZE`: errors inside the content come first.
    """
    inner = codec(content)

    def read(octets: bytes, at: int) -> tuple[Any, int]:
        size = _read_u16(octets, at)[0]
        at += 2
        if size == 0:
            if may_be_empty:
                return None, at
            raise TpmError(RC.SIZE)
        value, end = inner.read(octets, at)
        if end - at != size:
            raise TpmError(RC.SIZE)
        return value, end

    def write(value: Any) -> bytes:
        return b"\0\0" if value is None else write_buffer(inner.write(value))

    return Codec(read, write, tpm2b=True)


_REMEMBERED = 64


def remembered(inner: Codec) -> Codec:
    """A TPM2B whose last contents are known by their octets, and not read again.

    For public areas: many commands bring the same ones again and again, and there is nothing secret
    in them. The values are immutable, and the same for whoever reads them.
    """
    known: dict[bytes, Any] = {}
    read_inner = inner.read

    def read(octets: bytes, at: int) -> tuple[Any, int]:
        end = at + 2 + _read_u16(octets, at)[0]
        content = octets[at:end]
        value = known.get(content)
        if value is not None:
            return value, end
        value, end = read_inner(octets, at)
        if len(known) >= _REMEMBERED:
            del known[next(iter(known))]
        known[content] = value
        return value, end

    return inner._replace(read=read)


def listing(item: Any, limit: int, minimum: int = 0) -> Codec:
    """A TPML: a count, `minimum` to `limit`, else `TPM_RC_SIZE`, and as many items."""
    inner = codec(item)
    read_count = U32.read

    def read(octets: bytes, at: int) -> tuple[list[Any], int]:
        count, at = read_count(octets, at)
        if not minimum <= count <= limit:
            raise TpmError(RC.SIZE)
        values = []
        read_item = inner.read
        for _ in range(count):
            value, at = read_item(octets, at)
            values.append(value)
        return values, at

    def write(values: list[Any]) -> bytes:
        return len(values).to_bytes(4, "big") + b"".join(map(inner.write, values))

    return Codec(read, write)


def codec(declared: Any) -> Codec:
    """The codec of a declaration: a `Codec`, an annotated type or a structure."""
    if isinstance(declared, Codec):
        return declared
    metadata = getattr(declared, "__metadata__", None)
    if metadata:
        found = metadata[0]
        assert isinstance(found, Codec), declared
        return found
    return structure(declared)


@cache
def structure(declared: Any) -> Codec:
    """The codec of a `NamedTuple` whose fields are annotated with wire types."""
    return structure_with(declared)


def structure_with(declared: Any, **instead: Any) -> Codec:
    """As `structure`, with other types for the fields named: the "+" of part 2's parameters."""
    hints = get_type_hints(declared, include_extras=True)
    members = {name: _member(instead.get(name, hint)) for name, hint in hints.items()}
    return _compile(declared, members)


def _member(hint: Any) -> Codec | Union:
    metadata = getattr(hint, "__metadata__", None)
    if metadata and isinstance(metadata[0], Union):
        return metadata[0]
    return codec(hint)


def _unknown(octets: bytes, at: int) -> tuple[Any, int]:
    raise TpmError(RC.SELECTOR)


def _compile(declared: Any, members: dict[str, Codec | Union]) -> Codec:
    """The two functions that one would write by hand for these members.

    A loop over the members takes twice the time, and public areas are read and written by every
    command that makes or loads an object.
    """
    names = list(members)
    scope: dict[str, Any] = {"new": tuple.__new__, "kind": declared, "unknown": _unknown}
    reads, writes = [], []
    for index, member in enumerate(members.values()):
        if isinstance(member, Union):
            kinds = {value: codec(kind) for value, kind in member.types.items()}
            scope[f"r{index}"] = {value: kind.read for value, kind in kinds.items()}
            scope[f"w{index}"] = {value: kind.write for value, kind in kinds.items()}
            selector = names.index(member.selector)
            reads.append(f"v{index}, at = r{index}.get(v{selector}, unknown)(octets, at)")
            writes.append(f"w{index}[value[{selector}]](value[{index}])")
        else:
            scope[f"r{index}"], scope[f"w{index}"] = member.read, member.write
            reads.append(f"v{index}, at = r{index}(octets, at)")
            writes.append(f"w{index}(value[{index}])")
    values = "".join(f"v{index}, " for index in range(len(names)))
    lines = [
        "def read(octets, at):",
        *[f"    {line}" for line in reads],
        f"    return new(kind, ({values})), at",
        "def write(value):",
        f"    return {' + '.join(writes)}",
    ]
    exec("\n".join(lines), scope)
    return Codec(scope["read"], scope["write"])


def decode(declared: Any, octets: bytes) -> Any:
    """The value that `octets` hold; `TPM_RC_INSUFFICIENT` or `TPM_RC_SIZE` if not exactly one."""
    try:
        value, end = codec(declared).read(octets, 0)
    except struct.error:
        raise TpmError(RC.INSUFFICIENT) from None
    if end != len(octets):
        raise TpmError(RC.SIZE)
    return value


def encode(declared: Any, value: Any) -> bytes:
    """The octets of a value."""
    return codec(declared).write(value)
