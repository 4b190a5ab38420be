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

A process that closes its channel or leaves answers unread is killed; so is one that speaks out of
turn, once the kernel reads it.  Time budgets of threads are not applied on this machine.

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
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, get_args

import msgpack

from kernel import effects as fx
from kernel.abi import MAX_FRAME, Error, Fault
from kernel.effects import Effect, Resume
from kernel.kernel import Device, Kernel, Space, Thread
from kernel.machine.config import BootConfig, boot
from kernel.machine.host import linux, memory
from kernel.machine.host.devices import HostDevice
from kernel.machine.host.process import Process, channel_pair, niceness, unread
from kernel.machine.host.sandbox import Sandbox, interpreter
from kernel.wire import Malformed, decode, pack

RUNTIME = os.path.join("servers", "runtime", "start.py")
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

    def __init__(self, config: BootConfig, channel: socket.socket, descriptors: list[int]) -> None:
        self._command = _command(config.paths)
        self._sandbox = Sandbox([*config.paths, *config.readable], config.memory, config.weak)
        self.kernel = kernel = Kernel(time.monotonic_ns, config.memory)
        self._epoll = select.epoll()
        self._threads: dict[int, Thread] = {}  # by descriptor of their channel
        self._channels: dict[Thread, socket.socket] = {}
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
        channel.setblocking(False)
        self._open_channel(self._operator, channel)
        self._watch(os.pidfd_open(os.getppid()), partial(self._hung_up, self._operator))
        self._watch(self._clock, self._elapse)
        self._carry_out([booted.start])

    # Events

    def run(self) -> None:
        """Run until ``Halt``."""
        gc.collect()
        gc.freeze()
        threads, posted, wait = self._threads, self._posted, self._epoll.poll
        syscall, next_deadline = self.kernel.syscall, self.kernel.next_deadline
        read, ready, carry_out = os.read, select.EPOLLIN, self._carry_out
        while True:
            while posted:
                carry_out(posted.popleft()())
            due = next_deadline()
            if due is not None and due < self._alarm:
                self._set_alarm(due)
            for fd, event in wait(None, _EVENTS):
                thread = threads.get(fd)
                if thread is not None and event == ready:  # here, speed matters
                    try:
                        effects = syscall(thread, decode(read(fd, _LIMIT)))
                    except Malformed as error:
                        effects = self.kernel.malformed(thread, str(error))
                    except OSError:  # there is nothing to read
                        continue
                    carry_out(effects)
                elif thread is not None:
                    self._drain(thread, fd)
                elif fd in self._others:  # else closed by what came before
                    self._others[fd]()
                while posted:
                    carry_out(posted.popleft()())

    def _drain(self, thread: Thread, fd: int) -> None:
        """The other end of a channel is closed: carry out what is left in it."""
        while thread.machine == fd:
            try:
                frame = os.read(fd, _LIMIT)
                if not frame:
                    return self._hung_up(thread)
                self._carry_out(self.kernel.syscall(thread, decode(frame)))
            except Malformed as error:
                self._carry_out(self.kernel.malformed(thread, str(error)))
            except ConnectionResetError:
                pass  # it had not read all; so it is told once
            except BlockingIOError:
                return None  # an event of what had its descriptor's number before
        return None

    def post(self, event: Callable[..., list[Effect]], *arguments: Any) -> None:
        """Have the kernel take an event, when the effects before it are carried out."""
        self._posted.append(partial(event, *arguments))

    def _hung_up(self, thread: Thread) -> None:
        if thread is self._operator:
            raise Halt("")
        self._close_channel(thread)
        self._give_up(thread.space.machine)

    def _give_up(self, process: Process) -> None:
        """A process that has closed a channel is ending, for a reason that is yet to be seen."""
        self.after(_ENDING, partial(process.kill, "closed its channel"))

    def _speaks(self, process: Process, thread: Thread) -> None:
        """A new process's first system call is there, or its end."""
        fd = thread.machine
        self._unwatch(fd)
        self._threads[fd] = thread
        self._epoll.register(fd, _CALLS)  # which tells again that it is there
        with suppress(OSError):
            process.heard = bool(process.channel.recv(1, socket.MSG_PEEK))

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
            answer = msgpack.unpackb(process.notices.recv(64) or pack(()))
        except BlockingIOError:
            return
        except Exception:  # the decoder raises a dozen types
            answer = None
        if type(answer) is list and [*map(type, answer)] == [int]:
            process.notify_more()
            self._verifier.let_go(process, answer[0])
            return
        self._unwatch(process.notices.fileno())
        if answer == []:
            self._give_up(process)
        else:
            process.kill("sent something else than a mapping over its notice channel")

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
        self._others[fd] = action
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        if self._others.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _open_channel(self, thread: Thread, channel: socket.socket) -> None:
        thread.machine = fd = channel.fileno()
        self._channels[thread] = channel
        self._threads[fd] = thread
        self._epoll.register(fd, _CALLS)

    def _close_channel(self, thread: Thread) -> None:
        channel = self._channels.pop(thread, None)
        if channel is not None:
            fd, thread.machine = thread.machine, -1
            self._threads.pop(fd, None)
            self._others.pop(fd, None)
            self._epoll.unregister(fd)
            channel.close()

    def _cut_off(self, process: Process) -> None:
        """Hear no more of a process that ends."""
        self._unwatch(process.notices.fileno())
        for thread in process.space.threads:
            self._close_channel(thread)

    # The kernel's effects, each carried out by the method of its name

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            if type(effect) is Resume:
                self._resume(effect)
            else:
                _ACTIONS[type(effect)](self, effect)

    def _resume(self, effect: Resume) -> None:
        thread = effect.thread
        try:
            if effect.resource is None:
                os.write(thread.machine, pack(effect.answer))
            elif thread in self._channels:
                self._hand_over(effect, self._channels[thread])
        except BlockingIOError:
            if thread is self._operator:
                raise Halt("The tool does not read its answers.") from None
            thread.space.machine.kill("does not read its answers")
        except OSError:
            pass  # it is gone: its end will tell

    def _hand_over(self, effect: Resume, channel: socket.socket) -> None:
        """Answer ``map`` or ``device_map``; raises ``OSError`` if that cannot be sent."""
        resource, answer = effect.resource, effect.answer
        assert resource is not None
        try:
            if isinstance(resource, Device):
                fd, resource.size = resource.machine.hand_over(effect.writable)
                answer = (answer[0], resource.size)
            else:
                fd = memory.hand_over(resource.frame, effect.writable)
                resource.machine = memory.Given(channel)
        except OSError:
            if not isinstance(resource, Device):
                self.post(self.kernel.unmapped, resource)
            channel.send(pack((int(Error.NO_DEVICE),)))
            return
        try:
            socket.send_fds(channel, [pack(answer)], [fd])
        finally:
            os.close(fd)

    def _start(self, effect: fx.Start) -> None:
        thread, space = effect.thread, effect.thread.space
        process: Process | None = space.machine
        try:
            if process is None:
                process = self._start_process(space, thread)
                frame = (effect.entry, effect.argument, *self._sandbox.birth(space))
                process.channel.send(pack(frame))
                return
            ours, theirs = channel_pair()
            self._open_channel(thread, ours)
            with theirs:
                notice = pack((1, effect.entry, effect.argument))
                socket.send_fds(process.notices, [notice], [theirs.fileno()])
        except BlockingIOError:
            space.machine.kill("does not read its notices")
        except (BrokenPipeError, ConnectionResetError):
            pass  # its end will tell
        except OSError as error:
            why = f"the host refused: {error.strerror}"
            self.post(self.kernel.died, space, Fault.NOT_STARTED, why)

    def _start_process(self, space: Space, thread: Thread) -> Process:
        space.machine = process = Process(space, self._sandbox, self._command)
        self._processes[process] = None
        os.setpriority(os.PRIO_PROCESS, process.pid, niceness(thread.priority))
        self._watch(process.pidfd, partial(self._ended, process))
        self._watch(process.notices.fileno(), partial(self._noticed, process))
        thread.machine, self._channels[thread] = process.channel.fileno(), process.channel
        self._watch(thread.machine, partial(self._speaks, process, thread))
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
        if unread(self._channels[effect.thread]):  # it may hide a descriptor there
            process: Process = effect.thread.space.machine
            process.kill("ended a thread that had not read its answers")
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
            device.open()
            if device.fd not in self._others:
                self._watch(device.fd, partial(self.post, raised))
            self._epoll.modify(device.fd, select.EPOLLIN | select.EPOLLONESHOT)
        except OSError:  # it cannot be waited for, as a file: there always is something to read
            self._others.pop(device.fd, None)
            self.post(raised)

    def _schedule(self, effect: fx.Schedule) -> None:
        process: Process | None = effect.thread.space.machine
        if process is not None and not process.killed:
            process.schedule()

    def _inspect(self, effect: fx.Inspect) -> None:
        seen = {space.id: space.machine.seen() for space in effect.spaces if space.machine}
        self.post(self.kernel.inspected, effect.thread, seen)

    # The end

    def close(self) -> None:
        """Kill every process and see the end of each."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.reap()


_ACTIONS = {kind: getattr(Machine, f"_{kind.__name__.lower()}") for kind in get_args(Effect)}


def _reason(kill: fx.Kill) -> str:
    """Why the root task or the operator ended, as a sentence; empty if its work was done."""
    if kill.fault is Fault.EXIT and not kill.detail:
        return ""
    detail = f": {kill.detail}" if kill.detail else ""
    return f"{kill.space.name} ended ({kill.fault.name.lower()}){detail}."


def _command(paths: Sequence[str]) -> list[str]:
    """What a process executes."""
    for start in (os.path.join(path, RUNTIME) for path in paths):
        if os.path.exists(start):
            return [interpreter(), "-I", "-S", "-B", "-X", "utf8", start, *paths]
    raise FileNotFoundError(f"{RUNTIME} is in none of the import paths {paths}")
