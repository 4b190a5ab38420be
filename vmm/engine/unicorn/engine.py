"""The software engine.

Interrupts are delivered between translated blocks by the interrupt thunk, which reads the level of
the pin from its data page.  A kick sets a flag of this engine and ends the running chain of blocks;
the thunk finds the flag, asks the library to stop, and ``run`` returns ``STOPPED``.  A run that
ends without a kick and without HLT ended in a triple fault.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from typing import Final

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
from vmm.engine.unicorn import wheel
from vmm.engine.unicorn.thunks import Thunks

CPU_MODELS: Final = {
    "qemu64": 0,
    "core2duo": 2,
    "kvm64": 3,
    "qemu32": 4,
    "486": 7,
    "pentium": 8,
    "pentium2": 9,
    "pentium3": 10,
    "nehalem": 15,
    "westmere": 16,
    "haswell": 19,
    "skylake": 21,
    "opteron": 34,
    "epyc": 35,
}
"""Names in a machine's configuration, and the library's numbers for them."""

_PioIn = ctypes.CFUNCTYPE(
    ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_void_p
)
_PioOut = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint32, ctypes.c_void_p
)
_MmioRead = ctypes.CFUNCTYPE(
    ctypes.c_uint64, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_size_t
)
_MmioWrite = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint, ctypes.c_uint64, ctypes.c_size_t
)
_Acknowledge = ctypes.CFUNCTYPE(ctypes.c_int)

_FLAG_IF = 0x200
_WINDOW_PAGES: Final = (256 << 20) >> 12
"""Pages behind guest RAM for which is known whether they hold code."""
_READS, _WRITES, _EXECUTES = (
    f"the guest {what} where nothing can be {done}"
    for what, done in (("reads", "read"), ("writes", "written"), ("executes", "executed"))
)
_ERRORS = {6: _READS, 7: _WRITES, 8: _EXECUTES, 12: _WRITES, 13: _READS, 14: _EXECUTES}
"""The library's error codes that a guest can cause"""

_library: wheel.Library | None = None
_thunks: Thunks | None = None


def prepare() -> tuple[wheel.Library, Thunks]:
    """Load and patch the library, once a process.  Reads files: do it before a sandbox closes."""
    global _library, _thunks
    if _library is None or _thunks is None:
        _library = wheel.Library()
        _thunks = Thunks(_library)
    return _library, _thunks


