"""Endpoints: synchronous messages between threads that need not know each other.

A sender and a receiver meet here, and whoever comes first waits.  A call also leaves the receiver a
capability to the caller's ``Reply``: the right to answer once.  If that right is lost before it
is used, because its holder died or dropped it, the caller gets ``SERVER_DIED``; so does whoever
sends to an endpoint from which nobody can receive.  A message is delivered whole or not at all:
labels, the receiver's quota and the flow of each capability are checked before anything changes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import msgpack

from kernel.abi import (
    ALL_RIGHTS,
    CAPABILITY_COST,
    LABEL_FAULT,
    LABEL_LIMIT,
    LABEL_NOTIFICATION,
    MAX_CAPS,
    MAX_DETAIL,
    MAX_PAYLOAD,
    NULL,
    OBJECT_COST,
    Error,
    Fault,
    Right,
    ThreadState,
    TraceEvent,
)
from kernel.capability import Capability, KernelObject, Refused, check_flow, create, derive

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.space import Space
    from kernel.thread import Thread


_SEND, _RECEIVE = int(Right.SEND), int(Right.RECEIVE)  # an IntFlag's operators take a while
_SENDING, _RECEIVING, _REPLY = (
    ThreadState.SENDING,
    ThreadState.RECEIVING,
    ThreadState.REPLY,
)
_MESSAGE = TraceEvent.MESSAGE


Message = tuple[int, bytes, tuple[Capability, ...]]
"""A message on its way: label, data, and the sender's capabilities, until they are derived."""


class Endpoint(KernelObject):
    """A rendezvous."""

    __slots__ = ("faults", "receive_caps", "receivers", "senders")

    def __init__(self, kernel: Kernel, space: Space) -> None:
        super().__init__(kernel, space.label, space.account, OBJECT_COST)
        self.senders: deque[Thread] = deque()
        self.receivers: deque[Thread] = deque()
        self.faults: deque[tuple[Space, int, bytes]] = deque()  # of ended spaces, still charged
        self.receive_caps = 0  # how many capabilities have the right to receive

    def gained(self, cap: Capability) -> None:
        if cap.rights & _RECEIVE:
            self.receive_caps += 1

    def lost(self, kernel: Kernel, cap: Capability) -> None:
        if cap.rights & _RECEIVE:
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

    def destroy(self, kernel: Kernel) -> None:
        for space, _, _ in self.faults:
            space.heard(kernel)
        super().destroy(kernel)


class Reply(KernelObject):
    """The right to answer the one call that a thread has outstanding."""

    __slots__ = ("caller", "cap")
    derivable = False

    def __init__(self, kernel: Kernel, caller: Thread) -> None:
        super().__init__(kernel, caller.label, None, 0)
        self.caller = caller
        self.cap = Capability(self, _SEND, 0, None)  # the only one, used for one call after another

    def issue(self, space: Space) -> tuple[int, Capability]:
        """Give ``space``, whose quota was checked, the right to answer; return its slot."""
        cap = self.cap
        space.account.charge(CAPABILITY_COST)
        space.last_slot = cap.slot = slot = space.last_slot + 1
        space.caps[slot] = cap
        cap.space = space
        self.holders[cap] = None
        return slot, cap

    def use(self) -> Thread:
        """Take the right away, which is being used; return the caller."""
        caller = self.caller
        cap, caller.reply_cap = caller.reply_cap, None
        assert cap is not None and cap.space is not None
        del cap.space.caps[cap.slot]
        cap.space.account.refund(CAPABILITY_COST)
        cap.space = None
        self.holders.clear()
        return caller

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
        return label, data, ()
    caps = tuple(space.find(slot) for slot in slots)
    for cap in caps:
        if not cap.rights & Right.GRANT or not cap.object.derivable:
            raise Refused(Error.NO_RIGHT)
    return label, data, caps


def _transfer(
    kernel: Kernel, caps: tuple[Capability, ...], source: Space, space: Space
) -> list[int]:
    """Derive a sender's capabilities into a table; one it has lost meanwhile becomes ``NULL``."""
    for cap in caps:
        if cap.space is source:
            check_flow(kernel, cap.object, space.label, cap.rights)
    if space.account.free < len(caps) * CAPABILITY_COST:
        raise Refused(Error.RECEIVER_FULL)
    return [
        derive(kernel, cap, cap.rights, 0, space) if cap.space is source else NULL for cap in caps
    ]


