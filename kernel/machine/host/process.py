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
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from kernel.abi import PAGE_SIZE, Fault
from kernel.machine.host import linux
from kernel.machine.host.sandbox import Sandbox, Step, executable
from kernel.space import Space
from kernel.wire import pack

PACKETS: Final = (socket.AF_UNIX, socket.SOCK_SEQPACKET)
_SET_PIPE_SIZE: Final = 1031
_CAPACITY: Final = 1 << 17
"""Bytes that a pipe of a channel holds: any system call and any answer."""
_METER: Final = 1_000_000
"""Nanoseconds between two looks at a time budget at least: by so much it may be exceeded."""
NOT_ENTERED: Final = 64
"""Exit status of a child that could not take its first step into the sandbox; and so on."""


class Channel:
    """A thread's channel: a pipe for its system calls, which the kernel reads, and one for answers.

    The kernel never blocks on either.  ``theirs`` are the thread's ends.  A message that fits is
    written and read whole: Linux holds the pipe's lock meanwhile.
    """

    def __init__(self) -> None:
        """Raises ``OSError``."""
        ends = *os.pipe2(os.O_CLOEXEC), *os.pipe2(os.O_CLOEXEC)
        self.requests, request_end, answer_end, self.answers = ends
        self.theirs = request_end, answer_end
        try:
            for fd in (self.requests, self.answers):
                fcntl.fcntl(fd, _SET_PIPE_SIZE, _CAPACITY)
                os.set_blocking(fd, False)
        except OSError:
            linux.close(*ends)
            raise

    def close(self) -> None:
        linux.close(self.requests, self.answers)


class Process:
    """The process of one space."""

    def __init__(self, space: Space, sandbox: Sandbox) -> None:
        """Start it in the sandbox; raises ``OSError``."""
        self.space = space
        self.birth: tuple[object, ...] = ()  # what it is told once it is in its sandbox
        self.killed, self.why = False, ""  # why, if not for the state machine
        self.suspended = self.exhausted = False  # by its threads' controller, for this period
        self.looked_at = False  # it is stopped while its mappings are verified
        self.period_end = self._base = 0  # of its time budget, and CPU time when it began
        self._waiting: deque[bytes] = deque()  # notices for which there was no room
        self.listener = -1  # where the host tells of forbidden system calls
        self.channel = Channel()
        self.notices, notices = socket.socketpair(*PACKETS)
        self.notices.setblocking(False)
        fds = self.channel.theirs[0], notices.fileno(), self.channel.theirs[1]
        self._steps = sandbox.enter(executable(space), space.account.limit, *fds)
        try:
            self.pid, self.pidfd = linux.clone(sandbox.flags)
            if not self.pid:
                _become(self._steps, sandbox.command, sandbox.environment)
        except OSError:
            self.channel.close()
            raise
        finally:
            linux.close(*self.channel.theirs, notices.detach())

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

    def unread(self) -> bool:
        """Whether it has yet to read a notice, which may bring a descriptor."""
        return fcntl.ioctl(self.notices, termios.TIOCOUTQ, b"\0" * 4) != b"\0" * 4

    def signal(self, number: int) -> None:
        signal.pidfd_send_signal(self.pidfd, number)

    def kill(self, why: str = "") -> None:
        """End it; ``why`` if this is news to the state machine."""
        if not self.killed:
            self.killed, self.why = True, why
            self.signal(signal.SIGKILL)

    def look_at(self, looked_at: bool) -> None:
        """Stop it while it is looked at, or let it go on unless it must not run anyway."""
        self.looked_at = looked_at
        self._stop_or_go()

    def _stop_or_go(self) -> None:
        stop = self.looked_at or self.suspended or self.exhausted
        if not self.killed:
            self.signal(signal.SIGSTOP if stop else signal.SIGCONT)

    def has(self, event: int) -> bool:
        """Whether it, all its threads, has stopped (``WSTOPPED``) or ended (``WEXITED``).

        Of one that has ended, the host knows of no child unless it is asked for that as well.
        """
        return os.waitid(os.P_PIDFD, self.pidfd, event | os.WNOHANG | os.WNOWAIT) is not None

    def schedule(self) -> None:
        """Apply its threads' suspension and the highest of their priorities."""
        threads = self.space.threads
        self.suspended = all(thread.suspended for thread in threads)
        self._stop_or_go()
        nice = niceness(max(thread.priority for thread in threads))
        with suppress(OSError):  # only the host's root may raise a priority again
            for task in os.listdir(f"/proc/{self.pid}/task"):
                os.setpriority(os.PRIO_PROCESS, int(task), nice)

    def meter(self, now: int) -> int:
        """Hold it to its time budget; in how many nanoseconds to do so again, 0 for never."""
        if self.killed:
            return 0
        budget, used = self.space.budget * 1000, self._cpu() - self._base
        if now >= self.period_end or not budget:
            self.period_end = now + self.space.period * 1000 if budget else 0
            self._base, used = self._base + used, 0
        self.exhausted = used >= budget > 0
        self._stop_or_go()
        left = self.period_end - now
        return max(left if self.exhausted else min(left, budget - used), _METER) if budget else 0

    def _cpu(self) -> int:
        """CPU time in ns of all its threads."""
        return time.clock_gettime_ns((~self.pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK

    def seen(self) -> tuple[int, int, int]:
        """Process id, CPU time in ns, resident bytes."""
        with suppress(OSError, IndexError), open(f"/proc/{self.pid}/statm") as file:
            return self.pid, self._cpu(), int(file.read().split()[1]) * PAGE_SIZE
        return self.pid, 0, 0

    def reap(self) -> tuple[Fault, str]:
        """It has ended: let go of it, and say how it ended."""
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        assert ended is not None
        self.killed = True
        linux.close(self.pidfd, *[self.listener] * (self.listener >= 0))
        self.notices.close()
        status = ended.si_status
        fault = Fault.NOT_STARTED if self.birth else Fault.CRASHED
        if ended.si_code == os.CLD_EXITED:
            steps = [*(name for name, _ in self._steps), "execution"]
            if self.birth and 0 <= status - NOT_ENTERED < len(steps):
                step = steps[status - NOT_ENTERED]
                return fault, f"could not enter the sandbox: {step} failed"
            return fault, f"exited with status {status}"
        if self.why and status == signal.SIGKILL:
            return fault, self.why
        name = signal.Signals(status).name if status in set(signal.Signals) else "unknown"
        return fault, f"killed by signal {status} ({name})"


def niceness(priority: int) -> int:
    """The host's nice value: 0 for priorities from 128 up, which only its root could exceed."""
    return max(0, (128 - priority) * 19 // 128)


def _become(steps: list[Step], command: list[str], environment: Mapping[str, str]) -> None:
    """In the child: enter the sandbox and execute; never returns."""
    status = NOT_ENTERED
    try:
        for _, take in steps:
            take()
            status += 1
        os.execve(command[0], command, environment)
    finally:
        os._exit(status)
