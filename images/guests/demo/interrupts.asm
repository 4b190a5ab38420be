# Exceptions, the two 8259 interrupt controllers and the timer.

.set EXCEPTIONS, 32
.set IRQ_BASE, 32
.set PIT_DIVISOR, 11932                 # 1193182 Hz / 11932 = 100 Hz
.set HAS_ERROR_CODE, 0x60227D00         # bit n: vector n pushes one (8, 10-14, 17, 21, 29, 30)

interrupts_init:
    push rbx
    xor ebx, ebx
    lea rsi, [rip + exception_stubs]
set_exceptions:
    mov edi, ebx
    call set_gate
    add rsi, 8
    inc ebx
    cmp ebx, EXCEPTIONS
    jb set_exceptions
    mov byte ptr [rip + idt + 8*16 + 4], 1  # a double fault takes stack IST1

    mov edi, IRQ_BASE
    lea rsi, [rip + timer_interrupt]
    call set_gate
    mov edi, IRQ_BASE + 4
    lea rsi, [rip + serial_interrupt]
    call set_gate
    mov edi, IRQ_BASE + 7
    lea rsi, [rip + spurious_interrupt]
    call set_gate
    mov edi, IRQ_BASE + 15
    lea rsi, [rip + spurious_interrupt_slave]
    call set_gate
    lidt [rip + idt_pointer]

    # 8259: ICW1 (edges, cascade, ICW4 follows), ICW2 vectors, ICW3 wiring, ICW4 8086; then masks:
    # only the timer, the serial port is let through by serial_listen.
    mov al, 0x11
    out 0x20, al
    out 0xA0, al
    mov al, IRQ_BASE
    out 0x21, al
    mov al, IRQ_BASE + 8
    out 0xA1, al
    mov al, 4
    out 0x21, al
    mov al, 2
    out 0xA1, al
    mov al, 1
    out 0x21, al
    out 0xA1, al
    mov al, 0xFE
    out 0x21, al
    mov al, 0xFF
    out 0xA1, al

    # PIT counter 0, low byte and high byte, mode 2 (a pulse each period).
    mov al, 0x34
    out 0x43, al
    mov eax, PIT_DIVISOR
    out 0x40, al
    mov al, ah
    out 0x40, al
    pop rbx
    ret

# EDI = vector, RSI = handler.  A gate is 16 bytes: handler in three pieces, selector, IST, type.
# Type 0x8E: present, ring 0, interrupts off while it runs.
set_gate:
    shl edi, 4
    lea rax, [rip + idt]
    add rdi, rax
    mov rax, rsi
    mov word ptr [rdi], ax
    mov word ptr [rdi + 2], KERNEL_CS
    mov word ptr [rdi + 4], 0x8E00
    shr rax, 16
    mov word ptr [rdi + 6], ax
    shr rax, 16
    mov dword ptr [rdi + 8], eax
    mov dword ptr [rdi + 12], 0
    ret

timer_interrupt:
    push rax
    inc qword ptr [rip + ticks]
    mov al, 0x20
    out 0x20, al
    pop rax
    iretq

# A request that went away before it was taken.  The 8259 that raised it wants no end of interrupt;
# if it was the second one, the first has seen a true request from it.
spurious_interrupt_slave:
    push rax
    mov al, 0x20
    out 0x20, al
    pop rax
spurious_interrupt:
    iretq

# RDI = timer ticks to sleep.  Interrupts are on.
sleep:
    add rdi, qword ptr [rip + ticks]
sleep_more:
    cmp qword ptr [rip + ticks], rdi
    jae sleep_end
    hlt
    jmp sleep_more
sleep_end:
    ret

# One stub of 8 bytes for each vector; which one it was, the return address tells.
exception_stubs:
.rept 32
    call exception
    .byte 0x90, 0x90, 0x90
.endr

# An exception never returns to where it was: the user program is started anew, the kernel stops.
# R12 = vector, R13 = CR2; RBX = frame: 0 error code, 8 RIP, 16 CS, 24 RFLAGS, 32 RSP, 40 SS.
exception:
    pop r12
    lea rax, [rip + exception_stubs + 5]
    sub r12, rax
    shr r12, 3
    mov eax, HAS_ERROR_CODE
    bt eax, r12d
    jc exception_framed
    push 0
