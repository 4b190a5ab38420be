"""The 256 words that IDENTIFY DEVICE and IDENTIFY PACKET DEVICE answer (ATA8-ACS, 7.12 and 7.13).

Words are named by their number, as the standard does.
"""

from __future__ import annotations

import struct

from vmm.devices.ata.action import Identity

WORDS = struct.Struct("<256H")


def text(words: list[int], first: int, last: int, value: str) -> None:
    """Put a text into words, two characters in each, the first one in the high byte."""
    count = last - first + 1
    data = value.encode("ascii", "replace")[: 2 * count].ljust(2 * count)
    words[first : last + 1] = [data[2 * i] << 8 | data[2 * i + 1] for i in range(count)]


def seal(words: list[int]) -> bytes:
    """The finished data, whose bytes add up to zero (word 255)."""
    words[255] = 0xA5
    data = bytearray(WORDS.pack(*words))
    data[511] = -sum(data) & 0xFF
    return bytes(data)


def names(words: list[int], identity: Identity) -> None:
    text(words, 10, 19, identity.serial)
    text(words, 23, 26, identity.firmware)
    text(words, 27, 46, identity.model)


def timings(words: list[int], multiword: int, ultra: int) -> None:
    """Transfer modes: all of PIO 0 to 4, multiword DMA 0 to 2 and Ultra DMA 0 to 5.

    ``multiword`` and ``ultra`` have one bit set at most, that of the mode chosen.
    """
    words[53] = 0x0006  # words 64 to 70 and 88 are valid
    words[63] = multiword << 8 | 0x07
    words[64] = 0x0003
    words[65:69] = [120] * 4  # ns a cycle
    words[88] = ultra << 8 | 0x3F


def cable(words: list[int], serial_ata: bool) -> None:
    """What lies between drive and controller."""
    if serial_ata:
        words[76] = 0x0006  # first and second generation's speed
        words[78] = words[79] = 0
    else:
        words[93] = 0x6001  # 80 wires, device 0 passed its diagnostics
