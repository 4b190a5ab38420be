"""Notifications: a word of bits that can be signalled without waiting.

Signals are never lost and never queue up: they are OR'ed into the word until somebody waits or
polls.  Bound to a thread, the word is also heard where that thread receives messages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from kernel.abi import ALL_RIGHTS, OBJECT_COST, Error, Right, ThreadState, TraceEvent
from kernel.capability import Capability, KernelObject, Refused, create
from kernel.endpoint import hear

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.space import Space
    from kernel.thread import Thread

WORD = (1 << 64) - 1


class Notification(KernelObject):
    """A word of 64 bits."""

    __slots__ = ("bound", "through", "waiters", "word")

    def __init__(self, kernel: Kernel, space: Space) -> None:
        super().__init__(kernel, space.label, space.account, OBJECT_COST)
        self.word = 0
        self.waiters: deque[Thread] = deque()
        self.bound: Thread | None = None  # hears the word while it receives
        self.through: Capability | None = None  # with which it was bound, and ends to be

    def take(self) -> int:
        """Return the word and clear it."""
        word, self.word = self.word, 0
        return word

    def signal(self, kernel: Kernel, bits: int) -> None:
        """OR bits in and wake whoever waits for them."""
        self.word |= bits & WORD
        kernel.note(TraceEvent.SIGNAL, 0, self.id, bits)
        if not self.word:
            return
        if self.waiters:
            kernel.finish(self.waiters[0], self.take())
        elif self.bound is not None and self.bound.state is ThreadState.RECEIVING:
            hear(kernel, self.bound, self.take())

    def bind(self, kernel: Kernel, thread: Thread, cap: Capability) -> None:
        """Let a thread hear the word, from now on and as long as the capability is where it is."""
        self.bound, thread.bound, self.through = thread, self, cap
        if self.word and thread.state is ThreadState.RECEIVING:
            hear(kernel, thread, self.take())

    def unbind(self) -> None:
        if self.bound is not None:
            self.bound.bound = self.bound = self.through = None

    def lost(self, kernel: Kernel, cap: Capability) -> None:
        if cap is self.through:
            self.unbind()
        for waiter in tuple(self.waiters):
            if waiter.through is cap:
                kernel.fail(waiter, Error.CANCELLED)


def signal(kernel: Kernel, thread: Thread, notification: int, bits: int) -> None:
    target = thread.space.lookup(notification, Notification, Right.SEND)
    kernel.finish(thread)
    target.signal(kernel, thread.space.caps[notification].badge or bits)


def wait(kernel: Kernel, thread: Thread, notification: int, timeout: int) -> None:
    target = thread.space.lookup(notification, Notification, Right.RECEIVE)
    if target.word:
        kernel.finish(thread, target.take())
        return
    if timeout == 0:
        raise Refused(Error.TIMED_OUT)
    thread.through = thread.space.caps[notification]
    thread.block(ThreadState.WAITING, target.waiters)
    if timeout > 0:
        kernel.set_deadline(thread, timeout)


def poll(kernel: Kernel, thread: Thread, notification: int) -> None:
    kernel.finish(thread, thread.space.lookup(notification, Notification, Right.RECEIVE).take())


def notification_create(kernel: Kernel, thread: Thread) -> None:
    notification = Notification(kernel, thread.space)
    kernel.finish(thread, create(kernel, notification, thread.space, ALL_RIGHTS & ~Right.CONTROL))
