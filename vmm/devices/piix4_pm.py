"""Power management and SMBus: function 3 of Intel's 82371AB PIIX4 (290562).

Configuration
40 u32  base of the power management registers, 64 ports (``acpi_pm.py``)   80  0 enables them
58 u32  25 is set: writes to the APM control port raise a system management interrupt, which
        firmware that finds it set has no need to set up
90 u32  base of the SMBus registers, 16 ports   D2  0 enables them

SMBus   0 status: 1 interrupt, 2 no such device (written 1 to clear)   2 control: 6 start
        3 command   4 address   5, 6 data
        Nothing is connected to it: every transaction ends with the status that says so.
"""

from __future__ import annotations

from typing import Final

from vmm.bus import PortBus
from vmm.devices.acpi_pm import SCI, AcpiPm
from vmm.devices.pci import PciDevice

PM_BASE, PM_ENABLE = 0x40, 0x80
SMB_BASE, SMB_ENABLE = 0x90, 0xD2
PM_PORTS, SMB_PORTS = 64, 16
APMC_ENABLED: Final = 0x02
"""Bit 25 of the double word at 58h, in its last byte."""
INTERRUPT, DEVICE_ERROR, START = 0x02, 0x04, 0x40


class SmBus:
    """A host controller that has no devices."""

    def __init__(self) -> None:
        self._registers = bytearray(SMB_PORTS)

    def read(self, offset: int) -> int:
        return self._registers[offset]

    def write(self, offset: int, value: int) -> None:
        if offset == 0:
            self._registers[0] &= ~value
        elif offset == 2:
            self._registers[2] = value & ~START
            if value & START:
                self._registers[0] |= INTERRUPT | DEVICE_ERROR
        else:
            self._registers[offset] = value


class Piix4Pm(PciDevice):
    """The function, which puts the registers where firmware wants them."""

    def __init__(self, ports: PortBus, pm: AcpiPm) -> None:
        super().__init__(0x8086, 0x7113, 0x06_8000, 3, pin=0)
        self._ports, self._pm = ports, pm
        self._smbus = SmBus()
        self._at = [0, 0]  # where the two blocks of registers are, 0 for nowhere
        self.config[0x06:0x08] = b"\x80\x02"
        self.config[0x3D] = 1
        self.config[PM_BASE], self.config[SMB_BASE] = 1, 1
        self.config[0x5B] = APMC_ENABLED
        self.config[0x3C] = SCI
        self.set_writable(PM_BASE, b"\xc0\xff")
        self.set_writable(PM_ENABLE, b"\x01")
        self.set_writable(0x58, b"\xff\xff\xff\xff")
        self.set_writable(SMB_BASE, b"\xf0\xff")
        self.set_writable(SMB_ENABLE, b"\xff")

    def write_config(self, offset: int, size: int, value: int) -> None:
        super().write_config(offset, size, value)
        self._place()

    def restored(self) -> None:
        self._at = [0, 0]
        self._place()

    def _place(self) -> None:
        """Let the registers appear where the configuration says, if nothing else is there."""
        wanted = [
            self._wanted(PM_BASE, PM_ENABLE, PM_PORTS),
            self._wanted(SMB_BASE, SMB_ENABLE, SMB_PORTS),
        ]
        if wanted == self._at:
            return
        for at, count in zip(self._at, (PM_PORTS, SMB_PORTS), strict=True):
            if at:
                self._ports.unmap(at, count)
        pm, smbus = wanted
        if pm and not self._ports.is_free(pm, PM_PORTS):
            pm = 0
        if pm:
            self._pm.attach(self._ports, pm)
        if smbus and not self._ports.is_free(smbus, SMB_PORTS):
            smbus = 0
        if smbus:
            self._ports.map_bytes(smbus, SMB_PORTS, self._smbus.read, self._smbus.write)
        self._at = [pm, smbus]

    def _wanted(self, base: int, enable: int, count: int) -> int:
        """Where a block of registers is to be, 0 for nowhere."""
        if not self.config[enable] & 1:
            return 0
        return int.from_bytes(self.config[base : base + 2], "little") & -count
