# From the multiboot loader into long mode.  32-bit code, one page, run once.
#
# The loader enters in protected mode without paging, with flat segments: EAX = 0x2BADB002,
# EBX = multiboot information, interrupts off, no stack.
#
# Register map: EBP = multiboot information, all through.

.set MULTIBOOT_FLAGS, 0x00010002        # bit 1: tell the memory; bit 16: addresses are below
.set MULTIBOOT_MAGIC, 0x1BADB002
.set BOOT_PML4, BSS_START + 0x1000
.set BOOT_PDPT, BSS_START + 0x2000
.set BOOT_PD, BSS_START + 0x3000        # four pages, for 4 GiB

multiboot_header:
    .long MULTIBOOT_MAGIC
    .long MULTIBOOT_FLAGS
    .long 0 - MULTIBOOT_MAGIC - MULTIBOOT_FLAGS
    .long LOAD_ADDRESS                  # header_addr: where this header is
    .long LOAD_ADDRESS                  # load_addr: the image is loaded from its first byte
    .long LOAD_END                      # load_end_addr
    .long BSS_END                       # bss_end_addr
    .long entry32                       # entry_addr

entry32:
    cli
    cld
    mov ebp, ebx
    mov edx, eax
    # A loader may leave .bss as it was.  There is no stack before this: it is in there.
    mov edi, BSS_START
    mov ecx, BSS_END - BSS_START
    shr ecx, 2
    xor eax, eax
    rep stosd
    mov esp, BSS_END
    push edx

    # 115200 baud, 8N1, FIFOs on and empty, DTR + RTS + OUT2 (OUT2 lets the interrupt through).
    mov dx, UART_IER
    xor eax, eax
    out dx, al
    mov dx, UART_LCR
    mov al, 0x80                        # DLAB: the next two are the divisor, 1
    out dx, al
    mov dx, UART_DATA
    mov al, 1
    out dx, al
    mov dx, UART_IER
    xor eax, eax
    out dx, al
    mov dx, UART_LCR
    mov al, 3
    out dx, al
    mov dx, UART_FCR
    mov al, 7
    out dx, al
    mov dx, UART_MCR
    mov al, 0x0B
    out dx, al

    lea esi, [banner]
    call puts32
    pop eax
    lea esi, [not_multiboot]
    cmp eax, 0x2BADB002
    jne give_up

    # Keep what the kernel needs; the loader's structures are anywhere, and may be written over.
    mov eax, [ebp]                      # flags: bit 0 memory sizes, bit 2 command line
    test al, 1
    jz no_memory_sizes
    mov ecx, [ebp + 4]
    mov dword ptr [BSS_START + HANDOFF_LOWER], ecx
    mov ecx, [ebp + 8]
    mov dword ptr [BSS_START + HANDOFF_UPPER], ecx
no_memory_sizes:
    test al, 4
    jz no_cmdline
    mov esi, [ebp + 16]
    mov edi, BSS_START + HANDOFF_CMDLINE
    mov ecx, CMDLINE_SIZE - 1           # the last byte stays 0
copy_cmdline:
    lodsb
    stosb
    test al, al
    jz no_cmdline
    dec ecx
    jnz copy_cmdline
no_cmdline:

    # Long mode (CPUID 0x80000001, EDX bit 29) is needed; no-execute pages (bit 20) are used.
    mov eax, 0x80000000
    cpuid
    lea esi, [no_long_mode]
    cmp eax, 0x80000001
    jb give_up
    mov eax, 0x80000001
    cpuid
    bt edx, 29
    jnc give_up
    shr edx, 20
    and edx, 1
    mov dword ptr [BSS_START + HANDOFF_NX], edx

    # The first 4 GiB at their own addresses, in pages of 2 MiB, for the kernel alone.  From 3 GiB
    # on there are devices: not cached.  memory.asm refines this.
    mov dword ptr [BOOT_PML4], BOOT_PDPT + PTE_PRESENT + PTE_WRITE
    mov edi, BOOT_PDPT
    mov eax, BOOT_PD + PTE_PRESENT + PTE_WRITE
    mov ecx, 4
fill_pdpt:
    mov dword ptr [edi], eax
    add edi, 8
    add eax, 0x1000
    dec ecx
    jnz fill_pdpt
    mov edi, BOOT_PD
    mov eax, PTE_PRESENT + PTE_WRITE + PTE_LARGE
    mov ecx, 2048
fill_pd:
    mov dword ptr [edi], eax
    add edi, 8
    add eax, 0x200000
    cmp eax, 0xC0000000
    jb cached
    or eax, PTE_UNCACHED
cached:
    dec ecx
    jnz fill_pd

    mov eax, cr4
    or eax, 0x20                        # PAE
    mov cr4, eax
    mov eax, BOOT_PML4
    mov cr3, eax
    mov ecx, 0xC0000080                 # EFER
    rdmsr
    or eax, 0x101                       # LME, and SCE: SYSCALL and SYSRET
    mov ebx, dword ptr [BSS_START + HANDOFF_NX]
    shl ebx, 11                         # NXE
    or eax, ebx
    wrmsr
    mov eax, cr0
    or eax, 0x80010000                  # PG, and WP: read-only holds for the kernel as well
    and eax, 0xFFFFFFF3                 # no x87 emulation, no task switch trap
    mov cr0, eax
    lgdt [boot_gdt_pointer]
    push KERNEL_CS
    mov eax, KERNEL_ENTRY
    push eax
    retf

# ESI = text.  Prints it and stops.
give_up:
    call puts32
stop32:
    hlt
    jmp stop32

# ESI = text that ends with 0.  Changes EAX, EDX, ESI.
puts32:
    mov dx, UART_LSR
    in al, dx
    test al, 0x20
    jz puts32
    lodsb
    test al, al
    jz puts32_end
    mov dx, UART_DATA
    out dx, al
    jmp puts32
puts32_end:
    ret

banner:
    .ascii "\r\n\033[1m  Cloister demo guest\033[0m\r\n"
    .asciz "  a small operating system, assembled with keystone\r\n\r\n"
not_multiboot:
    .asciz "  not started by a multiboot 1 loader; stopped\r\n"
no_long_mode:
    .asciz "  this processor has no 64-bit mode; stopped\r\n"

# The same selectors as in the kernel's own table (memory.asm), which replaces this one.
boot_gdt:
    .quad 0
    .quad 0x00AF9A000000FFFF            # KERNEL_CS: 64-bit code
    .quad 0x00CF92000000FFFF            # KERNEL_SS: data
boot_gdt_pointer:
    .word 23
    .long boot_gdt