class UnicornEngine:
    """A CPU in software; the interface is ``vmm.engine.interface.Engine``."""

    _current: UnicornEngine | None = None  # whose addresses the thunks' data page holds

    def __init__(self, callbacks: Callbacks, model: str = "qemu64") -> None:
        if model not in CPU_MODELS:
            known = ", ".join(CPU_MODELS)
            raise EngineError(f"there is no CPU model {model!r}; known are {known}")
        self._library, self._thunks = prepare()
        self._calls, self._quick = self._library.calls, self._library.quick
        self._data = self._thunks.data
        self.error = ""
        self._failure: BaseException | None = None
        self._halted = False
        self._irq_line = False
        self._a20 = True
        self._ram: list[object] = []
        self._ram_map: list[tuple[int, int, int]] = []  # start, end, RAM address minus gpa
        self._ram_pages = 0  # of RAM and of windows
        self._windows: dict[tuple[int, int], int] = {}  # host address, length -> region
        self._read_only: set[int] = set()  # regions
        self._shown: dict[int, tuple[int, tuple[int, int, int]]] = {}  # gpa -> region, RAM map
        self._code_pages = ctypes.create_string_buffer(0)
        self._kicked = ctypes.c_uint32(0)
        self._breakpoints: frozenset[int] = frozenset()
        self._open(CPU_MODELS[model])
        self._keep = self._make_callbacks(callbacks)
        self._add_hooks()
        self.reset()
        self._check_canaries()

    # Start-up

    def _open(self, model: int) -> None:
        handle = ctypes.c_void_p()
        self._check(self._calls.uc_open(wheel.ARCH_X86, wheel.MODE_64, ctypes.byref(handle)))
        if handle.value is None:
            raise EngineError("the software engine could not be opened")
        self._uc = ctypes.c_void_p(handle.value)
        self._uc_address = handle.value
        self._check(self._control(wheel.CTL_CPU_MODEL, model))
        self._read_register(wheel.REG_RIP)  # completes the library's initialisation
        self._cpu = cpu = ctypes.c_uint64.from_address(handle.value + wheel.UC_CPU).value
        self._env = env = cpu + wheel.ENV
        self._eip = ctypes.c_uint64.from_address(env + wheel.ENV_EIP)
        self._eflags = ctypes.c_uint32.from_address(env + wheel.ENV_EFLAGS)
        self._tsc_offset = ctypes.c_uint64.from_address(env + wheel.ENV_TSC_OFFSET)
        self._requests = ctypes.c_uint32.from_address(cpu + wheel.CPU_INTERRUPT_REQUEST)
        self._cpu_halted = ctypes.c_uint32.from_address(cpu + wheel.CPU_HALTED)
        exit_word = ctypes.c_uint64.from_address(cpu + wheel.CPU_EXIT_WORD).value
        self._exit_word = ctypes.c_uint16.from_address(exit_word + 2)
        ctypes.c_uint8.from_address(handle.value + wheel.UC_NO_EXIT_REQUEST).value = 1
        self._check(self._control(wheel.CTL_USE_EXITS, 1))
        self._check(self._control(wheel.CTL_EXITS, None, ctypes.c_size_t(0)))
        self._start = self._calls.uc_emu_start
        self._start.argtypes = [ctypes.c_void_p] + [ctypes.c_uint64] * 3 + [ctypes.c_size_t]
        self._replace_methods()

    def _control(self, control: int, *arguments: object) -> int:
        code = wheel.ctl_write(control, len(arguments))
        return int(self._calls.uc_ctl(self._uc, ctypes.c_int(code), *arguments))

    def _check(self, code: int) -> None:
        if code:
            self._calls.uc_strerror.restype = ctypes.c_char_p
            text = self._calls.uc_strerror(code).decode()
            raise EngineError(f"the software engine refused: {text}")

    def _replace_methods(self) -> None:
        """Put two thunks into the CPU class's table of methods."""
        table = ctypes.c_uint64.from_address(self._cpu + wheel.CPU_CLASS).value
        wanted = {
            int(self._data.exec_interrupt): self._thunks["interrupt"],
            int(self._data.tlb_fill): self._thunks["tlb_fill"],
        }
        found = set()
        for offset in range(0, wheel.CPU_CLASS_SIZE, 8):
            slot = ctypes.c_uint64.from_address(table + offset)
            if slot.value in wanted:
                found.add(slot.value)
                slot.value = wanted[slot.value]
        if found != wanted.keys():
            raise EngineError("the software engine's library is laid out in an unknown way")

    def _make_callbacks(self, callbacks: Callbacks) -> tuple[object, ...]:
        """Wrap the board's methods for the library; an exception in one ends the run."""
        pio_in, pio_out = callbacks.pio_in, callbacks.pio_out
        mmio_read, mmio_write = callbacks.mmio_read, callbacks.mmio_write
        acknowledge_irq = callbacks.acknowledge_irq

        def on_in(_uc: int, port: int, size: int, _user: int) -> int:
            try:
                return pio_in(port, size)
            except BaseException as failure:
                return self._fail(failure)

        def on_out(_uc: int, port: int, size: int, value: int, _user: int) -> None:
            try:
                pio_out(port, size, value)
            except BaseException as failure:
                self._fail(failure)

        def on_read(_uc: int, offset: int, size: int, base: int) -> int:
            try:
                return mmio_read(base + offset, size)
            except BaseException as failure:
                return self._fail(failure)

        def on_write(_uc: int, offset: int, size: int, value: int, base: int) -> None:
            try:
                mmio_write(base + offset, size, value)
            except BaseException as failure:
                self._fail(failure)

        def on_acknowledge() -> int:
            try:
                return acknowledge_irq()
            except BaseException as failure:
                self._fail(failure)
                return NO_VECTOR

        self._pio_in, self._pio_out = _PioIn(on_in), _PioOut(on_out)
        self._mmio_read, self._mmio_write = _MmioRead(on_read), _MmioWrite(on_write)
        self._acknowledge = _Acknowledge(on_acknowledge)
        self._addresses = tuple(
            ctypes.cast(callback, ctypes.c_void_p).value
            for callback in (self._pio_in, self._pio_out, self._acknowledge)
        )
        return callbacks, on_in, on_out, on_read, on_write, on_acknowledge

    def _fail(self, failure: BaseException) -> int:
        if self._failure is None:
            self._failure = failure
        self.kick()
        return 0

    def _add_hooks(self) -> None:
        for kind, thunk, instruction in (
            (wheel.HOOK_INTR, "exception", 0),
            (wheel.HOOK_INSN_INVALID, "invalid", 0),
            (wheel.HOOK_INSN, "syscall", wheel.INSN_SYSCALL),
            (wheel.HOOK_INSN, "sysenter", wheel.INSN_SYSENTER),
            (wheel.HOOK_INSN, "pio_in", wheel.INSN_IN),
            (wheel.HOOK_INSN, "pio_out", wheel.INSN_OUT),
        ):
            hook = ctypes.c_size_t()
            self._check(
                self._calls.uc_hook_add(
                    self._uc,
                    ctypes.byref(hook),
                    ctypes.c_int(kind),
                    ctypes.c_void_p(self._thunks[thunk]),
                    ctypes.c_void_p(self._cpu),
                    ctypes.c_uint64(1),  # begin after end: everywhere
                    ctypes.c_uint64(0),
                    ctypes.c_int(instruction),
                )
            )

    def _read_register(self, number: int) -> int:
        value = ctypes.c_uint64()
        self._check(self._calls.uc_reg_read(self._uc, number, ctypes.byref(value)))
        return value.value

    def _check_canaries(self) -> None:
        """Registers written through the library must be where ``wheel`` says they are."""
        for msr, offset in (
            (0xC0000081, wheel.ENV_STAR),
            (0xC0000082, wheel.ENV_LSTAR),
            (0x176, wheel.ENV_SYSENTER_EIP),
        ):
            canary = 0x0102_0304_0506_0000 | msr & 0xFFFF
            request = (ctypes.c_uint64 * 2)(msr, canary)
            self._check(self._calls.uc_reg_write(self._uc, wheel.REG_MSR, ctypes.byref(request)))
            kept = ctypes.c_uint64.from_address(self._env + offset)
            if kept.value != canary:
                raise EngineError("the software engine's library keeps its registers elsewhere")
            kept.value = 0
        rax = ctypes.c_uint64(0x1122_3344_5566_7788)
        self._check(self._calls.uc_reg_write(self._uc, wheel.REG_RAX, ctypes.byref(rax)))
        if ctypes.c_uint64.from_address(self._env).value != rax.value:
            raise EngineError("the software engine's library keeps its registers elsewhere")
        ctypes.c_uint64.from_address(self._env).value = 0
        before = self._read_tsc()
        self._tsc_offset.value += 1 << 60
        if not 1 << 60 <= self._read_tsc() - before < 1 << 61:
            raise EngineError("the software engine's library keeps its time elsewhere")
        self._tsc_offset.value -= 1 << 60
        if self.cpuid(1).edx != self._feature(1, "edx").value & 0xFFFF_FFFF:
            raise EngineError("the software engine's library keeps its features elsewhere")

    # Memory

    def map_ram(self, gpa: int, buffer: memoryview, offset: int, length: int) -> None:
        window = (ctypes.c_char * length).from_buffer(buffer, offset)
        address = ctypes.addressof(window)
        if (address | gpa | length) & 0xFFF:
            raise EngineError("guest memory must be aligned to pages of 4096 bytes")
        self._ram.append(window)
        self._check(
            self._calls.uc_mem_map_ptr(
                self._uc,
                ctypes.c_uint64(gpa),
                ctypes.c_uint64(length),
                ctypes.c_uint32(wheel.PROT_ALL),
                ctypes.c_void_p(address),
            )
        )
        offset_in_block = ctypes.c_uint64()
        self._calls.qemu_ram_block_from_host_x86_64.restype = ctypes.c_uint64
        block = self._calls.qemu_ram_block_from_host_x86_64(
            self._uc, ctypes.c_void_p(address), ctypes.c_int(0), ctypes.byref(offset_in_block)
        )
        at = self._place(block, address, length)
        self._ram_map.append((gpa, gpa + length, at - gpa))
        self._code_pages = ctypes.create_string_buffer(self._ram_pages + _WINDOW_PAGES)
        UnicornEngine._current = None

    def _place(self, block: int, address: int, length: int) -> int:
        """Give a block of RAM an address among all RAM, by which translated code is known.

        The library may give one twice, if a block is larger than one before it.
        """
        host = ctypes.c_uint64.from_address(block + wheel.BLOCK_HOST) if block else None
        if host is None or host.value != address:
            raise EngineError("the software engine's library orders its memory in an unknown way")
        at = self._ram_pages << 12
        ctypes.c_uint64.from_address(block + wheel.BLOCK_OFFSET).value = at
        self._ram_pages += length >> 12
        return at

    def map_mmio(self, gpa: int, length: int) -> None:
        self._check(
            self._calls.uc_mmio_map(
                self._uc,
                ctypes.c_uint64(gpa),
                ctypes.c_uint64(length),
                self._mmio_read,
                ctypes.c_void_p(gpa),
                self._mmio_write,
                ctypes.c_void_p(gpa),
            )
        )

    def map_window(
        self, gpa: int, buffer: memoryview, offset: int, length: int, read_only: bool = False
    ) -> None:
        window = (ctypes.c_char * length).from_buffer(buffer, offset)
        address = ctypes.addressof(window)
        if (address | gpa | length) & 0xFFF:
            raise EngineError("a window must be aligned to pages of 4096 bytes")
        self.unmap_window(gpa)
        region = self._windows.get((address, length))
        if region is None:
            self._ram.append(window)
            region = self._new_region(gpa, address, length)
            self._windows[address, length] = region
            self._remove(region)
        # One region for both kinds: the library knows translated code by the memory it is in.
        self._set_read_only(region, read_only)
        self._add(region, gpa)
        at = self._calls.memory_region_get_ram_addr_x86_64(ctypes.c_void_p(region))
        self._shown[gpa] = region, (gpa, gpa + length, at - gpa)
        self._ram_map.append(self._shown[gpa][1])
        self._quick.tlb_flush_x86_64(ctypes.c_void_p(self._cpu))
        self.invalidate(gpa, length)  # it may have been written to through another window

    def _new_region(self, gpa: int, address: int, length: int) -> int:
        """Let host memory appear at an address, in front of whatever is there already."""
        self._calls.memory_map_ptr_x86_64.restype = ctypes.c_void_p
        region = self._calls.memory_map_ptr_x86_64(
            self._uc,
            ctypes.c_uint64(gpa),
            ctypes.c_size_t(length),
            ctypes.c_uint32(wheel.PROT_ALL),
            ctypes.c_void_p(address),
        )
        if not region:
            raise EngineError("the software engine has no room for a window")
        container = ctypes.c_uint64.from_address(region + wheel.REGION_CONTAINER)
        if container.value != self._memory().value:
            raise EngineError("the software engine's library keeps its memory elsewhere")
        block = ctypes.c_uint64.from_address(region + wheel.REGION_BLOCK).value
        at = self._place(block, address, length)
        self._calls.memory_region_get_ram_addr_x86_64.restype = ctypes.c_uint64
        if self._calls.memory_region_get_ram_addr_x86_64(ctypes.c_void_p(region)) != at:
            raise EngineError("the software engine's library keeps its memory elsewhere")
        return int(region)

    def unmap_window(self, gpa: int) -> None:
        if gpa not in self._shown:
            return
        region, mapping = self._shown.pop(gpa)
        self._ram_map.remove(mapping)
        self._remove(region)
        self._quick.tlb_flush_x86_64(ctypes.c_void_p(self._cpu))

    def _memory(self) -> ctypes.c_void_p:
        """The region that all others are in."""
        memory = ctypes.c_uint64.from_address(self._uc_address + wheel.UC_SYSTEM_MEMORY)
        return ctypes.c_void_p(memory.value)

    def _add(self, region: int, gpa: int) -> None:
        self._calls.memory_region_add_subregion_overlap_x86_64(
            self._memory(), ctypes.c_uint64(gpa), ctypes.c_void_p(region), ctypes.c_int(0)
        )

    def _set_read_only(self, region: int, read_only: bool) -> None:
        """It takes effect when the region is put into its place."""
        if read_only != (region in self._read_only):
            self._calls.memory_region_set_readonly_x86_64(
                ctypes.c_void_p(region), ctypes.c_int(read_only)
            )
            self._read_only ^= {region}

    def _remove(self, region: int) -> None:
        self._calls.memory_region_del_subregion_x86_64(self._memory(), ctypes.c_void_p(region))

    def invalidate(self, gpa: int, length: int) -> None:
        for start, end, difference in self._ram_map:
            first, last = max(start, gpa), min(end, gpa + length)
            if first < last:
                self._activate()
                self._quick.tb_invalidate_phys_range_x86_64(
                    self._uc,
                    ctypes.c_uint64(first + difference),
                    ctypes.c_uint64(last + difference),
                )

    # Running

    def _activate(self) -> None:
        if UnicornEngine._current is self:
            return
        UnicornEngine._current = self
        data = self._data
        data.uc, data.cpu, data.env = self._uc.value, self._cpu, self._env
        data.kicked = ctypes.addressof(self._kicked)
        data.pio_in, data.pio_out, data.acknowledge = self._addresses
        data.code_pages = ctypes.addressof(self._code_pages)
        data.ram_pages = len(self._code_pages)
        data.irq_line, data.stopped = self._irq_line, 0

    def run(self) -> Exit:
        self._activate()
        if self._halted:
            if self._kicked.value:
                return self._stopped()
            if not self._wakes():
                return Exit.HALTED
            self._halted = False
        if self._breakpoints and self._at_breakpoint():
            how = self.step()
            if how is not Exit.STEPPED or self._at_breakpoint():
                return Exit.BREAKPOINT if how is Exit.STEPPED else how
        how = self._execute()
        while how is Exit.HALTED and self._wakes():  # it was asserted just before, as by "sti; hlt"
            self._halted = False
            how = self._execute()
        return how

    def _wakes(self) -> bool:
        """Whether a halted processor has an interrupt to take."""
        deliverable = self._irq_line and self._eflags.value & _FLAG_IF
        return bool(deliverable or self._requests.value & wheel.INTERRUPT_NMI)

    def _execute(self) -> Exit:
        data = self._data
        data.stopped = data.stepped = 0
        code = self._start(self._uc, self._eip.value, 0, 0, 0)
        if data.stepped:
            return Exit.STEPPED
        if data.stopped:
            return self._stopped()
        if code:
            self.error = _ERRORS.get(code, f"the software engine reports error {code}")
            return Exit.ERROR
        if self._cpu_halted.value:
            if self._breakpoints and self._at_breakpoint():
                self._cpu_halted.value = 0
                return Exit.BREAKPOINT
            self._halted = True
            return Exit.HALTED
        return Exit.SHUTDOWN

    def step(self) -> Exit:
        self._activate()
        data = self._data
        if self._breakpoints:
            self._set_exits(())
        self._halted = False
        data.stepping = 1
        self._eflags.value |= wheel.FLAG_TF
        how = self._execute()
        if how is not Exit.STEPPED:
            # The flag may be on the guest's stack: a trap may still come.
            data.stepping = 2
            self._eflags.value &= ~wheel.FLAG_TF
        if self._breakpoints:
            self._set_exits(self._breakpoints)
        return how

    def _at_breakpoint(self) -> bool:
        return self._segment(1)[1] + self._eip.value in self._breakpoints

    def set_breakpoints(self, addresses: Collection[int]) -> None:
        self._activate()
        self._breakpoints = frozenset(addresses)
        self._set_exits(self._breakpoints)

    def _set_exits(self, addresses: Collection[int]) -> None:
        """Where translated code ends the run; what was translated already does not know."""
        exits = (ctypes.c_uint64 * max(1, len(addresses)))(*addresses)
        count = ctypes.c_size_t(len(addresses))
        self._check(self._control(wheel.CTL_EXITS, ctypes.byref(exits), count))
        self._check(self._control(wheel.CTL_TB_FLUSH))

    def _stopped(self) -> Exit:
        self._kicked.value = 0
        failure = self._failure
        if failure is None:
            return Exit.STOPPED
        self._failure = None
        if not isinstance(failure, Exception):
            raise failure
        self.error = f"a device failed: {type(failure).__name__}: {failure}"
        return Exit.ERROR

    def kick(self) -> None:
        self._kicked.value = 1
        self._exit_word.value = 0xFFFF

    def set_irq_line(self, asserted: bool) -> None:
        self._irq_line = asserted
        if UnicornEngine._current is self:
            self._data.irq_line = asserted
        if asserted:
            self._exit_word.value = 0xFFFF

    def raise_nmi(self) -> None:
        self._requests.value |= wheel.INTERRUPT_NMI
        self._exit_word.value = 0xFFFF

    def reset(self) -> None:
        self._activate()
        self._calls.cpu_reset(ctypes.c_void_p(self._cpu))
        self._requests.value = wheel.INTERRUPT_ALWAYS
        self._halted = False

    def set_a20(self, enabled: bool) -> None:
        self._activate()
        self._a20 = enabled
        self._quick.x86_cpu_set_a20_x86_64(ctypes.c_void_p(self._cpu), ctypes.c_int(enabled))

    def close(self) -> None:
        if self._uc.value is not None:
            self._activate()
            self._calls.uc_close(self._uc)
            self._uc = ctypes.c_void_p()
            UnicornEngine._current = None
            self._exit_word = ctypes.c_uint16()  # kicks may still come
            self._ram.clear()

    # Registers

    def get_registers(self) -> Registers:
        self._activate()
        env = self._env
        operation = ctypes.c_uint32.from_address(env + wheel.ENV_CC_OP).value
        arithmetic = self._quick.cpu_cc_compute_all_x86_64(ctypes.c_void_p(env), operation)
        direction = ctypes.c_uint32.from_address(env + wheel.ENV_DF).value & wheel.FLAG_DF
        es, cs, ss, ds, fs, gs, ldtr, tr = (Segment(*self._segment(i)) for i in range(8))
        gdtr, idtr = (Table(*self._segment(i)[1:3]) for i in (8, 9))
        control = (ctypes.c_uint64 * 5).from_address(env + wheel.ENV_CR)
        return Registers(
            general=list((ctypes.c_uint64 * 16).from_address(env)),
            rip=self._eip.value,
            rflags=self._eflags.value | arithmetic & wheel.FLAGS_ARITHMETIC | direction | 2,
            es=es,
            cs=cs,
            ss=ss,
            ds=ds,
            fs=fs,
            gs=gs,
            ldtr=ldtr,
            tr=tr,
            gdtr=gdtr,
            idtr=idtr,
            cr0=control[0],
            cr2=control[2],
            cr3=control[3],
            cr4=control[4],
            efer=ctypes.c_uint64.from_address(env + wheel.ENV_EFER).value,
        )

    def _segment(self, index: int) -> tuple[int, int, int, int]:
        address = self._env + wheel.ENV_SEGMENTS + index * wheel.SEGMENT.size
        raw = ctypes.string_at(address, wheel.SEGMENT.size)
        selector, base, limit, flags = wheel.SEGMENT.unpack(raw)
        return selector, base, limit, flags

    def set_registers(self, registers: Registers) -> None:
        self._activate()
        env, r = self._env, registers
        ctypes.memmove(env, (ctypes.c_uint64 * 16)(*r.general), 128)
        self._eip.value = r.rip
        arithmetic, direction = wheel.FLAGS_ARITHMETIC, wheel.FLAG_DF
        self._eflags.value = r.rflags & ~(arithmetic | direction) | 2
        ctypes.c_uint64.from_address(env + wheel.ENV_CC_SRC).value = r.rflags & arithmetic
        ctypes.c_uint32.from_address(env + wheel.ENV_CC_OP).value = wheel.CC_OP_EFLAGS
        ctypes.c_int32.from_address(env + wheel.ENV_DF).value = -1 if r.rflags & direction else 1
        segments = (r.es, r.cs, r.ss, r.ds, r.fs, r.gs, r.ldtr, r.tr)
        tables = [Segment(0, base, limit, 0) for base, limit in (r.gdtr, r.idtr)]
        packed = b"".join(wheel.SEGMENT.pack(*segment) for segment in (*segments, *tables))
        ctypes.memmove(env + wheel.ENV_SEGMENTS, packed, len(packed))
        control = (ctypes.c_uint64 * 5).from_address(env + wheel.ENV_CR)
        control[0], control[2], control[3], control[4] = r.cr0, r.cr2, r.cr3, r.cr4
        ctypes.c_uint64.from_address(env + wheel.ENV_EFER).value = r.efer
        self._quick.x86_update_hflags_x86_64(ctypes.c_void_p(env))
        self._quick.tlb_flush_x86_64(ctypes.c_void_p(self._cpu))
        self._halted = False

    # What is left of the state

    def _read_tsc(self) -> int:
        """The guest's time-stamp counter, as RDTSC would give it."""
        general = (ctypes.c_uint64 * 16).from_address(self._env)
        kept = general[0], general[2]
        self._quick.helper_rdtsc_x86_64(ctypes.c_void_p(self._env))
        found = general[0] | general[2] << 32
        general[0], general[2] = kept
        return found

    def save(self) -> dict[str, int | bytes]:
        self._activate()
        state: dict[str, int | bytes] = {
            "halted": self._halted,
            "nmi": bool(self._requests.value & wheel.INTERRUPT_NMI),
            "irq": self._irq_line,
            "a20": self._a20,
            "tsc": self._read_tsc(),
        }
        for name, (number, size) in wheel.FLOATING.items():
            value = ctypes.create_string_buffer(16)
            self._check(self._calls.uc_reg_read(self._uc, number, value))
            state[name] = value.raw[:size]
        for number in wheel.MSRS:
            request = (ctypes.c_uint64 * 2)(number)
            self._check(self._calls.uc_reg_read(self._uc, wheel.REG_MSR, ctypes.byref(request)))
            state[f"msr{number:x}"] = request[1]
        return state

    def restore(self, registers: Registers, rest: Mapping[str, int | bytes]) -> None:
        self._activate()
        if rest.keys() != self.save().keys():
            raise EngineError("this is not the state of a software engine")
        self.reset()
        for name, (number, size) in wheel.FLOATING.items():
            content = rest[name]
            if not isinstance(content, bytes) or len(content) != size:
                raise EngineError(f"the software engine's register {name} is of another size")
            value = ctypes.create_string_buffer(content, 16)
            self._check(self._calls.uc_reg_write(self._uc, number, value))
        for number in wheel.MSRS:
            msr = rest[f"msr{number:x}"]
            if not isinstance(msr, int):
                raise EngineError("this is not the state of a software engine")
            request = (ctypes.c_uint64 * 2)(number, msr)
            self._check(self._calls.uc_reg_write(self._uc, wheel.REG_MSR, ctypes.byref(request)))
        self.set_a20(bool(rest["a20"]))
        self.set_irq_line(bool(rest["irq"]))
        if rest["nmi"]:
            self.raise_nmi()
        if not isinstance(rest["tsc"], int):
            raise EngineError("this is not the state of a software engine")
        self._tsc_offset.value += rest["tsc"] - self._read_tsc()
        self.set_registers(registers)
        self._halted = bool(rest["halted"])

    # CPUID

    def cpuid(self, leaf: int, subleaf: int = 0) -> CpuidResult:
        out = [ctypes.c_uint32() for _ in range(4)]
        self._quick.cpu_x86_cpuid_x86_64(
            ctypes.c_void_p(self._env),
            ctypes.c_uint32(leaf),
            ctypes.c_uint32(subleaf),
            *(ctypes.byref(value) for value in out),
        )
        return CpuidResult(*(value.value for value in out))

    def _feature(self, leaf: int, register: str) -> ctypes.c_uint64:
        word = wheel.FEATURE_WORDS[leaf, register]
        return ctypes.c_uint64.from_address(self._env + wheel.ENV_FEATURES + 8 * word)

    def set_cpuid(self, leaf: int, register: str, clear: int = 0, set_: int = 0) -> None:
        field = self._feature(leaf, register)
        field.value = field.value & ~clear | set_
