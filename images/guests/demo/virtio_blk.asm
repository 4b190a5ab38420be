# The disk: virtio-blk with the virtio 1.x PCI transport (Virtual I/O Device 1.2, sections 4.1, 5.2).
# One queue, one request at a time.  Completion is looked for, not interrupted for: the processor
# halts between looks, and the timer wakes it.

.set VIRTIO_MODERN, 0x10421AF4          # device and vendor ID
.set VIRTIO_TRANSITIONAL, 0x10011AF4
.set QUEUE_SIZE, 8
.set DISK_WAIT, 500                     # ticks until a request is given up

# Common configuration.
.set VC_DEVICE_SELECT, 0
.set VC_DEVICE_FEATURES, 4
.set VC_DRIVER_SELECT, 8
.set VC_DRIVER_FEATURES, 12
.set VC_STATUS, 20                      # byte
.set VC_QUEUE_SELECT, 22                # word
.set VC_QUEUE_SIZE, 24                  # word
.set VC_QUEUE_ENABLE, 28                # word
.set VC_NOTIFY_OFFSET, 30               # word
.set VC_QUEUE_DESC, 32                  # three 64-bit addresses
.set VC_QUEUE_DRIVER, 40
.set VC_QUEUE_DEVICE, 48

.set STATUS_ACKNOWLEDGE, 1
.set STATUS_DRIVER, 2
.set STATUS_DRIVER_OK, 4
.set STATUS_FEATURES_OK, 8

.set FEATURE_RO, 0x20                   # features 0 to 31
.set FEATURE_FLUSH, 0x200
.set FEATURE_VERSION_1, 1               # features 32 to 63

.set REQUEST_IN, 0
.set REQUEST_OUT, 1
.set REQUEST_FLUSH, 4
.set DESC_NEXT, 1
.set DESC_DEVICE_WRITES, 2

# Finds and starts the disk, once.  RAX = 0 or DISK_*.
# EBX = PCI address, R12 = common configuration, R13 = features 0 to 31.
disk_open:
    xor eax, eax
    cmp byte ptr [rip + disk_ready], 1
    je disk_open_done
    push rbx
    push r12
    push r13
    mov esi, VIRTIO_MODERN
    mov edx, VIRTIO_TRANSITIONAL
    call pci_find
    mov ebx, eax
    mov rax, DISK_NONE
    cmp ebx, -1
    je disk_open_end
    mov edi, ebx
    xor esi, esi
    call pci_read
    and eax, 0xFFFF0000
    mov ecx, ebx
    shr ecx, 8
    or eax, ecx
    mov dword ptr [rip + disk_pci], eax
    mov edi, ebx
    call virtio_structures
    mov rax, DISK_NOT_MODERN
    mov r12, qword ptr [rip + virtio_common]
    test r12, r12
    jz disk_open_end
    cmp qword ptr [rip + virtio_notify], 0
    je disk_open_end
    cmp qword ptr [rip + virtio_device], 0
    je disk_open_end
    mov edi, ebx
    mov esi, PCI_COMMAND
    call pci_read
    movzx ecx, ax
    or ecx, 0x406                       # memory, bus master, no interrupts
    call pci_write

    # Reset, and wait until the device says it is.
    mov byte ptr [r12 + VC_STATUS], 0
    mov ecx, 1000000
disk_reset_wait:
    cmp byte ptr [r12 + VC_STATUS], 0
    je disk_is_reset
    pause
    dec ecx
    jnz disk_reset_wait
disk_is_reset:
    mov byte ptr [r12 + VC_STATUS], STATUS_ACKNOWLEDGE
    mov byte ptr [r12 + VC_STATUS], STATUS_ACKNOWLEDGE + STATUS_DRIVER

    mov dword ptr [r12 + VC_DEVICE_SELECT], 1
    mov eax, dword ptr [r12 + VC_DEVICE_FEATURES]
    test al, FEATURE_VERSION_1
    mov rax, DISK_NOT_MODERN
    jz disk_open_end
    mov dword ptr [r12 + VC_DEVICE_SELECT], 0
    mov r13d, dword ptr [r12 + VC_DEVICE_FEATURES]
    and r13d, FEATURE_RO + FEATURE_FLUSH
    mov dword ptr [r12 + VC_DRIVER_SELECT], 0
    mov dword ptr [r12 + VC_DRIVER_FEATURES], r13d
    mov dword ptr [r12 + VC_DRIVER_SELECT], 1
    mov dword ptr [r12 + VC_DRIVER_FEATURES], FEATURE_VERSION_1
    mov al, STATUS_ACKNOWLEDGE + STATUS_DRIVER + STATUS_FEATURES_OK
    mov byte ptr [r12 + VC_STATUS], al
    mov al, byte ptr [r12 + VC_STATUS]
    test al, STATUS_FEATURES_OK
    mov rax, DISK_REFUSED
    jz disk_open_end
    xor eax, eax
    test r13d, FEATURE_RO
    jz disk_writable
    or eax, DISK_READ_ONLY
