"""A small world that is explored: a kernel, a machine below it that may be late, and actors.

An actor is a thread with a script, or with an alphabet of calls from which it takes any.  The
machine confirms what it has to in any order, lets time jump to the next deadline, raises
interrupts, and may see a process die.  ``snapshot`` keeps states of a world and puts them back.

Beside the laws over a state there are those that need memory, which a world has: of messages on
their way, of what a revoke has to take, of calls that are not answered.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

from kernel.abi import CALLS, FOREVER, NULL, CallSpec, Fault, Right, ThreadState
from kernel.capability import Capability
from kernel.effects import Cut, DropFrame, Effect, EndThread, Kill, Resume, Start, Unmap, Unmask
from kernel.endpoint import Reply
from kernel.frame import Frame, Mapping
from kernel.kernel import Device, Kernel, Space, Thread
from kernel.link import Link
from kernel.machine.config import first_thread, give, new_space
from kernel.machine.sim.machine import next_deadline
from kernel.wire import check
from tools.check import invariants

SPECS: Final = {spec.name: spec for spec in CALLS}
MEMORY: Final = 1 << 26
_RECEIVING: Final = ("recv", "reply_recv")
_NOTHING: Final[list[Effect]] = []
MAPPING: Final = "mapping"
"""The variable that holds a mapping; all others hold slots, as far as calls use them."""


class V(str):
    """A variable of an actor: what an earlier call returned, of a list the first; 0 before that."""

    __slots__ = ()


class Step:
    """One system call of a script; what it returns goes into the variables ``into``.

    Equal ones are one.
    """

    _known: ClassVar[dict[Any, Step]] = {}

    def __new__(cls, call: str, arguments: tuple[Any, ...], into: tuple[str, ...] = ()) -> Step:
        key = (call, repr(arguments), into)
        found = cls._known.get(key)
        if found is None:
            found = cls._known[key] = super().__new__(cls)
            found.call, found.arguments, found.into = call, arguments, into
            flat = [x for one in arguments for x in (one if isinstance(one, list) else [one])]
            found.names = tuple(one for one in flat if isinstance(one, V))
            found.number = len(cls._known)
            found.spec = SPECS[call]
            names = [name for name, _ in found.spec.arguments]
            sent = "data" in names and call != "debug"
            found.data = names.index("data") if sent else -1
            found.limited = "timeout" in names and arguments[names.index("timeout")] != FOREVER
        return found

    call: str
    arguments: tuple[Any, ...]
    into: tuple[str, ...]
    names: tuple[V, ...]
    number: int
    spec: CallSpec
    data: int
    """Which argument is the message's data; -1: none."""
    limited: bool
    """Whether it has a timeout that comes."""

    def __str__(self) -> str:
        kinds = [kind for _, kind in self.spec.arguments]
        shown = ", ".join(map(_show, kinds, self.arguments))
        into = f"{', '.join(self.into)} = " if self.into else ""
        return f"{into}{self.call}({shown})"


def step(call: str, *arguments: Any, into: str = "") -> Step:
    return Step(call, arguments, tuple(into.split()))


_NAMED: Final = {("timeout", FOREVER): "FOREVER", ("cap", NULL): "NULL"}
_RIGHTS: Final = [(int(right), str(right.name)) for right in Right]


def _show(kind: str, argument: Any) -> str:
    """An argument as the field's names have it."""
    if isinstance(argument, V):
        return str.__str__(argument)
    if isinstance(argument, list):
        return f"[{', '.join(_show('cap', one) for one in argument)}]"
    if kind == "rights":
        return "|".join(name for right, name in _RIGHTS if argument & right) or "0"
    return _NAMED.get((kind, argument), repr(argument))


class Action(NamedTuple):
    """One thing that can happen next."""

    kind: str
    """run, unmapped, ended, time, interrupt, crash"""
    which: int = 0
    """The actor, the place in the list of what is pending, or the space that crashes."""
    choice: int = -1
    """Which call of the alphabet; -1: the next one of the script."""


