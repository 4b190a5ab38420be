"""The kernel's invariants as predicates over all of its state.

``check`` raises ``AssertionError`` with the invariant's text.  Each is recomputed from what the
kernel keeps only once, so that a counter or a back reference that is wrong shows.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from kernel.abi import CAPABILITY_COST, MAPPING_COST, Right, ThreadState
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

LAWS = {
    "derivation": "no capability but by derivation; rights never grow, a badge never changes",
    "revocation": "after a revoke nothing derived is left, and no mapping through it",
    "mappings": "a mapping ends with its capability and has no more rights",
    "delivery": "a message is delivered once",
    "replies": "a reply is used once; who waits for one can get it",
    "queues": "a blocked thread is in exactly one queue; who can meet does not wait",
    "spaces": "the dead own nothing; nobody outlives its creator",
    "quotas": "what is used is the cost of what exists, and within the limit",
    "labels": "labels that may not talk share no object and no message",
    "links": "a link whose end's capability is gone is cut",
}
"""The laws, in words; ``check``, ``check_links`` and the memory of ``model.World`` look for
them."""
QUEUED = (ThreadState.SENDING, ThreadState.RECEIVING, ThreadState.WAITING)
CONTROLLED = PRODUCE | CONSUME


def capabilities(kernel: Kernel) -> Iterator[Capability[Any]]:
    """Every capability in a table."""
    for space in kernel.spaces.values():
        yield from space.caps.values()


def threads(kernel: Kernel) -> Iterator[Thread]:
    """Every thread of a space whose end the machine has not seen."""
    for space in kernel.spaces.values():
        yield from space.threads


def objects(kernel: Kernel) -> list[KernelObject]:
    """Every object that something refers to."""
    found: dict[KernelObject, None] = dict.fromkeys(cap.object for cap in capabilities(kernel))
    found |= dict.fromkeys(kernel.spaces.values())
    found |= dict.fromkeys(threads(kernel))
    for space in kernel.spaces.values():
        found |= dict.fromkeys(mapping.frame for mapping in space.mappings.values())
    for obj in tuple(found):
        if isinstance(obj, Endpoint):
            found |= dict.fromkeys(space for space, _, _ in obj.faults)
    return list(found)


def check(kernel: Kernel) -> None:
    """Check all invariants."""
    known = objects(kernel)
    check_derivation(kernel, known)
    check_mappings(kernel, known)
    check_threads(kernel, known)
    check_spaces(kernel)
    check_quotas(kernel, known)
    check_labels(kernel, known)
    assert not kernel.ending, "spaces are left half ended"


def check_derivation(kernel: Kernel, known: list[KernelObject]) -> None:
    """The tree, the tables and the holders agree; rights and badges obey the tree."""
    held: dict[KernelObject, set[Capability[Any]]] = {obj: set() for obj in known}
    for space in kernel.spaces.values():
        for slot, cap in space.caps.items():
            assert cap.space is space and cap.slot == slot, "a capability is where it says it is"
            assert 0 < slot <= space.last_slot, "slots are given out in order"
            held[cap.object].add(cap)
    for cap in capabilities(kernel):
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
    for obj, caps in held.items():
        assert set(obj.holders) == caps, "an object knows those that name it"
        if isinstance(obj, Endpoint):
            receiving = sum(bool(cap.rights & Right.RECEIVE) for cap in caps)
            assert obj.receive_caps == receiving, "receive capabilities are counted"
        if isinstance(obj, Reply):
            assert len(caps) <= 1, "one capability answers a call"
    for thread in threads(kernel):
        assert set(thread.reply.holders) <= {thread.reply_cap}, "a reply is for a call that waits"


def check_links(world_cut: set[Link], known: list[KernelObject]) -> None:
    """A link whose ends' capabilities are not all where they were when they were used is cut."""
    for obj in known:
        if isinstance(obj, Link) and obj not in world_cut:
            for end, cap in obj.ends.items():
                assert cap in obj.holders and cap.rights & end, "an end is cut with its capability"


def check_mappings(kernel: Kernel, known: list[KernelObject]) -> None:
    """A mapping ends with its capability; what is being removed is still known."""
    mappings: set[Mapping] = set()
    for space in kernel.spaces.values():
        for number, mapping in space.mappings.items():
            mappings.add(mapping)
            assert mapping.space is space and mapping.id == number
            assert mapping in mapping.frame.mappings, "a frame knows its mappings"
            if mapping.removing:
                assert mapping not in mapping.cap.mappings
                continue
            cap = mapping.cap
            assert cap.space is space and cap.slot in space.caps, "no mapping is an orphan"
            assert mapping in cap.mappings and cap.object is mapping.frame
            needed = Right.READ | Right.WRITE if mapping.writable else Right.READ
            assert not needed & ~cap.rights, "a mapping has no more rights than its capability"
    for cap in capabilities(kernel):
        assert set(cap.mappings) <= mappings, "a mapping ends with its space"
    for obj in known:
        if isinstance(obj, Frame):
            assert set(obj.mappings) <= mappings, "a mapping ends with its space"


def _queues(known: list[KernelObject]) -> Iterator[tuple[deque[Thread], ThreadState]]:
    for obj in known:
        if isinstance(obj, Endpoint):
            yield obj.senders, ThreadState.SENDING
            yield obj.receivers, ThreadState.RECEIVING
        elif isinstance(obj, Notification):
            yield obj.waiters, ThreadState.WAITING


