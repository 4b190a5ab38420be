"""The host machine: one process that runs the kernel, and one sandboxed process for each space.

**For the tool.**  Run ``python -I -S kernel/machine/host/main.py PATH...``, where the paths are the
import path of ``kernel`` and ``msgpack``, with one end of a SEQPACKET socket as descriptor 3: the
*operator channel*.  Send ``BootConfig.pack()`` as its first frame, with the descriptors that
``DeviceConfig.fd`` counts attached to it (``SCM_RIGHTS``, at most 250).  The answer is msgpack
``[0, {name: slot}]``, the operator's capabilities, or ``[1, sentence]`` and exit status 1.  From
then on the socket is the channel of the operator's thread.  The machine ends, with all its
processes, when that channel or the process that started it does, or when the root task ends; then
it writes why to its standard error and exits with 1, or with 0 if the root task's work was done.

**For the runtime.**  A process is executed as ``python -I -S -B -X utf8 servers/runtime/start.py
PATH...`` with three things on two descriptors:

* 3, the channel of its first thread: SEQPACKET, one system call a frame out, its answer in.  The
  descriptor of ``map`` and ``device_map`` comes attached to the answer.  A frame that comes before
  the first answer: msgpack ``[entry, argument, filter, flags]``.  The filter is a BPF program to
  install (``prctl(PR_SET_SECCOMP)``) after importing, empty if the host cannot; the flags are the
  ``SpaceFlag`` of the space.
* 4, the notice channel, SEQPACKET.  ``[0, mapping]`` asks to let go of a mapping: unmap it, close
  its descriptor, and say ``[mapping]``, at once also for a mapping of which nothing is known yet:
  its answer may be on its way, and must be read and dropped.  ``[1, entry, argument]`` starts a
  thread; its channel is attached.

A process that closes its channel, leaves answers unread or speaks out of turn is killed.

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
from typing import Any

import msgpack

from kernel.abi import MAX_FRAME, Error, Fault, SpaceFlag
from kernel.device import Device
from kernel.effects import (
    DropFrame,
    Effect,
    EndThread,
    Inspect,
    Kill,
    Resume,
    Schedule,
    Start,
    Unmap,
    Unmask,
)
from kernel.frame import Mapping
from kernel.kernel import Kernel
from kernel.machine.config import BootConfig, boot
from kernel.machine.host import memory
from kernel.machine.host.devices import HostDevice
from kernel.machine.host.process import Process, channel_pair, niceness, send, unread
from kernel.machine.host.sandbox import Sandbox, interpreter
from kernel.space import Space
from kernel.thread import Thread
from kernel.wire import Malformed, decode, pack

RUNTIME = os.path.join("servers", "runtime", "start.py")
_EVENTS = 16  # of one wait

Event = Callable[[], list[Effect]]


class Halt(Exception):
    """The machine ends; the text says why, and is empty where nothing is wrong."""


class Machine:
    """A booted system."""

    def __init__(self, config: BootConfig, channel: socket.socket, descriptors: list[int]) -> None:
        self._command = _command(config.paths)
        self._sandbox = Sandbox([*config.paths, *config.readable], config.memory, config.weak)
        self._sandbox.filter(executable=False, importing=False)
        self.kernel = kernel = Kernel(time.monotonic_ns, config.memory)
        self._epoll = select.epoll()
        self._threads: dict[int, Thread] = {}  # by descriptor of their channel
        self._others: dict[int, Callable[[], None]] = {}  # what to do for another descriptor
        self._processes: dict[Process, None] = {}
        self._posted: deque[Event] = deque()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []  # heap of (time, order, what)
        self._timer_count = 0
        self._verifier = memory.Verifier(kernel, self._at, self._posted.append)
        booted = boot(kernel, config)
        for device, entry in booted.devices.items():
            device.machine = HostDevice(entry, descriptors)
        self._root, self._operator = booted.start.thread.space, booted.operator
        self.operator_slots = booted.operator_slots
        self._reason = ""  # the root task ended
        channel.setblocking(False)
        self._open_channel(self._operator, channel)
        self._watch(os.pidfd_open(os.getppid()), self._abandoned)
        self._carry_out([booted.start])

    # Events

    def run(self) -> None:
        """Run until ``Halt``."""
        gc.collect()
        gc.freeze()
        kernel, threads, posted, timers = self.kernel, self._threads, self._posted, self._timers
        wait, syscall, next_deadline = self._epoll.poll, kernel.syscall, kernel.next_deadline
        read, clock = os.read, time.monotonic_ns
        self._feed_posted()
        while True:
            due = next_deadline()
            if timers and (due is None or timers[0][0] < due):
                due = timers[0][0]
            timeout = -1.0 if due is None else max(0.0, (due - clock()) / 1e9)
            for fd, events in wait(timeout, _EVENTS):
                thread = threads.get(fd)
                if thread is None:
                    action = self._others.get(fd)
                    if action is not None:  # else closed by what came before
                        action()
                else:
                    try:
                        frame = read(fd, MAX_FRAME + 1)
                        effects = syscall(thread, decode(frame))
                    except Malformed as error:
                        effects = self._malformed(thread, frame, str(error))
                    except OSError:
                        effects = self._malformed(thread, b"", "")
                    for effect in effects:
                        _ACTIONS[type(effect)](self, effect)
                if posted:
                    self._feed_posted()
            if due is not None:
                self._elapse()

    def _feed_posted(self) -> None:
        while self._posted:
            self._carry_out(self._posted.popleft()())

    def _malformed(self, thread: Thread, frame: bytes, why: str) -> list[Effect]:
        if frame:
            return self.kernel.malformed(thread, why)
        if thread is self._operator:
            raise Halt("")
        # If it is ending, it does so for its own reason: a signal that comes later changes nothing.
        self._close_channel(thread)
        thread.space.machine.kill("closed its channel")
        return []

    def _elapse(self) -> None:
        now = time.monotonic_ns()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        self._carry_out(self.kernel.tick())

    def _abandoned(self) -> None:
        raise Halt("")

    def _speaks(self, process: Process, thread: Thread) -> None:
        """A new process's first system call is there, or its end."""
        fd = process.channel.fileno()
        del self._others[fd]
        self._threads[fd] = thread
        with suppress(OSError):
            process.heard = bool(process.channel.recv(1, socket.MSG_PEEK))

    def _ended(self, process: Process) -> None:
        """A process is no more."""
        self._unwatch(process.pidfd)
        self._unwatch(process.notices.fileno())
        for thread in process.channels:
            self._close_channel(thread)
        del self._processes[process]
        fault, detail = process.reap()
        space = process.space
        space.machine = None
        if space.alive:
            self._posted.append(lambda: self.kernel.died(space, fault, detail))
        else:
            self._posted.append(lambda: self._space_ended(space))

    def _space_ended(self, space: Space) -> list[Effect]:
        effects = self.kernel.ended(space)
        if space is self._root:
            raise Halt(self._reason)
        return effects

    def _noticed(self, process: Process) -> None:
        """The process answers a notice."""
        try:
            frame = process.notices.recv(64)
            answer = msgpack.unpackb(frame)
        except BlockingIOError:
            return
        except Exception:  # noqa: BLE001 (whatever the decoder raises)
            answer = None
        if type(answer) is not list or len(answer) != 1 or type(answer[0]) is not int:
            self._unwatch(process.notices.fileno())
            process.kill("sent something else than a mapping over its notice channel")
            return
        process.notify_more()
        self._verifier.let_go(process, answer[0])

    # Waiting

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self._others[fd] = action
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._others.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _at(self, when: int, action: Callable[[], None]) -> None:
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, action))

    def _open_channel(self, thread: Thread, channel: socket.socket) -> None:
        thread.machine = channel
        self._threads[channel.fileno()] = thread
        self._epoll.register(channel.fileno(), select.EPOLLIN)

    def _close_channel(self, thread: Thread) -> None:
        channel: socket.socket = thread.machine
        fd = channel.fileno()
        if fd >= 0:
            self._threads.pop(fd, None)
            self._others.pop(fd, None)
            self._epoll.unregister(fd)
            channel.close()

    # The kernel's effects

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            _ACTIONS[type(effect)](self, effect)

    def _resume(self, effect: Resume) -> None:
        thread = effect.thread
        channel: socket.socket = thread.machine
        if channel.fileno() < 0:
            return
        if effect.resource is None:
            try:
                channel.send(pack(effect.answer))
                return
            except (BrokenPipeError, ConnectionResetError):
                return
            except BlockingIOError:
                sent = False
        else:
            sent = self._hand_over(effect, channel)
        if not sent:
            self._unread(thread)

    def _unread(self, thread: Thread) -> None:
        if thread is self._operator:
            raise Halt("The tool does not read its answers.")
        thread.space.machine.kill("does not read its answers")

    def _hand_over(self, effect: Resume, channel: socket.socket) -> bool:
        """Answer ``map`` or ``device_map``."""
        resource, answer = effect.resource, effect.answer
        assert resource is not None
        try:
            if isinstance(resource, Device):
                resource.machine.open()
                fd = resource.machine.hand_over(effect.writable)
                resource.size = resource.machine.size()
                answer = (answer[0], resource.size)
            else:
                fd = memory.hand_over(resource.frame, effect.writable)
                resource.machine = memory.Given(channel)
        except OSError:
            if isinstance(resource, Mapping):
                self._posted.append(partial(self.kernel.unmapped, resource))
            return send(channel, pack((int(Error.NO_DEVICE),)))
        try:
            return send(channel, pack(answer), fd)
        finally:
            os.close(fd)

    def _start(self, effect: Start) -> None:
        thread, space = effect.thread, effect.thread.space
        process: Process | None = space.machine
        try:
            if process is None:
                process = self._start_process(space, thread.priority)
                ours = process.channel
                frame = (
                    effect.entry,
                    effect.argument,
                    self._sandbox.filter(_executable(space), importing=False),
                    int(space.flags),
                )
                fits = send(ours, pack(frame))
            else:
                ours, theirs = channel_pair()
                with theirs:
                    fits = send(
                        process.notices, pack((1, effect.entry, effect.argument)), theirs.fileno()
                    )
        except OSError as error:
            why = f"the host refused: {error.strerror}"
            self._posted.append(lambda: self.kernel.died(space, Fault.NOT_STARTED, why))
            return
        process.channels[thread] = ours
        self._open_channel(thread, ours)
        if process.channel is ours:
            self._others[ours.fileno()] = partial(self._speaks, process, thread)
            del self._threads[ours.fileno()]
        if not fits:
            process.kill("does not read its notices")

    def _start_process(self, space: Space, priority: int) -> Process:
        process = Process(space, self._sandbox, self._command)
        os.setpriority(os.PRIO_PROCESS, process.pid, niceness(priority))
        space.machine = process
        self._processes[process] = None
        self._watch(process.pidfd, partial(self._ended, process))
        self._watch(process.notices.fileno(), partial(self._noticed, process))
        return process

    def _kill(self, effect: Kill) -> None:
        space = effect.space
        if space is self._root:
            self._reason = _reason(effect)
        elif space is self._operator.space:
            raise Halt(_reason(effect))
        process: Process | None = space.machine
        if process is None:
            self._posted.append(lambda: self._space_ended(space))
            return
        process.kill()
        self._unwatch(process.notices.fileno())
        for thread in process.channels:
            self._close_channel(thread)

    def _end_thread(self, effect: EndThread) -> None:
        process: Process = effect.thread.space.machine
        if unread(effect.thread.machine):  # it may hide a descriptor there
            process.kill("ended a thread that had not read its answers")
        self._close_channel(effect.thread)
        del process.channels[effect.thread]

    def _unmap(self, effect: Unmap) -> None:
        mapping = effect.mapping
        if mapping.space is self._operator.space:  # the tool is trusted with what is its own
            self._posted.append(lambda: self.kernel.unmapped(mapping))
        else:
            self._verifier.unmap(mapping, effect.asked)

    def _drop_frame(self, effect: DropFrame) -> None:
        memory.drop(effect.frame)

    def _unmask(self, effect: Unmask) -> None:
        device = effect.device
        try:
            device.machine.open()
            fd: int = device.machine.fd
            if fd not in self._others:
                self._watch(fd, partial(self._interrupt, device))
            self._epoll.modify(fd, select.EPOLLIN | select.EPOLLONESHOT)
        except OSError:  # it cannot be waited for, as a file: there always is something to read
            self._others.pop(device.machine.fd, None)
            self._posted.append(lambda: self.kernel.interrupt(device))

    def _interrupt(self, device: Device) -> None:
        self._carry_out(self.kernel.interrupt(device))

    def _schedule(self, effect: Schedule) -> None:
        process: Process | None = effect.thread.space.machine
        if process is not None and not process.killed:
            process.schedule()

    def _inspect(self, effect: Inspect) -> None:
        seen = {space.id: space.machine.seen() for space in effect.spaces if space.machine}
        self._posted.append(lambda: self.kernel.inspected(effect.thread, seen))

    # The end

    def close(self) -> None:
        """Kill every process and see the end of each."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.reap()


_ACTIONS: dict[type, Callable[[Machine, Any], None]] = {
    Resume: Machine._resume,
    Start: Machine._start,
    Kill: Machine._kill,
    EndThread: Machine._end_thread,
    Unmap: Machine._unmap,
    DropFrame: Machine._drop_frame,
    Unmask: Machine._unmask,
    Inspect: Machine._inspect,
    Schedule: Machine._schedule,
}


def _executable(space: Space) -> bool:
    return bool(space.flags & SpaceFlag.EXECUTABLE)


def _reason(kill: Kill) -> str:
    """Why the root task or the operator ended, as a sentence; empty if its work was done."""
    if kill.fault is Fault.EXIT and not kill.detail:
        return ""
    detail = f": {kill.detail}" if kill.detail else ""
    return f"{kill.space.name} ended ({kill.fault.name.lower()}){detail}."


def _command(paths: list[str]) -> list[str]:
    """What a process executes."""
    for path in paths:
        start = os.path.join(path, RUNTIME)
        if os.path.exists(start):
            return [interpreter(), "-I", "-S", "-B", "-X", "utf8", start, *paths]
    raise FileNotFoundError(f"{RUNTIME} is in none of the import paths {paths}")
