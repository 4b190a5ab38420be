# The user program: an interactive shell in ring 3.  It reaches the machine through system calls
# alone (constants.asm lists them).  Linked at USER_BASE; the kernel enters it with RDI = START_*.
# Convention of calls as in the kernel: RBX, RBP, R12 to R15 are kept.

.set LINE_SIZE, 128

# RBX = START_*.
start:
    mov rbx, rdi
    test bl, START_AUTO
    jnz auto
    test bl, START_FRESH
    jnz shell_next
    lea rdi, [rip + text_welcome]
    call print

# RBX = command, R12 = its length, R13 = entry of the table of commands.
shell_next:
    lea rdi, [rip + text_prompt]
    call print
    mov eax, SYS_READ_LINE
    lea rdi, [rip + line]
    mov esi, LINE_SIZE
    syscall
    lea rbx, [rip + line]
shell_skip:                             # blanks before the command
    cmp byte ptr [rbx], ' '
    jne shell_word
    inc rbx
    jmp shell_skip
shell_word:
    xor r12d, r12d
shell_word_next:
    mov al, byte ptr [rbx + r12]
    test al, al
    jz shell_word_end
    cmp al, ' '
    je shell_word_end
    inc r12d
    jmp shell_word_next
shell_word_end:
    test r12d, r12d
    jz shell_next
    lea r13, [rip + commands]
shell_find:
    mov rdi, qword ptr [r13]
    test rdi, rdi
    jz shell_unknown
    mov rsi, rbx
    mov ecx, r12d
    repe cmpsb
    jne shell_find_next
    cmp byte ptr [rdi], 0
    je shell_run
shell_find_next:
    add r13, 16
    jmp shell_find
shell_run:
    lea rdi, [rbx + r12]                # what follows the command, without the blanks
shell_argument:
    cmp byte ptr [rdi], ' '
    jne shell_call
    inc rdi
    jmp shell_argument
shell_call:
    call qword ptr [r13 + 8]
    jmp shell_next
shell_unknown:
    mov byte ptr [rbx + r12], 0
    mov rdi, rbx
    call print
    lea rdi, [rip + text_unknown]
    call print
    jmp shell_next

# `auto` on the kernel's command line: show all and switch off, for tests.
auto:
    lea rdi, [rip + text_auto]
    call print
    call do_ticks
    call do_mem
    call do_disk
    jmp do_off

do_help:
    lea rdi, [rip + text_help]
    jmp print

do_echo:
    call print
    jmp newline

# Two looks with a tenth of a second between them.
do_ticks:
    push rbx
    lea rdi, [rip + text_ticks]
    call print
    mov eax, SYS_TICKS
    syscall
    mov rbx, rax
    mov rdi, rax
    call print_dec
    mov eax, SYS_SLEEP
    mov edi, 10
    syscall
    lea rdi, [rip + text_ticks_then]
    call print
    mov eax, SYS_TICKS
    syscall
    mov rdi, rax
    sub rax, rbx
    mov rbx, rax
    call print_dec
    lea rdi, [rip + text_ticks_good]
    cmp rbx, 10
    jae do_ticks_end
    lea rdi, [rip + text_ticks_bad]
do_ticks_end:
    pop rbx
    jmp print

# "up 1 min 2.34 s"
do_uptime:
    push rbx
    lea rdi, [rip + text_uptime]
    call print
    mov eax, SYS_TICKS
    syscall
    xor edx, edx
    mov ecx, 60 * TICKS_PER_SECOND
    div rcx
    mov rbx, rdx
    mov rdi, rax
    call print_dec
    lea rdi, [rip + text_uptime_minutes]
    call print
    mov rax, rbx
    xor edx, edx
    mov ecx, TICKS_PER_SECOND
    div rcx
    mov rbx, rdx
    mov rdi, rax
    call print_dec
    mov rax, rbx
    mov cl, 10
    div cl                              # AL = tenths, AH = hundredths
    add ax, 0x3030                      # as digits
    mov word ptr [rip + text_hundredths + 1], ax
    lea rdi, [rip + text_hundredths]
    call print
    pop rbx
    ret