exception_framed:
    mov rbx, rsp
    and rsp, -16
    cld
    mov r13, cr2
    test byte ptr [rbx + 16], 3
    jnz exception_user
    lea rdi, [rip + text_kernel_exception]
    call puts
    call put_exception
    lea rdi, [rip + text_stopped]
    call puts
    jmp halt_forever

exception_user:
    lea rdi, [rip + text_user_exception]
    call puts
    call put_exception
    lea rdi, [rip + text_fresh]
    call puts
    mov edi, START_FRESH
    jmp user_start

# Prints the exception in R12, R13 and RBX.
put_exception:
    lea rsi, [rip + exception_names]
    mov ecx, r12d
put_exception_find:                     # names follow each other, each ends with 0
    test ecx, ecx
    jz put_exception_name
put_exception_skip:
    lodsb
    test al, al
    jnz put_exception_skip
    dec ecx
    jmp put_exception_find
put_exception_name:
    mov rdi, rsi
    call puts
    cmp r12d, 14
    jne put_exception_numbers
    # A page fault's error code: bit 0 present, bit 1 write, bit 2 user, bit 4 instruction fetch.
    mov eax, dword ptr [rbx]
    lea rdi, [rip + text_fetches]
    test al, 16
    jnz put_exception_access
    lea rdi, [rip + text_writes]
    test al, 2
    jnz put_exception_access
    lea rdi, [rip + text_reads]
put_exception_access:
    call puts
    mov rdi, r13
    call put_hex
    mov eax, dword ptr [rbx]
    lea rdi, [rip + text_forbidden]
    test al, 1
    jnz put_exception_why
    lea rdi, [rip + text_not_mapped]
put_exception_why:
    call puts
put_exception_numbers:
    lea rdi, [rip + text_vector]
    call puts
    mov rdi, r12
    call put_dec
    lea rdi, [rip + text_error_code]
    call puts
    mov rdi, qword ptr [rbx]
    call put_hex
    lea rdi, [rip + text_rip]
    call puts
    mov rdi, qword ptr [rbx + 8]
    call put_hex
    lea rdi, [rip + text_cr2]
    call puts
    mov rdi, r13
    call put_hex
    lea rdi, [rip + text_newline]
    jmp puts

# With a table of length 0 no exception can be delivered, nor the double fault that follows: the
# processor shuts down, which a PC takes as a reset.
triple_fault:
    cli
    lidt [rip + empty_idt_pointer]
    ud2

.data
idt_pointer:
    .word 48*16 - 1
    .quad idt
empty_idt_pointer:
    .word 0
    .quad 0
text_kernel_exception:
    .asciz "\r\n  exception in the kernel: "
text_user_exception:
    .asciz "\r\n  exception in the user program: "
text_fetches:
    .asciz ", it executes at "
text_writes:
    .asciz ", it writes to "
text_reads:
    .asciz ", it reads at "
text_forbidden:
    .asciz ", not allowed"
text_not_mapped:
    .asciz ", not mapped"
text_vector:
    .asciz "\r\n  vector "
text_error_code:
    .asciz ", error code "
text_rip:
    .asciz ", RIP "
text_cr2:
    .asciz ", CR2 "
text_stopped:
    .asciz "  stopped\r\n"
text_fresh:
    .asciz "  The kernel goes on; here is a fresh shell.\r\n\r\n"
exception_names:
    .asciz "divide error"
    .asciz "debug"
    .asciz "non-maskable interrupt"
    .asciz "breakpoint"
    .asciz "overflow"
    .asciz "bound range"
    .asciz "invalid opcode"
    .asciz "no coprocessor"
    .asciz "double fault"
    .asciz "coprocessor overrun"
    .asciz "invalid TSS"
    .asciz "segment not present"
    .asciz "stack fault"
    .asciz "general protection"
    .asciz "page fault"
    .asciz "reserved"
    .asciz "x87 error"
    .asciz "alignment check"
    .asciz "machine check"
    .asciz "SIMD error"
    .asciz "virtualization"
    .asciz "control protection"
    .asciz "reserved"
    .asciz "reserved"
    .asciz "reserved"
    .asciz "reserved"
    .asciz "reserved"
    .asciz "reserved"
    .asciz "hypervisor injection"
    .asciz "VMM communication"
    .asciz "security"
    .asciz "reserved"

.bss
.align 16
idt:
    .space 48*16
ticks:
    .space 8
