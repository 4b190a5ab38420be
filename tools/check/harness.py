"""Drives the kernel's state machine by hand: a world, its actors, and a machine that obeys."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from kernel.abi import ALL_RIGHTS, CALLS, FOREVER, NULL, CallSpec, Error, Right, ThreadState
from kernel.device import DEBUG, POLICY, Device
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
from kernel.frame import Frame, Mapping
from kernel.kernel import Kernel
from kernel.link import Link
from kernel.machine.config import first_thread, give, new_space
from kernel.space import Space
from kernel.thread import Thread
from kernel.wire import check

SPECS = {spec.name: spec for spec in CALLS}
MIB = 1 << 20
FULL = ALL_RIGHTS & ~Right.CONTROL
"""The rights of a new endpoint, notification or frame."""


class Call:
    """A system call that is not answered yet."""

    def __init__(self, spec: CallSpec, arguments: tuple[Any, ...]) -> None:
        self.spec = spec
        self.arguments = arguments

    def argument(self, name: str) -> Any:
        """An argument by its name in the table, None if the call has none of that name."""
        names = [found for found, _ in self.spec.arguments]
        return self.arguments[names.index(name)] if name in names else None


class WatchedKernel(Kernel):
    """A kernel that tells of each answer when it is decided, before it may be held back."""

    def __init__(self, clock: Callable[[], int], memory: int) -> None:
        super().__init__(clock, memory, lambda _: (4711, 22, 33))
        self.watch: Callable[[Thread, tuple[Any, ...]], None] | None = None

    def answer(
        self,
        thread: Thread,
        answer: tuple[Any, ...],
        resource: Mapping | Device | Link | None = None,
        writable: bool = False,
    ) -> None:
        if self.watch is not None and thread.state is not ThreadState.DEAD:
            self.watch(thread, answer)
        super().answer(thread, answer, resource, writable)


class World:
    """A kernel, a clock, and a machine that confirms at once, or when told if not ``prompt``."""

    def __init__(self, memory: int = 1 << 30, prompt: bool = True) -> None:
        self.now = 1
        self.provides = True  # whether the machine has what map and device_map ask it for
        self.prompt = prompt
        self.kernel = WatchedKernel(lambda: self.now, memory)
        self.calls: dict[Thread, Call] = {}  # outstanding
        self.answers: dict[Thread, Resume] = {}  # not looked at yet
        self.errors: set[tuple[str, Error]] = set()  # all that were provoked
        self.effects: list[Effect] = []  # of the last event
        self.killed: list[Kill] = []  # to be confirmed
        self.unmaps: list[Unmap] = []
        self.cut: list[Link] = []
        self.unmasked: list[Device] = []
        self.dropped: list[Frame] = []
        self.started: list[Start] = []
        self.ended_threads: list[Thread] = []
        space = new_space(self.kernel, "init", memory // 2)
        self.init = Actor(self, first_thread(space, "init", 200))
        self.policy = self.give(Device(self.kernel, POLICY, 0))
        self.debug = self.give(Device(self.kernel, DEBUG, 0))

    def give(self, device: Device) -> int:
        """Hand a device to init, as at boot."""
        return give(self.init.space, device, ALL_RIGHTS)

    def device(self, name: str = "disk", size: int = 0) -> tuple[Device, int]:
        """A new device and init's capability to it."""
        device = Device(self.kernel, name, 0, size)
        return device, self.give(device)

    def advance(self, duration: int) -> None:
        """Let time pass, and time out what is due."""
        self.now += duration
        self.carry_out(self.kernel.tick())

    def carry_out(self, effects: list[Effect]) -> None:
        """Be the machine."""
        self.effects = effects
        for effect in effects:
            match effect:
                case Resume(thread=thread):
                    self._resume(effect)
                case Kill():
                    self.killed.append(effect)
                case Unmap():
                    self.unmaps.append(effect)
                case Cut(link=link):
                    self.cut.append(link)
                case Unmask(device=device):
                    self.unmasked.append(device)
                case DropFrame(frame=frame):
                    assert frame not in self.dropped, "a frame was freed twice"
                    self.dropped.append(frame)
                case Start():
                    self.started.append(effect)
                case EndThread(thread=thread):
                    self.ended_threads.append(thread)
                case Schedule():
                    pass
        for thread in [thread for thread in self.calls if thread.state is ThreadState.DEAD]:
            del self.calls[thread]
        if self.prompt:
            while self.killed or self.unmaps:
                self.confirm()
            self.effects = effects

    def _resume(self, effect: Resume) -> None:
        if effect.resource is not None and not self.provides:
            effect = self._refuse(effect)
        thread, error = effect.thread, Error(effect.answer[0])
        call = self.calls.pop(thread, None)
        assert call is not None, "an answer without a call"
        assert thread not in self.answers or thread.state is ThreadState.DEAD, "answered twice"
        if error:
            assert error in call.spec.errors, f"{call.spec.name} ended with {error.name}"
            assert len(effect.answer) == 1
            self.errors.add((call.spec.name, error))
        else:
            assert len(effect.answer) == 1 + len(call.spec.results)
        resource = effect.resource
        if isinstance(resource, Mapping):
            assert not resource.removing, "a mapping was handed over that is gone"
        self.answers[thread] = effect

    def _refuse(self, effect: Resume) -> Resume:
        """As a machine that cannot provide the resource."""
        if isinstance(effect.resource, Mapping):
            assert not self.kernel.unmapped(effect.resource)
        return Resume(effect.thread, (int(Error.NO_DEVICE),))

    def confirm(self) -> None:
        """Confirm the oldest thing that the kernel asked for."""
        if self.unmaps:
            self.carry_out(self.kernel.unmapped(self.unmaps.pop(0).mapping))
        elif self.killed:
            space = self.killed.pop(0).space
            self.unmaps = [found for found in self.unmaps if found.mapping.space is not space]
            self.carry_out(self.kernel.ended(space))