disk_writable:
    test r13d, FEATURE_FLUSH
    jz disk_no_flush
    or eax, DISK_HAS_FLUSH
disk_no_flush:
    mov dword ptr [rip + disk_flags], eax

    # Queue 0, empty.  After a failed start these structures have contents: clear them.
    lea rdi, [rip + queue_desc]
    mov ecx, 512
    xor eax, eax
    rep stosq
    mov word ptr [r12 + VC_QUEUE_SELECT], 0
    movzx ecx, word ptr [r12 + VC_QUEUE_SIZE]
    mov rax, DISK_NO_QUEUE
    cmp ecx, QUEUE_SIZE
    jb disk_open_end
    mov word ptr [r12 + VC_QUEUE_SIZE], QUEUE_SIZE
    lea rax, [rip + queue_desc]         # all below 4 GiB
    mov dword ptr [r12 + VC_QUEUE_DESC], eax
    mov dword ptr [r12 + VC_QUEUE_DESC + 4], 0
    lea rax, [rip + queue_avail]
    mov dword ptr [r12 + VC_QUEUE_DRIVER], eax
    mov dword ptr [r12 + VC_QUEUE_DRIVER + 4], 0
    lea rax, [rip + queue_used]
    mov dword ptr [r12 + VC_QUEUE_DEVICE], eax
    mov dword ptr [r12 + VC_QUEUE_DEVICE + 4], 0
    mov word ptr [rip + queue_avail], 1 # no interrupts, please
    movzx eax, word ptr [r12 + VC_NOTIFY_OFFSET]
    imul eax, dword ptr [rip + virtio_multiplier]
    add rax, qword ptr [rip + virtio_notify]
    mov qword ptr [rip + queue_notify], rax
    mov word ptr [r12 + VC_QUEUE_ENABLE], 1
    mov al, STATUS_ACKNOWLEDGE + STATUS_DRIVER + STATUS_FEATURES_OK + STATUS_DRIVER_OK
    mov byte ptr [r12 + VC_STATUS], al

    mov rcx, qword ptr [rip + virtio_device]
    mov eax, dword ptr [rcx + 4]
    shl rax, 32
    mov edx, dword ptr [rcx]
    or rax, rdx
    mov qword ptr [rip + disk_sectors], rax
    mov byte ptr [rip + disk_ready], 1
    xor eax, eax
disk_open_end:
    pop r13
    pop r12
    pop rbx
disk_open_done:
    ret

# EDI = PCI address.  Walks the capabilities and fills virtio_common, virtio_notify, virtio_isr and
# virtio_device, in that order in memory, and virtio_multiplier.  A virtio capability (ID 9) is:
# +3 type (1 common, 2 notify, 3 ISR, 4 device), +4 BAR, +8 offset, +12 length, +16 multiplier.
# EBX = PCI address, R12 = capability, R13 = type, R14 = capabilities still allowed.
virtio_structures:
    push rbx
    push r12
    push r13
    push r14
    mov ebx, edi
    xor eax, eax
    mov qword ptr [rip + virtio_common], rax
    mov qword ptr [rip + virtio_notify], rax
    mov qword ptr [rip + virtio_isr], rax
    mov qword ptr [rip + virtio_device], rax
    mov esi, PCI_STATUS
    call pci_read_byte
    test al, 0x10
    jz virtio_structures_end
    mov esi, PCI_CAPABILITIES
    call pci_read_byte
    mov r12d, eax
    mov r14d, 48                        # a list that runs in a circle ends as well
virtio_capability:
    and r12d, 0xFC
    jz virtio_structures_end
    dec r14d
    js virtio_structures_end
    mov edi, ebx
    mov esi, r12d
    call pci_read                       # ID, next, length, type
    mov r13d, eax
    cmp al, 9
    jne virtio_capability_next
    mov ecx, r13d
    shr ecx, 24
    dec ecx
    cmp ecx, 3
    ja virtio_capability_next
    lea rax, [rip + virtio_common]      # of several of one type, the first that can be used
    cmp qword ptr [rax + rcx*8], 0
    jne virtio_capability_next
    lea esi, [r12 + 4]
    call pci_read_byte
    mov edi, ebx
    mov esi, eax
    call pci_bar
    test eax, eax
    jz virtio_capability_next
    push rax
    mov edi, ebx
    lea esi, [r12 + 8]
    call pci_read
    pop rcx
    add rax, rcx
    mov ecx, r13d
    shr ecx, 24
    lea rdx, [rip + virtio_common]
    mov qword ptr [rdx + rcx*8 - 8], rax
    cmp ecx, 2
    jne virtio_capability_next
    lea esi, [r12 + 16]
    call pci_read
    mov dword ptr [rip + virtio_multiplier], eax
