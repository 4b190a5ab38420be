# Power off by ACPI, and reset.
#
# RSDP -> RSDT (32-bit addresses) or XSDT (64-bit) -> FADT ("FACP") -> the port of PM1a control, and
# the DSDT, where the package \_S5_ says what to write there.  No AML is interpreted: its bytes are
# looked for, as most small systems do.

.set RSDP_XSDT, 24
.set FADT_DSDT, 40
.set FADT_SMI_COMMAND, 48
.set FADT_ACPI_ENABLE, 52
.set FADT_PM1A_CONTROL, 64
.set FADT_PM1B_CONTROL, 68
.set FADT_X_DSDT, 140
.set FADT_X_PM1A_CONTROL, 176           # the address in its generic address structure
.set SLP_EN, 0x2000

# Does not return.  RBX = FADT, R12 = PM1a control port, R13 = sleep types, of b << 8 | of a.
power_off:
    lea rdi, [rip + text_off]
    call puts
    call acpi_find_fadt
    mov rbx, rax
    test rbx, rbx
    jz power_off_fallback
    mov r12d, dword ptr [rbx + FADT_PM1A_CONTROL]
    mov edi, dword ptr [rbx + FADT_DSDT]
    test r12d, r12d
    jnz power_off_have_port
    cmp dword ptr [rbx + 4], 184        # the table may be too short for the long addresses
    jb power_off_fallback
    mov r12d, dword ptr [rbx + FADT_X_PM1A_CONTROL]
    test r12d, r12d
    jz power_off_fallback
power_off_have_port:
    test edi, edi
    jnz power_off_have_dsdt
    cmp dword ptr [rbx + 4], 148
    jb power_off_fallback
    cmp dword ptr [rbx + FADT_X_DSDT + 4], 0
    jne power_off_fallback
    mov edi, dword ptr [rbx + FADT_X_DSDT]
    test edi, edi
    jz power_off_fallback
power_off_have_dsdt:
    call acpi_find_s5
    mov r13d, eax
    cmp eax, -1
    je power_off_fallback

    # Firmware may still own the power management: bit 0 of PM1a control tells.
    mov edx, r12d
    in ax, dx
    test al, 1
    jnz power_off_write
    mov edx, dword ptr [rbx + FADT_SMI_COMMAND]
    test edx, edx
    jz power_off_write
    mov al, byte ptr [rbx + FADT_ACPI_ENABLE]
    test al, al
    jz power_off_write
    out dx, al
    mov ecx, 100000
power_off_wait:
    mov edx, r12d
    in ax, dx
    test al, 1
    jnz power_off_write
    dec ecx
    jnz power_off_wait
power_off_write:
    movzx eax, r13b
    and eax, 7
    shl eax, 10
    or eax, SLP_EN + 1
    mov edx, r12d
    out dx, ax
    mov edx, dword ptr [rbx + FADT_PM1B_CONTROL]
    test edx, edx
    jz power_off_written
    mov eax, r13d
    shr eax, 8
    and eax, 7
    shl eax, 10
    or eax, SLP_EN + 1
    out dx, ax
power_off_written:
    mov edi, 20
    call sleep
power_off_fallback:
    mov dx, 0x604                       # where many virtual machines have it
    mov eax, SLP_EN
    out dx, ax
    mov edi, 5
    call sleep
    lea rdi, [rip + text_safe]
    call puts
    jmp halt_forever

# RAX = address of the FADT, or 0.
acpi_find_fadt:
    push rbx
    push r12
    push r13
    mov edi, 0x40E                      # BIOS data area: segment of the extended one
    movzx edi, word ptr [rdi]
    shl edi, 4
    cmp edi, 0x500
    jb acpi_no_ebda
    cmp edi, 0x9FC00
    ja acpi_no_ebda
    lea esi, [rdi + 1024]
    call acpi_find_rsdp
    test rax, rax
    jnz acpi_have_rsdp
acpi_no_ebda:
    mov edi, 0xE0000
    mov esi, 0x100000
    call acpi_find_rsdp
    test rax, rax
    jz acpi_find_fadt_end
