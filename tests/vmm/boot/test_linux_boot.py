"""The Linux boot protocol: what is put where, and what is said of images that cannot be started."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib

import pytest

from tests.vmm.rig import new_memory
from vmm.boot import BootError, linux
from vmm.boot.payload import unpack
from vmm.config import MIB
from vmm.memory import HIGH_START

KERNEL_AT = 0x100_0000
ENTRY = KERNEL_AT + 0x40


def elf(code: bytes = b"\x90\xf4", address: int = KERNEL_AT, in_memory: int = 0x2000) -> bytes:
    """A 64-bit ELF file with one segment."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, ENTRY, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 5, 120, address, address, len(code), in_memory, 4096)
    return head + code


def pack_xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32) + struct.pack("<I", len(data))


def bzimage(
    payload: bytes | None = None, *, version: int = 0x20F, init_size: int = MIB, setup: int = 2
) -> bytes:
    """A bzImage with a payload, and ``HLT`` where the unpacking program would be."""
    payload = pack_xz(elf()) if payload is None else payload
    image = bytearray((setup + 1) * 512)
    image[0x1F1] = setup
    image[0x200:0x202] = b"\xeb\x6a"
    image[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", image, 0x206, version)
    image[0x211] = 1
    struct.pack_into("<I", image, 0x22C, 0x7FFF_FFFF)
    struct.pack_into("<H", image, 0x236, 1)
    struct.pack_into("<I", image, 0x238, 2047)
    struct.pack_into("<II", image, 0x248, 16, len(payload))
    struct.pack_into("<QI", image, 0x258, KERNEL_AT, init_size)
    body = b"\xf4".ljust(16, b"\x90") + payload
    body += bytes(-len(body) % 16)
    struct.pack_into("<I", image, 0x1F4, len(body) // 16)
    return bytes(image + body)


def test_the_kernel_is_unpacked_and_entered_in_64_bit_mode() -> None:
    memory = new_memory(64 * MIB)
    registers = linux.load(memory, bzimage(), b"", "quiet", rsdp=0xE_0000)
    assert memory.read(KERNEL_AT, 2) == b"\x90\xf4"
    assert registers.rip == ENTRY
    assert registers.efer & 1 << 10
    assert registers.general[6] == linux.BOOT_PARAMS_AT


def test_with_randomisation_the_image_unpacks_itself() -> None:
    memory = new_memory(64 * MIB)
    registers = linux.load(memory, bzimage(), b"", "", randomise=True)
    assert registers.rip == KERNEL_AT
    assert not registers.efer
    assert memory.read(KERNEL_AT, 1) == b"\xf4"


def test_an_unknown_payload_is_left_to_the_image() -> None:
    memory = new_memory(64 * MIB)
    registers = linux.load(memory, bzimage(b"?????" + bytes(40)), b"", "")
    assert not registers.efer


def test_parameters() -> None:
    memory = new_memory(64 * MIB)
    initrd = b"initrd" * 1000
    linux.load(memory, bzimage(), initrd, "console=ttyS0", rsdp=0xE_0000)
    params = memory.read(linux.BOOT_PARAMS_AT, 4096)
    (command_line,) = struct.unpack_from("<I", params, 0x228)
    assert memory.read(command_line, 14) == b"console=ttyS0\0"
    address, size = struct.unpack_from("<II", params, 0x218)
    assert memory.read(address, size) == initrd
    assert address % 4096 == 0
    assert struct.unpack_from("<Q", params, 0x70) == (0xE_0000,)
    assert params[0x202:0x206] == b"HdrS"
    entries = [struct.unpack_from("<QQI", params, 0x2D0 + 20 * i) for i in range(params[0x1E8])]
    assert (0, 0x9_FC00, 1) in entries
    assert (MIB, 63 * MIB, 1) in entries


def test_memory_above_4_gib_is_listed() -> None:
    memory = new_memory(3072 * MIB + 64 * MIB)
    linux.load(memory, bzimage(), b"", "")
    params = memory.read(linux.BOOT_PARAMS_AT, 4096)
    entries = [struct.unpack_from("<QQI", params, 0x2D0 + 20 * i) for i in range(params[0x1E8])]
    assert (HIGH_START, 64 * MIB, 1) in entries


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (b"", "no bzImage: it has only 0 bytes"),
        (b"\x7fELF" + bytes(4096), "magic number is missing"),
        (bzimage()[:1600], "truncated"),
        (bzimage(version=0x204), "2.04 is older than 2.10"),
        (bzimage()[:0x201] + b"\x10" + bzimage()[0x202:], "impossible length"),
        (bzimage(b"\x1f\x8b" + bytes(40)), "payload is damaged"),
        (bzimage(b"\xfd7zXZ\0" + bytes(40)), "payload is damaged"),
        (bzimage(b"\x02\x21\x4c\x18\xff\xff\xff\xff" + bytes(4) + b"\1\0\0\0"), "damaged"),
        (bzimage(b"x" * 20 + b"\xff\xff\xff\xff"), "more than 1 GiB"),
        (bzimage(b"\x1f"), "payload is empty"),
        (bzimage(pack_xz(elf()[:70])), "payload is damaged"),
        (bzimage(pack_xz(elf(address=1 << 40))), "payload is damaged"),
        (bzimage(pack_xz(elf(in_memory=1))), "outside the file"),
    ],
)
def test_bad_images(image: bytes, complaint: str) -> None:
    with pytest.raises(BootError, match=complaint) as caught:
        linux.load(new_memory(64 * MIB), image, b"", "")
    assert "\n" not in str(caught.value)


