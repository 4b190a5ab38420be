"""Random walks through the kernel's states, and the laws that need to remember what was before.

``Walker`` turns choices, small integers from a seed or from hypothesis, into system calls and
events of the machine; most of them make sense, some are forged.  ``History`` watches: it keeps what
each capability was when it was first seen, what each message was, and what a revoke had to remove.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

from kernel.abi import (
    ALL_RIGHTS,
    CAPABILITY_COST,
    FOREVER,
    LABEL_NOTIFICATION,
    NULL,
    PAGE_SIZE,
    THREAD_COST,
    Error,
    Fault,
    Right,
    ThreadOp,
    ThreadState,
)
from kernel.capability import Capability, KernelObject
from kernel.device import Device
from kernel.endpoint import Endpoint, Reply
from kernel.frame import Frame, Mapping
from kernel.link import Link
from kernel.notification import Notification
from kernel.space import Space
from kernel.thread import Thread
from tools.check import invariants
from tools.check.harness import FULL, MIB, Actor, World

LABELS = 3
"""Labels of the walk: all may talk at first, then pairs come and go."""
MOST_THREADS = 12

Choose = Callable[[int], int]
"""A number below its argument."""


class Sent:
    """A message that a thread is sending, or an answer that it gave."""

    def __init__(self, sender: Thread) -> None:
        self.sender = sender
        self.receivers: list[Thread] = []


class History:
    """What was, and the laws about it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.steps = 0
        self.delivered = 0
        self._firsts: dict[Capability[Any], tuple[KernelObject, int, int]] = {}
        self._known: dict[KernelObject, None] = {}
        self._held: dict[Capability[Any], Capability[Any] | None] = {}  # in a table now -> parent
        self._messages: dict[bytes, Sent] = {}
        self._revoked: set[Capability[Any]] = set()  # must be gone after this step
        self._revokes: dict[Thread, set[Mapping]] = {}  # must be gone before it returns
        world.kernel.watch = self._answered
        self.remember()

    def payload(self, sender: Thread) -> bytes:
        """A payload that no other message has."""
        data = b"%d" % len(self._messages)
        self._messages[data] = Sent(sender)
        return data

    def revoking(self, thread: Thread, cap: Capability[Any]) -> None:
        """The thread is about to revoke what is derived from a capability."""
        if thread.suspended:
            return  # that is for later
        gone: set[Mapping] = set()
        todo = list(cap.children)
        while todo:
            child = todo.pop()
            self._revoked.add(child)
            gone.update(child.mappings)
            todo.extend(child.children)
        if isinstance(cap.object, Frame):
            gone.update(mapping for mapping in cap.object.mappings if mapping.removing)
        self._revokes[thread] = gone

    def _answered(self, thread: Thread, answer: tuple[Any, ...]) -> None:
        call = self.world.calls.get(thread)
        assert call is not None, "an answer without a call"
        name, error = call.spec.name, answer[0]
        if name in ("recv", "reply_recv") and not error and answer[2] < LABEL_NOTIFICATION:
            self._received(thread, answer[3])
        elif name == "call" and not error:
            self._received(thread, answer[2])
        elif name == "cap_revoke" and not error:
            gone = self._revokes.pop(thread, set())
            invariants.revocation((), gone)
        if name in ("send", "reply"):
            receivers = self._messages[call.argument("data")].receivers
            # a send is answered just before its message is
            assert len(receivers) <= (name == "reply"), "sent, and yet on its way before"
            if name == "reply":
                assert len(receivers) == (not error), "an answer arrives if the replier is told so"

    def _received(self, receiver: Thread, data: bytes) -> None:
        sent = self._messages[data]
        sent.receivers.append(receiver)
        self.delivered += 1
        invariants.delivery(len(sent.receivers) == 1)
        assert self.world.kernel.labels.may(sent.sender.label, receiver.label), (
            "no message crosses labels that may not talk"
        )

    def check(self) -> None:
        """Check what can be seen after a step; called after each."""
        self.steps += 1
        invariants.check(self.world.kernel, self.world.cut)
        invariants.revocation(self._revoked, ())
        self._revoked.clear()
        before = self._held
        for cap in invariants.capabilities(self.world.kernel):
            if isinstance(cap.object, Reply):
                continue  # issued anew for each call
            first = self._firsts.get(cap)
            if first is not None:
                assert cap in before, "what was deleted does not come back"
                assert first == (cap.object, cap.rights, cap.badge), "a capability never changes"
                continue
            if cap.parent is None:
                assert cap.object not in self._known, "no capability appears from nothing"
            else:
                assert cap.parent in before, "a capability is derived from one that was held"
        for thread, call in self.world.calls.items():
            if call.spec.name in ("send", "call") and thread.state is ThreadState.SENDING:
                assert not self._messages[call.argument("data")].receivers
        self.remember()

    def remember(self) -> None:
        """Take what there is now as given."""
        caps = list(invariants.capabilities(self.world.kernel))
        self._held = {cap: cap.parent for cap in caps}
        for cap in caps:
            self._firsts.setdefault(cap, (cap.object, cap.rights, cap.badge))
        self._known |= dict.fromkeys(invariants.objects(self.world.kernel))


