"""The page of machine code between Unicorn's library and the engine.

It holds a block of data (``Data``), which says what engine is current, and the thunks of
``assembly.py``.  The patches are process-wide, so there is one page for a process, and one engine
at a time runs in it.
"""

from __future__ import annotations

import ctypes
import mmap

from vmm.engine.interface import EngineError
from vmm.engine.unicorn import wheel
from vmm.engine.unicorn.assembly import PERMISSION, SOURCES


class Data(ctypes.Structure):
    """What the thunks read and write."""

    _fields_ = [
        # the current engine
        ("uc", ctypes.c_uint64),
        ("cpu", ctypes.c_uint64),
        ("env", ctypes.c_uint64),
        ("kicked", ctypes.c_uint64),  # address of its u32: a stop was asked for
        ("pio_in", ctypes.c_uint64),  # Python callbacks
        ("pio_out", ctypes.c_uint64),
        ("acknowledge", ctypes.c_uint64),
        ("code_pages", ctypes.c_uint64),  # address of a byte for each page of RAM: it holds code
        ("ram_pages", ctypes.c_uint64),
        ("irq_line", ctypes.c_uint32),
        ("stopped", ctypes.c_uint32),  # out: the run ended because of a kick
        ("stepping", ctypes.c_uint32),  # 1: stop at the next trap, 2: have it forgotten
        ("stepped", ctypes.c_uint32),  # out: that trap has come
        ("access", ctypes.c_uint32),  # of the translation under way: 0 load, 1 store, 2 fetch
        ("still_code", ctypes.c_uint32),  # the page last written to still holds code
        # functions of the library
        ("exec_interrupt", ctypes.c_uint64),
        ("hard_interrupt", ctypes.c_uint64),
        ("do_interrupt", ctypes.c_uint64),
        ("raise_exception", ctypes.c_uint64),
        ("compute_flags", ctypes.c_uint64),
        ("update_hflags", ctypes.c_uint64),
        ("emu_stop", ctypes.c_uint64),
        ("check_io_1", ctypes.c_uint64),
        ("check_io_2", ctypes.c_uint64),
        ("check_io_4", ctypes.c_uint64),
        ("tlb_fill", ctypes.c_uint64),
        ("set_page", ctypes.c_uint64),
        ("invalidate", ctypes.c_uint64),
        ("set_dirty", ctypes.c_uint64),
        ("reset_dirty", ctypes.c_uint64),
        ("ram_pointer", ctypes.c_uint64),
    ]


_FUNCTIONS = {
    "exec_interrupt": "x86_cpu_exec_interrupt_x86_64",
    "hard_interrupt": "do_interrupt_x86_hardirq_x86_64",
    "do_interrupt": "x86_cpu_do_interrupt_x86_64",
    "raise_exception": "raise_exception_err_ra_x86_64",
    "compute_flags": "cpu_cc_compute_all_x86_64",
    "update_hflags": "x86_update_hflags_x86_64",
    "emu_stop": "uc_emu_stop",
    "check_io_1": "helper_check_iob_x86_64",
    "check_io_2": "helper_check_iow_x86_64",
    "check_io_4": "helper_check_iol_x86_64",
    "tlb_fill": "x86_cpu_tlb_fill_x86_64",
    "set_page": "tlb_set_page_with_attrs_x86_64",
    "invalidate": "tb_invalidate_phys_page_fast_x86_64",
    "set_dirty": "tlb_set_dirty_x86_64",
    "reset_dirty": "tlb_reset_dirty_x86_64",
    "ram_pointer": "qemu_map_ram_ptr_x86_64",
}


class Thunks:
    """The page: assembled once a process, when the first engine is made."""

    PAGE = 8192

    def __init__(self, library: wheel.Library) -> None:
        self._page = mmap.mmap(
            -1,
            self.PAGE,
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS,
            prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC,
        )
        self.data = Data.from_buffer(self._page)
        self._base = ctypes.addressof(self.data)
        for field, function in _FUNCTIONS.items():
            setattr(self.data, field, library.address(function))
        self._used = (ctypes.sizeof(Data) + 63) & ~63
        self._addresses = self._assemble()
        for name, thunk in zip(
            wheel.REDIRECTED,
            ("set_page", "invalidate", "set_dirty", "protect", "unprotect", "nothing"),
            strict=True,
        ):
            library.redirect(name, self._addresses[thunk])

    def __getitem__(self, name: str) -> int:
        """A thunk's address."""
        return self._addresses[name]

    def _assemble(self) -> dict[str, int]:
        from keystone import KS_ARCH_X86, KS_MODE_64, Ks, KsError

        assembler = Ks(KS_ARCH_X86, KS_MODE_64)
        names = {f"d_{field[0]}": getattr(Data, field[0]).offset for field in Data._fields_}
        names |= {
            "data": self._base,
            "others": wheel.INTERRUPT_NMI,
            "inhibit": wheel.HFLAG_INHIBIT_IRQ,
            "eip": wheel.ENV_EIP,
            "eflags": wheel.ENV_EFLAGS,
            "hflags": wheel.ENV_HFLAGS,
            "cc_op": wheel.ENV_CC_OP,
            "cc_src": wheel.ENV_CC_SRC,
            "df": wheel.ENV_DF,
            "cr0": wheel.ENV_CR,
            "efer": wheel.ENV_EFER,
            "star": wheel.ENV_STAR,
            "lstar": wheel.ENV_LSTAR,
            "cstar": wheel.ENV_CSTAR,
            "fmask": wheel.ENV_FMASK,
            "sysenter_cs": wheel.ENV_SYSENTER_CS,
            "sysenter_esp": wheel.ENV_SYSENTER_ESP,
            "sysenter_eip": wheel.ENV_SYSENTER_EIP,
            "cs": wheel.ENV_SEGMENTS + wheel.SEGMENT.size,
            "ss": wheel.ENV_SEGMENTS + 2 * wheel.SEGMENT.size,
            "arithmetic": wheel.FLAGS_ARITHMETIC,
            "not_arithmetic": ~(wheel.FLAGS_ARITHMETIC | wheel.FLAG_DF) & 0xFFFFFFFF,
            "op_eflags": wheel.CC_OP_EFLAGS,
        }
        addresses = {}
        for name, source in SOURCES.items():
            text = source.replace("{permission}", PERMISSION).format_map(names)
            address = self._base + self._used
            try:
                code, _ = assembler.asm(text, address, as_bytes=True)
            except KsError as error:
                raise EngineError(f"the thunk {name} does not assemble: {error}") from error
            end = self._used + len(code)
            self._page[self._used : end] = code
            addresses[name] = address
            self._used = (end + 15) & ~15
        return addresses
