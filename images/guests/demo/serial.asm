# The console: COM1.  Output is written when the transmitter is empty; input comes by interrupt into
# a ring.  When the ring is full the interrupt is switched off until a reader made room: bytes then
# wait in the UART (and with whom sends them), and none is lost.

.set RING_SIZE, 1024                    # a power of 2

# How many bytes fit once the transmitter is empty: 16 with a FIFO, else 1.
serial_init:
    mov dword ptr [rip + serial_burst], 1
    mov dx, UART_FCR
    in al, dx
    and al, 0xC0
    cmp al, 0xC0
    jne serial_init_end
    mov dword ptr [rip + serial_burst], 16
serial_init_end:
    ret

# Let input interrupt, IRQ 4.
serial_listen:
    in al, 0x21
    and al, 0xEF
    out 0x21, al
    mov dx, UART_IER
    mov al, 1
    out dx, al
    ret

# DIL = byte to send.  After one look that finds the transmitter empty, a FIFO's worth may follow
# without looking again, since it can only have become emptier.  Changes RAX, RDX.
put_char:
    mov dx, UART_LSR
    dec dword ptr [rip + serial_room]
    jns put_char_now
put_char_wait:
    in al, dx
    test al, 0x20
    jz put_char_wait
    mov eax, dword ptr [rip + serial_burst]
    dec eax
    mov dword ptr [rip + serial_room], eax
put_char_now:
    mov dx, UART_DATA
    mov al, dil
    out dx, al
    ret

# RDI = text that ends with 0.
puts:
    push rbx
    mov rbx, rdi
puts_next:
    movzx edi, byte ptr [rbx]
    test edi, edi
    jz puts_end
    call put_char
    inc rbx
    jmp puts_next
puts_end:
    pop rbx
    ret

# RDI = number, printed in decimal.  Digits are pushed from the last to the first.
put_dec:
    push rbx
    xor ebx, ebx
    mov rax, rdi
put_dec_divide:
    xor edx, edx
    mov ecx, 10
    div rcx
    push rdx
    inc ebx
    test rax, rax
    jnz put_dec_divide
put_dec_print:
    pop rdi
    add edi, '0'
    call put_char
    dec ebx
    jnz put_dec_print
    pop rbx
    ret

# RDI = number, printed as 0x and hexadecimal digits without leading zeros.
put_hex:
    push rbx
    push r12
    mov rbx, rdi
    mov edi, '0'
    call put_char
    mov edi, 'x'
    call put_char
    mov r12d, 60                        # shift of the digit
put_hex_skip:
    mov ecx, r12d
    mov rax, rbx
    shr rax, cl
    test rax, rax
    jnz put_hex_print
    sub r12d, 4
    jg put_hex_skip
put_hex_print:
    mov ecx, r12d
    mov rdi, rbx
    shr rdi, cl
    and edi, 15
    add edi, '0'
    cmp edi, '9'
    jbe put_hex_digit
    add edi, 39                         # from after '9' to 'a'
put_hex_digit:
    call put_char
    sub r12d, 4
    jns put_hex_print
    pop r12
    pop rbx
    ret

# IRQ 4.  Takes all bytes: the 8259 sees edges, so the UART's line must have gone down at the end.
# RBX = ring, RCX = head (where the next byte goes), never equal to tail + RING_SIZE.
serial_interrupt:
    push rax
    push rbx
    push rcx
    push rdx
    lea rbx, [rip + ring]
    mov ecx, dword ptr [rip + ring_head]
serial_interrupt_next:
    mov dx, UART_LSR
    in al, dx
    test al, 1
    jz serial_interrupt_end
    mov eax, ecx
    sub eax, dword ptr [rip + ring_tail]
    cmp eax, RING_SIZE
    jae serial_interrupt_full
    mov dx, UART_DATA
    in al, dx
    mov edx, ecx
    and edx, RING_SIZE - 1
    mov byte ptr [rbx + rdx], al
    inc ecx
    jmp serial_interrupt_next
serial_interrupt_full:
    mov dx, UART_IER
    xor eax, eax
    out dx, al
    mov byte ptr [rip + ring_closed], 1
serial_interrupt_end:
    mov dword ptr [rip + ring_head], ecx
    mov al, 0x20
    out 0x20, al
    pop rdx
    pop rcx
    pop rbx
    pop rax
    iretq

# RAX = next byte of input; sleeps until there is one.  Interrupts are on before and after.
# STI takes effect after the next instruction, so that no interrupt slips in before HLT.
get_char:
    cli
    mov ecx, dword ptr [rip + ring_tail]
    cmp ecx, dword ptr [rip + ring_head]
    jne get_char_take
    sti
    hlt
    jmp get_char
get_char_take:
    mov edx, ecx
    and edx, RING_SIZE - 1
    lea rsi, [rip + ring]
    movzx esi, byte ptr [rsi + rdx]
    inc ecx
    mov dword ptr [rip + ring_tail], ecx
    cmp byte ptr [rip + ring_closed], 0
    je get_char_end
    mov byte ptr [rip + ring_closed], 0
    mov dx, UART_IER                    # what waits in the UART interrupts at once
    mov al, 1
    out dx, al
get_char_end:
    sti
    mov eax, esi
    ret

# RDI = where to put the line, RSI = size of that.  RAX = length; the line ends with 0.
# Echoes; backspace and delete take the last character away, Ctrl-U and Ctrl-C all of them.
# RBX = buffer, R12 = length, R13 = most characters.
read_line:
    push rbx
    push r12
    push r13
    mov rbx, rdi
    xor r12d, r12d
    lea r13, [rsi - 1]
read_line_next:
    call get_char
    cmp al, 13
    je read_line_end
    cmp al, 10
    je read_line_newline
    mov byte ptr [rip + read_line_cr], 0
    cmp al, 8
    je read_line_back
    cmp al, 127
    je read_line_back
    cmp al, 21                          # Ctrl-U
    je read_line_clear
    cmp al, 3                           # Ctrl-C
    je read_line_clear
    cmp al, ' '
    jb read_line_next
    cmp r12, r13
    jae read_line_next
    mov byte ptr [rbx + r12], al
    inc r12
    mov edi, eax
    call put_char
    jmp read_line_next
read_line_back:
    test r12, r12
    jz read_line_next
    dec r12
    lea rdi, [rip + text_rub_out]
    call puts
    jmp read_line_next
read_line_clear:
    test r12, r12
    jz read_line_next
    dec r12
    lea rdi, [rip + text_rub_out]
    call puts
    jmp read_line_clear
read_line_newline:                      # of CR LF, the LF is no line of its own
    cmp byte ptr [rip + read_line_cr], 1
    mov byte ptr [rip + read_line_cr], 0
    je read_line_next
    jmp read_line_finish
read_line_end:
    mov byte ptr [rip + read_line_cr], 1
read_line_finish:
    mov byte ptr [rbx + r12], 0
    lea rdi, [rip + text_newline]
    call puts
    mov rax, r12
    pop r13
    pop r12
    pop rbx
    ret

.data
text_rub_out:
    .byte 8, 32, 8, 0
text_newline:
    .asciz "\r\n"
serial_burst:
    .long 1
serial_room:
    .long 0

.bss
ring:
    .space RING_SIZE
ring_head:
    .space 4
ring_tail:
    .space 4
ring_closed:
    .space 1
read_line_cr:
    .space 7