class Walker:
    """Takes steps through a world as choices say."""

    def __init__(self, choose: Choose) -> None:
        self.choose = choose
        self.world = world = World(prompt=False)
        self.actors = [world.init]
        init = world.init
        for first, second in combinations(range(LABELS), 2):
            init.allow(first, second)
        self.device, self._disk = world.device()
        self._shared = [init.endpoint(), init.endpoint(), init.notification(), init.frame()]
        self._kept = (world.policy, world.debug, self._disk, *self._shared)
        self.history = History(world)
        for number in range(4):
            self.family(number)
        self.actors.append(init.spawn())
        self.history.check()

    def family(self, number: int) -> None:
        """Init makes a space with some quota and label, two threads and capabilities."""
        init, slots = self.world.init, self.world.init.space.caps
        label = number % LABELS
        quota = 2 * THREAD_COST + 8 * CAPABILITY_COST if number % 4 == 3 else MIB << number % 4
        self._ask(init, "space_create", "child", quota, label, self.world.policy, 0, 0)
        if init.answered() and init.world.answers[init.thread].answer[0] == Error.OK:
            actor = init.spawn(init.result())
            self.actors += [actor, actor.spawn()]
            for slot in self._shared:
                if slot in slots:
                    rights = FULL & init.space.caps[slot].rights
                    self._ask(init, "cap_mint", slot, rights, self.choose(3), actor.slot)
            self._ask(init, "cap_mint", self._disk, ALL_RIGHTS, 0, actor.slot)
        self.history.check()

    # Choices

    def _likely(self, chances: int = 8) -> bool:
        return self.choose(chances) > 0

    def _pick(self, values: list[Any]) -> Any:
        return values[self.choose(len(values))]

    def _slot(self, actor: Actor, kind: type[KernelObject] | None = None, rights: int = 0) -> int:
        """A slot of the actor, of the kind and with the rights if it has one; or any number."""
        if not self._likely(24):
            return self.choose(40)
        caps = actor.space.caps.items()
        fit = [
            slot
            for slot, cap in caps
            if (kind is None or isinstance(cap.object, kind)) and not rights & ~cap.rights
        ]
        return int(self._pick(fit)) if fit else self.choose(8)

    def _space(self, actor: Actor) -> int:
        """A space to put something into: often the actor's own."""
        return self._slot(actor, Space) if self.choose(2) else NULL

    def _timeout(self, actor: Actor) -> int:
        longest = 9 if actor is self.world.init else FOREVER  # init must go on, or all ends
        return int(self._pick([longest, 0, 1, 5, 9]))

    def _caps(self, actor: Actor) -> list[int]:
        if self.choose(3):
            return []
        return [self._slot(actor, None, Right.GRANT) for _ in range(1 + self.choose(3))]

    def _rights(self) -> int:
        return int(self._pick([63, FULL, FULL, Right.SEND, 36, 40, 35, 33, self.choose(64)]))

    # Steps

    def step(self) -> None:
        """A system call or event of the machine as the choices say, and the check of everything."""
        free = self._free()
        if not free or self.choose(5) == 0:
            self.take(Walker.machine)
        elif len(self.actors) < 8 and self.world.init in free and self.choose(2):
            self.family(self.choose(12))
        else:
            self.act(self.kinds[self.choose(len(self.kinds))])

    def _free(self) -> list[Actor]:
        return [
            actor
            for actor in self.actors
            if actor.thread.state is ThreadState.RUNNING and actor.thread.held is None
        ]

    def act(self, kind: Callable[[Walker, Actor], None]) -> None:
        """Have one of the actors that can do something."""
        if self.choose(200) == 0:
            self.take(Walker.speak_out_of_turn)
        else:
            actor = self._pick(self._free())
            self.take(lambda walker: kind(walker, actor))

    def take(self, step: Callable[[Walker], None]) -> None:
        """Take a step, forget the dead, and check everything."""
        step(self)
        self.actors = [actor for actor in self.actors if actor.thread.state is not ThreadState.DEAD]
        self.history.check()

    def _ask(self, actor: Actor, name: str, *arguments: Any) -> None:
        actor.request(name, *arguments)

    def speak_out_of_turn(self) -> None:
        """What is no system call, or comes while one is outstanding."""
        world, actor = self.world, self._pick(self.actors)
        if actor.space is world.init.space:
            return
        if actor.thread in world.calls:
            world.carry_out(world.kernel.syscall(actor.thread, [0, 1, 2, b"", [], 0]))
            assert actor.thread.state is ThreadState.DEAD
        else:
            world.carry_out(world.kernel.malformed(actor.thread, "nonsense"))

    def machine(self) -> None:
        """Something that happens below the kernel."""
        world = self.world
        what = self.choose(10)
        if what < 5 and (world.unmaps or world.killed):
            if world.unmaps and self.choose(2):
                world.unmaps.append(world.unmaps.pop(0))  # in any order
            world.confirm()
        elif what < 8:
            world.advance(1 + self.choose(9))
        elif what < 9:
            if world.unmasked:
                device = world.unmasked.pop()
                world.carry_out(world.kernel.interrupt(device))
        else:
            victims = [space for space in world.kernel.spaces.values() if space.creator is not None]
            if victims and self.choose(8) == 7:
                space = self._pick(victims)
                world.carry_out(world.kernel.died(space, Fault.CRASHED, "signal 9"))

    def messages(self, actor: Actor) -> None:
        what = self.choose(8)
        replies = [slot for slot, cap in actor.space.caps.items() if isinstance(cap.object, Reply)]
        reply = self._pick(replies) if replies and self._likely(12) else self.choose(20)
        if not replies and self._likely():
            what = self.choose(6)
        timeout = self._timeout(actor)
        if what < 3:
            endpoint = self._slot(actor, Endpoint, Right.SEND)
            data = self.history.payload(actor.thread)
            name = "call" if what else "send"
            self._ask(actor, name, endpoint, 1, data, self._caps(actor), timeout)
        elif what < 6:
            endpoint = self._slot(actor, Endpoint, Right.RECEIVE)
            if replies and self.choose(2):
                data = self.history.payload(actor.thread)
                caps = self._caps(actor)
                self._ask(actor, "reply_recv", reply, 2, data, caps, endpoint, timeout)
            else:
                self._ask(actor, "recv", endpoint, timeout)
        else:
            data = self.history.payload(actor.thread)
            self._ask(actor, "reply", reply, 2, data, self._caps(actor))

    def signals(self, actor: Actor) -> None:
        what = self.choose(6)
        notification = self._slot(actor, Notification)
        if what == 0:
            self._ask(actor, "wait", notification, self._timeout(actor))
        elif what == 1:
            self._ask(actor, "poll", notification)
        elif what == 2:
            device = self._slot(actor, Device)
            if self.choose(2):
                self._ask(actor, "device_map", device, self._pick([1, 3, 2]))
            else:
                self._ask(actor, "irq_bind", device, notification, 1 << 63)
        elif what == 3:
            self._ask(actor, "irq_ack", self._slot(actor, Device))
        else:
            self._ask(actor, "signal", notification, self.choose(4))

    def capabilities(self, actor: Actor) -> None:
        what = self.choose(8)
        slot = self._slot(actor)
        if what > 3 and slot in actor.space.caps and self.choose(8):
            kind = type(actor.space.caps[slot].object)
            slot = self._slot(actor, Endpoint) if kind in (Space, Thread, Device) else slot
        if what < 4:
            badge = self.choose(3)
            self._ask(actor, "cap_mint", slot, self._rights(), badge, self._space(actor))
        elif what == 4:
            if actor.space is not self.world.init.space or slot not in self._kept:
                self._ask(actor, "cap_move", slot, self._space(actor))
        elif what == 5:
            if actor.space is not self.world.init.space or slot not in self._kept:
                self._ask(actor, "cap_drop", slot)
        else:
            cap = actor.space.caps.get(slot)
            if cap is not None:
                self.history.revoking(actor.thread, cap)
            self._ask(actor, "cap_revoke", slot)

    def memory(self, actor: Actor) -> None:
        what = self.choose(8)
        if what > 5:
            self._links(actor)
        elif what < 3:
            self._ask(actor, "map", self._slot(actor, Frame), self._pick([1, 3, 3, 2]))
        elif what == 3:
            mapping = self._pick([*actor.space.mappings, 0])
            self._ask(actor, "unmap", mapping)
        elif what == 4:
            self._ask(actor, "frame_create", PAGE_SIZE << self.choose(12))
        else:
            name = self._pick(["endpoint_create", "notification_create"])
            self._ask(actor, name)

    def _links(self, actor: Actor) -> None:
        if self.choose(3):
            end = self._pick([Right.SEND, Right.RECEIVE])
            self._ask(actor, "link_open", self._slot(actor, Link, end), end)
        else:
            self._ask(actor, "link_create")

    def lives(self, actor: Actor) -> None:
        """Spaces and threads come and go."""
        what = self.choose(12)
        if what < 3:
            quota = self.choose(5) * MIB // 4
            label = self._pick([actor.space.label, self.choose(LABELS)])
            authority = self._slot(actor, Device)
            fault = self._slot(actor, Endpoint, Right.SEND) if self.choose(2) else NULL
            self._ask(actor, "space_create", "new", quota, label, authority, 0, fault)
        elif what < 7:
            self._spawn(actor)
        elif what == 7 and self.choose(8) == 7:
            slot = self._slot(actor, Space)
            self._ask(actor, "space_destroy", slot)
        elif what == 8 and actor is not self.world.init and self.choose(3) == 2:
            fault = self._pick([Fault.EXIT, Fault.EXIT, Fault.EXCEPTION, Fault.KILLED])
            if actor.space is self.world.init.space:
                fault = Fault.EXIT
            self._ask(actor, "thread_exit", fault, "done")
        else:
            thread = self._slot(actor, Thread)
            self._control(actor, thread if self.choose(3) else NULL)

    def _spawn(self, actor: Actor) -> None:
        if len(self.actors) >= MOST_THREADS:
            return
        space = self._space(actor)
        self._ask(actor, "thread_create", space, "more", b"", self.choose(256))
        if self.world.started and self.world.started[-1] in self.world.effects:
            self.actors.append(Actor(self.world, self.world.started[-1].thread))

    def _control(self, actor: Actor, thread: int) -> None:
        operation = self.choose(7)
        value = self.choose(256)
        if operation == ThreadOp.BIND:
            value = self._slot(actor, Notification) if self._likely(3) else NULL
        if operation == ThreadOp.SUSPEND and (thread == NULL or self.choose(2)):
            operation = ThreadOp.RESUME
        self._ask(actor, "thread_control", thread, operation, value)

    def policy(self, actor: Actor) -> None:
        if self.choose(3):
            first, second = 1 + self.choose(2), 1 + self.choose(2)
            if self.choose(12) == 11:
                first = 0
            actor, allowed = self.world.init, self.choose(3)
            if actor.thread.state is not ThreadState.RUNNING or actor.thread.held is not None:
                return
            self._ask(actor, "label_allow", self.world.policy, first, second, allowed)
        else:
            authority = self._slot(actor, Device)
            self._ask(actor, "debug", authority, self.choose(6), self.choose(2) * 300)

    kinds = (
        messages,
        messages,
        messages,
        signals,
        capabilities,
        capabilities,
        memory,
        lives,
        policy,
    )
