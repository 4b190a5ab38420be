# Constants that all parts share.  build.py sets further ones: where the parts are.

# Segment selectors.  SYSRET takes its selectors from STAR: SS = base + 8, CS = base + 16, so that
# user data must come right before user code.
.set KERNEL_CS, 0x08
.set KERNEL_SS, 0x10
.set USER_SS, 0x1B
.set USER_CS, 0x23
.set TSS_SELECTOR, 0x28

# What boot32 leaves for the kernel at BSS_START, the page `handoff`; the page tables follow it.
.set HANDOFF_LOWER, 0           # dword: KiB of memory below 1 MiB
.set HANDOFF_UPPER, 4           # dword: KiB of memory above 1 MiB
.set HANDOFF_NX, 8              # dword: 1 if pages can be no-execute
.set HANDOFF_CMDLINE, 16        # the command line, ends with 0
.set CMDLINE_SIZE, 256

# Bits of a page table entry.
.set PTE_PRESENT, 1
.set PTE_WRITE, 2
.set PTE_USER, 4
.set PTE_UNCACHED, 0x18         # PCD and PWT, for device memory
.set PTE_LARGE, 0x80

# User mode: text and data from USER_BASE, the stack below USER_STACK_TOP, nothing in between.
.set USER_STACK_PAGES, 4
.set USER_STACK_TOP, USER_BASE + 0x100000
.set USER_PAGES, 12             # the most that the program may have
.set START_AUTO, 1              # bits of RDI when the program starts
.set START_FRESH, 2

# System calls: number in RAX, arguments in RDI and RSI, result in RAX; RCX and R11 are lost.
.set SYS_WRITE, 0               # (address, length)
.set SYS_READ_LINE, 1           # (address, size) -> length; the line ends with 0 there
.set SYS_TICKS, 2               # () -> timer interrupts since start
.set SYS_SLEEP, 3               # (ticks)
.set SYS_INFO, 4                # (INFO_*) -> value
.set SYS_DISK_OPEN, 5           # () -> 0 or DISK_*
.set SYS_DISK_READ, 6           # (sector, address) -> 0 or DISK_*
.set SYS_DISK_WRITE, 7          # (sector, address) -> 0 or DISK_*
.set SYS_DISK_FLUSH, 8          # () -> 0 or DISK_*
.set SYS_POWER_OFF, 9           # does not return
.set SYS_REBOOT, 10             # does not return
.set SYS_TRIPLE, 11             # does not return
.set SYS_COUNT, 12
.set BAD_CALL, -1               # no such call, or an address that is not the program's

.set INFO_LOWER, 0
.set INFO_UPPER, 1
.set INFO_KERNEL_START, 2
.set INFO_KERNEL_DATA, 3
.set INFO_KERNEL_END, 4
.set INFO_FRAMES, 5
.set INFO_NX, 6
.set INFO_DISK_SECTORS, 7
.set INFO_DISK_FLAGS, 8
.set INFO_DISK_PCI, 9           # device ID << 16 | bus << 8 | device << 3 | function
.set INFO_COUNT, 10

.set DISK_NONE, -2
.set DISK_NOT_MODERN, -3
.set DISK_REFUSED, -4
.set DISK_NO_QUEUE, -5
.set DISK_TIMEOUT, -6
.set DISK_ERROR, -7
.set DISK_READ_ONLY, 1          # INFO_DISK_FLAGS
.set DISK_HAS_FLUSH, 2

.set TICKS_PER_SECOND, 100

# The serial port COM1, a 16550.
.set UART_DATA, 0x3F8
.set UART_IER, 0x3F9            # bit 0: interrupt when a byte came
.set UART_FCR, 0x3FA            # write: FIFO control; read: bits 6 and 7 tell that there is a FIFO
.set UART_LCR, 0x3FB
.set UART_MCR, 0x3FC
.set UART_LSR, 0x3FD            # bit 0: a byte came; bit 5: all that was written is taken
