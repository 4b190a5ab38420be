"""The host machine: one process that runs the kernel, and one sandboxed process for each space.

**For the tool.**  Run ``python -I -S kernel/machine/host/main.py PATH...``, where the paths are the
import path of ``kernel`` and ``msgpack``, with one end of a SEQPACKET socket as descriptor 3: the
operator's notice channel.  Send ``BootConfig.pack()`` as its first frame, with the descriptors that
``DeviceConfig.fd`` counts attached to it (``SCM_RIGHTS``, at most 250).  The answer is msgpack
``[0, {name: slot}]``, the operator's capabilities, with the two descriptors of its thread's channel
attached, or ``[1, sentence]`` and exit status 1.  The machine ends, with all its processes, when
that channel or the process that started it does, or when the root task ends; then it writes why to
its standard error and exits with 1, or with 0 if the root task's work was done.

**For the runtime.**  A process executes ``BootConfig.command`` with three descriptors:

* 3 and 5, the channel of its first thread: pipes for system calls out and for answers in, each
  msgpack, one outstanding at a time.
* 4, the notice channel, SEQPACKET.  The first notice: ``[entry, argument, filter, flags]``.  The
  filter is a BPF program to install (``prctl(PR_SET_SECCOMP)``) after importing, empty if the host
  cannot; the flags are the ``SpaceFlag`` of the space.  Then ``[0, mapping]`` asks to let go of a
  mapping: unmap it, close its descriptor, and say its number in 8 bytes, the lowest first; at once
  also for a mapping of
  which nothing is known yet: its answer may be on its way, and must be dropped.  ``[1, entry,
  argument]`` starts a thread; both descriptors of its channel are attached.  ``[2]`` brings the
  descriptor that ``map``, ``device_map`` or ``link_open`` asked for, before its answer.

A process that closes its channel or leaves answers unread is killed; so is one that speaks out of
turn, once the kernel reads it, or makes a forbidden system call of the host.

**Inside.**  A loop waits for channels, processes' ends, devices and timers, feeds the kernel one
event at a time and carries out its effects in order.  Nothing in it waits for a process.  An event
that an action brings about is posted, and fed when the effects before it are carried out.
"""

from __future__ import annotations

import gc
import heapq
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, get_args

from kernel import effects as fx
from kernel.abi import MAX_FRAME, Error, Fault
from kernel.effects import Answer, Effect, Resume
from kernel.kernel import Device, Kernel, Mapping, Space, Thread
from kernel.machine.config import BootConfig, boot
from kernel.machine.host import linux, memory
from kernel.machine.host.devices import HostDevice
from kernel.machine.host.process import PACKETS, Channel, Process, niceness
from kernel.machine.host.sandbox import Sandbox
from kernel.wire import Malformed, decode, pack

_write = os.write
_EVENTS = 16  # of one wait
_ENDING = 200_000_000  # nanoseconds from the end of a process's channels to its own
_NEVER = 1 << 62  # in nanoseconds
_LIMIT = MAX_FRAME + 1  # what is longer is cut off, and still too long
_CALLS = select.EPOLLIN | select.EPOLLET | select.EPOLLRDHUP
"""A thread has one call outstanding, so one event is one frame.  What one says out of turn may wait
until it says more."""


class Halt(Exception):
    """The machine ends; the text says why, and is empty where nothing is wrong."""