acpi_have_rsdp:
    # RBX = next entry of the table, R12 = its end, R13 = size of an entry.
    mov r13d, 8
    cmp byte ptr [rax + 15], 2          # revision: older ones have no XSDT
    jb acpi_use_rsdt
    cmp dword ptr [rax + RSDP_XSDT + 4], 0
    jne acpi_use_rsdt
    mov ebx, dword ptr [rax + RSDP_XSDT]
    test ebx, ebx
    jnz acpi_have_table
acpi_use_rsdt:
    mov r13d, 4
    mov ebx, dword ptr [rax + 16]
    test ebx, ebx
    jz acpi_no_fadt
acpi_have_table:
    mov r12d, dword ptr [rbx + 4]       # length, with the header of 36 bytes
    cmp r12d, 0x10000
    ja acpi_no_fadt
    add r12, rbx
    add rbx, 36
acpi_entry:
    lea rax, [rbx + r13]
    cmp rax, r12
    ja acpi_no_fadt
    mov eax, dword ptr [rbx]
    cmp r13d, 8
    jne acpi_entry_look
    cmp dword ptr [rbx + 4], 0          # above 4 GiB: not mapped here
    jne acpi_entry_next
acpi_entry_look:
    cmp dword ptr [rax], 0x50434146     # "FACP"
    je acpi_find_fadt_end
acpi_entry_next:
    add rbx, r13
    jmp acpi_entry
acpi_no_fadt:
    xor eax, eax
acpi_find_fadt_end:
    pop r13
    pop r12
    pop rbx
    ret

# From RDI to RSI, on 16-byte boundaries.  RAX = the RSDP, or 0.  Its first 20 bytes add up to 0.
acpi_find_rsdp:
    mov rdx, 0x2052545020445352         # "RSD PTR "
acpi_rsdp_next:
    cmp qword ptr [rdi], rdx
    jne acpi_rsdp_step
    xor eax, eax
    xor ecx, ecx
acpi_rsdp_sum:
    add al, byte ptr [rdi + rcx]
    inc ecx
    cmp ecx, 20
    jb acpi_rsdp_sum
    test al, al
    jnz acpi_rsdp_step
    mov rax, rdi
    ret
acpi_rsdp_step:
    add rdi, 16
    cmp rdi, rsi
    jb acpi_rsdp_next
    xor eax, eax
    ret

# RDI = DSDT.  EAX = sleep type b << 8 | sleep type a of S5, or -1.
# In AML: NameOp 08, "_S5_" (or "\_S5_"), PackageOp 12, length of 1 to 4 bytes (bits 6 and 7 of the
# first: how many follow), number of elements, elements: 00, 01, or 0A and a byte.
acpi_find_s5:
    cmp dword ptr [rdi], 0x54445344     # "DSDT"
    jne acpi_s5_none
    mov esi, dword ptr [rdi + 4]
    add rsi, rdi
    sub rsi, 12                         # room for all that follows the name
    add rdi, 36
acpi_s5_next:
    cmp rdi, rsi
    jae acpi_s5_none
    inc rdi
    cmp dword ptr [rdi], 0x5F35535F     # "_S5_"
    jne acpi_s5_next
    cmp byte ptr [rdi + 4], 0x12
    jne acpi_s5_next
    movzx ecx, byte ptr [rdi + 5]
    shr ecx, 6
    lea rdi, [rdi + rcx + 7]            # first element
    call acpi_s5_element
    movzx edx, al
    call acpi_s5_element
    movzx eax, al
    shl eax, 8
    or eax, edx
    ret
acpi_s5_none:
    mov eax, -1
    ret

# RDI = element, moved behind it.  AL = value.
acpi_s5_element:
    mov al, byte ptr [rdi]
    inc rdi
    cmp al, 0x0A
    jne acpi_s5_element_end
    mov al, byte ptr [rdi]
    inc rdi
acpi_s5_element_end:
    ret

# Does not return: reset control register, else the keyboard controller, else a triple fault.
reboot:
    lea rdi, [rip + text_reboot]
    call puts
    mov dx, 0xCF9
    mov al, 2
    out dx, al
    mov al, 6
    out dx, al
    mov edi, 5
    call sleep
    mov al, 0xFE
    out 0x64, al
    mov edi, 5
    call sleep
    jmp triple_fault

.data
text_off:
    .asciz "power off\r\n"
text_reboot:
    .asciz "reboot\r\n"
text_safe:
    .asciz "It is now safe to switch off.\r\n"
