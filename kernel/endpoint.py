"""Endpoints: synchronous messages between threads that need not know each other.

A sender and a receiver meet here, and whoever comes first waits.  A call also leaves the receiver a
capability to the caller's ``Reply``: the right to answer once.  If that right is lost before it
is used, because its holder died or dropped it, the caller gets ``SERVER_DIED``; so does whoever
sends to an endpoint from which nobody can receive.  A message is delivered whole or not at all:
labels, the receiver's quota and the flow of each capability are checked before anything changes.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

import msgpack

from kernel import abi
from kernel.abi import CAPABILITY_COST, LABEL_FAULT, NULL, Error, Fault, Right, ThreadState
from kernel.capability import Capability, KernelObject, Refused, require

if TYPE_CHECKING:
    from kernel.kernel import Space, Thread

# Looking a member up takes a while, as do the operators of an IntFlag.
_SENDING, _RECEIVING, _REPLY = ThreadState.SENDING, ThreadState.RECEIVING, ThreadState.REPLY
_MESSAGE = abi.TraceEvent.MESSAGE
_LABELS, _PAYLOAD = abi.LABEL_LIMIT, abi.MAX_PAYLOAD

Message = tuple[int, bytes, tuple[Capability[Any], ...]]
"""A message on its way: label, data, and the sender's capabilities, until they are derived."""


class Endpoint(KernelObject):
    """A rendezvous."""

    def __init__(self, space: Space) -> None:
        super().__init__(space.kernel, space.label, space.account, abi.OBJECT_COST)
        self.senders: deque[Thread] = deque()
        self.receivers: deque[Thread] = deque()
        self.faults: deque[tuple[Space, int, bytes]] = deque()  # of ended spaces, still charged
        self.receive_caps = 0  # how many capabilities have the right to receive

    def gained(self, cap: Capability[Any]) -> None:
        self.receive_caps += bool(cap.rights & Right.RECEIVE)

    def lost(self, cap: Capability[Any]) -> None:
        self.receive_caps -= bool(cap.rights & Right.RECEIVE)
        for thread in (*self.senders, *self.receivers):
            if thread.through is cap:
                thread.fail(Error.CANCELLED)
            elif not self.receive_caps:
                thread.fail(Error.SERVER_DIED)

    def destroy(self) -> None:
        for space, _, _ in self.faults:
            space.heard()
        super().destroy()

    def post_fault(self, space: Space, badge: int, fault: Fault, thread: int, why: str) -> None:
        """Send the kernel's own message about a space that ended."""
        text = why.encode(errors="replace")[: abi.MAX_DETAIL].decode(errors="ignore")
        data: bytes = msgpack.packb([int(fault), thread, text])
        may = self.kernel.labels.may
        receiver = next((one for one in self.receivers if may(space.label, one.label)), None)
        if receiver is not None:
            receiver.hear(badge, LABEL_FAULT, data)
        else:
            space.posted = True
            self.faults.append((space, badge, data))


Target = Capability[Endpoint]
Slots = list[int]


class Reply(KernelObject):
    """The right to answer the one call that a thread has outstanding."""

    derivable = False

    def __init__(self, caller: Thread) -> None:
        super().__init__(caller.kernel, caller.label, None, 0)
        self.caller = caller
        self.cap = Capability(self, int(Right.SEND))  # the only one, for one call after another

    def issue(self, space: Space) -> int:
        """Give ``space``, whose quota was checked, the right to answer; return its slot."""
        cap = self.caller.reply_cap = self.cap
        space.account.used += CAPABILITY_COST
        space.last_slot = cap.slot = slot = space.last_slot + 1
        space.caps[slot] = cap
        cap.space = space
        self.holders[cap] = None
        return slot

    def use(self, space: Space) -> Thread:
        """Take the right away from ``space``, which uses it; return the caller."""
        cap, caller = self.cap, self.caller
        caller.reply_cap = cap.space = None
        del space.caps[cap.slot], self.holders[cap]
        space.account.used -= CAPABILITY_COST  # it lives, so this is not for its parent
        return caller

    def lost(self, cap: Capability[Any]) -> None:
        if self.caller.reply_cap is cap:
            self.caller.reply_cap = None
            self.caller.fail(Error.SERVER_DIED)

    def destroy(self) -> None:
        """It lives with its thread, for the next call."""


def _outgoing(space: Space, label: int, data: bytes, slots: Slots) -> Message:
    """Check what a sender handed in."""
    if label >= _LABELS or len(data) > _PAYLOAD or len(slots) > abi.MAX_CAPS:
        raise Refused(Error.BAD_ARGUMENT)
    if not slots:
        return label, data, ()
    caps = tuple(space.lookup(slot) for slot in slots)
    require(all(c.rights & Right.GRANT and c.object.derivable for c in caps), Error.NO_RIGHT)
    return label, data, caps


