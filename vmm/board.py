"""The board: engine, memory, buses and devices wired together, and the loop that runs them.

One thread, the vCPU thread, calls ``run`` and owns everything here.  All others use ``post``, which
hands over a function to be called on that thread, between two stretches of guest execution, and
what is built on it: ``receive``, ``stop``, ``pause``, ``resume``, ``press_power_button``.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vmm.acpi import tables
from vmm.backends import Backends, Firmware
from vmm.boot import BootError, linux, multiboot, pvh
from vmm.bus import MmioBus, PortBus
from vmm.clock import SECOND, Clock, GuestClock, TimerQueue
from vmm.config import VmConfig
from vmm.devices.acpi_pm import SCI, AcpiPm
from vmm.devices.i8042 import I8042
from vmm.devices.pci import PciBus
from vmm.devices.pic import Pic
from vmm.devices.pit import Pit
from vmm.devices.rtc import Rtc
from vmm.devices.uart import Uart
from vmm.devices.virtio.blk import VirtioBlk
from vmm.devices.virtio.pci import VirtioPci
from vmm.devices.virtio.rng import VirtioRng
from vmm.engine import create
from vmm.engine.interface import Engine, Exit, Registers
from vmm.memory import HIGH_START, GuestMemory, Region
from vmm.outcome import End, Outcome
from vmm.pacer import Pacer, PacerFactory, ThreadPacer
from vmm.snapshot.state import is_part

if TYPE_CHECKING:
    from drivers.vnc.interface import Event
    from vmm.devices.apics import Apics
    from vmm.display import Desk
    from vmm.drives import Controller
    from vmm.firmware import Bios

COM1, COM1_IRQ = 0x3F8, 4
VGA_WINDOW, VGA_WINDOW_SIZE = 0xA0000, 0x20000
PCI_IRQS = (10, 11, 5, 7)
"""The interrupts that PCI's INTA# to INTD# share."""
FEATURE_APIC = 1 << 9
ADDRESS_SPACE = 1 << 52
"""Physical addresses end here (Intel SDM volume 3, 4.1.4)."""

Loader = Callable[[GuestMemory], Registers]


def _describe(registers: Registers, memory: GuestMemory) -> str:
    """Registers and code; the disassembler is loaded when it is first wanted."""
    from vmm.disassemble import report

    return report(registers, memory)