do_mem:
    lea rdi, [rip + text_mem]
    call print
    mov edi, INFO_UPPER
    call info
    mov rdi, rax
    add rdi, 1024 + 512                 # to the nearest MiB
    shr rdi, 10
    call print_dec
    lea rdi, [rip + text_mem_lower]
    call print
    mov edi, INFO_LOWER
    call info
    mov rdi, rax
    call print_dec
    lea rdi, [rip + text_mem_upper]
    call print
    mov edi, INFO_UPPER
    call info
    mov rdi, rax
    call print_dec
    lea rdi, [rip + text_mem_code]
    call print
    mov edi, INFO_KERNEL_START
    mov esi, INFO_KERNEL_DATA
    call print_info_range
    lea rdi, [rip + text_mem_data]
    call print
    mov edi, INFO_KERNEL_DATA
    mov esi, INFO_KERNEL_END
    call print_info_range
    lea rdi, [rip + text_mem_data_nx]
    call print_if_nx
    lea rdi, [rip + text_mem_program]
    call print
    mov rdi, USER_BASE
    lea rsi, [rip + part_end]
    call print_range
    lea rdi, [rip + text_mem_frames]
    call print
    mov edi, INFO_FRAMES
    call info
    mov rdi, rax
    call print_hex
    lea rdi, [rip + text_mem_stack]
    call print
    mov rdi, USER_STACK_TOP - USER_STACK_PAGES * 4096
    mov rsi, USER_STACK_TOP
    call print_range
    lea rdi, [rip + text_mem_stack_nx]
    call print_if_nx
    jmp newline

# RDI = text, printed if pages can be no-execute.
print_if_nx:
    push rdi
    mov edi, INFO_NX
    call info
    pop rdi
    test eax, eax
    jnz print
    ret

# RDI, RSI = INFO_* of start and end.
print_info_range:
    push rsi
    call info
    pop rdi
    push rax
    call info
    pop rdi
    mov rsi, rax
    jmp print_range

# RDI = INFO_*.  RAX = value.
info:
    mov eax, SYS_INFO
    syscall
    ret

# What the disk is, and the counter that is kept in its sector 0: "CLOISTER" and a 64-bit number.
# A sector that is neither ours nor blank is somebody's: it is left as it is.
do_disk:
    push rbx
    mov eax, SYS_DISK_OPEN
    syscall
    test rax, rax
    jnz disk_failed
    lea rdi, [rip + text_disk]
    call print
    mov edi, INFO_DISK_PCI
    call info
    mov rbx, rax
    mov rdi, rax
    shr rdi, 16
    call print_hex
    lea rdi, [rip + text_disk_at]
    call print
    mov rdi, rbx
    shr rdi, 3
    and edi, 31
    call print_dec
    lea rdi, [rip + text_dot]
    call print
    mov rdi, rbx
    and edi, 7
    call print_dec
    lea rdi, [rip + text_disk_is]
    call print
    mov edi, INFO_DISK_SECTORS
    call info
    mov rbx, rax
    mov rdi, rax
    call print_dec
    lea rdi, [rip + text_disk_sectors]
    call print
    mov rdi, rbx
    shr rdi, 1
    call print_dec
    lea rdi, [rip + text_disk_kib]
    call print
    mov edi, INFO_DISK_FLAGS
    call info
    mov rbx, rax
    lea rdi, [rip + text_disk_flush]
    test bl, DISK_HAS_FLUSH
    call print_unless_zero
    lea rdi, [rip + text_disk_read_only]
    test bl, DISK_READ_ONLY
    call print_unless_zero
    call newline

    mov eax, SYS_DISK_READ
    call disk_sector
    test rax, rax
    jnz disk_failed
    mov rax, 0x52455453494F4C43         # "CLOISTER"
    lea rdi, [rip + sector]
    cmp qword ptr [rdi], rax
    je disk_ours
    mov ecx, 64
    xor eax, eax
    repe scasq
    jne disk_foreign
disk_ours:
    mov rax, 0x52455453494F4C43
    mov qword ptr [rip + sector], rax
    test bl, DISK_READ_ONLY
    jnz disk_show
    mov rbx, qword ptr [rip + sector + 8]
    inc rbx
    mov qword ptr [rip + sector + 8], rbx
    mov eax, SYS_DISK_WRITE
    call disk_sector
    test rax, rax
    jnz disk_failed
    mov eax, SYS_DISK_FLUSH
    syscall
    test rax, rax
    jnz disk_failed
    lea rdi, [rip + sector]             # forget it, so that reading it again proves something
    mov ecx, 64
    rep stosq
    mov eax, SYS_DISK_READ
    call disk_sector
    test rax, rax
    jnz disk_failed
    mov rax, 0x52455453494F4C43
    lea rdi, [rip + text_disk_differs]
    cmp qword ptr [rip + sector], rax
    jne disk_say
    cmp qword ptr [rip + sector + 8], rbx
    jne disk_say
disk_show:
    lea rdi, [rip + text_counter]
    call print
    mov rdi, qword ptr [rip + sector + 8]
    call print_dec
    call newline
    pop rbx
    ret
disk_foreign:
    lea rdi, [rip + text_disk_foreign]
disk_say:
    pop rbx
    jmp print

# RAX = DISK_*, which is -2 and below.
disk_failed:
    lea rdi, [rip + disk_texts]
    neg rax
    mov rdi, qword ptr [rdi + rax*8 - 16]
    jmp disk_say

# RAX = SYS_DISK_READ or SYS_DISK_WRITE, of sector 0.
disk_sector:
    xor edi, edi
    lea rsi, [rip + sector]
    syscall
    ret