def _deliver(kernel: Kernel, sender: Thread, receiver: Thread, message: Message) -> None:
    """Hand a message over and resume the receiver, or raise ``Refused`` with nothing changed."""
    label, data, caps = message
    space = receiver.space
    if sender.label != receiver.label and not kernel.labels.may(sender.label, receiver.label):
        raise Refused(Error.DENIED)
    reply = NULL
    if sender.wants_reply:
        account = space.account
        if account.limit - account.used < (len(caps) + 1) * CAPABILITY_COST:
            raise Refused(Error.RECEIVER_FULL)
        slots = _transfer(kernel, caps, sender.space, space) if caps else []
        reply, sender.reply_cap = sender.reply.issue(space)
        if sender.queue is not None:
            sender.queue.remove(sender)
            sender.queue = None
        sender.state = _REPLY
        sender.message = None
    else:
        slots = _transfer(kernel, caps, sender.space, space) if caps else []
        kernel.finish(sender)
    kernel.trace.add(kernel.now, _MESSAGE, sender.id, receiver.id, label)
    assert sender.through is not None
    kernel.answer(receiver, (0, sender.through.badge, label, data, slots, reply))


def _send(
    kernel: Kernel, thread: Thread, slot: int, message: Message, timeout: int, wants_reply: bool
) -> None:
    endpoint = thread.space.lookup(slot, Endpoint, _SEND)
    if not endpoint.receive_caps:
        raise Refused(Error.SERVER_DIED)
    thread.through = thread.space.caps[slot]
    thread.wants_reply = wants_reply
    if timeout == 0 and (wants_reply or not endpoint.receivers):
        raise Refused(Error.TIMED_OUT)  # nothing is sent: an answer is always waited for
    if endpoint.receivers:
        _deliver(kernel, thread, endpoint.receivers[0], message)
    else:
        thread.message = message
        thread.block(_SENDING, endpoint.senders)
    if timeout > 0:
        kernel.set_deadline(thread, timeout)


def _receive(kernel: Kernel, thread: Thread, slot: int, timeout: int) -> None:
    """Take what is there, a notification first, then faults, then messages; else wait."""
    endpoint = thread.space.lookup(slot, Endpoint, _RECEIVE)
    bound = thread.bound
    if bound is not None and bound.word:
        hear(kernel, thread, bound.take())
        return
    while endpoint.faults:
        space, badge, data = endpoint.faults.popleft()
        space.heard(kernel)
        if kernel.labels.may(space.label, thread.label):
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
    thread.block(_RECEIVING, endpoint.receivers)
    if timeout > 0:
        kernel.set_deadline(thread, timeout)


def _answer(kernel: Kernel, thread: Thread, slot: int, message: Message) -> None:
    """Use up a reply capability.  What cannot be delivered is an error for both sides."""
    caller = thread.space.lookup(slot, Reply, _SEND).use()
    try:
        if thread.label != caller.label and not kernel.labels.may(thread.label, caller.label):
            raise Refused(Error.DENIED)
        slots = _transfer(kernel, message[2], thread.space, caller.space) if message[2] else []
    except Refused as refused:
        kernel.fail(caller, refused.error)
        raise
    kernel.trace.add(kernel.now, _MESSAGE, thread.id, caller.id, message[0])
    kernel.answer(caller, (0, message[0], message[1], slots))


def hear(kernel: Kernel, thread: Thread, bits: int) -> None:
    """Resume a receiving thread with the word of its bound notification."""
    kernel.finish(thread, bits, LABEL_NOTIFICATION, b"", [], NULL)


def post_fault(
    kernel: Kernel, space: Space, cap: Capability, fault: Fault, thread: int, detail: str
) -> None:
    """Send the kernel's own message, about a space, through a capability to an endpoint."""
    endpoint = cap.object
    assert isinstance(endpoint, Endpoint)
    text = detail.encode(errors="replace")[:MAX_DETAIL].decode(errors="ignore")
    data: bytes = msgpack.packb([int(fault), thread, text])
    for receiver in endpoint.receivers:
        if kernel.labels.may(space.label, receiver.label):
            kernel.finish(receiver, cap.badge, LABEL_FAULT, data, [], NULL)
            return
    space.posted = True
    endpoint.faults.append((space, cap.badge, data))


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
        try:
            _answer(kernel, thread, reply, message)
        except Refused:
            pass  # the caller is told, the server goes on
    _receive(kernel, thread, endpoint, timeout)


def endpoint_create(kernel: Kernel, thread: Thread) -> None:
    endpoint = Endpoint(kernel, thread.space)
    kernel.finish(thread, create(kernel, endpoint, thread.space, ALL_RIGHTS & ~Right.CONTROL))
