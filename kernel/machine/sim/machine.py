"""The sim machine: greenlets for threads, a seeded scheduler, a virtual clock.

One step takes one thread that is ready and runs it until its next system call; the kernel answers,
and whoever it resumes becomes ready.  Among ready threads the highest priority goes first, and
equals are drawn by the seed; the suspended, and those that used up their budget for this period,
are passed over.  Time stands still but for a fixed cost a call; when nobody can run it jumps to
what is due next.  So the same seed and the same input give the same run, event by event.

Programs come from whoever builds the machine, as a factory of ``Program``: this package knows
nothing of the runtime.  Isolation between programs is not enforced here; the kernel's checks are.
"""

from __future__ import annotations

import random
import select
from collections import deque
from collections.abc import Callable
from mmap import mmap
from typing import Any, Protocol

import greenlet
import msgpack

from kernel.abi import Error, Fault
from kernel.effects import (
    Cut,
    DropFrame,
    Effect,
    EndThread,
    Kill,
    Resume,
    Schedule,
    Start,
    Unmap,
    Unmask,
)
from kernel.frame import Mapping
from kernel.kernel import Kernel
from kernel.link import Link
from kernel.machine.config import BootConfig, boot
from kernel.machine.sim.devices import SimDevice
from kernel.space import Space
from kernel.thread import Thread
from kernel.wire import Malformed, decode, pack

CALL_COST = 1000
"""Virtual nanoseconds that a system call takes."""
NEVER = 1 << 62
"""Virtual time that is never jumped to, in nanoseconds: whoever waits that long waits for ever."""


class Program(Protocol):
    """User mode's side of one address space."""

    def run(self, entry: str, argument: bytes, channel: SimChannel) -> None:
        """Run a thread: the program ``entry`` if it is the first, else a registered function.

        Ends by itself with ``thread_exit``; what it raises otherwise is a crash.
        """

    def release(self, mapping: int) -> None:
        """Let go of a mapping that is revoked."""


class Deadlock(RuntimeError):
    """The operator waits for an answer, and nothing in the system can ever run again."""


class SimChannel:
    """The thread's side: a switch to the scheduler is a system call."""

    def __init__(self, machine: SimMachine, thread: Thread) -> None:
        self._machine = machine
        self.thread = thread
        self.program: Program | None = None

    def call(self, request: list[Any]) -> tuple[list[Any], Any]:
        """Make a system call; returns the answer and the resource beside it."""
        frame, resource = self._machine.enter(self.thread, pack(request))
        return msgpack.unpackb(frame), resource

    def event(self) -> SimEvent:
        return SimEvent(self._machine)


class Task:
    """A thread and what runs it."""

    __slots__ = ("greenlet", "meter", "thread")

    def __init__(self, thread: Thread, body: greenlet.greenlet, meter: Meter) -> None:
        self.thread = thread
        self.greenlet = body
        self.meter = meter

    def may_run(self, now: int) -> bool:
        """Whether it is neither suspended nor out of budget."""
        return not self.thread.suspended and self.meter.left(now)