# Kernel memory is mapped, but not for ring 3.
do_fault:
    lea rdi, [rip + text_fault]
    call print
    mov eax, LOAD_ADDRESS
    mov rax, qword ptr [rax]
    lea rdi, [rip + text_fault_read]    # not reached
    jmp print

do_triple:
    lea rdi, [rip + text_triple]
    call print
    mov eax, SYS_TRIPLE
    syscall

do_off:
    mov eax, SYS_POWER_OFF
    syscall

do_reboot:
    mov eax, SYS_REBOOT
    syscall

.data
.align 8
commands:
    .quad name_help, do_help, name_ticks, do_ticks, name_uptime, do_uptime, name_mem, do_mem
    .quad name_disk, do_disk, name_echo, do_echo, name_fault, do_fault, name_triple, do_triple
    .quad name_reboot, do_reboot, name_off, do_off, 0, 0
disk_texts:
    .quad text_disk_none, text_disk_not_modern, text_disk_refused, text_disk_no_queue
    .quad text_disk_timeout, text_disk_error
name_help:
    .asciz "help"
name_ticks:
    .asciz "ticks"
name_uptime:
    .asciz "uptime"
name_mem:
    .asciz "mem"
name_disk:
    .asciz "disk"
name_echo:
    .asciz "echo"
name_fault:
    .asciz "fault"
name_triple:
    .asciz "triple"
name_reboot:
    .asciz "reboot"
name_off:
    .asciz "off"
text_welcome:
    .asciz "Type help for the commands.\r\n\r\n"
text_auto:
    .asciz "auto: ticks, mem, disk, off\r\n"
text_prompt:
    .asciz "demo> "
text_unknown:
    .asciz ": no such command; type help\r\n"
text_help:
    .ascii "  help       this list\r\n"
    .ascii "  ticks      timer interrupts since the start, and whether they go on\r\n"
    .ascii "  uptime     time since the start\r\n"
    .ascii "  mem        memory, and how it is mapped\r\n"
    .ascii "  disk       the virtio disk; counts up in its sector 0\r\n"
    .ascii "  echo TEXT  prints TEXT\r\n"
    .ascii "  fault      reads kernel memory from here, ring 3; the kernel should mind\r\n"
    .ascii "  triple     makes the processor give up by a triple fault\r\n"
    .ascii "  reboot     resets the machine\r\n"
    .asciz "  off        switches the machine off\r\n"
text_ticks:
    .asciz "ticks: "
text_ticks_then:
    .asciz ", then "
text_ticks_good:
    .asciz ": the timer runs\r\n"
text_ticks_bad:
    .asciz ": the timer does not run\r\n"
text_uptime:
    .asciz "up "
text_uptime_minutes:
    .asciz " min "
text_hundredths:
    .asciz ".00 s\r\n"
text_mem:
    .asciz "memory   "
text_mem_lower:
    .asciz " MiB: "
text_mem_upper:
    .asciz " KiB below 1 MiB, "
text_mem_code:
    .asciz " KiB above\r\nkernel   "
text_mem_data:
    .asciz " code, read-only\r\n         "
text_mem_data_nx:
    .asciz ", no-execute"
text_mem_program:
    .asciz "\r\nprogram  "
text_mem_frames:
    .asciz " in frames from "
text_mem_stack:
    .asciz "\r\nstack    "
text_mem_stack_nx:
    .asciz " no-execute"
text_disk:
    .asciz "disk: virtio-blk, device "
text_disk_at:
    .asciz " at PCI 0:"
text_dot:
    .asciz "."
text_disk_is:
    .asciz ", "
text_disk_sectors:
    .asciz " sectors, "
text_disk_kib:
    .asciz " KiB"
text_disk_flush:
    .asciz ", can flush"
text_disk_read_only:
    .asciz ", read-only"
text_counter:
    .asciz "boot counter: "
text_disk_differs:
    .asciz "disk: what was written is not what is read\r\n"
text_disk_foreign:
    .asciz "disk: sector 0 holds something else and is left alone\r\n"
text_disk_none:
    .asciz "disk: there is none\r\n"
text_disk_not_modern:
    .asciz "disk: virtio-blk, but not virtio 1.x\r\n"
text_disk_refused:
    .asciz "disk: refused the features\r\n"
text_disk_no_queue:
    .asciz "disk: has no queue that is large enough\r\n"
text_disk_timeout:
    .asciz "disk: no answer\r\n"
text_disk_error:
    .asciz "disk: input/output error\r\n"
text_fault:
    .asciz "reading kernel memory from ring 3\r\n"
text_fault_read:
    .asciz "it could be read: user mode is not contained\r\n"
text_triple:
    .asciz "triple fault\r\n"

.bss
line:
    .space LINE_SIZE
sector:
    .space 512
