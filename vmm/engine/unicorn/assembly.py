"""Machine code between Unicorn's library and the engine, as assembly text (Intel syntax).

Callbacks in Python cannot do this work: an exception that is raised while one is delivered leaves
by ``longjmp``, which must not cross Python's frames, and memory thunks run millions of times.

Each thunk's comment gives the declaration of the C function that it is called as.  ``{data}`` is
the address of ``thunks.Data``, ``{d_NAME}`` a field's offset in it, and the other names are
constants of ``wheel.py``.  The calling convention is System V's: at its entry the stack pointer is
8 below a multiple of 16.
"""

# CS gets selector EDX and flags EDI, SS the selector after it: base 0, limit 4 GiB, ring 0.
_FLAT_SEGMENTS = """
        mov [rbx + {cs}], edx
        mov qword ptr [rbx + {cs} + 8], 0
        mov dword ptr [rbx + {cs} + 16], 0xffffffff
        mov [rbx + {cs} + 20], edi
        add edx, 8
        mov [rbx + {ss}], edx
        mov qword ptr [rbx + {ss} + 8], 0
        mov dword ptr [rbx + {ss} + 16], 0xffffffff
        mov dword ptr [rbx + {ss} + 20], 0x00c09300
"""

SOURCES = {
    # bool cpu_exec_interrupt(CPUState *, int request): asked between blocks, as INTERRUPT_ALWAYS
    # is set.  The fence makes the caller's clearing of the exit word visible before the kick is
    # looked for, or a kick that comes in between would be lost.
    "interrupt": """
        push rbx
        movabs rbx, {data}
        lock or dword ptr [rsp - 8], 0
        mov rax, [rbx + {d_kicked}]
        cmp dword ptr [rax], 0
        jne stop
        test esi, {others}
        jz line
        call [rbx + {d_exec_interrupt}]
        test al, al
        jnz delivered
    line:
        cmp dword ptr [rbx + {d_irq_line}], 0
        je none
        mov rdi, [rbx + {d_env}]
        test dword ptr [rdi + {eflags}], 0x200
        jz none
        test dword ptr [rdi + {hflags}], {inhibit}
        jnz none
        call [rbx + {d_acknowledge}]
        test eax, eax
        js none
        mov rdi, [rbx + {d_env}]
        mov esi, eax
        mov edx, 1
        call [rbx + {d_hard_interrupt}]
    delivered:
        mov eax, 1
        pop rbx
        ret
    stop:
        mov dword ptr [rbx + {d_stopped}], 1
        mov rdi, [rbx + {d_uc}]
        call [rbx + {d_emu_stop}]
    none:
        xor eax, eax
        pop rbx
        ret
    """,
    # void hook(uc, int number, CPUState *): an exception or INT n.  The trap after a step of the
    # debugger's (stepping 1) is not the guest's; the one after a step that was given up (2) is
    # nobody's.
    "exception": """
        movabs rax, {data}
        cmp esi, 1
        jne deliver
        cmp dword ptr [rax + {d_stepping}], 0
        jne stepped
    deliver:
        mov rdi, rdx
        jmp [rax + {d_do_interrupt}]
    stepped:
        mov ecx, [rax + {d_stepping}]
        mov dword ptr [rax + {d_stepping}], 0
        mov rdi, [rax + {d_env}]
        and dword ptr [rdi + {eflags}], 0xfffffeff
        cmp ecx, 1
        jne swallowed
        mov dword ptr [rax + {d_stepped}], 1
        mov rdi, [rax + {d_uc}]
        jmp [rax + {d_emu_stop}]
    swallowed:
        ret
    """,
    # bool hook(uc, CPUState *): #UD, which Unicorn sends another way
    "invalid": """
        sub rsp, 8
        mov rdi, rsi
        movabs rax, {data}
        call [rax + {d_do_interrupt}]
        mov eax, 1
        add rsp, 8
        ret
    """,
    # void hook(uc, user): SYSCALL (AMD64 Architecture Programmer's Manual volume 3).  The caller
    # adds the instruction's two bytes to eip afterwards.
    "syscall": """
        push rbx
        push r12
        sub rsp, 8
        movabs r12, {data}
        mov rbx, [r12 + {d_env}]
        test dword ptr [rbx + {efer}], 1
        jz undefined
        mov rdi, rbx
        mov esi, [rbx + {cc_op}]
        call [r12 + {d_compute_flags}]
        mov ecx, [rbx + {df}]
        and ecx, 0x400
        or eax, ecx
        or eax, [rbx + {eflags}]
        or eax, 2
        mov edx, [rbx + {star} + 4]
        and edx, 0xfffc
        mov rcx, [rbx + {eip}]
        add rcx, 2
        mov esi, [rbx + {hflags}]
        test esi, 0x4000
        jz legacy
        mov [rbx + 8], rcx
        mov ecx, eax
        and ecx, 0xfffeffff
        mov [rbx + 0x58], rcx
        mov ecx, [rbx + {fmask}]
        or ecx, 0x10000
        not ecx
        and eax, ecx
        mov rcx, [rbx + {lstar}]
        mov rdi, [rbx + {cstar}]
        test esi, 0x8000
        cmovz rcx, rdi
        mov edi, 0x00a09b00
        jmp enter
    legacy:
        mov ecx, ecx
        mov [rbx + 8], rcx
        and eax, 0xfffcfdff
        mov ecx, [rbx + {star}]
        mov edi, 0x00c09b00
    enter:
        sub rcx, 2
        mov [rbx + {eip}], rcx
        call set_segments
        mov ecx, eax
        and ecx, {arithmetic}
        mov [rbx + {cc_src}], rcx
        mov dword ptr [rbx + {cc_op}], {op_eflags}
        mov ecx, eax
        shr ecx, 9
        and ecx, 2
        neg ecx
        inc ecx
        mov [rbx + {df}], ecx
        and eax, {not_arithmetic}
        or eax, 2
        mov [rbx + {eflags}], rax
        mov rdi, rbx
        call [r12 + {d_update_hflags}]
        add rsp, 8
        pop r12
        pop rbx
        ret
    undefined:
        mov rdi, rbx
        mov esi, 6
        xor edx, edx
        xor ecx, ecx
        call [r12 + {d_raise_exception}]
    set_segments:
    """
    + _FLAT_SEGMENTS
    + """
        ret
    """,
    # void hook(uc, user): SYSENTER (Intel SDM volume 2)
    "sysenter": """
        push rbx
        push r12
        sub rsp, 8
        movabs r12, {data}
        mov rbx, [r12 + {d_env}]
        mov edx, [rbx + {sysenter_cs}]
        and edx, 0xfffc
        jz refused
        and dword ptr [rbx + {eflags}], 0xfffcfdff
        mov edi, 0x00c09b00
        mov esi, 0x00a09b00
        test dword ptr [rbx + {hflags}], 0x4000
        cmovnz edi, esi
    """
    + _FLAT_SEGMENTS
    + """
        mov rax, [rbx + {sysenter_esp}]
        mov [rbx + 0x20], rax
        mov rax, [rbx + {sysenter_eip}]
        sub rax, 2
        mov [rbx + {eip}], rax
        mov rdi, rbx
        call [r12 + {d_update_hflags}]
        add rsp, 8
        pop r12
        pop rbx
        ret
    refused:
        mov rdi, rbx
        mov esi, 13
        xor edx, edx
        xor ecx, ecx
        call [r12 + {d_raise_exception}]
    """,
    # u32 hook(uc, u32 port, int size, user) and void hook(uc, port, size, value, user): IN, OUT.
    # Unicorn lets every ring use every port; here IOPL, virtual-8086 mode and the permission map
    # in the TSS decide, as on the processor (Intel SDM volume 1, 19.5).
    "pio_in": "\n".join(
        (
            "push rbx",
            "push r12",
            "push r13",
            "push r14",
            "sub rsp, 8",
            "movabs rbx, {data}",
            "mov r12, rdi",
            "mov r13d, esi",
            "mov r14d, edx",
            "{permission}",
            "mov rdi, r12",
            "mov esi, r13d",
            "mov edx, r14d",
            "xor ecx, ecx",
            "call [rbx + {d_pio_in}]",
            "add rsp, 8",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbx",
            "ret",
        )
    ),
    "pio_out": "\n".join(
        (
            "push rbx",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "movabs rbx, {data}",
            "mov r12, rdi",
            "mov r13d, esi",
            "mov r14d, edx",
            "mov r15d, ecx",
            "{permission}",
            "mov rdi, r12",
            "mov esi, r13d",
            "mov edx, r14d",
            "mov ecx, r15d",
            "xor r8d, r8d",
            "call [rbx + {d_pio_out}]",
            "pop r15",
            "pop r14",
            "pop r13",
            "pop r12",
            "pop rbx",
            "ret",
        )
    ),
    # bool tlb_fill(CPUState *, address, size, access, mmu index, probe, return address): remember
    # what the translation is for.
    "tlb_fill": """
        movabs rax, {data}
        mov [rax + {d_access}], ecx
        jmp [rax + {d_tlb_fill}]
    """,
    # void tlb_set_page_with_attrs(CPUState *, linear, physical, attributes, protection, mmu index,
    # size): unless it is for a fetch, leave the right to execute out, so that a page gets into the
    # TLB as code only when it is run, and stores to other pages stay fast.
    "set_page": """
        movabs rax, {data}
        cmp dword ptr [rax + {d_access}], 2
        je keep
        and r8d, 0xfffffffb
    keep:
        jmp [rax + {d_set_page}]
    """,
    # void tb_invalidate_phys_page_fast(uc, pages, RAM address, length, return address): a store to
    # a page that is not marked dirty.  Only pages that hold code are the library's business.
    "invalidate": """
        movabs rax, {data}
        mov r9, rdx
        shr r9, 12
        cmp r9, [rax + {d_ram_pages}]
        jae foreign
        add r9, [rax + {d_code_pages}]
        cmp byte ptr [r9], 0
        jne code
        mov dword ptr [rax + {d_still_code}], 0
        ret
    code:
        push rbx
        mov rbx, r9
        mov dword ptr [rax + {d_still_code}], 1
        call [rax + {d_invalidate}]
        movzx ecx, byte ptr [rbx]
        movabs rax, {data}
        mov [rax + {d_still_code}], ecx
        pop rbx
        ret
    foreign:
        mov dword ptr [rax + {d_still_code}], 1
        jmp [rax + {d_invalidate}]
    """,
    # void tlb_set_dirty(CPUState *, linear): let later stores be fast, unless code is there.
    "set_dirty": """
        movabs rax, {data}
        cmp dword ptr [rax + {d_still_code}], 0
        jne skip
        jmp [rax + {d_set_dirty}]
    skip:
        ret
    """,
    # void tlb_protect_code(uc, RAM address): code was translated from a page; stores to it through
    # any mapping must be seen from now on.
    "protect": """
        movabs rax, {data}
        mov rcx, rsi
        shr rcx, 12
        cmp rcx, [rax + {d_ram_pages}]
        jae outside
        add rcx, [rax + {d_code_pages}]
        mov byte ptr [rcx], 1
        push rbx
        mov rbx, rax
        mov rdx, rsi
        xor esi, esi
        call [rax + {d_ram_pointer}]
        mov rdi, [rbx + {d_cpu}]
        mov rsi, rax
        mov edx, 4096
        call [rbx + {d_reset_dirty}]
        pop rbx
    outside:
        ret
    """,
    # void tlb_unprotect_code(uc, RAM address): the page's last code is gone.
    "unprotect": """
        movabs rax, {data}
        shr rsi, 12
        cmp rsi, [rax + {d_ram_pages}]
        jae outside
        add rsi, [rax + {d_code_pages}]
        mov byte ptr [rsi], 0
    outside:
        ret
    """,
    # void tlb_reset_dirty_by_vaddr(CPUState *, linear, length): what the library does about stores
    # to code, by searching the whole TLB for every block it translates.  "protect" does it better.
    "nothing": "ret",
}

PERMISSION = """
        mov rdi, [rbx + {d_env}]
        test dword ptr [rdi + {cr0}], 1
        jz allowed
        mov eax, [rdi + {eflags}]
        test eax, 0x20000
        jnz check
        mov ecx, [rdi + {hflags}]
        and ecx, 3
        shr eax, 12
        and eax, 3
        cmp ecx, eax
        jbe allowed
    check:
        lea rax, [rbx + {d_check_io_1}]
        cmp r14d, 1
        je ask
        lea rax, [rbx + {d_check_io_2}]
        cmp r14d, 2
        je ask
        lea rax, [rbx + {d_check_io_4}]
    ask:
        call [rax]
    allowed:
"""
