# Segments and pages.  boot32 mapped the first 4 GiB for the kernel in pages of 2 MiB; here the first
# 2 MiB get pages of 4 KiB, so that code can be read-only, and the user program gets its own.
#
#   0x0000000000 - 0x00FFFFFFFF  itself; supervisor only
#       image up to part_data     read-only, executable
#       page 0                    read-only (the BIOS data area says where the EBDA is)
#       all else                  read-write, not executable
#   USER_BASE                    the program: text read-only, data read-write and not executable
#   up to USER_STACK_TOP         its stack; not executable

.set TEXT_FIRST, LOAD_ADDRESS >> 12

# RBX = bit NX or 0, all through.
memory_init:
    push rbx
    xor ebx, ebx
    cmp dword ptr [rip + handoff + HANDOFF_NX], 0
    je no_nx
    mov rbx, 0x8000000000000000
no_nx:

    # Pages of 4 KiB.  RDI = entry, RCX = page number, RDX = first page after the code.
    lea rdi, [rip + low_pt]
    lea rdx, [rip + part_data]
    shr rdx, 12
    xor ecx, ecx
fill_low:
    mov rax, rcx
    shl rax, 12
    or rax, PTE_PRESENT
    test ecx, ecx
    jz fill_low_store
    cmp rcx, TEXT_FIRST
    jb fill_low_data
    cmp rcx, rdx
    jb fill_low_store
fill_low_data:
    or rax, PTE_WRITE
    or rax, rbx
fill_low_store:
    mov qword ptr [rdi + rcx*8], rax
    inc ecx
    cmp ecx, 512
    jb fill_low

    # Pages of 2 MiB: no code there.
    lea rdi, [rip + pd]
    mov ecx, 1
large_nx:
    or qword ptr [rdi + rcx*8], rbx
    inc ecx
    cmp ecx, 2048
    jb large_nx
    lea rax, [rip + low_pt]
    or rax, PTE_PRESENT + PTE_WRITE
    mov qword ptr [rdi], rax

    # The program's branch: one table of each level.
    lea rax, [rip + user_pdpt]
    or rax, PTE_PRESENT + PTE_WRITE + PTE_USER
    mov qword ptr [rip + pml4 + 8], rax
    lea rax, [rip + user_pd]
    or rax, PTE_PRESENT + PTE_WRITE + PTE_USER
    mov qword ptr [rip + user_pdpt], rax
    lea rax, [rip + user_pt]
    or rax, PTE_PRESENT + PTE_WRITE + PTE_USER
    mov qword ptr [rip + user_pd], rax

    # Its pages.  RSI = frame, RDI = entries, RCX = page number.
    lea rsi, [rip + user_frames]
    lea rdi, [rip + user_pt]
    xor ecx, ecx
map_user:
    lea rax, [rsi + PTE_PRESENT + PTE_USER]
    cmp rcx, (SHELL_DATA - USER_BASE) >> 12
    jb map_user_store
    or rax, PTE_WRITE
    or rax, rbx
map_user_store:
    mov qword ptr [rdi + rcx*8], rax
    add rsi, 4096
    inc ecx
    cmp ecx, (SHELL_END - USER_BASE) >> 12
    jb map_user
    lea rsi, [rip + user_stack_frames]
    mov ecx, ((USER_STACK_TOP - USER_BASE) >> 12) - USER_STACK_PAGES
map_user_stack:
    lea rax, [rsi + PTE_PRESENT + PTE_USER + PTE_WRITE]
    or rax, rbx
    mov qword ptr [rdi + rcx*8], rax
    add rsi, 4096
    inc ecx
    cmp ecx, (USER_STACK_TOP - USER_BASE) >> 12
    jb map_user_stack

    mov rax, cr3
    mov cr3, rax

    # Segments.  A TSS descriptor has its base in pieces: bits 16-39, 56-63 and 64-95.
    lea rax, [rip + tss]
    lea rdi, [rip + gdt + TSS_SELECTOR]
    mov word ptr [rdi + 2], ax
    shr rax, 16
    mov byte ptr [rdi + 4], al
    mov byte ptr [rdi + 7], ah
    lea rax, [rip + kernel_stack_top]
    mov qword ptr [rip + tss + 4], rax      # RSP0: stack of an interrupt in ring 3
    lea rax, [rip + fault_stack_top]
    mov qword ptr [rip + tss + 36], rax     # IST1: stack of a double fault
    lgdt [rip + gdt_pointer]
    mov ax, TSS_SELECTOR
    ltr ax
    pop rbx
    ret

.data
gdt:
    .quad 0
    .quad 0x00AF9A000000FFFF            # 0x08 kernel code
    .quad 0x00CF92000000FFFF            # 0x10 kernel data
    .quad 0x00CFF2000000FFFF            # 0x18 user data
    .quad 0x00AFFA000000FFFF            # 0x20 user code
    .quad 0x0000890000000067            # 0x28 TSS of 104 bytes
    .quad 0
gdt_pointer:
    .word 55
    .quad gdt
    .byte 0, 0, 0, 0, 0, 0
tss:
    .space 102
    .word 104                           # no I/O permission map: ring 3 has no ports

.bss
.align 4096
low_pt:
    .space 4096
user_pdpt:
    .space 4096
user_pd:
    .space 4096
user_pt:
    .space 4096
user_frames:
    .space USER_PAGES * 4096
user_stack_frames:
    .space USER_STACK_PAGES * 4096