class Board:
    """One machine."""

    def __init__(
        self,
        config: VmConfig,
        memory: GuestMemory,
        backends: Backends,
        *,
        idle: Callable[[float | None], None],
        wake: Callable[[], None],
        clock: Clock = time.monotonic_ns,
        wall: Clock = time.time_ns,
        pacer: PacerFactory = ThreadPacer,
        describe: Callable[[Registers, GuestMemory], str] = _describe,
        kvm: int = -1,
    ) -> None:
        """Build a machine that is switched off.

        ``idle`` waits until ``wake`` was called since it last returned, or until a time in seconds
        is over; ``wake`` is called from any thread.  ``clock`` and ``wall`` tell the time in ns,
        the second since 1970.  ``describe`` says what a guest was doing that failed.  ``kvm`` is a
        descriptor of /dev/kvm, for the engine of that name.
        """
        self.exits = {"halted": 0, "stopped": 0}
        self._describe = describe
        self.config = config
        self.memory = memory
        self._backends = backends
        self._idle, self._wake = idle, wake
        self.clock = self._clock = GuestClock(clock)
        self._wall = wall
        self._posted: deque[Callable[[], None]] = deque()
        self._loader: Loader | None = None
        self._end: Outcome | None = None
        self._paused = False
        self._stepping = False
        self._on_stop: Callable[[], None] | None = None
        self.engine: Engine = create(config.engine, self, config.cpu, kvm)
        self._bios = self._make_bios(backends.firmware)
        self._map_memory()
        self._pacer: Pacer = pacer(self.engine.kick, self._clock)
        self._build()

    # Wiring

    def _map_memory(self) -> None:
        end = 0
        for gpa, offset, length in self._ram():
            if gpa > end:
                self.engine.map_mmio(end, gpa - end)
            self.engine.map_ram(gpa, self.memory.buffer, offset, length)
            end = gpa + length
        if end < HIGH_START:
            self.engine.map_mmio(end, HIGH_START - end)
            end = HIGH_START
        self.engine.map_mmio(end, ADDRESS_SPACE - end)
        if not self.config.apic:  # a system that believes in one would talk to it all the time
            self.engine.set_cpuid(1, "edx", clear=FEATURE_APIC)

    def _ram(self) -> list[Region]:
        """Guest memory, as far as the processor sees it always: not behind an adapter's window,
        and not where there is firmware."""
        low, *high = self.memory.regions
        if self._backends.display is None and self._bios is None:
            return [low, *high]
        above = VGA_WINDOW + VGA_WINDOW_SIZE if self._bios is None else linux.HIGH_MEMORY
        return [Region(0, 0, VGA_WINDOW), Region(above, above, low.length - above), *high]

    def _build(self) -> None:
        """Make the devices as they are after power-on."""
        self.timers = TimerQueue(self._clock)
        self.timers.changed = self._pacer.arm
        self.ports = PortBus()
        self.mmio = MmioBus()
        self._readers, self._writers = self.ports.readers, self.ports.writers
        self.pic = self._add_interrupts()
        self._acknowledge = self.pic.acknowledge
        self.pit = Pit(self.timers, self.pic.line(0))
        self.pit.attach(self.ports)
        self.rtc = Rtc(self.timers, self._wall, self.pic.line(8))
        self.rtc.set_memory(self.memory.size)
        self.rtc.attach(self.ports)
        self.uart = Uart(self._backends.serial, self.timers, self.pic.line(COM1_IRQ))
        self.uart.attach(self.ports, COM1)
        self.i8042 = I8042(
            self._reset_asked, self.engine.set_a20, self.pic.line(1), self.pic.line(12)
        )
        self.i8042.attach(self.ports)
        self.pm = AcpiPm(self._clock, self.pic.line(SCI), self._power_off_asked, self._reset_asked)
        self.pci = self._add_pci()
        self.pm.attach_reset(self.ports)
        self.desk = self._add_display()
        self.vga = self.desk.vga if self.desk is not None else None
        self.disks = [VirtioBlk(backend, self.post) for backend in self._backends.blocks]
        functions = [VirtioPci(disk, self.memory, self.engine.invalidate) for disk in self.disks]
        for function in functions:
            self.pci.add(function)
        self.controllers = self._add_drives()
        self.nics = self._add_nics()
        if self._backends.entropy is not None:
            rng = VirtioRng(self._backends.entropy, self.post)
            self.pci.add(VirtioPci(rng, self.memory, self.engine.invalidate))
        if self._backends.tpm is not None:
            from vmm import tpm

            self.pic.make_level_triggered(tpm.IRQ)
            self.tpm = tpm.attach(
                self._backends.tpm, self.config, self.mmio, self.post, self.pic.line
            )
        if self._bios is not None:
            self.legacy = self._bios.add_ports(self.ports, self.memory, self.engine.invalidate)
            self._bios.find_disks(self._backends, self.pci, functions, self.controllers)

    def _add_interrupts(self) -> Pic | Apics:
        """The interrupt controllers."""
        irqs: Pic | Apics
        if self.config.apic:
            from vmm import apic

            line, nmi = self.engine.set_irq_line, self.engine.raise_nmi
            firmware = self._bios is not None
            irqs = apic.attach(self.timers, self.ports, self.mmio, line, nmi, firmware)
        else:
            irqs = Pic(self.engine.set_irq_line)
            irqs.attach(self.ports)
        for irq in (SCI, *PCI_IRQS) if self._bios is None else ():
            irqs.make_level_triggered(irq)
        return irqs

    def _make_bios(self, firmware: Firmware | None) -> Bios | None:
        if firmware is None:
            return None
        from vmm.firmware import Bios

        return Bios(firmware, self.engine)

    def _add_pci(self) -> PciBus:
        """The bus, and the power management's registers at their place on it or beside it."""
        if self._bios is not None:
            return self._bios.add_chipset(
                self.memory, self.mmio, self.ports, self.pic.set_irq, self.pm
            )
        pci = PciBus(self.mmio, self.memory, self.pic.set_irq, PCI_IRQS, self.engine)
        pci.attach(self.ports)
        self.pm.attach(self.ports)
        return pci

    def _add_drives(self) -> Sequence[Controller]:
        """Controllers for the disks that are not virtio's."""
        if not self._backends.drives:
            return ()
        from vmm import drives

        return drives.attach(
            self._backends.drives,
            self.pci,
            self.ports,
            self.memory,
            self.engine.invalidate,
            self.post,
            self.pic.line,
        )

    def _add_nics(self) -> Sequence[object]:
        """Network adapters."""
        if not self._backends.nics:
            return ()
        from vmm import nics

        invalidate = self.engine.invalidate
        return nics.attach(self._backends.nics, self.pci, self.memory, invalidate, self.post)

    def _add_display(self) -> Desk | None:
        """Screen, keyboard and mouse."""
        if self._backends.display is None:
            return None
        from vmm.display import Desk

        desk = Desk(self._backends.display, self.i8042, self._clock, self.engine)
        firmware = self._backends.firmware
        desk.attach(self.ports, self.mmio, self.pci, firmware.video if firmware else b"")
        return desk

    @property
    def has_tpm(self) -> bool:
        return self._backends.tpm is not None

    def devices(self) -> dict[str, object]:
        """All devices by name: what has a state beside processor and memory."""
        return {
            name: value
            for name, value in vars(self).items()
            if is_part(value) or (isinstance(value, list) and value and is_part(value[0]))
        }

    # What the engine asks

    def pio_in(self, port: int, size: int) -> int:
        return self._readers[port](port, size)

    def pio_out(self, port: int, size: int, value: int) -> None:
        self._writers[port](port, size, value)

    def mmio_read(self, address: int, size: int) -> int:
        return self.mmio.read(address, size)

    def mmio_write(self, address: int, size: int, value: int) -> None:
        self.mmio.write(address, size, value)

    def acknowledge_irq(self) -> int:
        return self._acknowledge()

    # Booting

    def load_linux(self, kernel: bytes, initrd: bytes = b"") -> None:
        """Put a Linux kernel into memory, to be started by ``run``."""

        def load(memory: GuestMemory) -> Registers:
            self._prepare_memory(kernel, initrd)
            randomise = self.config.kaslr
            return linux.load(
                memory,
                kernel,
                initrd,
                self.config.append,
                rsdp=linux.ACPI_START,
                randomise=randomise,
                screen=self.desk.start() if self.desk is not None else b"",
            )

        self._load(load)

    def load_multiboot(self, kernel: bytes, initrd: bytes = b"") -> None:
        """Put a multiboot kernel into memory, to be started by ``run``."""

        def load(memory: GuestMemory) -> Registers:
            self._prepare_memory(kernel, initrd)
            return multiboot.load(memory, kernel, initrd, self.config.append)

        self._load(load)

    def load_pvh(self, kernel: bytes, initrd: bytes = b"") -> None:
        """Put a PVH kernel into memory, to be started by ``run``."""

        def load(memory: GuestMemory) -> Registers:
            self._prepare_memory(kernel, initrd)
            return pvh.load(memory, kernel, initrd, self.config.append, rsdp=linux.ACPI_START)

        self._load(load)

    def load_bios(self, kernel: bytes = b"", initrd: bytes = b"") -> None:
        """Let ``run`` start the firmware, which may be asked to start a Linux kernel."""
        bios = self._bios
        if bios is None:
            raise BootError("this machine has no firmware")

        def load(memory: GuestMemory) -> Registers:
            tpm = self._backends.tpm
            bios.start(tpm, self.config, self.desk is not None, memory, kernel, initrd)
            return self.engine.get_registers()  # as after power-on

        self._load(load)

    def _prepare_memory(self, kernel: bytes, initrd: bytes) -> None:
        """What firmware does: describe the board, and measure what is about to be started."""
        extra: list[bytes] = []
        if self.config.apic:
            from vmm import apic

            extra.append(apic.acpi_table((SCI, *PCI_IRQS)))
        if self._backends.tpm is not None:
            from vmm import tpm

            tpm.launch(self._backends.tpm, self.config, self.memory, kernel, initrd)
            extra += tpm.acpi_tables(self._backends.tpm, self.config)
        self.memory.write(
            linux.ACPI_START, tables.build(linux.ACPI_START, PCI_IRQS, extra, self.desk is not None)
        )

    def load_kernel(self, kernel: bytes, initrd: bytes = b"") -> None:
        """Put a kernel of any kind into memory."""
        if multiboot.is_multiboot(kernel):
            self.load_multiboot(kernel, initrd)
        elif pvh.is_elf64(kernel):
            self.load_pvh(kernel, initrd)
        else:
            self.load_linux(kernel, initrd)

    def _load(self, loader: Loader) -> None:
        self._loader = loader
        self.engine.reset()
        self.engine.set_registers(loader(self.memory))

    def _restart(self) -> None:
        assert self._loader is not None
        self._end = None
        self.uart.flush()
        self.memory.clear()
        for gpa, _, length in self.memory.regions:
            self.engine.invalidate(gpa, length)
        self.engine.set_irq_line(False)
        self.pci.hide()
        if self.desk is not None:
            self.desk.detach()
        self._build()
        self._load(self._loader)

    # From any thread

    def post(self, action: Callable[[], None]) -> None:
        """Call ``action`` on the vCPU thread soon."""
        self._posted.append(action)
        self.engine.kick()
        self._wake()

    def receive(self, data: bytes) -> None:
        """Serial input."""
        self.post(lambda: self.uart.receive(data))

    def refresh(self, everything: bool = False) -> None:
        """Bring the picture up to date."""
        self.post(lambda: self.show(everything))

    def happened(self, events: list[Event]) -> None:
        """The person before the screen did something."""
        self.post(lambda: self._happened(events))

    def stop(self) -> None:
        """End the run, whatever the guest is doing."""
        self.post(lambda: self._finish(Outcome(End.STOPPED)))

    def pause(self) -> None:
        """Execute no more of the guest until ``resume``."""
        self.post(lambda: self._set_paused(True))

    def resume(self) -> None:
        self.post(lambda: self._set_paused(False))

    def press_power_button(self) -> None:
        """Ask the guest's system to shut down."""
        self.post(lambda: self.pm.press_power_button())

    # The screen, on the vCPU thread

    def show(self, everything: bool = False) -> None:
        """Bring the picture up to date, if there is a screen."""
        if self.desk is not None:
            self.desk.refresh(everything)

    def _happened(self, events: list[Event]) -> None:
        if self.desk is not None:
            self.desk.happened(events)

    # For a debugger, on the vCPU thread

    @property
    def paused(self) -> bool:
        return self._paused

    def debugged(self, on_stop: Callable[[], None] | None) -> None:
        """Have ``on_stop`` called when a breakpoint or the end of a step stops the guest."""
        self._on_stop = on_stop

    def hold(self) -> None:
        """Execute no more of the guest until ``go_on``."""
        self._paused, self._stepping = True, False

    def go_on(self, step: bool = False) -> None:
        """Execute the guest again, for one instruction only or until something stops it."""
        self._paused, self._stepping = False, step

    def reset(self) -> None:
        """Have the guest restarted, if its configuration has that, or ended."""
        self._reset_asked()

    # Ends

    def _set_paused(self, paused: bool) -> None:
        self._paused = paused

    def _finish(self, outcome: Outcome) -> None:
        """End the run as soon as the disks are quiet.

        The first end counts, but for a reset, which a later end may keep from being a restart.
        """
        if self._end is None or self._end.end is End.RESET:
            self._end = outcome
            self.engine.kick()

    def _power_off_asked(self) -> None:
        self._finish(Outcome(End.POWER_OFF))

    def _reset_asked(self) -> None:
        self._finish(Outcome(End.RESET))

    # The vCPU thread

    def run(self) -> Outcome:
        """Run the guest until it ends."""
        if self._loader is None:
            raise BootError("nothing was loaded that could be run")
        while True:
            self._call_posted()
            self.timers.run_due()
            if self._end is not None:
                if any(disk.busy for disk in (*self.disks, *self.controllers)):
                    self._sleep()
                    continue
                if self._end.end is not End.RESET or not self.config.restart_on_reset:
                    self.uart.flush()
                    return self._end
                self._restart()
            if self._paused:
                self._sleep()
                continue
            self._pacer.arm(self.timers.next_deadline())
            self._handle(self.engine.step() if self._stepping else self.engine.run())

    def close(self) -> None:
        """Switch off and give memory back.  On the vCPU thread, after ``run``."""
        self._pacer.close()
        self.engine.close()

    def _call_posted(self) -> None:
        for _ in range(len(self._posted)):
            self._posted.popleft()()

    def _handle(self, why: Exit) -> None:
        if why is Exit.HALTED:
            self.exits["halted"] += 1
            if self._stepping:
                self._stop_for_debugger()
            elif self._end is None:  # guests halt right after they asked for an end
                self._sleep()
        elif why is Exit.STOPPED:
            self.exits["stopped"] += 1
        elif why in (Exit.BREAKPOINT, Exit.STEPPED):
            self._stop_for_debugger()
        elif self._end is not None:
            pass  # what the guest does that has asked for an end, before it is heard
        elif why is Exit.SHUTDOWN:
            self._finish(Outcome(End.TRIPLE_FAULT, self._report("the guest triple-faulted")))
        elif why is Exit.ERROR:
            self._finish(Outcome(End.ENGINE_ERROR, self._report(self.engine.error)))

    def _stop_for_debugger(self) -> None:
        self.hold()
        if self._on_stop is not None:
            self._on_stop()

    def _report(self, headline: str) -> str:
        return f"{headline}\n{self._describe(self.engine.get_registers(), self.memory)}"

    def _sleep(self) -> None:
        """Wait for a post or the next deadline."""
        self.uart.flush()
        if self._posted:
            return
        deadline = self.timers.next_deadline()
        if deadline is None:
            self._idle(None)
            return
        left = deadline - self._clock()
        if left > 0:
            self._pacer.arm(None)
            self._idle(left / SECOND)
