# The kernel's start.  64-bit code; convention of calls everywhere in the kernel: arguments in RDI,
# RSI, RDX, result in RAX; RBX, RBP and R12 to R15 are kept, all others may change.
#
# boot32.asm counts on the order of what is at the head of .bss: handoff, pml4, pdpt, pd.

start:
    mov eax, KERNEL_SS
    mov ds, ax
    mov es, ax
    mov ss, ax
    xor eax, eax
    mov fs, ax
    mov gs, ax
    lea rsp, [rip + kernel_stack_top]
    call serial_init
    call say_memory
    call memory_init
    lea rdi, [rip + text_long_mode]
    call puts
    call interrupts_init
    lea rdi, [rip + text_interrupts]
    call puts
    call serial_listen
    lea rdi, [rip + text_console]
    call puts
    call user_init
    lea rdi, [rip + text_user]
    call puts
    call has_auto
    mov rdi, rax
    jmp user_start

# "32 MiB: 639 KiB below 1 MiB, 31616 KiB above"
say_memory:
    lea rdi, [rip + text_memory]
    call puts
    mov edi, dword ptr [rip + handoff + HANDOFF_UPPER]
    test edi, edi
    jz memory_unknown
    add edi, 1024 + 512                 # the firmware keeps some: to the nearest MiB
    shr edi, 10
    call put_dec
    lea rdi, [rip + text_memory_lower]
    call puts
    mov edi, dword ptr [rip + handoff + HANDOFF_LOWER]
    call put_dec
    lea rdi, [rip + text_memory_upper]
    call puts
    mov edi, dword ptr [rip + handoff + HANDOFF_UPPER]
    call put_dec
    lea rdi, [rip + text_memory_end]
    jmp puts
memory_unknown:
    lea rdi, [rip + text_memory_unknown]
    jmp puts

# RAX = START_AUTO if a word of the command line is `auto`, else 0.  RSI = at, AL = byte before.
has_auto:
    lea rsi, [rip + handoff + HANDOFF_CMDLINE]
    mov al, ' '
has_auto_next:
    cmp al, ' '
    jne has_auto_step
    cmp dword ptr [rsi], 0x6F747561     # "auto"
    jne has_auto_step
    mov cl, byte ptr [rsi + 4]
    cmp cl, ' '
    je has_auto_yes
    test cl, cl
    je has_auto_yes
has_auto_step:
    mov al, byte ptr [rsi]
    inc rsi
    test al, al
    jnz has_auto_next
    xor eax, eax
    ret
has_auto_yes:
    mov eax, START_AUTO
    ret

# Nothing more will happen here.
halt_forever:
    cli
    hlt
    jmp halt_forever

.data
text_memory:
    .asciz "  memory      "
text_memory_lower:
    .asciz " MiB: "
text_memory_upper:
    .asciz " KiB below 1 MiB, "
text_memory_end:
    .asciz " KiB above\r\n"
text_memory_unknown:
    .asciz "the loader does not tell how much\r\n"
text_long_mode:
    .asciz "  long mode   own page tables; kernel pages supervisor-only, code write-protected\r\n"
text_interrupts:
    .asciz "  interrupts  32 exceptions, two 8259 at vectors 32 and 40, timer at 100 Hz\r\n"
text_console:
    .asciz "  console     COM1 at 115200 8N1, input by IRQ 4\r\n"
text_user:
    .asciz "  user mode   a program in ring 3; it asks the kernel by SYSCALL\r\n\r\n"

.bss
handoff:
    .space 4096
pml4:
    .space 4096
pdpt:
    .space 4096
pd:
    .space 16384
kernel_stack:
    .space 16384
kernel_stack_top:
fault_stack:
    .space 4096
fault_stack_top:
