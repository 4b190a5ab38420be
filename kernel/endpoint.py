"""Endpoints: synchronous messages between threads that need not know each other.

A sender and a receiver meet here, and whoever comes first waits.  A call also leaves the receiver a
capability to the caller's ``Reply``: the right to answer once.  If that right is lost before it
is used, because its holder died or dropped it, the caller gets ``SERVER_DIED``; so does whoever
sends to an endpoint from which nobody can receive.  A message is delivered whole or not at all:
labels, the receiver's quota and the flow of each capability are checked before anything changes.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from kernel.abi import (
    ALL_RIGHTS,
    CAPABILITY_COST,
    LABEL_FAULT,
    LABEL_LIMIT,
    LABEL_NOTIFICATION,
    MAX_CAPS,
    MAX_PAYLOAD,
    NULL,
    OBJECT_COST,
    Error,
    Fault,
    Right,
    ThreadState,
    TraceEvent,
)
from kernel.capability import Capability, KernelObject, Refused, check_flow, create, delete, derive

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.space import Space
    from kernel.thread import Thread


class Message(NamedTuple):
    """What is on its way: the capabilities are the sender's, until they are derived."""

    label: int
    data: bytes
    caps: tuple[Capability, ...]


class Endpoint(KernelObject):
    """A rendezvous."""

    __slots__ = ("faults", "receive_caps", "receivers", "senders")

    def __init__(self, kernel: Kernel, space: Space) -> None:
        super().__init__(kernel, space.label, space.account, OBJECT_COST)
        self.senders: deque[Thread] = deque()
        self.receivers: deque[Thread] = deque()
        self.faults: deque[tuple[int, bytes]] = deque()  # at most one a space that ended
        self.receive_caps = 0  # how many capabilities have the right to receive

    def gained(self, cap: Capability) -> None:
        if cap.rights & Right.RECEIVE:
            self.receive_caps += 1

    def lost(self, kernel: Kernel, cap: Capability) -> None:
        if cap.rights & Right.RECEIVE:
            self.receive_caps -= 1
            if not self.receive_caps:
                for sender in tuple(self.senders):
                    kernel.fail(sender, Error.SERVER_DIED)
            for receiver in tuple(self.receivers):
                if receiver.through is cap:
                    kernel.fail(receiver, Error.CANCELLED)
        for sender in tuple(self.senders):
            if sender.through is cap:
                kernel.fail(sender, Error.CANCELLED)


class Reply(KernelObject):
    """The right to answer the one call that a thread has outstanding."""

    __slots__ = ("caller",)
    derivable = False

    def __init__(self, kernel: Kernel, caller: Thread) -> None:
        super().__init__(kernel, caller.label, None, 0)
        self.caller = caller

    def issue(self, space: Space) -> tuple[int, Capability]:
        """Give ``space``, whose quota was checked, the right to answer; return its slot."""
        cap = Capability(self, Right.SEND, 0, None)
        space.account.charge(CAPABILITY_COST)
        space.last_slot = cap.slot = slot = space.last_slot + 1
        space.caps[slot] = cap
        cap.space = space
        self.holders[cap] = None
        return slot, cap

    def lost(self, kernel: Kernel, cap: Capability) -> None:
        if self.caller.reply_cap is cap:
            self.caller.reply_cap = None
            kernel.fail(self.caller, Error.SERVER_DIED)

    def destroy(self, kernel: Kernel) -> None:
        """It lives with its thread, for the next call."""


def _message(space: Space, label: int, data: bytes, slots: list[int]) -> Message:
    """Check what a sender handed in."""
    if label >= LABEL_LIMIT or len(data) > MAX_PAYLOAD or len(slots) > MAX_CAPS:
        raise Refused(Error.BAD_ARGUMENT)
    if not slots:
        return Message(label, data, ())
    caps = tuple(space.find(slot) for slot in slots)
    for cap in caps:
        if not cap.rights & Right.GRANT or not cap.object.derivable:
            raise Refused(Error.NO_RIGHT)
    return Message(label, data, caps)


def _transfer(kernel: Kernel, caps: tuple[Capability, ...], space: Space) -> list[int]:
    """Derive the capabilities into a table; one that was revoked on its way becomes ``NULL``."""
    for cap in caps:
        if cap.space is not None:
            check_flow(kernel, cap.object, space.label, cap.rights)
    if space.account.free < len(caps) * CAPABILITY_COST:
        raise Refused(Error.RECEIVER_FULL)
    return [
        derive(kernel, cap, cap.rights, 0, space) if cap.space is not None else NULL
        for cap in caps
    ]


def _deliver(kernel: Kernel, sender: Thread, receiver: Thread, message: Message) -> None:
    """Hand a message over and resume the receiver, or raise ``Refused`` with nothing changed."""
    space = receiver.space
    if not kernel.labels.may(sender.label, receiver.label):
        raise Refused(Error.DENIED)
    reply = NULL
    if sender.wants_reply:
        if space.account.free < (len(message.caps) + 1) * CAPABILITY_COST:
            raise Refused(Error.RECEIVER_FULL)
        slots = _transfer(kernel, message.caps, space) if message.caps else []
        reply, sender.reply_cap = sender.reply.issue(space)
        if sender.queue is not None:
            sender.queue.remove(sender)
            sender.queue = None
        sender.state = ThreadState.REPLY
        sender.message = None
    else:
        slots = _transfer(kernel, message.caps, space) if message.caps else []
        kernel.finish(sender)
    kernel.note(TraceEvent.MESSAGE, sender.id, receiver.id, message.label)
    assert sender.through is not None
    kernel.finish(receiver, sender.through.badge, message.label, message.data, slots, reply)


