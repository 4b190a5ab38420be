"""The canonical form of a world: equal for two worlds that differ in nothing that can matter.

Objects are numbered in the order in which they are first reached from the actors, so it makes no
difference which path led to a state, nor which numbers the kernel gave out on the way.  A slot
counts as what is in it: slots are never used twice, so all stale ones name the same, nothing.  Of
an actor's variables those count that it may still use.
"""

from __future__ import annotations

import marshal
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from hashlib import blake2b
from itertools import count, islice
from typing import Any

from kernel.abi import NULL, ThreadState
from kernel.capability import Capability
from kernel.device import Device
from kernel.effects import Resume
from kernel.endpoint import Endpoint, Reply
from kernel.frame import Frame, Mapping
from kernel.link import Link
from kernel.notification import Notification
from kernel.quota import Account
from kernel.space import Space
from kernel.thread import Thread
from tools.check.model import MAPPING, Actor, Step, World

_STALE = -2
_RUNNING = ThreadState.RUNNING.value


Numbers = defaultdict[Any, int]
"""Object -> its number, given out when it is first asked for; nothing is 0."""


def digest(world: World) -> bytes:
    """Sixteen bytes that stand for the state."""
    return blake2b(marshal.dumps(form(world), 2), digest_size=16).digest()


def form(world: World) -> list[Any]:
    """All that the world's future depends on, as numbers, tuples and lists."""
    n: Numbers = defaultdict(count().__next__)
    n[None]
    at, kernel = n.__getitem__, world.kernel
    found: list[Any] = [_actor(actor, world, n) for actor in world.actors]
    found += (
        [*map(at, kernel.spaces.values())],
        [*map(at, world.unmaps)],
        [*map(at, world.killed)],
        [*map(at, world.unmasked)],
        [space.alive for space in world.crashes],
    )
    if kernel.labels._pairs:
        found.append(sorted(kernel.labels._pairs))
    described = 1
    while described < len(n):
        reached = [*islice(n, described, None)]
        described = len(n)
        found += [_DESCRIBE[type(obj)](obj, n, world) for obj in reached]
    return found


@cache
def _used(script: tuple[Step, ...], start: int, alphabet: tuple[Step, ...]) -> tuple[str, ...]:
    """The variables that an actor may still use."""
    return tuple(sorted({str(name) for one in (*script[start:], *alphabet) for name in one.names}))


def _actor(actor: Actor, world: World, n: Numbers) -> tuple[Any, ...]:
    thread, asked = actor.thread, actor.asked
    space, variables = thread.space, actor.variables
    used = _used(actor.script, actor.at, actor.alphabet)
    held = []
    for name in used:
        value = variables.get(name, NULL)
        there = (space.mappings if name == MAPPING else space.caps).get(value)
        held.append(n[there] if there is not None else _STALE if value else 0)
    if asked is None:
        return n[thread], actor.at, held
    derived, left = actor.revoking
    waits = [n[one] for one in left if one in one.frame.mappings]
    return n[thread], actor.at, held, asked.number, len(derived), waits


def _held(thread: Thread, n: Numbers, world: World) -> Any:
    """An answer or a call that is held back while the thread is suspended."""
    held = thread.held
    if isinstance(held, Resume):
        return n[held.resource], _values(held.answer, thread, n, world)
    return _values(held, thread, n, world) if held is not None else 0


def _values(values: Any, thread: Thread, n: Numbers, world: World) -> list[Any]:
    """What is held back.  A number in it may be a slot or mapping: it counts as what is there,
    which tells as much, as the call itself is known."""
    space = thread.space
    found: list[Any] = []
    for value in values:
        if isinstance(value, int):
            there: Any = space.caps.get(value) or space.mappings.get(value)
            found.append((n[there],) if there is not None else int(value))
        elif isinstance(value, bytes):
            found.append(value in world.flying)
        elif isinstance(value, list):
            found.append(_values(value, thread, n, world))
        else:
            found.append(str(value))
    return found


