# Printing for the user program: one system call for each piece of text.

# RDI = text that ends with 0.
print:
    xor esi, esi
print_length:
    cmp byte ptr [rdi + rsi], 0
    je write
    inc esi
    jmp print_length

# RDI = address, RSI = length.
write:
    mov eax, SYS_WRITE
    syscall
    ret

# Printed if the zero flag is not set, for use behind TEST.
print_unless_zero:
    jnz print
    ret

newline:
    lea rdi, [rip + text_newline]
    jmp print

# RDI = number, in decimal.  Digits are made from the last to the first, at the end of `digits`.
print_dec:
    mov ecx, 10
    jmp print_digits

# RDI = number, as 0x and hexadecimal digits.
print_hex:
    push rdi
    lea rdi, [rip + text_0x]
    call print
    pop rdi
    mov ecx, 16

# RDI = number, RCX = base.  R8 = first digit so far, R9 = end.
print_digits:
    mov rax, rdi
    lea r9, [rip + digits_end]
    mov r8, r9
print_digits_next:
    xor edx, edx
    div rcx
    add dl, '0'
    cmp dl, '9'
    jbe print_digits_store
    add dl, 39                          # from after '9' to 'a'
print_digits_store:
    dec r8
    mov byte ptr [r8], dl
    test rax, rax
    jnz print_digits_next
    mov rdi, r8
    mov rsi, r9
    sub rsi, r8
    jmp write

# RDI = start, RSI = end: "0x1000-0x1fff".
print_range:
    push rsi
    call print_hex
    lea rdi, [rip + text_dash]
    call print
    pop rdi
    dec rdi
    jmp print_hex

.data
text_newline:
    .asciz "\r\n"
text_0x:
    .asciz "0x"
text_dash:
    .asciz "-"

.bss
digits:
    .space 24
digits_end:
    .space 8
