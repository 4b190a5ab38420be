"""The KVM engine.

``run`` executes the guest until something is to be done that only the board can do: ports and MMIO
are served within, as the interface wants.  The kick is a flag in the page that is shared with the
host's kernel, and a signal to the vCPU's thread for the case that the guest is executing already.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct
import threading
from collections.abc import Collection, Mapping
from typing import Any, Final

from vmm.engine.interface import (
    NO_VECTOR,
    Callbacks,
    CpuidResult,
    EngineError,
    Exit,
    Registers,
    Segment,
    Table,
)
from vmm.engine.kvm import api

_libc: Final = ctypes.CDLL(None)
_PRIVATE: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
KICK: Final = signal.SIGUSR1
_TSS_AT: Final = 0xFFFB_D000
"""Three pages that Intel's processors need for real mode, where no RAM is."""
_FEATURE_APIC, _APIC_ON = 1 << 9, 1 << 11
_FLAG_IF: Final = 0x200
_IO: Final = struct.Struct("<BBHIQ")
_MMIO: Final = struct.Struct("<Q8sIB")
_FIRST_WINDOW: Final = 16
"""The number of the first slot for memory that comes and goes."""
_ORDER: Final = (0, 3, 1, 2, 6, 7, 5, 4, *range(8, 16))
"""For each place in KVM's structure, the place in ``Registers.general``."""
_SEGMENTS: Final = {"es": "es", "cs": "cs", "ss": "ss", "ds": "ds", "fs": "fs", "gs": "gs"} | {
    "ldtr": "ldt",
    "tr": "tr",
}
_CONTROL: Final = ("cr0", "cr2", "cr3", "cr4", "efer")
MSRS: Final = (
    *(0x10, 0x174, 0x175, 0x176, 0x1A0, 0x277),  # TSC, SYSENTER, MISC_ENABLE, PAT
    *(0xC0000081, 0xC0000082, 0xC0000083, 0xC0000084),  # STAR, LSTAR, CSTAR, FMASK
    *(0xC0000102, 0xC0000103),  # KERNEL_GS_BASE, TSC_AUX
)
_BLOCKS: Final = {
    "fpu": (api.GET_FPU, api.SET_FPU, api.FPU_SIZE),
    "events": (api.GET_EVENTS, api.SET_EVENTS, api.EVENTS_SIZE),
    "debug": (api.GET_DEBUG_REGISTERS, api.SET_DEBUG_REGISTERS, api.DEBUG_REGISTERS_SIZE),
    "xcrs": (api.GET_XCRS, api.SET_XCRS, api.XCRS_SIZE),
}


def _nothing(_signal: int, _frame: object) -> None:
    """The signal has done its work when it arrives."""


def prepare() -> None:
    """Have kicks interrupt system calls and nothing else; in the main thread."""
    signal.signal(KICK, _nothing)