class Clock:
    """Machine time, which moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 1

    def __call__(self) -> int:
        return self.now


class Actor:
    """A thread and what it is to do."""

    def __init__(self, name: str, thread: Thread) -> None:
        self.name, self.thread = name, thread
        self.script: tuple[Step, ...] = ()
        self.at = 0
        self.alphabet: tuple[Step, ...] = ()
        self.variables: dict[str, int] = {}
        self.asked: Step | None = None  # the call that is not answered yet
        self.last: tuple[Any, ...] = ()  # the answer to the one before
        self.sent = 0  # messages
        self.revoking: tuple[list[Capability[Any]], list[Mapping]] = ([], [])

    def able(self) -> bool:
        """Whether it can make a system call now."""
        thread = self.thread
        return thread.state is ThreadState.RUNNING and thread.held is None and self.asked is None


def _unseen(_: Space) -> tuple[int, int, int]:
    return 0, 0, 0


def _quiet(_: object) -> None:
    """The trace has no part in the state."""


class World:
    """A state."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.kernel = Kernel(self.clock, MEMORY, _unseen)
        self.kernel.note = _quiet
        self.actors: list[Actor] = []
        self.crashes: list[Space] = []  # those that may die
        self.undisturbed = False  # nobody ends, suspends or crowds out another
        self.unmaps: list[Mapping] = []  # what the machine has to confirm
        self.killed: list[Space] = []
        self.unmasked: list[Device] = []
        self.cut: list[Link] = []
        self.flying: set[bytes] = set()  # messages that were sent and not received yet
        root = new_space(self.kernel, "init", MEMORY // 2)
        self.init = self.actor("init", first_thread(root, "init", 200))
        self.policy = give(root, Device(self.kernel, "policy", 0), 63)

    # Setting up

    def actor(self, name: str, thread: Thread) -> Actor:
        self.actors.append(Actor(name, thread))
        return self.actors[-1]

    def do(self, actor: Actor, call: str, *arguments: Any) -> Any:
        """A call that is part of the setting; its only result, or all of them."""
        self.ask(actor, Step(call, arguments))
        while actor.asked is not None and (self.unmaps or self.killed):
            self.perform(Action("unmapped" if self.unmaps else "ended"))
        if actor.asked is not None or actor.last[0]:
            raise ValueError(f"setting up: {call}{arguments} gave {actor.last}")
        return actor.last[1] if len(actor.last) == 2 else actor.last[1:]

    def child(self, name: str, label: int = 0, quota: int = 1 << 22, fault: int = NULL) -> Actor:
        """A space with one thread; init has ``name`` and ``name.thread`` as variables."""
        policy = self.policy if label else NULL
        space = self.do(self.init, "space_create", name, quota, label, policy, 0, fault)
        return self._thread(name, space)

    def thread(self, name: str, of: Actor) -> Actor:
        """Another thread of an actor's space."""
        return self._thread(name, self.init.variables[of.name])

    def _thread(self, name: str, space: int) -> Actor:
        control = self.do(self.init, "thread_create", space, name, b"", 100)
        self.init.variables |= {name: space, f"{name}.thread": control}
        thread = self.init.thread.space.caps[control].object
        return self.actor(name, thread)

    def share(self, slot: int, actor: Actor, rights: int, name: str, badge: int = 0) -> None:
        """Give an actor a capability derived from init's, as a variable of its own."""
        space = self.init.variables[actor.name]
        found = self.do(self.init, "cap_mint", slot, rights, badge, space)
        actor.variables[name] = found

    # Moving on

    def actions(self) -> list[Action]:
        """All that can happen next."""
        found = []
        for i, actor in enumerate(self.actors):
            if actor.able():
                if actor.at < len(actor.script):
                    found.append(Action("run", i))
                found += [
                    Action("run", i, k)
                    for k, call in enumerate(actor.alphabet)
                    if _makes(actor, call)
                ]
        found += [Action("unmapped", j) for j in range(len(self.unmaps))]
        found += [Action("ended", j) for j in range(len(self.killed))]
        found += [Action("interrupt", j) for j in range(len(self.unmasked))]
        found += [Action("crash", j) for j, space in enumerate(self.crashes) if space.alive]
        if next_deadline(self.kernel) is not None:
            found.append(Action("time"))
        return found

    def perform(self, action: Action) -> None:
        """Let it happen; raises ``AssertionError`` if a law is broken at once."""
        kernel, which = self.kernel, action.which
        match action.kind:
            case "run":
                actor = self.actors[which]
                chosen = action.choice
                self.ask(actor, actor.script[actor.at] if chosen < 0 else actor.alphabet[chosen])
                actor.at += chosen < 0
            case "unmapped":
                self.carry_out(kernel.unmapped(self.unmaps.pop(which)))
            case "ended":
                space = self.killed.pop(which)
                self.unmaps = [one for one in self.unmaps if one.space is not space]
                self.carry_out(kernel.ended(space))
            case "interrupt":
                self.carry_out(kernel.interrupt(self.unmasked.pop(which)))
            case "crash":
                self.carry_out(kernel.died(self.crashes[which], Fault.CRASHED, "it crashed"))
            case "time":
                due = next_deadline(kernel)
                self.clock.now = due if due is not None else self.clock.now
                self.carry_out(kernel.tick())

    def describe(self, action: Action) -> str:
        """What it is, in words; to be called before it happens."""
        which = action.which
        if action.kind == "run":
            actor = self.actors[which]
            chosen = action.choice
            call = actor.script[actor.at] if chosen < 0 else actor.alphabet[chosen]
            return f"{actor.name}: {call}"
        if action.kind == "unmapped":
            return f"machine: a mapping of {self.unmaps[which].space.name} is gone"
        if action.kind == "ended":
            return f"machine: nothing is left of {self.killed[which].name}"
        if action.kind == "crash":
            return f"machine: {self.crashes[which].name} crashes"
        if action.kind == "interrupt":
            return "machine: the device raises its interrupt"
        return "machine: time passes until the next timeout"

    def ask(self, actor: Actor, call: Step) -> None:
        """Make a system call."""
        values = [self._value(actor, argument) for argument in call.arguments]
        if call.data >= 0:
            actor.sent += 1
            values[call.data] = data = b"%s.%d" % (actor.name.encode(), actor.sent)
            self.flying.add(data)
        request = [call.spec.number, *values]
        check(request)
        actor.asked = call
        if call.call == "cap_revoke":
            actor.revoking = _descent(actor.thread.space.caps.get(values[0]))
        self.carry_out(self.kernel.syscall(actor.thread, request))

    def _value(self, actor: Actor, argument: Any) -> Any:
        if isinstance(argument, V):
            return actor.variables.get(argument, 0)
        if isinstance(argument, list):
            return [self._value(actor, one) for one in argument]
        return int(argument) if isinstance(argument, int) else argument

    def carry_out(self, effects: list[Effect]) -> None:
        """Be the machine."""
        for effect in effects:
            match effect:
                case Resume():
                    self._resume(effect)
                case Kill(space=space):
                    self.killed.append(space)
                case Unmap(mapping=mapping):
                    self.unmaps.append(mapping)
                case Unmask(device=device):
                    self.unmasked.append(device)
                case Cut(link=link):
                    self.cut.append(link)
                case Start() | DropFrame() | EndThread():
                    pass
        self.kernel.effects = _NOTHING  # they are carried out, and no part of the state

    def _resume(self, effect: Resume) -> None:
        actor = next((one for one in self.actors if one.thread is effect.thread), None)
        if actor is None:
            return
        call, answer = actor.asked, effect.answer
        invariants.answers(None if call is None else call.spec, answer[0])
        assert call is not None
        actor.asked, actor.last = None, answer
        if answer[0]:
            return
        for name, value in zip(call.into, answer[1:], strict=False):
            if name != "_":
                actor.variables[name] = value[0] if type(value) is list and value else value or 0
        if call.call in _RECEIVING and answer[2] < 1 << 32:
            self._deliver(answer[3])
        elif call.call == "call":
            self._deliver(answer[2])
        elif call.call == "cap_revoke":
            invariants.revocation(*actor.revoking)
            actor.revoking = ([], [])

    def _deliver(self, data: bytes) -> None:
        invariants.delivery(data in self.flying)
        self.flying.discard(data)

    # Laws

    def check(self) -> None:
        """Look at every law over a state."""
        invariants.check(self.kernel, self.cut)

    def check_end(self) -> None:
        """Nothing can happen any more: nobody who must go on is left in a call."""
        for actor in self.actors:
            call, state = actor.asked, actor.thread.state
            waits = call is not None and state is not ThreadState.DEAD
            must = state is ThreadState.UNMAPPING or (call is not None and call.limited)
            kept = actor.thread.suspended  # its answer is held back, for ever
            invariants.progress(actor.name, waits and must and not kept)


def _makes(actor: Actor, call: Step) -> bool:
    """Whether a call of an alphabet makes sense: it names what is there.  Scripts name also what
    is gone."""
    space = actor.thread.space
    for name in call.names:
        held = space.mappings if name == "mapping" else space.caps
        if actor.variables.get(name) not in held:
            return False
    return True


def _descent(cap: Capability[Any] | None) -> tuple[list[Capability[Any]], list[Mapping]]:
    """All that is derived from a capability, and all mappings that have to be gone."""
    caps: list[Capability[Any]] = []
    todo = [] if cap is None or isinstance(cap.object, Reply) else list(cap.children)
    while todo:
        caps.append(todo.pop())
        todo.extend(caps[-1].children)
    mappings = [mapping for one in caps for mapping in one.mappings]
    if cap is not None and isinstance(cap.object, Frame):
        mappings += [mapping for mapping in cap.object.mappings if mapping.removing]
    return caps, mappings
