"""Notifications: a word of bits that can be signalled without waiting.

Signals are never lost and never queue up: they are OR'ed into the word until somebody waits or
polls.  Bound to a thread, the word is also heard where that thread receives messages.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from kernel.abi import LABEL_NOTIFICATION, OBJECT_COST, Error, ThreadState, TraceEvent
from kernel.capability import Capability, KernelObject

if TYPE_CHECKING:
    from kernel.kernel import Space, Thread

WORD = (1 << 64) - 1


class Notification(KernelObject):
    """A word of 64 bits."""

    def __init__(self, space: Space) -> None:
        super().__init__(space.kernel, space.label, space.account, OBJECT_COST)
        self.word = 0
        self.waiters: deque[Thread] = deque()
        self.bound: Thread | None = None  # hears the word while it receives
        self.through: Capability[Notification] | None = None  # with which it was bound

    def take(self) -> int:
        """Return the word and clear it."""
        word, self.word = self.word, 0
        return word

    def signal(self, bits: int) -> None:
        """OR bits in and wake whoever waits for them."""
        self.word |= bits & WORD
        self.kernel.note((self.kernel.now, TraceEvent.SIGNAL, 0, self.id, bits))
        if self.word and self.waiters:
            self.waiters[0].finish(self.take())
        self.tell()

    def tell(self) -> None:
        """Let the bound thread hear the word, if there is one and it listens."""
        bound = self.bound
        if self.word and bound is not None and bound.state is ThreadState.RECEIVING:
            bound.hear(self.take(), LABEL_NOTIFICATION)

    def bind(self, thread: Thread, cap: Capability[Notification]) -> None:
        """Let a thread hear the word, from now on and as long as the capability is where it is."""
        self.bound, thread.bound, self.through = thread, self, cap
        self.tell()

    def unbind(self) -> None:
        if self.bound is not None:
            self.bound.bound = self.bound = self.through = None

    def lost(self, cap: Capability[Any]) -> None:
        if cap is self.through:
            self.unbind()
        for waiter in tuple(self.waiters):
            if waiter.through is cap:
                waiter.fail(Error.CANCELLED)


def signal(thread: Thread, notification: Capability[Notification], bits: int) -> None:
    thread.finish()
    notification.object.signal(notification.badge or bits)


def wait(thread: Thread, notification: Capability[Notification], timeout: int) -> None:
    target = notification.object
    if target.word:
        thread.finish(target.take())
    else:
        thread.block(ThreadState.WAITING, target.waiters, notification, timeout)


def poll(thread: Thread, notification: Capability[Notification]) -> None:
    thread.finish(notification.object.take())


def notification_create(thread: Thread) -> None:
    thread.finish(Notification(thread.space).create(thread.space))
