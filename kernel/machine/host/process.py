"""Protection domains as processes of the host: started, stopped, seen and ended.

A process is held by its pidfd, and not reaped before everything about it is settled, so its number
never names another one meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import termios
import time
from collections import deque
from contextlib import suppress
from typing import Final

from kernel.abi import Fault
from kernel.machine.host import linux
from kernel.machine.host.sandbox import Sandbox, Step, executable
from kernel.space import Space
from kernel.wire import pack

NOT_ENTERED: Final = 64
"""Exit status of a child that could not take its first step into the sandbox; and so on."""
ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",  # arenas are for threads that run at once; the interpreter's do not
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # a message's buffer is not mapped anew each time
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a channel: the kernel's, which never blocks, and the process's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    return ours, theirs


def unread(channel: socket.socket) -> bool:
    """Whether the peer has yet to read something that was sent to it."""
    return fcntl.ioctl(channel, termios.TIOCOUTQ, b"\0" * 4) != b"\0" * 4


class Process:
    """The process of one space."""

    def __init__(self, space: Space, sandbox: Sandbox, command: list[str]) -> None:
        """Start ``command`` in the sandbox; raises ``OSError``."""
        self.space = space
        self.heard = False  # whether it has ever said anything
        self.killed, self.why = False, ""  # why, if not for the state machine
        self.suspended = False
        self.looked_at = False  # it is stopped while its mappings are verified
        self._waiting: deque[bytes] = deque()  # notices for which there was no room
        self.channel, theirs = channel_pair()
        self.notices, notices = channel_pair()
        with theirs, notices:
            fds = theirs.fileno(), notices.fileno()
            self._steps = sandbox.enter(executable(space), space.account.limit, *fds)
            self.pid, self.pidfd = linux.clone(sandbox.flags)
            if not self.pid:
                _become(self._steps, command)

    def notify(self, *notice: object) -> None:
        """Send a notice, now or when there is room for it."""
        self._waiting.append(pack(notice))
        self.notify_more()

    def notify_more(self) -> None:
        """Send the notices that wait, as far as there is room."""
        with suppress(OSError):
            while self._waiting:
                self.notices.send(self._waiting[0])
                self._waiting.popleft()

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self.pidfd, number)

    def kill(self, why: str = "") -> None:
        """End it; ``why`` if this is news to the state machine."""
        if not self.killed:
            self.killed, self.why = True, why
            self.signal(signal.SIGKILL)

    def stop(self) -> None:
        self.looked_at = True
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on, unless all its threads are suspended."""
        self.looked_at = False
        if not self.suspended:
            self.signal(signal.SIGCONT)

    def has(self, event: int) -> bool:
        """Whether it, all its threads, has stopped (``WSTOPPED``) or ended (``WEXITED``)."""
        return os.waitid(os.P_PIDFD, self.pidfd, event | os.WNOHANG | os.WNOWAIT) is not None

    def schedule(self) -> None:
        """Apply its threads' suspension and the highest of their priorities."""
        threads = self.space.threads
        self.suspended = all(thread.suspended for thread in threads)
        if self.suspended:
            self.signal(signal.SIGSTOP)
        elif not self.looked_at:
            self.signal(signal.SIGCONT)
        nice = niceness(max(thread.priority for thread in threads))
        with suppress(OSError):  # only the host's root may raise a priority again
            for task in os.listdir(f"/proc/{self.pid}/task"):
                os.setpriority(os.PRIO_PROCESS, int(task), nice)

    def seen(self) -> tuple[int, int, int]:
        """Process id, CPU time in ns of all its threads, resident bytes."""
        with suppress(OSError, IndexError), open(f"/proc/{self.pid}/statm") as file:
            cpu = time.clock_gettime_ns((~self.pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK
            return self.pid, cpu, int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return self.pid, 0, 0

    def reap(self) -> tuple[Fault, str]:
        """It has ended: let go of it, and say how it ended."""
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        assert ended is not None
        self.killed = True
        os.close(self.pidfd)
        self.notices.close()
        status = ended.si_status
        fault = Fault.CRASHED if self.heard else Fault.NOT_STARTED
        if ended.si_code == os.CLD_EXITED:
            steps = [*(name for name, _ in self._steps), "execution"]
            if not self.heard and 0 <= status - NOT_ENTERED < len(steps):
                step = steps[status - NOT_ENTERED]
                return fault, f"could not enter the sandbox: {step} failed"
            return fault, f"exited with status {status}"
        if self.why and status == signal.SIGKILL:
            return fault, self.why
        name = signal.Signals(status).name if status in set(signal.Signals) else "unknown"
        rule = ": a system call of the host that is forbidden" if status == signal.SIGSYS else ""
        return fault, f"killed by signal {status} ({name}){rule}"


def niceness(priority: int) -> int:
    """The host's nice value: 0 for priorities from 128 up, which only its root could exceed."""
    return max(0, (128 - priority) * 19 // 128)


def _become(steps: list[Step], command: list[str]) -> None:
    """In the child: enter the sandbox and execute; never returns."""
    status = NOT_ENTERED
    try:
        for _, take in steps:
            take()
            status += 1
        os.execve(command[0], command, ENVIRONMENT)
    finally:
        os._exit(status)