def check_threads(kernel: Kernel, known: list[KernelObject]) -> None:
    """A blocked thread is in exactly one queue, or waits for a reply or the machine."""
    places = Counter(thread for queue, _ in _queues(known) for thread in queue)
    for queue, state in _queues(known):
        for thread in queue:
            assert thread.state is state and thread.queue is queue, "a queue holds who waits there"
    waiters: Counter[Thread] = Counter()
    for space in kernel.spaces.values():
        waiters.update(space.waiters)
        for mapping in space.mappings.values():
            waiters.update(mapping.waiters)
    deadlines = {(at, thread) for at, _, thread in kernel.deadlines}
    for thread in threads(kernel):
        state = thread.state
        queued = state in QUEUED
        assert places[thread] == queued, "a blocked thread is in exactly one queue"
        assert (thread.queue is not None) is queued
        assert (thread.message is not None) is (state is ThreadState.SENDING)
        assert (thread.reply_cap is not None) is (state is ThreadState.REPLY), (
            "a thread waits for a reply if somebody can give it"
        )
        if thread.reply_cap is not None:
            cap = thread.reply_cap
            assert cap.space is not None and cap.space.caps.get(cap.slot) is cap
            assert cap.object is thread.reply
        if queued:
            through = thread.through
            assert through is not None and through.space is thread.space, (
                "a thread waits through a capability of its own"
            )
        if state is ThreadState.UNMAPPING:
            assert thread.pending == waiters[thread] > 0, "a thread waits for what is pending"
        if state is ThreadState.RUNNING:
            assert thread.pending == 0
        if thread.deadline:
            assert queued or state is ThreadState.REPLY, "a running thread has no deadline"
            assert (thread.deadline, thread) in deadlines, "a deadline will be noticed"
        assert thread.held is None or thread.suspended, "only a suspended thread is held back"
        if thread.bound is not None:
            assert thread.bound.bound is thread
    for obj in known:
        if isinstance(obj, Endpoint):
            assert not (obj.senders and obj.receivers), "who can meet does not wait"
            assert obj.receive_caps or not obj.senders, "nobody waits for nobody"
            for receiver in obj.receivers:
                for space, _, _ in obj.faults:
                    assert not kernel.labels.may(space.label, receiver.label)
        if isinstance(obj, Notification):
            assert not (obj.word and obj.waiters), "a signal is heard"
            if obj.bound is not None:
                assert obj.bound.bound is obj
                through = obj.through
                assert through is not None and through.object is obj
                assert through.space is not None, "a binding ends with its capability"
                assert through.rights & Right.RECEIVE, "who hears may"
                listening = obj.bound.state is ThreadState.RECEIVING
                assert not (obj.word and listening), "a bound signal is heard"


def check_spaces(kernel: Kernel) -> None:
    """Dead spaces own nothing; the living know their creators."""
    for space in kernel.spaces.values():
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
        assert all(thread.state is ThreadState.DEAD for thread in space.threads)
        assert all(mapping.removing for mapping in space.mappings.values())
    for thread in threads(kernel):
        assert (thread.state is ThreadState.DEAD) is not thread.space.alive


def check_quotas(kernel: Kernel, known: list[KernelObject]) -> None:
    """Every account's use is the cost of what is charged to it, and within its limit."""
    charged: Counter[Account] = Counter()
    accounts: set[Account] = {kernel.memory}
    for space in kernel.spaces.values():
        accounts.add(space.account)
        charged[space.account] += CAPABILITY_COST * len(space.caps)
        charged[space.account] += MAPPING_COST * len(space.mappings)
    for obj in known:
        gone = not obj.holders and (
            (isinstance(obj, Space) and not obj.posted)
            or (isinstance(obj, Thread) and obj.state is ThreadState.DEAD)
        )
        if obj.payer is not None and not gone:
            accounts.add(obj.payer)
            charged[obj.payer] += obj.cost
    for account in tuple(accounts):
        above = account.parent
        while above is not None:
            accounts.add(above)
            above = above.parent

    def used(account: Account) -> int:
        opened = (child for child in accounts if child.parent is account)
        return charged[account] + sum(
            used(child) if child.closed else child.limit for child in opened
        )

    for account in accounts:
        assert account.used == used(account), "quotas add up"
        assert 0 <= account.used <= account.limit, "no quota is exceeded"


def check_labels(kernel: Kernel, known: list[KernelObject]) -> None:
    """Labels that may not talk share nothing through which something could flow."""
    may = kernel.labels.may
    for obj in known:
        flows: Counter[tuple[int, int]] = Counter()
        if isinstance(obj, Space | Thread):
            flows[(obj.label, CONTROLLED)] += 1
        if not isinstance(obj, Reply):
            for cap in obj.holders:
                assert cap.space is not None
                flows[(cap.space.label, flow(cap.rights))] += 1
        assert dict(obj.flows) == dict(flows), "flows are counted"
        for (first, one), (second, two) in combinations(flows, 2):
            assert may(first, second) or not meet(one, two), (
                f"labels {first} and {second} share a {type(obj).__name__}"
            )
        if isinstance(obj, Notification) and obj.bound is not None:
            assert obj.through is not None and obj.through.space is not None
            assert obj.bound.label == obj.through.space.label, "who hears has the holder's label"
    for thread in threads(kernel):
        if thread.reply_cap is not None:
            assert thread.reply_cap.space is not None
            assert may(thread.label, thread.reply_cap.space.label), "no call crosses labels"
