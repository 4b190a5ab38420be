"""The sim machine: greenlets for threads, a seeded scheduler, a virtual clock.

One step takes one thread that is ready and runs it until its next system call; the kernel answers,
and whoever it resumes becomes ready.  Among ready threads the highest priority goes first, and
equals are drawn by the seed.  Time stands still but for a fixed cost a call; when nobody is ready it
jumps to the next deadline.  So the same seed and the same input give the same run, event by event.

Programs come from whoever builds the machine, as a factory of ``Program``: this package knows
nothing of the runtime.  Isolation between programs is not enforced here; the kernel's checks are.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from mmap import mmap
from typing import Any, Protocol

import greenlet
import msgpack

from kernel.abi import Error, Fault
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
from kernel.machine.sim.devices import SimDevice
from kernel.space import Space
from kernel.thread import Thread
from kernel.wire import Malformed, decode, pack

CALL_COST = 1000
"""Virtual nanoseconds that a system call takes."""


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


class SimEvent:
    """A flag for the threads of one address space, known to the scheduler instead of the kernel."""

    def __init__(self, machine: SimMachine) -> None:
        self._machine = machine
        self._set = False
        self.waiting: greenlet.greenlet | None = None

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


Breakpoint = Callable[[Thread, list[Any]], bool]


class SimMachine:
    """A booted system, and the hands that move it."""

    def __init__(self, config: BootConfig, programs: Callable[[str], Program], seed: int = 0):
        self.seed = seed
        self.now = 0  # virtual nanoseconds
        self.steps = 0
        self.kernel = Kernel(lambda: self.now, config.memory)
        self.halted = False  # the root task ended
        self._random = random.Random(seed)
        self._programs = programs
        self._ready: list[tuple[greenlet.greenlet, int, Any]] = []  # (who, priority, with what)
        self._sleepers: list[tuple[int, greenlet.greenlet, SimEvent]] = []
        self._greenlets: dict[Thread, greenlet.greenlet] = {}
        self._running: dict[Space, Program] = {}
        self._unmasked: dict[Any, None] = {}
        self._scheduler = greenlet.getcurrent()
        self._answer: tuple[bytes, Any] | None = None  # for the operator
        self.breakpoint: Breakpoint | None = None
        self.stopped = False  # the breakpoint was hit; the next step goes on
        booted = boot(self.kernel, config)
        self.operator_slots = booted.operator_slots
        self.operator = SimChannel(self, booted.operator)
        self.devices = {device.name: SimDevice(c) for device, c in booted.devices.items()}
        self._carry_out([booted.start])

    def close(self) -> None:
        """Let go of the devices' files."""
        for device in self.devices.values():
            device.close()

    # Moving on

    def step(self) -> bool:
        """Let one thread run to its next system call; False if nobody can."""
        self._scheduler = greenlet.getcurrent()
        self._poll_devices()
        if not self._ready and not self._advance():
            return False
        if not self._ready:
            return True
        top = max(priority for _, priority, _ in self._ready)
        choices = [i for i, entry in enumerate(self._ready) if entry[1] == top]
        who, _, value = self._ready.pop(self._random.choice(choices))
        self.steps += 1
        if not who.dead:
            who.switch(value)
        return True

    def run(self, steps: int | None = None) -> int:
        """Run until nobody can, or so many steps, or a breakpoint; the number of steps made."""
        start = self.steps
        self.stopped = False
        while (steps is None or self.steps - start < steps) and not self.stopped:
            if not self.step():
                break
        return self.steps - start

    def _advance(self) -> bool:
        """Let time jump to what is due next; False if nothing is."""
        deadlines = [at for at, _, _ in self._sleepers]
        due = self.kernel.next_deadline()
        if due is not None:
            deadlines.append(due)
        if not deadlines:
            return False
        self.now = max(self.now, min(deadlines))
        for entry in [found for found in self._sleepers if found[0] <= self.now]:
            entry[2].waiting = None
            self.wake(entry[1])
        self._carry_out(self.kernel.tick())
        return True

    def _poll_devices(self) -> None:
        for device in [d for d in self._unmasked if self.devices[d.name].ready()]:
            del self._unmasked[device]
            self._carry_out(self.kernel.interrupt(device))

    # Threads' side

    def enter(self, thread: Thread, frame: bytes) -> tuple[bytes, Any]:
        """A system call of a thread, whose greenlet this is, or of the operator."""
        if thread is self.operator.thread:
            return self._operate(frame)
        self._syscall(thread, frame)
        result: tuple[bytes, Any] = self._scheduler.switch()
        return result

    def _operate(self, frame: bytes) -> tuple[bytes, Any]:
        self._answer = None
        self._syscall(self.operator.thread, frame)
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
        """Block the current greenlet until the event is set or the time is over."""
        event.waiting = greenlet.getcurrent()
        if timeout is not None:
            self._sleepers.append((self.now + timeout, event.waiting, event))
        self._scheduler.switch()

    def wake(self, who: greenlet.greenlet) -> None:
        """Make a sleeping greenlet ready."""
        self._sleepers = [entry for entry in self._sleepers if entry[1] is not who]
        self._ready.append((who, self._priority(who), None))

    def _priority(self, who: greenlet.greenlet) -> int:
        for thread, found in self._greenlets.items():
            if found is who:
                return thread.priority
        return 0

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
            elif resource is not None:
                handed = self.devices[resource.name]
                handed.open()
                resource.size = handed.size
                answer = (answer[0], 0 if handed.stream else handed.size)
        except OSError:
            answer, handed = (int(Error.NO_DEVICE),), None
        value = (pack(answer), handed)
        if effect.thread is self.operator.thread:
            self._answer = value
        elif effect.thread in self._greenlets:
            self._ready.append((self._greenlets[effect.thread], effect.thread.priority, value))

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

        self._greenlets[thread] = greenlet.greenlet(body, self._scheduler)
        self._ready.append((self._greenlets[thread], thread.priority, None))

    def _forget(self, thread: Thread) -> None:
        who = self._greenlets.pop(thread, None)
        if who is not None:
            self._ready = [entry for entry in self._ready if entry[0] is not who]
            self._sleepers = [entry for entry in self._sleepers if entry[1] is not who]

    def _kill(self, effect: Kill) -> None:
        for thread in effect.space.threads:
            self._forget(thread)
        self._running.pop(effect.space, None)
        if effect.space.payer is None and effect.space is not self.operator.thread.space:
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

    def _inspect(self, effect: Inspect) -> None:
        self._carry_out(self.kernel.inspected(effect.thread, {}))

    def _schedule(self, effect: Schedule) -> None:
        """Priorities are read where they are used; the kernel holds a suspended one's answer."""


_ACTIONS: dict[type, Callable[[SimMachine, Any], None]] = {
    Resume: SimMachine._resume,
    Start: SimMachine._start,
    Kill: SimMachine._kill,
    EndThread: SimMachine._end_thread,
    Unmap: SimMachine._unmap,
    DropFrame: SimMachine._drop,
    Unmask: SimMachine._unmask,
    Inspect: SimMachine._inspect,
    Schedule: SimMachine._schedule,
}