def test_zimages_are_refused() -> None:
    image = bytearray(bzimage())
    image[0x211] = 0
    with pytest.raises(BootError, match="zImage"):
        linux.load(new_memory(64 * MIB), bytes(image), b"", "")


def test_too_little_memory() -> None:
    with pytest.raises(BootError, match="needs 17 MiB and the machine has 16"):
        linux.load(new_memory(16 * MIB), bzimage(), b"", "")
    with pytest.raises(BootError, match="kernel and initrd need"):
        linux.load(new_memory(32 * MIB), bzimage(), bytes(16 * MIB), "")


def test_command_line_too_long() -> None:
    with pytest.raises(BootError, match="3000 bytes long; the kernel takes 2047"):
        linux.load(new_memory(64 * MIB), bzimage(), b"", "x" * 3000)


class TestPayload:
    DATA = elf(bytes(range(256)) * 40)

    def size(self) -> bytes:
        return struct.pack("<I", len(self.DATA))

    def test_formats(self) -> None:
        gzip = zlib.compressobj(wbits=31)
        streams = [
            lzma.compress(self.DATA, check=lzma.CHECK_CRC32),
            lzma.compress(self.DATA, format=lzma.FORMAT_ALONE),
            gzip.compress(self.DATA) + gzip.flush(),
            bz2.compress(self.DATA),
        ]
        for stream in streams:
            assert unpack(stream + self.size()) == self.DATA

    def test_lz4(self) -> None:
        block = pytest.importorskip("lz4.block")
        packed = block.compress(self.DATA, store_size=False)
        stream = b"\x02\x21\x4c\x18" + struct.pack("<I", len(packed)) + packed
        assert unpack(stream + self.size()) == self.DATA
        with pytest.raises(BootError, match="ends early"):
            unpack(stream[:40] + self.size())

    def test_no_more_is_unpacked_than_announced(self) -> None:
        bomb = zlib.compressobj(wbits=31)
        stream = bomb.compress(bytes(10 * MIB)) + bomb.flush()
        data = unpack(stream + struct.pack("<I", 1000))
        assert data is not None
        assert len(data) == 1000

    def test_unknown(self) -> None:
        assert unpack(b"????????" + self.size()) is None