class KvmEngine:
    """A CPU of the host's; the interface is ``vmm.engine.interface.Engine``."""

    def __init__(self, callbacks: Callbacks, kvm: int) -> None:
        """``kvm`` is a descriptor of /dev/kvm, which stays the caller's."""
        self.error = ""
        self._callbacks = callbacks
        self._ram: list[object] = []
        self._windows: dict[int, tuple[int, object]] = {}  # gpa -> slot, what keeps the memory
        self._window_slots: set[int] = set()
        self._irq_line = self._halted = False
        self._kicked = False
        self._failure: BaseException | None = None
        self._breakpoints: frozenset[int] = frozenset()
        self._thread = 0
        self._open(kvm)
        self._first = self._get(api.GET_SREGS, api.Sregs())
        self.reset()

    # Start-up

    def _open(self, kvm: int) -> None:
        if self._request(kvm, api.GET_API_VERSION) != api.API_VERSION:
            raise EngineError("this host's KVM speaks another version of its interface")
        for capability in (api.CAP_USER_MEMORY, api.CAP_IMMEDIATE_EXIT):
            if not self._request(kvm, api.CHECK_EXTENSION, capability):
                raise EngineError(f"this host's KVM lacks capability {capability}")
        self._vm = self._request(kvm, api.CREATE_VM, 0)
        # The interpreter's ioctl takes no numbers above 2 GiB.
        if _libc.ioctl(self._vm, ctypes.c_ulong(api.SET_TSS_ADDR), ctypes.c_ulong(_TSS_AT)):
            raise EngineError("KVM refused the pages for real mode")
        self._vcpu = self._request(self._vm, api.CREATE_VCPU, 0)
        self._page = mmap.mmap(self._vcpu, self._request(kvm, api.GET_VCPU_MMAP_SIZE))
        self._cpuid = api.Cpuid(count=api.MOST_CPUID)
        self._ioctl(kvm, api.GET_SUPPORTED_CPUID, self._cpuid)
        self._ioctl(self._vcpu, api.SET_CPUID2, self._cpuid)
        self._cpuid_is_new = False

    @staticmethod
    def _request(fd: int, request: int, argument: int = 0) -> int:
        try:
            return fcntl.ioctl(fd, request, argument)
        except OSError as error:
            raise EngineError(f"KVM refused request {request & 0xFF:#x}: {error}") from None

    @staticmethod
    def _ioctl(fd: int, request: int, argument: Any) -> int:
        try:
            return int(fcntl.ioctl(fd, request, argument, True))
        except OSError as error:
            raise EngineError(f"KVM refused request {request & 0xFF:#x}: {error}") from None

    def _get(self, request: int, structure: Any) -> Any:
        self._ioctl(self._vcpu, request, structure)
        return structure

    def _set(self, request: int, structure: Any) -> None:
        self._ioctl(self._vcpu, request, structure)

    # Memory

    def map_ram(self, gpa: int, buffer: memoryview, offset: int, length: int) -> None:
        window = (ctypes.c_char * length).from_buffer(buffer, offset)
        address = ctypes.addressof(window)
        if (address | gpa | length) & 0xFFF:
            raise EngineError("guest memory must be aligned to pages of 4096 bytes")
        region = api.MemoryRegion(len(self._ram), 0, gpa, length, address)
        self._ioctl(self._vm, api.SET_USER_MEMORY_REGION, region)
        self._ram.append(window)

    def map_mmio(self, gpa: int, length: int) -> None:
        """What is no RAM is MMIO."""

    def map_window(
        self, gpa: int, buffer: memoryview, offset: int, length: int, read_only: bool = False
    ) -> None:
        self.unmap_window(gpa)
        window = (ctypes.c_char * length).from_buffer(buffer, offset)
        slot = next(i for i in range(_FIRST_WINDOW, 1 << 15) if i not in self._window_slots)
        flags = api.MEMORY_READ_ONLY if read_only else 0
        region = api.MemoryRegion(slot, flags, gpa, length, ctypes.addressof(window))
        self._ioctl(self._vm, api.SET_USER_MEMORY_REGION, region)
        self._windows[gpa] = slot, window
        self._window_slots.add(slot)

    def unmap_window(self, gpa: int) -> None:
        if gpa in self._windows:
            slot, _ = self._windows.pop(gpa)
            self._window_slots.discard(slot)
            region = api.MemoryRegion(slot, 0, gpa, 0, 0)
            self._ioctl(self._vm, api.SET_USER_MEMORY_REGION, region)

    def invalidate(self, gpa: int, length: int) -> None:
        """The processor sees what devices write."""

    # Running

    def run(self) -> Exit:
        self._thread = threading.get_ident()
        if self._cpuid_is_new:
            self._ioctl(self._vcpu, api.SET_CPUID2, self._cpuid)
            self._cpuid_is_new = False
        if self._halted:
            if self._kicked:
                return self._stopped()
            if not self._irq_line or not self.get_registers().rflags & _FLAG_IF:
                return Exit.HALTED
            self._halted = False
        if self._breakpoints and self._at_breakpoint():
            how = self.step()
            if how is not Exit.STEPPED or self._at_breakpoint():
                return Exit.BREAKPOINT if how is Exit.STEPPED else how
        return self._execute()

    def _at_breakpoint(self) -> bool:
        registers = self.get_registers()
        return registers.cs.base + registers.rip in self._breakpoints

    def _execute(self) -> Exit:
        page, vcpu = self._page, self._vcpu
        while True:
            self._offer_interrupt()
            if self._kicked:
                return self._stopped()
            try:
                fcntl.ioctl(vcpu, api.RUN, 0)
            except InterruptedError:
                continue  # kicked: seen above, after what was under way is complete
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    continue
                self.error = f"KVM cannot execute the guest: {error}"
                return Exit.ERROR
            reason = page[api.EXIT_REASON]
            if reason == api.EXIT_IO:
                self._serve_ports()
            elif reason == api.EXIT_MMIO:
                self._serve_mmio()
            elif reason not in (api.EXIT_IRQ_WINDOW, api.EXIT_INTR):
                return self._leave(reason)

    def _leave(self, reason: int) -> Exit:
        if reason == api.EXIT_HLT:
            self._halted = not (self._irq_line and self._page[api.IF_FLAG])
            return Exit.HALTED if self._halted else self._execute()
        if reason == api.EXIT_SHUTDOWN:
            return Exit.SHUTDOWN
        if reason == api.EXIT_DEBUG:
            return Exit.BREAKPOINT
        if reason == api.EXIT_FAIL_ENTRY:
            (why,) = struct.unpack_from("<Q", self._page, api.EXIT_DATA)
            self.error = f"the host's processor does not enter the guest (reason {why:#x})"
        elif reason == api.EXIT_INTERNAL_ERROR:
            (why,) = struct.unpack_from("<I", self._page, api.EXIT_DATA)
            self.error = f"KVM cannot emulate an instruction of the guest (suberror {why})"
        else:
            self.error = f"KVM left the guest for the unknown reason {reason}"
        return Exit.ERROR

    def _offer_interrupt(self) -> None:
        """Deliver a waiting interrupt, or ask to be told when one can be."""
        page = self._page
        if self._irq_line and page[api.READY_FOR_INTERRUPT] and page[api.IF_FLAG]:
            try:
                vector = self._callbacks.acknowledge_irq()
            except BaseException as failure:
                self._fail(failure)
                return
            if vector != NO_VECTOR:
                self._ioctl(self._vcpu, api.INTERRUPT, bytearray(struct.pack("<I", vector)))
        page[api.REQUEST_INTERRUPT_WINDOW] = self._irq_line

    def _serve_ports(self) -> None:
        page = self._page
        out, size, port, count, at = _IO.unpack_from(page, api.EXIT_DATA)
        callbacks = self._callbacks
        try:
            for _ in range(count):
                if out:
                    value = int.from_bytes(page[at : at + size], "little")
                    callbacks.pio_out(port, size, value)
                else:
                    page[at : at + size] = _octets(callbacks.pio_in(port, size), size)
                at += size
        except BaseException as failure:
            self._fail(failure)

    def _serve_mmio(self) -> None:
        page = self._page
        address, data, size, is_write = _MMIO.unpack_from(page, api.EXIT_DATA)
        try:
            if is_write:
                value = int.from_bytes(data[:size], "little")
                self._callbacks.mmio_write(address, size, value)
            else:
                value = self._callbacks.mmio_read(address, size)
                start = api.EXIT_DATA + 8
                page[start : start + size] = _octets(value, size)
        except BaseException as failure:
            self._fail(failure)

    def _fail(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
        self.kick()

    def _stopped(self) -> Exit:
        """Complete what the guest had begun (a read wants its value), and be stopped."""
        self._page[api.IMMEDIATE_EXIT] = 1
        try:
            fcntl.ioctl(self._vcpu, api.RUN, 0)
        except OSError:
            pass
        self._page[api.IMMEDIATE_EXIT] = 0
        self._kicked = False
        failure, self._failure = self._failure, None
        if failure is None:
            return Exit.STOPPED
        if not isinstance(failure, Exception):
            raise failure
        self.error = f"a device failed: {type(failure).__name__}: {failure}"
        return Exit.ERROR

    def kick(self) -> None:
        self._kicked = True
        self._page[api.IMMEDIATE_EXIT] = 1
        if self._thread and self._thread != threading.get_ident():
            signal.pthread_kill(self._thread, KICK)

    def set_irq_line(self, asserted: bool) -> None:
        self._irq_line = asserted

    def raise_nmi(self) -> None:
        self._request(self._vcpu, api.NMI)
        self._halted = False

    def reset(self) -> None:
        self._set(api.SET_SREGS, self._first)
        registers = api.Regs(rip=0xFFF0, rflags=2)
        self._set(api.SET_REGS, registers)
        self._halted = False

    def set_a20(self, enabled: bool) -> None:
        """The host's processor has no such gate: bit 20 is always let through."""

    # Debugging

    def step(self) -> Exit:
        self._thread = threading.get_ident()
        self._halted = False
        self._debug(api.DEBUG_ENABLE | api.DEBUG_STEP, ())
        how = self._execute()
        self._debug_breakpoints()
        return Exit.STEPPED if how is Exit.BREAKPOINT else how

    def set_breakpoints(self, addresses: Collection[int]) -> None:
        if len(addresses) > 4:
            raise EngineError("the host's processor has four breakpoints")
        self._breakpoints = frozenset(addresses)
        self._debug_breakpoints()

    def _debug_breakpoints(self) -> None:
        control = api.DEBUG_ENABLE | api.DEBUG_HARDWARE if self._breakpoints else 0
        self._debug(control, sorted(self._breakpoints))

    def _debug(self, control: int, addresses: Collection[int]) -> None:
        debug = api.Debug(control=control)
        for number, address in enumerate(addresses):
            debug.debugreg[number] = address
            debug.debugreg[7] |= 2 << 2 * number
        self._set(api.SET_GUEST_DEBUG, debug)

    # Registers

    def get_registers(self) -> Registers:
        regs = self._get(api.GET_REGS, api.Regs())
        sregs = self._get(api.GET_SREGS, api.Sregs())
        found = Registers(rip=regs.rip, rflags=regs.rflags)
        for place, number in enumerate(_ORDER):
            found.general[number] = regs.general[place]
        for name, theirs in _SEGMENTS.items():
            setattr(found, name, _segment(getattr(sregs, theirs)))
        found.gdtr = Table(sregs.gdt.base, sregs.gdt.limit)
        found.idtr = Table(sregs.idt.base, sregs.idt.limit)
        for name in _CONTROL:
            setattr(found, name, getattr(sregs, name))
        return found

    def set_registers(self, registers: Registers) -> None:
        regs = api.Regs(rip=registers.rip, rflags=registers.rflags | 2)
        for place, number in enumerate(_ORDER):
            regs.general[place] = registers.general[number]
        sregs = self._get(api.GET_SREGS, api.Sregs())
        for name, theirs in _SEGMENTS.items():
            _fill(getattr(sregs, theirs), getattr(registers, name))
        if not sregs.tr.present:
            # A processor that is entered has a task register, as after its reset.
            sregs.tr.type, sregs.tr.present, sregs.tr.unusable = 11, 1, 0
        sregs.gdt.base, sregs.gdt.limit = registers.gdtr
        sregs.idt.base, sregs.idt.limit = registers.idtr
        for name in _CONTROL:
            setattr(sregs, name, getattr(registers, name))
        self._set(api.SET_SREGS, sregs)
        self._set(api.SET_REGS, regs)
        self._halted = False

    def save(self) -> dict[str, int | bytes]:
        state: dict[str, int | bytes] = {"halted": self._halted, "irq": self._irq_line}
        for name, (get, _, size) in _BLOCKS.items():
            state[name] = bytes(self._get(get, bytearray(size)))
        for number in MSRS:
            request = api.Msrs(1, 0, api.MsrEntry(number))
            if self._ioctl(self._vcpu, api.GET_MSRS, request) == 1:
                state[f"msr{number:x}"] = request.entry.data
        return state

    def restore(self, registers: Registers, rest: Mapping[str, int | bytes]) -> None:
        if rest.keys() != self.save().keys():
            raise EngineError("this is not the state of a KVM engine on such a processor")
        self.reset()
        self.set_registers(registers)
        for name, content in rest.items():
            if name in _BLOCKS:
                _, put, size = _BLOCKS[name]
                if not isinstance(content, bytes) or len(content) != size:
                    raise EngineError(f"the state of the KVM engine's {name} is of another size")
                self._set(put, bytearray(content))
            elif name.startswith("msr") and isinstance(content, int):
                entry = api.MsrEntry(int(name[3:], 16), 0, content)
                self._ioctl(self._vcpu, api.SET_MSRS, api.Msrs(1, 0, entry))
        self._irq_line, self._halted = bool(rest["irq"]), bool(rest["halted"])

    # CPUID

    def _entries(self) -> list[Any]:
        return list(self._cpuid.entries[: self._cpuid.count])

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        for entry in self._entries():
            indexed = entry.flags & api.CPUID_INDEXED
            if entry.function == leaf and (not indexed or entry.index == subleaf):
                return CpuidResult(entry.eax, entry.ebx, entry.ecx, entry.edx)
        return CpuidResult(0, 0, 0, 0)

    def set_cpuid(self, leaf: int, register: str, clear: int = 0, set_: int = 0) -> None:
        for entry in self._cpuid.entries[: self._cpuid.count]:
            if entry.function == leaf and not entry.index:
                setattr(entry, register, getattr(entry, register) & ~clear | set_)
        self._cpuid_is_new = True
        if leaf == 1:
            self._show_apic(bool(self.cpuid(1).edx & _FEATURE_APIC))

    def _show_apic(self, shown: bool) -> None:
        """KVM shows the feature by whether the local APIC is switched on."""
        for sregs in (self._first, current := self._get(api.GET_SREGS, api.Sregs())):
            sregs.apic_base = sregs.apic_base & ~_APIC_ON | (_APIC_ON if shown else 0)
        self._set(api.SET_SREGS, current)

    def close(self) -> None:
        if self._vcpu >= 0:
            self._thread = 0
            self._page.close()
            self._page = mmap.mmap(-1, mmap.PAGESIZE, flags=_PRIVATE)  # kicks may still come
            os.close(self._vcpu)
            os.close(self._vm)
            self._vcpu = self._vm = -1
            self._ram.clear()


def _octets(value: int, size: int) -> bytes:
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def _segment(found: Any) -> Segment:
    """KVM's taken-apart flags as a descriptor's high word has them."""
    flags = found.type << 8 | found.s << 12 | found.dpl << 13 | found.present << 15
    flags |= found.avl << 20 | found.l << 21 | found.db << 22 | found.g << 23
    return Segment(found.selector, found.base, found.limit, 0 if found.unusable else flags)


def _fill(target: Any, segment: Segment) -> None:
    flags = segment.flags
    target.base, target.limit, target.selector = segment.base, segment.limit, segment.selector
    target.type, target.s, target.dpl = flags >> 8 & 15, flags >> 12 & 1, flags >> 13 & 3
    target.present, target.avl, target.l = flags >> 15 & 1, flags >> 20 & 1, flags >> 21 & 1
    target.db, target.g = flags >> 22 & 1, flags >> 23 & 1
    target.unusable = not target.present


__all__ = ["KvmEngine", "prepare"]