def _send(
    kernel: Kernel, thread: Thread, slot: int, message: Message, timeout: int, wants_reply: bool
) -> None:
    endpoint = thread.space.lookup(slot, Endpoint, Right.SEND)
    if not endpoint.receive_caps:
        raise Refused(Error.SERVER_DIED)
    thread.through = thread.space.caps[slot]
    thread.wants_reply = wants_reply
    if endpoint.receivers:
        _deliver(kernel, thread, endpoint.receivers[0], message)
    elif timeout == 0:
        raise Refused(Error.TIMED_OUT)
    else:
        thread.message = message
        thread.block(ThreadState.SENDING, endpoint.senders)
    if timeout > 0:
        kernel.set_deadline(thread, timeout)


def _receive(kernel: Kernel, thread: Thread, slot: int, timeout: int) -> None:
    """Take what is there, a notification first, then faults, then messages; else wait."""
    endpoint = thread.space.lookup(slot, Endpoint, Right.RECEIVE)
    bound = thread.bound
    if bound is not None and bound.word:
        hear(kernel, thread, bound.take())
        return
    if endpoint.faults:
        badge, data = endpoint.faults.popleft()
        kernel.finish(thread, badge, LABEL_FAULT, data, [], NULL)
        return
    while endpoint.senders:
        sender = endpoint.senders[0]
        assert sender.message is not None
        try:
            _deliver(kernel, sender, thread, sender.message)
            return
        except Refused as refused:
            kernel.fail(sender, refused.error)
    if timeout == 0:
        raise Refused(Error.TIMED_OUT)
    thread.through = thread.space.caps[slot]
    thread.block(ThreadState.RECEIVING, endpoint.receivers)
    if timeout > 0:
        kernel.set_deadline(thread, timeout)


def _answer(kernel: Kernel, thread: Thread, slot: int, message: Message) -> None:
    """Use up a reply capability.  What cannot be delivered is an error for both sides."""
    caller = thread.space.lookup(slot, Reply, Right.SEND).caller
    cap, caller.reply_cap = caller.reply_cap, None
    assert cap is not None
    delete(kernel, cap)
    try:
        if not kernel.labels.may(thread.label, caller.label):
            raise Refused(Error.DENIED)
        slots = _transfer(kernel, message.caps, caller.space) if message.caps else []
    except Refused as refused:
        kernel.fail(caller, refused.error)
        raise
    kernel.note(TraceEvent.MESSAGE, thread.id, caller.id, message.label)
    kernel.finish(caller, message.label, message.data, slots)


def hear(kernel: Kernel, thread: Thread, bits: int) -> None:
    """Resume a receiving thread with the word of its bound notification."""
    kernel.finish(thread, bits, LABEL_NOTIFICATION, b"", [], NULL)


def post_fault(kernel: Kernel, cap: Capability, fault: Fault, thread: int, detail: str) -> None:
    """Send the kernel's own message through a capability to an endpoint."""
    endpoint = cap.object
    assert isinstance(endpoint, Endpoint)
    data: bytes = msgpack.packb([int(fault), thread, detail])
    if endpoint.receivers:
        kernel.finish(endpoint.receivers[0], cap.badge, LABEL_FAULT, data, [], NULL)
    else:
        endpoint.faults.append((cap.badge, data))


def call(
    kernel: Kernel,
    thread: Thread,
    endpoint: int,
    label: int,
    data: bytes,
    caps: list[int],
    timeout: int,
) -> None:
    message = _message(thread.space, label, data, caps)
    _send(kernel, thread, endpoint, message, timeout, wants_reply=True)


def send(
    kernel: Kernel,
    thread: Thread,
    endpoint: int,
    label: int,
    data: bytes,
    caps: list[int],
    timeout: int,
) -> None:
    message = _message(thread.space, label, data, caps)
    _send(kernel, thread, endpoint, message, timeout, wants_reply=False)


def recv(kernel: Kernel, thread: Thread, endpoint: int, timeout: int) -> None:
    _receive(kernel, thread, endpoint, timeout)


def reply(
    kernel: Kernel, thread: Thread, reply: int, label: int, data: bytes, caps: list[int]
) -> None:
    _answer(kernel, thread, reply, _message(thread.space, label, data, caps))
    kernel.finish(thread)


def reply_recv(
    kernel: Kernel,
    thread: Thread,
    reply: int,
    label: int,
    data: bytes,
    caps: list[int],
    endpoint: int,
    timeout: int,
) -> None:
    if reply != NULL:
        message = _message(thread.space, label, data, caps)
        with suppress(Refused):  # the caller is told; the server goes on
            _answer(kernel, thread, reply, message)
    _receive(kernel, thread, endpoint, timeout)


def endpoint_create(kernel: Kernel, thread: Thread) -> None:
    endpoint = Endpoint(kernel, thread.space)
    kernel.finish(thread, create(kernel, endpoint, thread.space, ALL_RIGHTS & ~Right.CONTROL))
