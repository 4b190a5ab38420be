"""The kernel's laws as predicates: each has a name, a line of text, and a function that looks.

``STATE`` holds those over all that there is at one moment; ``check`` looks at each of them.  What
the kernel keeps twice, a counter or a back reference, is worked out again from what it keeps once.
``MEMORY`` holds those that need to know what was before; whoever drives the kernel calls them.
A predicate that does not hold raises ``Broken``, which names the law.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import combinations
from typing import Any, Final, NamedTuple, ParamSpec

from kernel.abi import (
    ALL_RIGHTS,
    CAPABILITY_COST,
    MAPPING_COST,
    CallSpec,
    Error,
    Right,
    ThreadState,
)
from kernel.capability import Capability, KernelObject
from kernel.endpoint import Endpoint, Reply
from kernel.frame import Frame, Mapping
from kernel.kernel import Kernel
from kernel.label import CONSUME, PRODUCE, flow, meet
from kernel.link import Link
from kernel.notification import Notification
from kernel.quota import Account
from kernel.space import Space
from kernel.thread import Thread

QUEUED = (ThreadState.SENDING, ThreadState.RECEIVING, ThreadState.WAITING)
CONTROLLED = PRODUCE | CONSUME
_FLOW: Final = [flow(rights) for rights in range(int(ALL_RIGHTS) + 1)]
_RECEIVE, _READING = int(Right.RECEIVE), int(Right.READ)
_WRITING = _READING | int(Right.WRITE)
_RUNNING, _DEAD = ThreadState.RUNNING, ThreadState.DEAD


class Broken(AssertionError):
    """A law does not hold; the text says what is wrong."""

    def __init__(self, law: str, detail: str) -> None:
        super().__init__(f"{law}: {detail or LAWS[law]}")
        self.law = law


class State:
    """What there is, gathered once for all predicates."""

    def __init__(self, kernel: Kernel, cut: Collection[Link] | None = None) -> None:
        self.kernel, self.cut = kernel, cut
        self.spaces = [*kernel.spaces.values()]
        self.caps = [cap for space in self.spaces for cap in space.caps.values()]
        self.threads = [thread for space in self.spaces for thread in space.threads]
        self.mappings = {one for space in self.spaces for one in space.mappings.values()}
        found: dict[KernelObject, None] = dict.fromkeys([cap.object for cap in self.caps])
        found |= dict.fromkeys(self.spaces)
        found |= dict.fromkeys(self.threads)
        found |= dict.fromkeys([mapping.frame for mapping in self.mappings])
        self.endpoints = [obj for obj in found if type(obj) is Endpoint]
        for endpoint in self.endpoints:
            found |= dict.fromkeys([space for space, _, _ in endpoint.faults])
        self.objects = [*found]
        self.notifications = [obj for obj in found if type(obj) is Notification]


def capabilities(kernel: Kernel) -> Iterator[Capability[Any]]:
    """Every capability in a table."""
    for space in kernel.spaces.values():
        yield from space.caps.values()


def objects(kernel: Kernel) -> list[KernelObject]:
    """Every object that something refers to."""
    return State(kernel).objects


class Law(NamedTuple):
    """A predicate over a state."""

    text: str
    holds: Callable[[State], None]


STATE: Final[dict[str, Law]] = {}
MEMORY: Final[dict[str, str]] = {}
LAWS: Final[dict[str, str]] = {}
"""All of them: name -> text."""
Arguments = ParamSpec("Arguments")


def _state(text: str) -> Callable[[Callable[[State], None]], Callable[[State], None]]:
    def enter(holds: Callable[[State], None]) -> Callable[[State], None]:
        name = holds.__name__
        STATE[name], LAWS[name] = Law(text, holds), text
        return holds

    return enter


def _memory(
    text: str,
) -> Callable[[Callable[Arguments, None]], Callable[Arguments, None]]:
    def enter(holds: Callable[Arguments, None]) -> Callable[Arguments, None]:
        name = holds.__name__
        MEMORY[name] = LAWS[name] = text

        def look(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
            try:
                holds(*arguments, **named)
            except AssertionError as error:
                raise Broken(name, str(error)) from None

        return look

    return enter


def check(kernel: Kernel, cut: Collection[Link] | None = None) -> None:
    """Look at every law over a state; ``cut`` are the links that the machine severed, if it is
    known which."""
    state = State(kernel, cut)
    for name, law in STATE.items():
        try:
            law.holds(state)
        except AssertionError as error:
            raise Broken(name, str(error)) from None


# Laws over a state


@_state("no capability but by derivation; rights never grow, a badge once set never changes")
def derivation(state: State) -> None:
    for space in state.spaces:
        for slot, cap in space.caps.items():
            assert cap.space is space and cap.slot == slot, "a capability is where it says it is"
            assert 0 < slot <= space.last_slot, "slots are given out in order"
    for cap in state.caps:
        parent = cap.parent
        if parent is not None:
            assert cap in parent.children, "a parent knows its child"
            assert parent.space is not None, "a parent is in a table"
            assert parent.object is cap.object, "a derived capability names the same object"
            assert not cap.rights & ~parent.rights, "rights never grow along a derivation"
            assert parent.badge in (0, cap.badge), "a badge once set never changes"
        for child in cap.children:
            assert child.parent is cap, "a child knows its parent"
            assert child.space is not None, "a child is in a table"


@_state("an object knows all capabilities that name it, and what they are good for")
def holders(state: State) -> None:
    counts: dict[KernelObject, int] = dict.fromkeys(state.objects, 0)
    receiving: dict[KernelObject, int] = {}
    for cap in state.caps:
        obj = cap.object
        counts[obj] += 1
        assert cap in obj.holders, "an object knows those that name it"
        if cap.rights & _RECEIVE:
            receiving[obj] = receiving.get(obj, 0) + 1
    for obj, count in counts.items():
        assert len(obj.holders) == count, "an object knows those that name it"
    for endpoint in state.endpoints:
        counted = endpoint.receive_caps == receiving.get(endpoint, 0)
        assert counted, "receive capabilities are counted"


@_state("a mapping ends with its capability and has no more rights")
def mappings(state: State) -> None:
    for space in state.spaces:
        for number, mapping in space.mappings.items():
            assert mapping.space is space and mapping.id == number
            assert mapping in mapping.frame.mappings, "a frame knows its mappings"
            cap = mapping.cap
            if mapping.removing:
                assert mapping not in cap.mappings
                continue
            assert cap.space is space and cap.slot in space.caps, "no mapping is an orphan"
            assert mapping in cap.mappings and cap.object is mapping.frame
            needed = _WRITING if mapping.writable else _READING
            assert not needed & ~cap.rights, "a mapping has no more rights than its capability"
    for cap in state.caps:
        if cap.mappings:
            assert cap.mappings.keys() <= state.mappings, "a mapping ends with its space"
    for obj in state.objects:
        if type(obj) is Frame:
            assert obj.mappings.keys() <= state.mappings, "a mapping ends with its space"


@_state("one capability answers a call, once, and whoever waits for an answer can get it")
def replies(state: State) -> None:
    for thread in state.threads:
        cap = thread.reply_cap
        assert (cap is not None) is (thread.state is ThreadState.REPLY), (
            "a thread waits for a reply if somebody can give it"
        )
        rights = [*thread.reply.holders]
        assert len(rights) <= 1, "one capability answers a call"
        assert rights in ([], [cap]), "a reply is for a call that waits"
        if cap is not None:
            assert cap.object is thread.reply and cap.space is not None
            assert cap.space.caps.get(cap.slot) is cap, "a capability is where it says it is"


@_state("a blocked thread is in exactly one queue")
def queues(state: State) -> None:
    places: dict[Thread, int] = {}
    found: list[tuple[Iterable[Thread], ThreadState]] = []
    for endpoint in state.endpoints:
        found.append((endpoint.senders, ThreadState.SENDING))
        found.append((endpoint.receivers, ThreadState.RECEIVING))
    found += [(one.waiters, ThreadState.WAITING) for one in state.notifications]
    for queue, waiting in found:
        for thread in queue:
            places[thread] = places.get(thread, 0) + 1
            assert thread.state is waiting and thread.queue is queue, "a queue holds who waits"
    for thread in state.threads:
        queued = thread.state in QUEUED
        assert places.get(thread, 0) == queued, "a blocked thread is in exactly one queue"
        assert (thread.queue is not None) is queued
        assert (thread.message is not None) is (thread.state is ThreadState.SENDING)
        if queued:
            through = thread.through
            assert through is not None and through.space is thread.space, (
                "a thread waits through a capability of its own"
            )
        assert thread.held is None or thread.suspended, "only a suspended thread is held back"


@_state("who can meet does not wait, and a signal is heard")
def meetings(state: State) -> None:
    may = state.kernel.labels.may
    for endpoint in state.endpoints:
        assert not (endpoint.senders and endpoint.receivers), "who can meet does not wait"
        assert endpoint.receive_caps or not endpoint.senders, "nobody waits for nobody"
        for receiver in endpoint.receivers:
            for space, _, _ in endpoint.faults:
                assert not may(space.label, receiver.label), "a fault is heard"
    for one in state.notifications:
        assert not (one.word and one.waiters), "a signal is heard"
        bound = one.bound
        if bound is not None:
            assert bound.bound is one
            through = one.through
            assert through is not None and through.object is one
            assert through.space is not None, "a binding ends with its capability"
            assert through.rights & _RECEIVE, "who hears may"
            assert bound.label == through.space.label, "who hears has the holder's label"
            listening = bound.state is ThreadState.RECEIVING
            assert not (one.word and listening), "a bound signal is heard"
    for thread in state.threads:
        assert thread.bound is None or thread.bound.bound is thread


@_state("who waits for the machine or for time will hear of it")
def waits(state: State) -> None:
    waiters: dict[Thread, int] = {}
    lists = [space.waiters for space in state.spaces]
    lists += [mapping.waiters for mapping in state.mappings]
    for found in lists:
        for thread in found:
            waiters[thread] = waiters.get(thread, 0) + 1
    heap = state.kernel.deadlines
    deadlines = {(at, thread) for at, _, thread in heap} if heap else ()
    for thread in state.threads:
        blocked = thread.state
        if blocked is ThreadState.UNMAPPING:
            assert thread.pending == waiters.get(thread, 0) > 0, "a thread waits for what comes"
        elif blocked is _RUNNING:
            assert thread.pending == 0, "a running thread waits for nothing"
        if thread.deadline:
            timed = blocked in QUEUED or blocked is ThreadState.REPLY
            assert timed, "a running thread has no deadline"
            assert (thread.deadline, thread) in deadlines, "a deadline will be noticed"


@_state("the dead own nothing; nobody outlives its creator")
def spaces(state: State) -> None:
    assert not state.kernel.ending, "spaces are left half ended"
    for space in state.spaces:
        if space.alive:
            for child in space.children:
                assert child.alive and child.creator is space
            if space.creator is not None:
                assert space.creator.alive, "a space does not outlive its creator"
                assert space in space.creator.children
                assert space.holders, "somebody can end every space"
            continue
        assert not space.caps, "a dead space holds nothing"
        assert not space.children, "a dead space has no children"
        assert all(thread.state is _DEAD for thread in space.threads)
        assert all(mapping.removing for mapping in space.mappings.values())
    for thread in state.threads:
        assert (thread.state is _DEAD) is not thread.space.alive


@_state("what is used of a quota is the cost of what exists, and within the limit")
def quotas(state: State) -> None:
    charged: dict[Account, int] = {state.kernel.memory: 0}
    for space in state.spaces:
        own = CAPABILITY_COST * len(space.caps) + MAPPING_COST * len(space.mappings)
        charged[space.account] = charged.get(space.account, 0) + own
    for obj in state.objects:
        payer = obj.payer
        if payer is not None and not _forgotten(obj):
            charged[payer] = charged.get(payer, 0) + obj.cost
    for account in [*charged]:
        above = account.parent
        while above is not None:
            charged.setdefault(above, 0)
            above = above.parent
    opened: dict[Account, list[Account]] = {}
    for account in charged:
        if account.parent is not None:
            opened.setdefault(account.parent, []).append(account)

    def used(account: Account) -> int:
        below = opened.get(account, ())
        return charged[account] + sum(used(one) if one.closed else one.limit for one in below)

    for account in charged:
        assert account.used == used(account), "quotas add up"
        assert 0 <= account.used <= account.limit, "no quota is exceeded"


def _forgotten(obj: KernelObject) -> bool:
    """Whether an object that is still in a list was paid back already."""
    if obj.holders:
        return False
    if isinstance(obj, Space):
        return not obj.posted
    return isinstance(obj, Thread) and obj.state is _DEAD


@_state("labels that may not talk share no object, through which something could flow")
def labels(state: State) -> None:
    may = state.kernel.labels.may
    flows: dict[KernelObject, dict[tuple[int, int], int]] = {}
    for obj in state.objects:
        flows[obj] = {(obj.label, CONTROLLED): 1} if isinstance(obj, Space | Thread) else {}
    for cap in state.caps:
        obj = cap.object
        if type(obj) is not Reply:
            assert cap.space is not None
            found, key = flows[obj], (cap.space.label, _FLOW[cap.rights])
            found[key] = found.get(key, 0) + 1
    for obj, found in flows.items():
        assert obj.flows == found, "flows are counted"
        if len(found) > 1:
            for (first, one), (second, two) in combinations(found, 2):
                assert first == second or may(first, second) or not meet(one, two), (
                    f"labels {first} and {second} share a {type(obj).__name__}"
                )
    for thread in state.threads:
        if thread.reply_cap is not None:
            assert thread.reply_cap.space is not None
            assert may(thread.label, thread.reply_cap.space.label), "no call crosses labels"


@_state("a link is cut with the capability of either end")
def links(state: State) -> None:
    if state.cut is None:
        return
    for obj in state.objects:
        if type(obj) is Link and obj not in state.cut:
            for end, cap in obj.ends.items():
                assert cap in obj.holders and cap.rights & end, "an end is cut with its capability"


# Laws that need to know what was before


@_memory("after a revoke nothing derived is left, and no mapping of one")
def revocation(caps: Iterable[Capability[Any]], gone: Iterable[Mapping]) -> None:
    """A revoke has returned: of the capabilities and mappings that it was to take."""
    assert all(cap.space is None for cap in caps), "a revoke leaves no descendant"
    left = [mapping for mapping in gone if mapping in mapping.frame.mappings]
    assert not left, "a revoke returns when no mapping is left"


@_memory("a message is delivered once")
def delivery(on_its_way: bool) -> None:
    """A message arrived, which was or was not on its way."""
    assert on_its_way


@_memory("a call is answered once, and fails only as the table says")
def answers(spec: CallSpec | None, error: int) -> None:
    """An answer came to a call, or to none."""
    assert spec is not None, "an answer comes to a call"
    assert not error or error in spec.errors, f"{spec.name} ends with {Error(error).name}"


@_memory("who waits with a limit is not left waiting when nothing can happen any more")
def progress(name: str, left: bool) -> None:
    """Nothing can happen, and a thread is or is not left in a call that has to end."""
    assert not left, f"{name} is left waiting"