virtio_capability_next:
    mov r12d, r13d
    shr r12d, 8
    jmp virtio_capability
virtio_structures_end:
    pop r14
    pop r13
    pop r12
    pop rbx
    ret

# RDI = sector; its 512 bytes go between the disk and disk_data.  RAX = 0 or DISK_*.
disk_read:
    mov esi, REQUEST_IN
    mov edx, DESC_NEXT + DESC_DEVICE_WRITES
    jmp disk_request
disk_write:
    mov esi, REQUEST_OUT
    mov edx, DESC_NEXT
    jmp disk_request
disk_flush:
    xor eax, eax
    test dword ptr [rip + disk_flags], DISK_HAS_FLUSH
    jz disk_request_end
    xor edi, edi
    mov esi, REQUEST_FLUSH
    xor edx, edx                        # no data

# RDI = sector, ESI = type, EDX = flags of the data's descriptor, 0 for no data.
# A descriptor is address (8 bytes), length (4), flags (2), next (2).  Here 0 is the header, 1 the
# data, 2 the status byte.
disk_request:
    mov rax, DISK_NONE
    cmp byte ptr [rip + disk_ready], 1
    jne disk_request_end
    mov dword ptr [rip + disk_header], esi
    mov dword ptr [rip + disk_header + 4], 0
    mov qword ptr [rip + disk_header + 8], rdi
    mov byte ptr [rip + disk_status], 0xFF
    lea rcx, [rip + queue_desc]
    lea rax, [rip + disk_header]
    mov qword ptr [rcx], rax
    mov dword ptr [rcx + 8], 16
    mov word ptr [rcx + 12], DESC_NEXT
    mov word ptr [rcx + 14], 1
    lea rax, [rip + disk_data]
    mov qword ptr [rcx + 16], rax
    mov dword ptr [rcx + 24], 512
    mov word ptr [rcx + 28], dx
    mov word ptr [rcx + 30], 2
    lea rax, [rip + disk_status]
    mov qword ptr [rcx + 32], rax
    mov dword ptr [rcx + 40], 1
    mov word ptr [rcx + 44], DESC_DEVICE_WRITES
    mov word ptr [rcx + 46], 0
    test edx, edx
    jnz disk_offer
    mov word ptr [rcx + 14], 2
disk_offer:
    # The available ring: flags, index, then heads of chains; ours is always descriptor 0, and its
    # slots were cleared.  So only the index moves.
    mfence
    inc word ptr [rip + queue_avail + 2]
    mfence
    mov rcx, qword ptr [rip + queue_notify]
    mov word ptr [rcx], 0               # the number of the queue

    # The used index follows when it is done.
    mov rdi, qword ptr [rip + ticks]
    add rdi, DISK_WAIT
    mov ecx, 200
disk_wait:
    movzx eax, word ptr [rip + queue_used + 2]
    cmp ax, word ptr [rip + queue_avail + 2]
    je disk_answered
    pause
    dec ecx
    jns disk_wait
    hlt
    cmp qword ptr [rip + ticks], rdi
    jb disk_wait
    # Given up; the device may still write.  It is reset before it is used again.
    mov rcx, qword ptr [rip + virtio_common]
    mov byte ptr [rcx + VC_STATUS], 0
    mov byte ptr [rip + disk_ready], 0
    mov rax, DISK_TIMEOUT
    ret
disk_answered:
    xor eax, eax
    cmp byte ptr [rip + disk_status], 0
    je disk_request_end
    mov rax, DISK_ERROR
disk_request_end:
    ret

.bss
.align 4096
queue_desc:
    .space QUEUE_SIZE * 16
queue_avail:
    .space 64
queue_used:
    .space 4096 - QUEUE_SIZE * 16 - 64
disk_data:
    .space 512
disk_header:
    .space 16
disk_status:
    .space 8
virtio_common:
    .space 8
virtio_notify:
    .space 8
virtio_isr:
    .space 8
virtio_device:
    .space 8
queue_notify:
    .space 8
disk_sectors:
    .space 8
virtio_multiplier:
    .space 4
disk_flags:
    .space 4
disk_pci:
    .space 4
disk_ready:
    .space 4
