# The user program: how it starts, and its system calls.

.set MSR_STAR, 0xC0000081               # selectors of SYSCALL and SYSRET
.set MSR_LSTAR, 0xC0000082              # where SYSCALL goes
.set MSR_SFMASK, 0xC0000084             # flags that SYSCALL clears

user_init:
    mov ecx, MSR_STAR
    xor eax, eax
    mov edx, (KERNEL_SS + 3) * 65536 + KERNEL_CS
    wrmsr
    mov ecx, MSR_LSTAR
    lea rax, [rip + system_call]
    xor edx, edx
    wrmsr
    mov ecx, MSR_SFMASK
    mov eax, 0x47700                    # AC, NT, IOPL, DF, IF, TF: off in the kernel
    xor edx, edx
    wrmsr
    ret

# RDI = START_*.  Gives the program new memory and enters it; whatever ran before is forgotten.
user_start:
    cli
    lea rsp, [rip + kernel_stack_top]
    mov rbx, rdi
    mov esi, SHELL_AT
    lea rdi, [rip + user_frames]
    mov ecx, SHELL_SIZE / 8
    rep movsq
    lea rcx, [rip + user_stack_frames + USER_STACK_PAGES * 4096]
    sub rcx, rdi
    shr ecx, 3
    xor eax, eax
    rep stosq
    push USER_SS
    mov rax, USER_STACK_TOP
    push rax
    push 0x202                          # interrupts on
    push USER_CS
    mov rax, SHELL_ENTRY
    push rax
    mov rdi, rbx
    xor eax, eax                        # nothing of the kernel's is left in registers
    xor ebx, ebx
    xor edx, edx
    xor ebp, ebp
    xor r8d, r8d
    xor r9d, r9d
    xor r10d, r10d
    xor r11d, r11d
    xor r12d, r12d
    xor r13d, r13d
    xor r14d, r14d
    xor r15d, r15d
    xor esi, esi
    xor ecx, ecx
    iretq

# SYSCALL comes here in ring 0 with interrupts off, RCX = user RIP, R11 = user RFLAGS, and still the
# user's stack.  There is one program, so that one word keeps its RSP.
system_call:
    mov qword ptr [rip + user_rsp], rsp
    lea rsp, [rip + kernel_stack_top]
    push rcx
    push r11
    push rdx
    push rsi
    push rdi
    push r8
    push r9
    push r10
    sti
    cmp rax, SYS_COUNT
    jae system_call_bad
    lea rcx, [rip + system_calls]
    call qword ptr [rcx + rax*8]
system_call_end:
    cli
    pop r10
    pop r9
    pop r8
    pop rdi
    pop rsi
    pop rdx
    pop r11
    pop rcx
    mov rsp, qword ptr [rip + user_rsp]
    sysret                              # keystone makes it the 64-bit one
system_call_bad:
    mov rax, BAD_CALL
    jmp system_call_end

# RDI = address, RSI = length.  Carry is set unless all of it is the program's: between the start of
# its data (or, with R8 = 0 for reading, of its text) and its end, or on its stack.
# Changes RAX, RCX, R9.
check_user:
    lea rcx, [rdi + rsi]
    cmp rcx, rdi
    jb check_user_bad
    mov rax, USER_STACK_TOP
    cmp rcx, rax
    ja check_user_bad
    sub rax, USER_STACK_PAGES * 4096
    cmp rdi, rax
    jae check_user_good
    mov rax, SHELL_END
    cmp rcx, rax
    ja check_user_bad
    mov rax, SHELL_DATA
    mov r9, USER_BASE
    test r8, r8
    cmovz rax, r9
    cmp rdi, rax
    jb check_user_bad
check_user_good:
    clc
    ret
check_user_bad:
    stc
    ret

sys_write:
    xor r8d, r8d
    call check_user
    jc sys_bad
    push rbx
    push r12
    mov rbx, rdi
    mov r12, rsi
sys_write_next:
    test r12, r12
    jz sys_write_end
    movzx edi, byte ptr [rbx]
    call put_char
    inc rbx
    dec r12
    jmp sys_write_next
sys_write_end:
    pop r12
    pop rbx
    xor eax, eax
    ret

sys_read_line:
    test rsi, rsi
    jz sys_bad
    mov r8d, 1
    call check_user
    jc sys_bad
    jmp read_line

sys_bad:
    mov rax, BAD_CALL
    ret

sys_ticks:
    mov rax, qword ptr [rip + ticks]
    ret

sys_sleep:
    call sleep
    xor eax, eax
    ret

# RDI = INFO_*.  The answers are 64-bit words in `info`, filled here as far as they can change.
sys_info:
    cmp rdi, INFO_COUNT
    jae sys_bad
    mov eax, dword ptr [rip + handoff + HANDOFF_LOWER]
    mov qword ptr [rip + info + INFO_LOWER*8], rax
    mov eax, dword ptr [rip + handoff + HANDOFF_UPPER]
    mov qword ptr [rip + info + INFO_UPPER*8], rax
    mov eax, dword ptr [rip + handoff + HANDOFF_NX]
    mov qword ptr [rip + info + INFO_NX*8], rax
    mov rax, qword ptr [rip + disk_sectors]
    mov qword ptr [rip + info + INFO_DISK_SECTORS*8], rax
    mov eax, dword ptr [rip + disk_flags]
    mov qword ptr [rip + info + INFO_DISK_FLAGS*8], rax
    mov eax, dword ptr [rip + disk_pci]
    mov qword ptr [rip + info + INFO_DISK_PCI*8], rax
    lea rax, [rip + info]
    mov rax, qword ptr [rax + rdi*8]
    ret

# RDI = sector, RSI = 512 bytes of the program's.
sys_disk_read:
    push rbx
    mov rbx, rsi
    push rdi
    mov rdi, rsi
    mov esi, 512
    mov r8d, 1
    call check_user
    pop rdi
    jc sys_disk_bad
    call disk_read
    test rax, rax
    jnz sys_disk_end
    lea rsi, [rip + disk_data]
    mov rdi, rbx
    mov ecx, 64
    rep movsq
    jmp sys_disk_end

sys_disk_write:
    push rbx
    mov rbx, rdi
    mov rdi, rsi
    mov esi, 512
    xor r8d, r8d
    call check_user
    jc sys_disk_bad
    mov rsi, rdi
    lea rdi, [rip + disk_data]
    mov ecx, 64
    rep movsq
    mov rdi, rbx
    call disk_write
sys_disk_end:
    pop rbx
    ret
sys_disk_bad:
    pop rbx
    jmp sys_bad

.data
.align 8
system_calls:
    .quad sys_write, sys_read_line, sys_ticks, sys_sleep
    .quad sys_info, disk_open, sys_disk_read, sys_disk_write
    .quad disk_flush, power_off, reboot, triple_fault
info:
    .quad 0, 0, LOAD_ADDRESS, part_data
    .quad part_end, user_frames, 0, 0
    .quad 0, 0
user_rsp:
    .quad 0