class Actor:
    """A thread that makes system calls."""

    def __init__(self, world: World, thread: Thread, slot: int = NULL, control: int = NULL) -> None:
        self.world = world
        self.thread = thread
        self.slot = slot  # its space, in its creator's table
        self.control = control  # itself, in its creator's table

    @property
    def space(self) -> Space:
        return self.thread.space

    def request(self, name: str, *arguments: Any) -> None:
        """Make a system call, whatever becomes of it."""
        spec = SPECS[name]
        request = [spec.number, *map(_plain, arguments)]
        check(request)
        world = self.world
        world.answers.pop(self.thread, None)
        if self.thread not in world.calls:
            world.calls[self.thread] = Call(spec, tuple(request[1:]))
        world.carry_out(world.kernel.syscall(self.thread, request))

    def answered(self) -> bool:
        return self.thread in self.world.answers

    def result(self) -> Any:
        """The results of the last call: None, the only one, or a tuple of them."""
        answer = self.world.answers.pop(self.thread).answer
        assert answer[0] == Error.OK, Error(answer[0]).name
        results = answer[1:]
        return None if not results else results[0] if len(results) == 1 else tuple(results)

    def error(self) -> Error:
        """How the last call failed."""
        answer = self.world.answers.pop(self.thread).answer
        assert answer[0] != Error.OK, answer
        return Error(answer[0])

    def ok(self, name: str, *arguments: Any) -> Any:
        """Make a call that returns at once; its results, as ``result``."""
        self.request(name, *arguments)
        assert self.answered(), f"{name} blocks"
        return self.result()

    def fails(self, name: str, *arguments: Any) -> Error:
        """Make a call that fails at once."""
        self.request(name, *arguments)
        assert self.answered(), f"{name} blocks"
        return self.error()

    def fails_to(self, name: str, *arguments: Any) -> bool:
        """Make a call that returns at once; whether it failed."""
        self.request(name, *arguments)
        return bool(self.world.answers.pop(self.thread).answer[0])

    def blocks(self, name: str, *arguments: Any) -> Actor:
        """Make a call that does not return yet."""
        self.request(name, *arguments)
        assert not self.answered(), self.world.answers.get(self.thread)
        return self

    # Short for what most tests need

    def child(
        self,
        name: str = "child",
        quota: int = 4 * MIB,
        label: int = 0,
        fault: int = NULL,
        priority: int = 100,
    ) -> Actor:
        """A new space with one thread."""
        authority = self.world.policy if label != self.space.label else NULL
        slot = self.ok("space_create", name, quota, label, authority, 0, fault)
        return self.spawn(slot, priority)

    def spawn(self, space: int = NULL, priority: int = 100) -> Actor:
        """A new thread in a space."""
        control = self.ok("thread_create", space, "entry", b"", priority)
        thread = self.space.caps[control].object
        assert isinstance(thread, Thread)
        return Actor(self.world, thread, space, control)

    def mint(self, slot: int, rights: int = FULL, badge: int = 0, to: Actor | None = None) -> int:
        """Derive a capability, into a child's space if one is given."""
        found: int = self.ok("cap_mint", slot, rights, badge, to.slot if to else NULL)
        return found

    def endpoint(self) -> int:
        found: int = self.ok("endpoint_create")
        return found

    def notification(self) -> int:
        found: int = self.ok("notification_create")
        return found

    def frame(self, size: int = 4096) -> int:
        found: int = self.ok("frame_create", size)
        return found

    def allow(self, first: int, second: int, allowed: bool = True) -> None:
        """Let two labels talk, or not."""
        self.ok("label_allow", self.world.policy, first, second, int(allowed))

    def call(self, endpoint: int, data: bytes = b"", caps: list[int] | None = None) -> Actor:
        """Call and wait for ever."""
        return self.blocks("call", endpoint, 0, data, caps or [], FOREVER)

    def receive(self, endpoint: int) -> Actor:
        """Wait for a message that is not there yet."""
        return self.blocks("recv", endpoint, FOREVER)