def _thread(thread: Thread, n: Numbers, world: World) -> tuple[Any, ...]:
    state = thread.state._value_  # as value, which takes a while
    common = (state, thread.suspended, thread.priority, n[thread.space], n[thread.bound])
    if state == _RUNNING and thread.held is None:
        return common
    message: Any = 0
    if thread.message is not None:
        label, data, caps = thread.message
        message = int(label), data in world.flying, [n[cap] for cap in caps], thread.wants_reply
    through = n[thread.through] if thread.queue is not None else 0
    due = thread.deadline - world.clock.now if thread.deadline else -1
    held = _held(thread, n, world)
    return *common, n[thread.reply_cap], thread.pending, through, due, held, message


def _space(space: Space, n: Numbers, _: World) -> tuple[Any, ...]:
    return (
        *(int(space.label), space.alive, space.posted, n[space.account], n[space.creator]),
        *(n[space.fault], space.budget, space.period),
        [n[cap] for cap in space.caps.values()],
        [n[one] for one in space.mappings.values()] if space.mappings else 0,
        [n[thread] for thread in space.threads],
        [n[thread] for thread in space.waiters] if space.waiters else 0,
    )


def _account(account: Account, n: Numbers, _: World) -> tuple[Any, ...]:
    return account.used, account.limit, account.closed, n[account.parent]


def _capability(cap: Capability[Any], n: Numbers, _: World) -> tuple[Any, ...]:
    return (
        *(n[cap.object], int(cap.rights), int(cap.badge), n[cap.parent], n[cap.space]),
        [n[child] for child in cap.children] if cap.children else 0,
        [n[one] for one in cap.mappings] if cap.mappings else 0,
    )


def _mapping(mapping: Mapping, n: Numbers, _: World) -> tuple[Any, ...]:
    return (
        *(n[mapping.space], n[mapping.frame], n[mapping.cap]),
        *(mapping.writable, mapping.removing, [n[thread] for thread in mapping.waiters]),
    )


def _endpoint(endpoint: Endpoint, n: Numbers, _: World) -> tuple[Any, ...]:
    return (
        *(int(endpoint.label), n[endpoint.payer], endpoint.receive_caps),
        [n[thread] for thread in endpoint.senders],
        [n[thread] for thread in endpoint.receivers],
        [(n[space], int(badge)) for space, badge, _ in endpoint.faults],
    )


def _notification(notification: Notification, n: Numbers, _: World) -> tuple[Any, ...]:
    return (
        *(int(notification.label), n[notification.payer], notification.word),
        [n[thread] for thread in notification.waiters],
        *(n[notification.bound], n[notification.through]),
    )


def _device(device: Device, n: Numbers, _: World) -> tuple[Any, ...]:
    if device.bound() is None or device.binding is None:
        return device.masked, 0
    space, *slots = device.binding
    return device.masked, int(device.bits), [n[space.caps[slot]] for slot in slots]


def _link(link: Link, n: Numbers, world: World) -> tuple[Any, ...]:
    ends = [(int(end), n[cap]) for end, cap in sorted(link.ends.items())]
    return int(link.label), n[link.payer], ends, link in world.cut


def _frame(frame: Frame, n: Numbers, _: World) -> tuple[Any, ...]:
    return int(frame.label), n[frame.payer], frame.size, [n[one] for one in frame.mappings]


def _reply(reply: Reply, n: Numbers, _: World) -> tuple[Any, ...]:
    return n[reply.caller], len(reply.holders)


_DESCRIBE: dict[type, Callable[[Any, Numbers, World], tuple[Any, ...]]] = {
    Thread: _thread,
    Space: _space,
    Account: _account,
    Capability: _capability,
    Mapping: _mapping,
    Endpoint: _endpoint,
    Notification: _notification,
    Device: _device,
    Link: _link,
    Frame: _frame,
    Reply: _reply,
}
