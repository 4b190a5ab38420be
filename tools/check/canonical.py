"""The canonical form of a world: equal for two worlds that differ in nothing that can matter.

Objects are numbered in the order in which they are first reached from the actors, so it makes no
difference which path led to a state, nor which numbers the kernel gave out on the way.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from typing import Any

from kernel.abi import ThreadState
from kernel.capability import Capability
from kernel.effects import Resume
from kernel.endpoint import Endpoint, Reply
from kernel.frame import Frame, Mapping
from kernel.kernel import Device, Space, Thread
from kernel.link import Link
from kernel.notification import Notification
from tools.check.model import World

Ref = Callable[[Any], int]


def digest(world: World) -> bytes:
    """Sixteen bytes that stand for the state."""
    return hashlib.blake2b(pickle.dumps(form(world), 5), digest_size=16).digest()


def form(world: World) -> tuple[Any, ...]:
    """All that the world's future depends on."""
    numbers: dict[int, int] = {}
    reached: list[Any] = []

    def ref(obj: Any) -> int:
        if obj is None:
            return -1
        number = numbers.get(id(obj))
        if number is None:
            number = numbers[id(obj)] = len(reached)
            reached.append(obj)
        return number

    now = world.clock.now
    found: list[Any] = [
        [_actor(actor, ref) for actor in world.actors],
        [ref(space) for space in world.kernel.spaces.values()],
        [ref(mapping) for mapping in world.unmaps],
        [ref(space) for space in world.killed],
        [ref(device) for device in world.unmasked],
        [space.alive for space in world.crashes],
        sorted(world.kernel.labels._pairs),
    ]
    # ``reached`` grows meanwhile.
    found += ((type(obj).__name__, *_DESCRIBE[type(obj)](obj, ref, now)) for obj in reached)
    return tuple(found)


def _actor(actor: Any, ref: Ref) -> tuple[Any, ...]:
    thread = actor.thread
    mappings = thread.space.mappings
    variables = [
        (name, ref(mappings[value]) if name == "mapping" and value in mappings else value)
        for name, value in sorted(actor.variables.items())
        if not isinstance(value, bytes)
    ]
    caps, left = actor.revoking
    waits = (len(caps), len(left)) if actor.asked else ()
    asked = actor.asked.number if actor.asked else -1
    return ref(thread), actor.at, asked, variables, waits


def _thread(thread: Thread, ref: Ref, now: int) -> tuple[Any, ...]:
    held: Any = thread.held
    if isinstance(held, Resume):
        held = held.answer
    message: Any = thread.message
    if message is not None:
        message = (message[0], message[1], [ref(cap) for cap in message[2]])
    return (
        *(int(thread.state), thread.suspended, thread.priority, thread.wants_reply),
        *(ref(thread.space), held, message, thread.pending),
        ref(thread.through) if thread.state is not ThreadState.RUNNING else -1,
        *(ref(thread.reply_cap), ref(thread.bound)),
        thread.deadline - now if thread.deadline else None,
    )


def _space(space: Space, ref: Ref, _: int) -> tuple[Any, ...]:
    account = space.account
    return (
        *(space.name, space.label, space.alive, space.posted, space.last_slot),
        *(account.used, account.limit, account.closed),
        *(ref(space.creator), ref(space.fault), space.budget, space.period),
        [(slot, ref(cap)) for slot, cap in sorted(space.caps.items())],
        [ref(mapping) for mapping in space.mappings.values()],
        [ref(thread) for thread in space.threads],
        [ref(thread) for thread in space.waiters],
    )


def _capability(cap: Capability[Any], ref: Ref, _: int) -> tuple[Any, ...]:
    return (
        *(ref(cap.object), cap.rights, cap.badge, ref(cap.parent), cap.slot, ref(cap.space)),
        [ref(child) for child in cap.children],
        [ref(mapping) for mapping in cap.mappings],
    )


def _mapping(mapping: Mapping, ref: Ref, _: int) -> tuple[Any, ...]:
    return (
        *(ref(mapping.space), ref(mapping.frame), ref(mapping.cap)),
        *(mapping.writable, mapping.removing, [ref(thread) for thread in mapping.waiters]),
    )


def _endpoint(endpoint: Endpoint, ref: Ref, _: int) -> tuple[Any, ...]:
    return (
        *(endpoint.label, endpoint.receive_caps, len(endpoint.holders)),
        [ref(thread) for thread in endpoint.senders],
        [ref(thread) for thread in endpoint.receivers],
        [(ref(space), badge, data) for space, badge, data in endpoint.faults],
    )


def _notification(notification: Notification, ref: Ref, _: int) -> tuple[Any, ...]:
    waiters = [ref(thread) for thread in notification.waiters]
    return notification.word, waiters, ref(notification.bound), ref(notification.through)


def _device(device: Device, ref: Ref, _: int) -> tuple[Any, ...]:
    space, *slots = device.binding or (None,)
    return device.name, device.masked, device.bits, ref(space), slots


def _link(link: Link, ref: Ref, _: int) -> tuple[Any, ...]:
    return len(link.holders), [(end, ref(cap)) for end, cap in sorted(link.ends.items())]


_DESCRIBE: dict[type, Callable[[Any, Ref, int], tuple[Any, ...]]] = {
    Thread: _thread,
    Space: _space,
    Capability: _capability,
    Mapping: _mapping,
    Endpoint: _endpoint,
    Notification: _notification,
    Device: _device,
    Link: _link,
    Frame: lambda frame, ref, _: (frame.size, [ref(one) for one in frame.mappings]),
    Reply: lambda reply, ref, _: (ref(reply.caller),),
}
