# PCI configuration space by mechanism 1: the address goes to port 0xCF8, the data is at 0xCFC.
# An address here is bus << 16 | device << 11 | function << 8, the bits as in 0xCF8.

.set PCI_COMMAND, 0x04                  # bit 1: answer at memory BARs; bit 2: bus master
.set PCI_STATUS, 0x06                   # bit 4: there is a list of capabilities
.set PCI_HEADER, 0x0E                   # bit 7: more functions than one
.set PCI_BARS, 0x10
.set PCI_CAPABILITIES, 0x34

# EDI = address, ESI = register, a multiple of 4.  EAX = value.  Changes RDX.
pci_read:
    mov eax, edi
    or eax, esi
    or eax, 0x80000000
    mov dx, 0xCF8
    out dx, eax
    mov dx, 0xCFC
    in eax, dx
    ret

# EDI = address, ESI = any register.  EAX = byte.  Changes RCX, RDX.
pci_read_byte:
    push rsi
    mov ecx, esi
    and esi, 0xFC
    call pci_read
    pop rsi
    and ecx, 3
    shl ecx, 3
    shr eax, cl
    movzx eax, al
    ret

# EDI = address, ESI = register, a multiple of 4, ECX = value.  Changes RAX, RDX.
pci_write:
    mov eax, edi
    or eax, esi
    or eax, 0x80000000
    mov dx, 0xCF8
    out dx, eax
    mov dx, 0xCFC
    mov eax, ecx
    out dx, eax
    ret

# The first function on bus 0 whose vendor and device ID are ESI or EDX.  EAX = its address, or -1.
# EBX = address, R12 and R13 = the IDs.
pci_find:
    push rbx
    push r12
    push r13
    mov r12d, esi
    mov r13d, edx
    xor ebx, ebx
pci_find_next:
    mov edi, ebx
    xor esi, esi
    call pci_read
    cmp eax, r12d
    je pci_find_found
    cmp eax, r13d
    je pci_find_found
    test ebx, 0x700
    jnz pci_find_step
    # Function 0: others are looked for only if it is there and says so.
    cmp eax, -1
    je pci_find_skip
    mov esi, PCI_HEADER
    call pci_read_byte
    test al, 0x80
    jnz pci_find_step
pci_find_skip:
    add ebx, 0x700
pci_find_step:
    add ebx, 0x100
    cmp ebx, 0x10000
    jb pci_find_next
    mov ebx, -1
pci_find_found:
    mov eax, ebx
    pop r13
    pop r12
    pop rbx
    ret

# EDI = address, ESI = number of a BAR.  RAX = where its memory is, or 0 if it cannot be used.
# A BAR that firmware left empty, or put where this kernel cannot see it, gets the next place from
# 0xFE000000 on.  EBX = register, R12 = address, R13 = size, R14 = low dword of the BAR (flags).
pci_bar:
    push rbx
    push r12
    push r13
    push r14
    mov r12d, edi
    cmp esi, 5
    ja pci_bar_none
    lea ebx, [rsi*4 + PCI_BARS]
    mov esi, ebx
    call pci_read
    mov r14d, eax
    test al, 1                          # I/O ports
    jnz pci_bar_none
    and eax, 0xFFFFFFF0
    mov r13d, eax
    call pci_bar_high
    test eax, eax
    jnz pci_bar_assign
    mov eax, r13d
    test eax, eax
    jnz pci_bar_end
pci_bar_assign:
    # Decoding is off while the size is asked for: all ones are written, and zeros come back in the
    # bits below the size.
    mov edi, r12d
    mov esi, PCI_COMMAND
    call pci_read
    and eax, 0xFFF8
    mov ecx, eax
    call pci_write
    mov esi, ebx
    mov ecx, -1
    call pci_write
    call pci_read
    and eax, 0xFFFFFFF0
    jz pci_bar_none
    neg eax
    mov r13d, eax
    mov ecx, dword ptr [rip + pci_free]
    lea ecx, [ecx + eax - 1]            # up to a multiple of the size
    neg eax
    and ecx, eax
    lea eax, [ecx + r13d]
    mov dword ptr [rip + pci_free], eax
    mov r13d, ecx
    mov esi, ebx
    call pci_write
    mov eax, r14d
    and eax, 6
    cmp eax, 4
    jne pci_bar_assigned
    lea esi, [rbx + 4]
    xor ecx, ecx
    call pci_write
pci_bar_assigned:
    mov eax, r13d
    jmp pci_bar_end
pci_bar_none:
    xor eax, eax
pci_bar_end:
    pop r14
    pop r13
    pop r12
    pop rbx
    ret

# EAX = high dword of the BAR of pci_bar, 0 if it has 32 bits.
pci_bar_high:
    mov eax, r14d
    and eax, 6
    cmp eax, 4
    mov eax, 0
    jne pci_bar_high_end
    mov edi, r12d
    lea esi, [rbx + 4]
    call pci_read
pci_bar_high_end:
    ret

.data
.align 4
pci_free:
    .long 0xFE000000