class Machine:
    """A booted system."""

    def __init__(self, config: BootConfig, notices: socket.socket, descriptors: list[int]) -> None:
        self._sandbox = Sandbox(config, descriptors)
        self._forbidden = config.forbidden
        self.kernel = kernel = Kernel(
            time.monotonic_ns, config.memory, lambda s: s.machine.seen() if s.machine else (0, 0, 0)
        )
        self._epoll = select.epoll()
        self._threads: dict[int, Thread] = {}  # by where their calls come from
        self._channels: dict[Thread, Channel] = {}
        self._others: dict[int, Callable[[], None]] = {}  # what to do for another descriptor
        self._processes: dict[Process, None] = {}
        self._posted: deque[Callable[[], list[Effect]]] = deque()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []  # heap of (time, order, what)
        self._timer_count = 0
        self._clock = linux.timer()
        self._alarm = _NEVER  # when the clock rings; setting it anew for each call would take long
        self._verifier = memory.Verifier(kernel, self.after, self.post)
        booted = boot(kernel, config)
        for device, entry in booted.devices.items():
            device.machine = HostDevice(entry, descriptors)
        self._root, self._operator = booted.start.thread.space, booted.operator
        self.operator_slots = booted.operator_slots
        self._reason = ""  # the root task ended
        self._notices = notices  # the operator's
        self.operator_channel = Channel()
        self._open_channel(self._operator, self.operator_channel)
        self._watch(os.pidfd_open(os.getppid()), partial(self._hung_up, self._operator))
        self._watch(self._clock, self._elapse)
        self._carry_out([booted.start])

    # Events

    def run(self) -> None:
        """Run until ``Halt``."""
        gc.collect()
        gc.set_threshold(20_000)
        gc.freeze()
        threads, posted, wait = self._threads, self._posted, self._epoll.poll
        deadlines, take, carry_out = self.kernel.deadlines, self._take, self._carry_out
        read, ready = os.read, select.EPOLLIN
        while True:
            while posted:
                carry_out(posted.popleft()())
            if deadlines and deadlines[0][0] < self._alarm:
                self._set_alarm(deadlines[0][0])
            for fd, event in wait(None, _EVENTS):
                thread = threads.get(fd)
                if thread is not None and event == ready:  # here, speed matters
                    try:
                        frame = read(fd, _LIMIT)
                    except OSError:  # there is nothing to read
                        continue
                    carry_out(take(thread, frame))
                elif thread is not None:
                    self._drain(thread, fd)
                elif fd in self._others:  # else closed by what came before
                    self._others[fd]()
                while posted:
                    carry_out(posted.popleft()())

    def _take(self, thread: Thread, frame: bytes) -> list[Effect]:
        try:
            return self.kernel.syscall(thread, decode(frame))
        except Malformed as error:
            return self.kernel.malformed(thread, str(error))

    def _drain(self, thread: Thread, fd: int) -> None:
        """The other end of a channel is closed: carry out what is left in it."""
        with suppress(BlockingIOError):  # an event of what had its descriptor's number before
            while frame := os.read(fd, _LIMIT):
                self._carry_out(self._take(thread, frame))
                if thread not in self._channels:
                    return
            self._hung_up(thread)

    def post(self, event: Callable[..., list[Effect]], *arguments: Any) -> None:
        """Have the kernel take an event, when the effects before it are carried out."""
        self._posted.append(partial(event, *arguments))

    def _hung_up(self, thread: Thread) -> None:
        if thread is self._operator:
            raise Halt("")
        self._close_channel(thread)
        self._give_up(thread.space.machine)

    def _give_up(self, process: Process, why: str = "closed its channel") -> None:
        """A process that cannot be reached is ending, it seems, for a reason yet to be seen."""
        self.after(_ENDING, partial(process.kill, why))

    def _ended(self, process: Process) -> None:
        """A process is no more."""
        if not process.has(os.WEXITED):  # an event of what had its descriptor's number before
            return
        space = process.space
        self._unwatch(process.pidfd)
        self._cut_off(process)
        del self._processes[process]
        space.machine, end = None, process.reap()
        if space.alive:
            self.post(self.kernel.died, space, *end)
        else:
            self.post(self._space_ended, space)

    def _space_ended(self, space: Space) -> list[Effect]:
        effects = self.kernel.ended(space)
        if space is self._root:
            raise Halt(self._reason)
        return effects

    def _noticed(self, process: Process) -> None:
        """The process answers a notice."""
        try:
            data = process.notices.recv(9)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""  # it had not read all
        if len(data) == 8:
            self._heard(process, int.from_bytes(data, "little", signed=True))
            return
        self._unwatch(process.notices.fileno())
        if data:
            process.kill("sent something else than a mapping over its notice channel")
        else:
            self._give_up(process)

    def _heard(self, process: Process, number: int) -> None:
        """The process let go of a mapping; or it is in its sandbox, and tells of its listener."""
        if not process.birth:
            process.notify_more()
            return self._verifier.let_go(process, number)
        birth, process.birth = process.birth, ()
        try:
            if number >= 0:
                process.listener = linux.descriptor_of(process.pidfd, number)
                self._watch(process.listener, partial(self._broke_rule, process))
            process.notify(*birth)
        except OSError as error:
            self._give_up(process, f"its system calls cannot be watched: {error.strerror}")

    def _broke_rule(self, process: Process) -> None:
        """The process is held in a system call of the host that is forbidden."""
        with suppress(OSError):  # it has ended meanwhile
            number = linux.forbidden_call(process.listener)
            rule = self._forbidden.get(number, f"{number}")
            process.kill(f"made the host's system call {rule}, which is forbidden")

    # Waiting

    def after(self, duration: int, action: Callable[[], None]) -> None:
        """Have something done in ``duration`` nanoseconds."""
        when = self.kernel.clock() + duration
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, action))
        if when < self._alarm:
            self._set_alarm(when)

    def _set_alarm(self, when: int) -> None:
        self._alarm = when
        linux.set_timer(self._clock, when)

    def _elapse(self) -> None:
        """The alarm: something may be due, if it was not done with before."""
        now, timers = time.monotonic_ns(), self._timers
        while timers and timers[0][0] <= now:
            heapq.heappop(timers)[2]()
        self._carry_out(self.kernel.tick())
        self._set_alarm(timers[0][0] if timers else _NEVER)

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self._epoll.register(fd, select.EPOLLIN)
        self._others[fd] = action

    def _unwatch(self, fd: int) -> None:
        if self._others.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _open_channel(self, thread: Thread, channel: Channel) -> None:
        self._channels[thread] = channel
        thread.machine = channel.answers
        self._threads[channel.requests] = thread
        self._epoll.register(channel.requests, _CALLS)

    def _close_channel(self, thread: Thread) -> None:
        channel = self._channels.pop(thread, None)
        if channel is not None:
            thread.machine = -1
            self._threads.pop(channel.requests, None)
            self._epoll.unregister(channel.requests)
            channel.close()

    def _cut_off(self, process: Process) -> None:
        """Hear no more of a process that ends."""
        self._unwatch(process.notices.fileno())
        self._unwatch(process.listener)
        for thread in process.space.threads:
            self._close_channel(thread)

    # The kernel's effects, each carried out by the method of its name

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is not Resume:
                _ACTIONS[type(effect)](self, effect)
                continue
            thread, answer, resource, _ = effect
            try:
                if resource is not None and thread in self._channels:
                    answer = self._hand_over(effect)
                _write(thread.machine, pack(answer))
            except (BlockingIOError, BrokenPipeError):
                if thread is self._operator:
                    raise Halt("The tool does not read its answers.") from None
                self._give_up(thread.space.machine, "does not read its answers")
            except OSError:
                pass  # it is gone: its end will tell

    def _hand_over(self, effect: Resume) -> Answer:
        """Send the descriptor of a resource; the answer to its call.

        Raises ``OSError`` if there is nobody to send it to.
        """
        space, resource, answer = effect.thread.space, effect.resource, effect.answer
        try:
            if isinstance(resource, Mapping):
                fd = memory.hand_over(resource.frame, effect.writable)
                resource.machine = False
            elif isinstance(resource, Device):
                fd, resource.size = resource.machine.hand_over(effect.writable)
                answer = (answer[0], resource.size)
            elif resource is not None:
                # It keeps both ends, to cut it.
                resource.machine = resource.machine or socket.socketpair(*PACKETS)
                fd = os.dup(resource.machine[effect.writable].fileno())
        except OSError:
            if isinstance(resource, Mapping):
                self.post(self.kernel.unmapped, resource)
            return (int(Error.NO_DEVICE),)
        notices = self._notices if space is self._operator.space else space.machine.notices
        try:
            socket.send_fds(notices, [pack((2,))], [fd])
        finally:
            os.close(fd)
        return answer

    def _cut(self, effect: fx.Cut) -> None:
        for end in effect.link.machine or ():
            end.shutdown(socket.SHUT_RDWR)
            end.close()
        effect.link.machine = ()

    def _start(self, effect: fx.Start) -> None:
        thread, space = effect.thread, effect.thread.space
        process: Process | None = space.machine
        try:
            if process is None:
                process = self._start_process(space, thread)
                process.birth = (effect.entry, effect.argument, *self._sandbox.birth(space))
                return
            channel = Channel()
            self._open_channel(thread, channel)
            notice = pack((1, effect.entry, effect.argument))
            try:
                socket.send_fds(process.notices, [notice], channel.theirs)
            finally:
                linux.close(*channel.theirs)
        except OSError as error:
            if process is not None and isinstance(error, BlockingIOError):
                process.kill("does not read its notices")
            elif process is None or not isinstance(error, ConnectionError):  # or it is ending
                why = f"the host refused: {error.strerror}"
                self.post(self.kernel.died, space, Fault.NOT_STARTED, why)

    def _start_process(self, space: Space, thread: Thread) -> Process:
        space.machine = process = Process(space, self._sandbox)
        self._processes[process] = None
        os.setpriority(os.PRIO_PROCESS, process.pid, niceness(thread.priority))
        self._watch(process.pidfd, partial(self._ended, process))
        self._watch(process.notices.fileno(), partial(self._noticed, process))
        self._open_channel(thread, process.channel)
        return process

    def _kill(self, effect: fx.Kill) -> None:
        space = effect.space
        if space is self._root:
            self._reason = _reason(effect)
        elif space is self._operator.space:
            raise Halt(_reason(effect))
        process: Process | None = space.machine
        if process is None:
            self.post(self._space_ended, space)
        else:
            process.kill()
            self._cut_off(process)

    def _endthread(self, effect: fx.EndThread) -> None:
        self._close_channel(effect.thread)

    def _unmap(self, effect: fx.Unmap) -> None:
        if effect.mapping.space is self._operator.space:  # the tool is trusted with what it has
            self.post(self.kernel.unmapped, effect.mapping)
        else:
            self._verifier.unmap(effect.mapping, effect.asked)

    def _dropframe(self, effect: fx.DropFrame) -> None:
        memory.drop(effect.frame)

    def _unmask(self, effect: fx.Unmask) -> None:
        device, raised = effect.device.machine, partial(self.kernel.interrupt, effect.device)
        try:
            if device.fd not in self._others:
                self._watch(device.fd, partial(self.post, raised))
            self._epoll.modify(device.fd, select.EPOLLIN | select.EPOLLONESHOT)
        except (OSError, ValueError):  # nothing is there, or a file: there always is data to read
            self.post(raised)

    def _schedule(self, effect: fx.Schedule) -> None:
        process: Process | None = effect.thread.space.machine
        if process is not None and not process.killed:
            process.schedule()
            if not process.period_end:
                self._meter(process)

    def _meter(self, process: Process) -> None:
        wait = process.meter(self.kernel.clock())
        if wait:
            self.after(wait, partial(self._meter, process))

    # The end

    def close(self) -> None:
        """Kill every process and see the end of each."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.reap()


_ACTIONS = {
    kind: getattr(Machine, f"_{kind.__name__.lower()}")
    for kind in get_args(Effect)
    if kind is not Resume
}


def _reason(kill: fx.Kill) -> str:
    """Why the root task or the operator ended, as a sentence; empty if its work was done."""
    if kill.fault is Fault.EXIT and not kill.detail:
        return ""
    detail = f": {kill.detail}" if kill.detail else ""
    return f"{kill.space.name} ended ({kill.fault.name.lower()}){detail}."