class Meter:
    """How much of its time budget a space has used."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._period = 0  # the number of the current period
        self.used = 0  # in that period, in virtual nanoseconds
        self.total = 0

    def charge(self, time: int) -> None:
        self.used += time
        self.total += time

    def left(self, now: int) -> bool:
        """Whether its threads may run."""
        space = self._space
        if not space.budget:
            return True
        period = now // (space.period * 1000)
        if period != self._period:
            self._period, self.used = period, 0
        return self.used < space.budget * 1000

    def next_period(self) -> int:
        """When it gets its budget again."""
        return (self._period + 1) * self._space.period * 1000


def next_deadline(kernel: Kernel) -> int | None:
    """When ``Kernel.tick`` is next due, in machine time."""
    return min((at for at, _, thread in kernel.deadlines if thread.deadline == at), default=None)


class SimEvent:
    """A flag for the threads of one address space, known to the scheduler instead of the kernel."""

    def __init__(self, machine: SimMachine) -> None:
        self._machine = machine
        self._set = False
        self.waiting: Task | None = None

    def set(self) -> None:
        self._set = True
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            self._machine.wake(waiting)

    def wait(self, timeout: int | None) -> bool:
        if not self._set:
            self._machine.sleep(self, timeout)
        was, self._set = self._set, False
        return was


class SimEnd:
    """One end of a link."""

    def __init__(self, machine: SimMachine) -> None:
        self._machine = machine
        self._inbox: deque[bytes] = deque()
        self._event = SimEvent(machine)
        self._peer = self
        self._over = False

    @staticmethod
    def pair(machine: SimMachine) -> tuple[SimEnd, SimEnd]:
        one, two = SimEnd(machine), SimEnd(machine)
        one._peer, two._peer = two, one
        return one, two

    def cut(self) -> None:
        self._over = True
        self._inbox.clear()
        self._event.set()

    def send(self, data: bytes) -> None:
        if self._over:
            raise BrokenPipeError("the link is cut")
        self._machine.charge()
        self._peer._inbox.append(data)
        self._peer._event.set()

    def receive(self) -> bytes:
        while not self._inbox:
            if self._over:
                return b""
            self._event.wait(None)
        return self._inbox.popleft()

    def wait(self, timeout: int) -> bool:
        if not self._inbox and not self._over:
            self._event.wait(timeout)
        return bool(self._inbox) or self._over


Breakpoint = Callable[[Thread, list[Any]], bool]


class SimMachine:
    """A booted system, and the hands that move it."""

    def __init__(self, config: BootConfig, programs: Callable[[str], Program], seed: int = 0):
        self.seed = seed
        self.now = 0  # virtual nanoseconds
        self.steps = 0
        self.kernel = Kernel(lambda: self.now, config.memory, self._seen)
        self.halted = False  # the root task ended
        self._random = random.Random(seed)
        self._programs = programs
        self._ready: list[tuple[Task, Any]] = []  # (who, with what)
        self._sleepers: list[tuple[int, Task, SimEvent]] = []
        self._tasks: dict[Thread, Task] = {}
        self._current: Task | None = None
        self._running: dict[Space, Program] = {}
        self._meters: dict[Space, Meter] = {}
        self._unmasked: dict[Any, None] = {}
        self._scheduler = greenlet.getcurrent()
        self._answer: tuple[bytes, Any] | None = None  # for the operator
        self.breakpoint: Breakpoint | None = None
        self.stopped = False  # the breakpoint was hit; the next step goes on
        booted = boot(self.kernel, config)
        self.operator_slots = booted.operator_slots
        self.operator = SimChannel(self, booted.operator)
        self.devices = {device.name: SimDevice(c) for device, c in booted.devices.items()}
        self._root = booted.start.thread.space
        self._carry_out([booted.start])

    def close(self) -> None:
        """Let go of the devices' files."""
        for device in self.devices.values():
            device.close()

    # Moving on

    def step(self) -> bool:
        """Let one thread run to its next system call, or time jump; False if nobody ever can."""
        self._scheduler = greenlet.getcurrent()
        self._fire()
        able = [i for i, (task, _) in enumerate(self._ready) if task.may_run(self.now)]
        if not able:
            return self._advance()
        top = max(self._ready[i][0].thread.priority for i in able)
        able = [i for i in able if self._ready[i][0].thread.priority == top]
        self._current, value = self._ready.pop(self._random.choice(able))
        self.steps += 1
        self._current.greenlet.switch(value)
        return True

    def _fire(self) -> None:
        """Let happen what is due now."""
        self._poll_devices()
        for entry in [found for found in self._sleepers if found[0] <= self.now]:
            entry[2].waiting = None
            self.wake(entry[1])
        due = next_deadline(self.kernel)
        if due is not None and due <= self.now:
            self._carry_out(self.kernel.tick())

    def run(self, steps: int | None = None) -> int:
        """Run until nobody can, or so many steps, or a breakpoint; the number of steps made."""
        start = self.steps
        self.stopped = False
        while (steps is None or self.steps - start < steps) and not self.stopped:
            if not self.step():
                break
        return self.steps - start

    def _advance(self) -> bool:
        """Let time jump to what is due next, or wait for the host's input; False if for nothing."""
        times = [at for at, _, _ in self._sleepers]
        waiting = (task for task, _ in self._ready if not task.thread.suspended)
        times += [task.meter.next_period() for task in waiting]
        due = next_deadline(self.kernel)
        if due is not None:
            times.append(due)
        if times and min(times) < NEVER:
            self.now = max(self.now, min(times))
            self._fire()
            return True
        files = [self.devices[device.name].fd for device in self._unmasked]
        files = [fd for fd in files if fd >= 0]
        return bool(files and select.select(files, [], [])[0])

    def _poll_devices(self) -> None:
        for device in [d for d in self._unmasked if self.devices[d.name].ready()]:
            del self._unmasked[device]
            self._carry_out(self.kernel.interrupt(device))

    # Threads' side

    def enter(self, thread: Thread, frame: bytes) -> tuple[bytes, Any]:
        """A system call of a thread, whose greenlet this is, or of the operator."""
        if thread is self.operator.thread:
            return self._operate(frame)
        if thread not in self._tasks:
            raise greenlet.GreenletExit  # killed: what still runs is the program's clean-up
        self._tasks[thread].meter.charge(CALL_COST)
        self._syscall(thread, frame)
        result: tuple[bytes, Any] = self._scheduler.switch()
        return result

    def _operate(self, frame: bytes) -> tuple[bytes, Any]:
        self.submit(frame)
        return self.settle()

    def submit(self, frame: bytes) -> None:
        """Begin a system call of the operator; nothing runs yet."""
        self._answer = None
        self._syscall(self.operator.thread, frame)

    def settle(self) -> tuple[bytes, Any]:
        """Run until the operator has the answer to its call."""
        while self._answer is None:
            if not self.step():
                raise Deadlock("the operator waits, and nothing in the system can run")
        return self._answer

    def _syscall(self, thread: Thread, frame: bytes) -> None:
        self.now += CALL_COST
        try:
            request = decode(frame)
        except Malformed as error:
            self._carry_out(self.kernel.malformed(thread, str(error)))
            return
        if self.breakpoint is not None and self.breakpoint(thread, request):
            self.stopped = True
        self._carry_out(self.kernel.syscall(thread, request))

    def sleep(self, event: SimEvent, timeout: int | None) -> None:
        """Block the running thread until the event is set or the time is over."""
        if greenlet.getcurrent() is self._scheduler:
            return  # the operator moves the system with calls alone
        task = self._current
        if task is None or task.greenlet is not greenlet.getcurrent():
            raise greenlet.GreenletExit  # killed, as in enter
        event.waiting = task
        if timeout is not None:
            self._sleepers.append((self.now + timeout, task, event))
        self._scheduler.switch()

    def wake(self, task: Task) -> None:
        """Make a sleeping thread ready, if it still is."""
        self._sleepers = [entry for entry in self._sleepers if entry[1] is not task]
        if task.thread in self._tasks:
            self._ready.append((task, None))

    # The kernel's effects

    def _carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            _ACTIONS[type(effect)](self, effect)

    def _resume(self, effect: Resume) -> None:
        answer, resource = effect.answer, effect.resource
        handed: Any = None
        try:
            if isinstance(resource, Mapping):
                handed = self._memory(resource)
            elif isinstance(resource, Link):
                resource.machine = resource.machine or SimEnd.pair(self)
                handed = resource.machine[effect.writable]
            elif resource is not None:
                handed = self.devices[resource.name]
                handed.open()
                resource.size = handed.size
                answer = (answer[0], 0 if handed.stream else handed.size)
        except OSError:
            answer, handed = (int(Error.NO_DEVICE),), None
            if isinstance(resource, Mapping):
                self._carry_out(self.kernel.unmapped(resource))
        value = (pack(answer), handed)
        if effect.thread is self.operator.thread:
            self._answer = value
        elif effect.thread in self._tasks:
            self._ready.append((self._tasks[effect.thread], value))

    def _seen(self, space: Space) -> tuple[int, int, int]:
        """There are no processes here, but time is used."""
        return 0, self._meters[space].total if space in self._meters else 0, 0

    def charge(self) -> None:
        """The running thread did something that takes time."""
        self.now += CALL_COST
        if self._current is not None:
            self._current.meter.charge(CALL_COST)

    def _memory(self, mapping: Mapping) -> memoryview:
        frame = mapping.frame
        if frame.machine is None:
            frame.machine = mmap(-1, frame.size)
        view = memoryview(frame.machine)
        return view if mapping.writable else view.toreadonly()

    def _start(self, effect: Start) -> None:
        thread = effect.thread
        if thread.space not in self._running:
            self._running[thread.space] = self._programs(thread.space.name)
        program = self._running[thread.space]
        channel = SimChannel(self, thread)
        channel.program = program

        def body(_: Any) -> None:
            try:
                program.run(effect.entry, effect.argument, channel)
            except greenlet.GreenletExit:
                return
            except Exception as error:
                crash = f"{type(error).__name__}: {error}"
                self._carry_out(self.kernel.died(thread.space, Fault.CRASHED, crash))

        meter = self._meters.setdefault(thread.space, Meter(thread.space))
        task = Task(thread, greenlet.greenlet(body, self._scheduler), meter)
        self._tasks[thread] = task
        self._ready.append((task, None))

    def _forget(self, thread: Thread) -> None:
        task = self._tasks.pop(thread, None)
        if task is not None:
            self._ready = [entry for entry in self._ready if entry[0] is not task]
            self._sleepers = [entry for entry in self._sleepers if entry[1] is not task]

    def _kill(self, effect: Kill) -> None:
        for thread in effect.space.threads:
            self._forget(thread)
        self._running.pop(effect.space, None)
        self._meters.pop(effect.space, None)
        if effect.space is self._root:
            self.halted = True
        self._carry_out(self.kernel.ended(effect.space))

    def _end_thread(self, effect: EndThread) -> None:
        self._forget(effect.thread)

    def _unmap(self, effect: Unmap) -> None:
        if not effect.asked and effect.mapping.space in self._running:
            self._running[effect.mapping.space].release(effect.mapping.id)
        self._carry_out(self.kernel.unmapped(effect.mapping))

    def _drop(self, effect: DropFrame) -> None:
        effect.frame.machine = None  # freed when the last view of it is

    def _unmask(self, effect: Unmask) -> None:
        self._unmasked[effect.device] = None

    def _cut(self, effect: Cut) -> None:
        for end in effect.link.machine or ():
            end.cut()

    def _schedule(self, effect: Schedule) -> None:
        """All of it is read where it is used."""


_ACTIONS: dict[type, Callable[[SimMachine, Any], None]] = {
    Resume: SimMachine._resume,
    Start: SimMachine._start,
    Kill: SimMachine._kill,
    EndThread: SimMachine._end_thread,
    Unmap: SimMachine._unmap,
    DropFrame: SimMachine._drop,
    Unmask: SimMachine._unmask,
    Cut: SimMachine._cut,
    Schedule: SimMachine._schedule,
}
