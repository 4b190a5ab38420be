"""Measured boot: what a guest starts from is in its TPM's PCRs before its first instruction.

The VMM is the guest's firmware here, and does what firmware does (PC Client Platform Firmware
Profile 1.05, 3.3.4; Linux's registry of PCRs for what comes after firmware):

===  ==================  ======================================================================
PCR  event               what is measured
===  ==================  ======================================================================
0    S_CRTM_VERSION      the name of this firmware, as UTF-16
1    PLATFORM_CONFIG     the board: memory, CPU model and so on, as the log says it
0-7  SEPARATOR           four zeros: from here on the operating system is started
4    IPL                 the kernel's image
8    IPL                 the kernel's command line, without a zero at its end
9    IPL                 the initial RAM disk, if there is one
===  ==================  ======================================================================

Then the platform hierarchy of a TPM 2.0 gets an authorization that nobody knows: it is the
firmware's, and the guest's software must not use it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from tpm.eventlog import DIGEST_SIZES, SHA1, Event, EventLog, EventType
from vmm.backends import Tpm
from vmm.boot import BootError

FIRMWARE: Final = "Cloister VMM 1"
"""Changes when what is measured, or how, changes."""
LOG_AT, LOG_SIZE = 0xF_0000, 0x1_0000
"""The event log's area: in what Linux is told to keep for ACPI tables."""
_FIRMWARE: Final = f"{FIRMWARE}\0".encode("utf-16-le")
SEPARATOR: Final = bytes(4)
CONFIG_PCR, KERNEL_PCR, COMMAND_LINE_PCR, INITRD_PCR = 1, 4, 8, 9
_HEADER: Final = struct.Struct(">HII")
_NO_SESSIONS, _SESSIONS, _TAG_1_2 = 0x8001, 0x8002, 0x00C1
_STARTUP, _GET_CAPABILITY, _EXTEND, _CHANGE_AUTH = 0x144, 0x17A, 0x182, 0x129
_CAP_PCRS: Final = 5
_PLATFORM: Final = 0x4000_000C
_EMPTY_PASSWORD: Final = struct.pack(">IIHBH", 9, 0x4000_0009, 0, 0, 0)
_STARTUP_1_2, _EXTEND_1_2 = 0x99, 0x14


class Measured(NamedTuple):
    """What is measured, into which PCR, and what the log says about it."""

    pcr: int
    type: EventType
    data: bytes
    said: bytes


def measured(kernel: bytes, initrd: bytes, command_line: str, config: str) -> Iterator[Measured]:
    """The measurements of one boot, in their order."""
    yield Measured(0, EventType.S_CRTM_VERSION, _FIRMWARE, _FIRMWARE)
    text = config.encode()
    yield Measured(CONFIG_PCR, EventType.PLATFORM_CONFIG_FLAGS, text, text)
    for pcr in range(8):
        yield Measured(pcr, EventType.SEPARATOR, SEPARATOR, SEPARATOR)
    yield Measured(KERNEL_PCR, EventType.IPL, kernel, b"kernel\0")
    line = command_line.encode()
    yield Measured(COMMAND_LINE_PCR, EventType.IPL, line, b"kernel_cmdline: " + line + b"\0")
    if initrd:
        yield Measured(INITRD_PCR, EventType.IPL, initrd, b"initrd\0")


def measure(
    tpm: Tpm,
    kernel: bytes,
    initrd: bytes,
    command_line: str,
    config: str,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Start a TPM that was just reset, and measure; the event log.  Raises ``BootError``."""
    firmware = Firmware(tpm)
    banks = firmware.start()
    log = EventLog(banks)
    for pcr, kind, data, said in measured(kernel, initrd, command_line, config):
        firmware.extend(log.measure(pcr, kind, data, said))
    if len(log.data) > LOG_SIZE:
        raise BootError(f"the event log has {len(log.data)} bytes: more than its area")
    firmware.hand_over(random(32))
    return log.data


class Firmware:
    """The commands that firmware sends to a TPM."""

    def __init__(self, tpm: Tpm) -> None:
        self._tpm = tpm

    def start(self) -> list[int] | None:
        """Start the TPM; the algorithms of its PCR banks, None for a TPM 1.2."""
        if self._tpm.version == "1.2":
            self._call(_TAG_1_2, _STARTUP_1_2, struct.pack(">H", 1))
            return None
        self._call(_NO_SESSIONS, _STARTUP, struct.pack(">H", 0))
        found = self._call(_NO_SESSIONS, _GET_CAPABILITY, struct.pack(">III", _CAP_PCRS, 0, 64))
        return [one for one in _banks(found) if one in DIGEST_SIZES]

    def extend(self, event: Event) -> None:
        """Extend a PCR in all banks."""
        if self._tpm.version == "1.2":
            self._call(_TAG_1_2, _EXTEND_1_2, struct.pack(">I", event.pcr) + event.digests[SHA1])
            return
        values = b"".join(struct.pack(">H", one) + value for one, value in event.digests.items())
        body = struct.pack(">I", event.pcr) + _EMPTY_PASSWORD
        body += struct.pack(">I", len(event.digests)) + values
        self._call(_SESSIONS, _EXTEND, body)

    def hand_over(self, secret: bytes) -> None:
        """Keep what is the firmware's from the operating system."""
        if self._tpm.version == "2.0":
            new = struct.pack(">H", len(secret)) + secret
            body = struct.pack(">I", _PLATFORM) + _EMPTY_PASSWORD + new
            self._call(_SESSIONS, _CHANGE_AUTH, body)

    def _call(self, tag: int, code: int, body: bytes) -> bytes:
        """A command at locality 0; what its response has behind the header."""
        size = _HEADER.size + len(body)
        response = self._tpm.execute(_HEADER.pack(tag, size, code) + body, 0)
        result = _HEADER.unpack_from(response)[2] if len(response) >= _HEADER.size else -1
        if result:
            raise BootError(f"the guest's TPM refused command {code:#x} with code {result:#x}")
        return response[_HEADER.size :]


def _banks(data: bytes) -> list[int]:
    """The algorithms of TPML_PCR_SELECTION that have any PCR, from TPMS_CAPABILITY_DATA."""
    try:
        (count,) = struct.unpack_from(">I", data, 5)
        at, found = 9, []
        for _ in range(count):
            algorithm, size = struct.unpack_from(">HB", data, at)
            if any(data[at + 3 : at + 3 + size]):
                found.append(algorithm)
            at += 3 + size
    except struct.error:
        raise BootError("the guest's TPM does not say which PCR banks it has") from None
    return found