def _plain(value: Any) -> Any:
    """What the wire would make of it: enumerations are integers there."""
    return int(value) if isinstance(value, int) and type(value) is not bool else value


class Service:
    """Init's endpoint, a server that may receive from it, and a client that may send to it."""

    def __init__(self, world: World, quota: int = 4 * MIB, label: int = 0) -> None:
        init = world.init
        self.endpoint = init.endpoint()
        self.server = init.child("server", quota)
        self.client = init.child("client", label=label)
        self.receive = init.mint(self.endpoint, FULL, 0, self.server)
        self.send = init.mint(self.endpoint, Right.SEND | Right.GRANT, 7, self.client)

    def serve(self, data: bytes = b"question", caps: list[int] | None = None) -> int:
        """Have the client call and the server receive; the server's reply capability."""
        self.client.call(self.send, data, caps)
        reply: int = self.server.ok("recv", self.receive, 0)[-1]
        return reply


Test = TypeVar("Test", bound=Callable[..., None])
PROVOKES = "provokes"


def provokes(call: str, *errors: Error) -> Callable[[Test], Test]:
    """The test must see ``call`` fail with each of the errors; ``test_kernel`` counts them."""

    def decorate(test: Test) -> Test:
        @wraps(test)
        def run(world: World, **arguments: Any) -> None:
            test(world, **arguments)
            missing = {(call, error) for error in errors} - world.errors
            assert not missing, f"{call} did not fail with {missing}"

        before: set[tuple[str, Error]] = getattr(test, PROVOKES, set())
        setattr(run, PROVOKES, before | {(call, error) for error in errors})
        return run  # type: ignore[return-value]

    return decorate