def _pass_on(sender: Thread, receiver: Thread, message: Message, with_reply: bool) -> list[int]:
    """Derive a message's capabilities for its receiver, or raise ``Refused`` with nothing changed.

    One that the sender has lost meanwhile becomes ``NULL``.
    """
    label, _, caps = message
    kernel, source, target = sender.kernel, sender.space, receiver.space
    if sender.label != receiver.label and not kernel.labels.may(sender.label, receiver.label):
        raise Refused(Error.DENIED)
    account = target.account
    if account.used + (len(caps) + with_reply) * CAPABILITY_COST > account.limit:
        raise Refused(Error.RECEIVER_FULL)
    for cap in caps:
        if cap.space is source and cap.object.conflicts(target.label, cap.rights):
            raise Refused(Error.DENIED)
    kernel.note((kernel.now, _MESSAGE, sender.id, receiver.id, label))
    if not caps:
        return []  # as most are: a comprehension takes a while
    return [cap.derive(cap.rights, 0, target) if cap.space is source else NULL for cap in caps]


def _deliver(sender: Thread, receiver: Thread, message: Message) -> None:
    """Hand a message over and resume the receiver, or raise ``Refused`` with nothing changed."""
    with_reply, through = sender.wants_reply, sender.through
    slots, reply = _pass_on(sender, receiver, message, with_reply), NULL
    assert through is not None
    if with_reply:
        reply = sender.reply.issue(receiver.space)
        if sender.queue is not None:
            sender.unblock()
        sender.state = _REPLY
    else:
        sender.finish()
    sender.kernel.answer(receiver, (0, through.badge, message[0], message[1], slots, reply))


def _send(
    reply: bool, thread: Thread, target: Target, label: int, data: bytes, slots: Slots, timeout: int
) -> None:
    endpoint, message = target.object, _outgoing(thread.space, label, data, slots)
    if not endpoint.receive_caps:
        raise Refused(Error.SERVER_DIED)
    if timeout == 0 and reply:
        raise Refused(Error.TIMED_OUT)  # nothing is sent: an answer is always waited for
    thread.wants_reply = reply
    if not endpoint.receivers:
        thread.block(_SENDING, endpoint.senders, target, timeout)
        thread.message = message
        return
    thread.through = target
    _deliver(thread, endpoint.receivers[0], message)
    if timeout > 0 and reply:
        thread.kernel.set_deadline(thread, timeout)


call, send = partial(_send, True), partial(_send, False)


def _answer(thread: Thread, right: Capability[Reply], message: Message) -> None:
    """Use up a reply capability.  What cannot be delivered is an error for both sides."""
    caller = right.object.use(thread.space)
    try:
        slots = _pass_on(thread, caller, message, False)
    except Refused as refused:
        caller.fail(refused.error)
        raise
    thread.kernel.answer(caller, (0, message[0], message[1], slots))


def recv(thread: Thread, endpoint: Capability[Endpoint], timeout: int) -> None:
    """Take what is there, a notification first, then faults, then messages; else wait."""
    queues, bound = endpoint.object, thread.bound
    if bound is not None and bound.word:
        return thread.hear(bound.take(), abi.LABEL_NOTIFICATION)
    while queues.faults:
        space, badge, data = queues.faults.popleft()
        space.heard()
        if thread.kernel.labels.may(space.label, thread.label):
            return thread.hear(badge, LABEL_FAULT, data)
    while queues.senders:
        sender = queues.senders[0]
        assert sender.message is not None
        try:
            return _deliver(sender, thread, sender.message)
        except Refused as refused:
            sender.fail(refused.error)
    return thread.block(_RECEIVING, queues.receivers, endpoint, timeout)


def reply(thread: Thread, right: Capability[Reply], label: int, data: bytes, slots: Slots) -> None:
    _answer(thread, right, _outgoing(thread.space, label, data, slots))
    thread.finish()


def reply_recv(
    thread: Thread, reply: int, label: int, data: bytes, slots: Slots, source: Target, timeout: int
) -> None:
    message = _outgoing(thread.space, label, data, slots)
    right = thread.space.caps.get(reply)
    if right is not None and right.object.kind == "Reply":
        try:
            _answer(thread, right, message)
        except Refused:
            pass  # the caller is told, the server goes on
    recv(thread, source, timeout)


def endpoint_create(thread: Thread) -> None:
    thread.finish(Endpoint(thread.space).create(thread.space))
