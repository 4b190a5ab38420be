"""Threads: flows of control in an address space.

A thread is running in user mode or blocked in one system call; it has one outstanding call at
most.  A blocked thread is in exactly one queue, which ``queue`` names, or waits for a reply, which
``reply_cap`` names, or for the machine.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from kernel import abi
from kernel.abi import FOREVER, NULL, Error, Fault, Right, ThreadOp, ThreadState
from kernel.capability import Capability, KernelObject, Refused, require
from kernel.effects import EndThread, Resume, Schedule, Start
from kernel.endpoint import Message, Reply
from kernel.label import CONSUME, PRODUCE
from kernel.notification import Notification

if TYPE_CHECKING:
    from kernel.kernel import Space

MAX_PRIORITY = 255


class Thread(KernelObject):
    """A flow of control."""

    def __init__(self, space: Space, name: str, priority: int) -> None:
        super().__init__(space.kernel, space.label, space.account, abi.THREAD_COST)
        self.flows[(space.label, PRODUCE | CONSUME)] = 1  # whoever controls it talks with its label
        self.space, self.name = space, name
        self.priority = priority  # 0 lowest, 255 highest
        self.state, self.suspended = ThreadState.RUNNING, False
        self.held: Resume | list[Any] | None = None  # answer or call kept back while suspended
        self.queue: deque[Thread] | None = None  # the one queue that it is blocked in
        self.deadline = 0  # when its call times out, in machine time; 0: never
        self.message: Message | None = None  # what it is sending
        self.through: Capability[Any] | None = None  # what it sends or receives through
        self.wants_reply = False
        self.reply = Reply(self)
        self.reply_cap: Capability[Reply] | None = None  # with whoever is to answer its call
        self.bound: Notification | None = None  # heard while receiving
        self.pending = 0  # confirmations of the machine that it waits for

    # How its system call ends

    def finish(self, *results: Any) -> None:
        """Return successfully, once the machine has confirmed all that is pending."""
        if self.pending and self.state is ThreadState.RUNNING:
            self.state = ThreadState.UNMAPPING
        else:
            self.kernel.answer(self, (0, *results))

    def fail(self, error: Error) -> None:
        """Return with an error."""
        self.kernel.answer(self, (int(error),))

    def hear(self, badge: int, label: int, data: bytes = b"") -> None:
        """Return with a message of the kernel's own."""
        self.finish(badge, label, data, [], NULL)

    def settle(self) -> None:
        """One confirmation that it waits for has come."""
        self.pending -= 1
        if not self.pending and self.state is ThreadState.UNMAPPING:
            self.finish()

    def block(self, state: ThreadState, queue: deque[Thread], through: Any, timeout: int) -> None:
        """Wait in a queue of the object that it has called upon; refused if it must not wait."""
        if timeout == 0:
            raise Refused(Error.TIMED_OUT)
        self.state, self.queue, self.through = state, queue, through
        queue.append(self)
        if timeout != FOREVER:
            self.kernel.set_deadline(self, timeout)

    def unblock(self) -> None:
        """Leave the queue, if it is in one."""
        if self.queue is not None:
            self.queue.remove(self)
            self.queue = self.message = None

    def cancel(self) -> None:
        """Give up waiting, for a reply too; the caller decides what comes next."""
        self.unblock()
        if self.reply_cap is not None:
            cap, self.reply_cap = self.reply_cap, None
            cap.delete()

    # How it ends itself

    def end(self) -> None:
        """The thread is no more."""
        if self.state is ThreadState.DEAD:
            return
        self.cancel()
        self.state = ThreadState.DEAD
        self.deadline, self.held = 0, None
        if self.bound is not None:
            self.bound.unbind()
        if self.holders:  # its record stays as long as they
            self.space.account.refund(self.cost - abi.OBJECT_COST)
            self.cost = abi.OBJECT_COST
        else:
            super().destroy()

    def destroy(self) -> None:
        """The last capability to it is gone; if it lives, it can no longer be controlled."""
        if self.state is ThreadState.DEAD:
            super().destroy()


def thread_create(
    thread: Thread, space: Capability[Space] | None, entry: str, argument: bytes, priority: int
) -> None:
    target = thread.space.reach(space)
    require(0 < len(entry.encode()) <= abi.MAX_NAME, Error.BAD_ARGUMENT)
    require(len(argument) <= abi.MAX_ARGUMENT and priority <= MAX_PRIORITY, Error.BAD_ARGUMENT)
    created = Thread(target, entry, min(priority, thread.priority))
    slot = created.create(thread.space, Right.CONTROL | Right.GRANT)
    target.threads.append(created)
    thread.kernel.effects.append(Start(created, entry, argument))
    thread.finish(slot)


def _bind(thread: Thread, target: Thread, slot: int) -> None:
    if slot == NULL:
        if target.bound is not None:
            target.bound.unbind()
        return
    cap = thread.space.lookup(slot, "Notification", Right.RECEIVE)
    notification: Notification = cap.object
    require(target.bound is None and notification.bound is None, Error.IN_USE)
    # else it would hear through a capability of another label
    require(target.label == thread.label, Error.DENIED)
    notification.bind(target, cap)


def thread_control(thread: Thread, cap: Capability[Thread] | None, what: int, value: int) -> None:
    target, own = cap.object if cap else thread, thread.space
    require(target.state is not ThreadState.DEAD, Error.BAD_CAPABILITY)
    if what == ThreadOp.BIND:
        _bind(thread, target, value)
    elif what == ThreadOp.PRIORITY and value <= MAX_PRIORITY:
        target.priority = min(value, thread.priority)
    elif what == ThreadOp.BUDGET and value >> 32 <= value & 0xFFFFFFFF and target.space is not own:
        target.space.budget, target.space.period = value >> 32, value & 0xFFFFFFFF
    elif what in (ThreadOp.SUSPEND, ThreadOp.RESUME):
        target.suspended = what == ThreadOp.SUSPEND
    else:
        raise Refused(Error.BAD_ARGUMENT)
    if what != ThreadOp.BIND:
        thread.kernel.effects.append(Schedule(target))
    thread.finish()
    if not target.suspended:
        thread.kernel.resumed.append(target)


def thread_exit(thread: Thread, fault: int, reason: str) -> None:
    space = thread.space
    require(fault in (Fault.EXIT, Fault.EXCEPTION), Error.BAD_ARGUMENT)
    if thread is space.threads[0] or fault != Fault.EXIT:
        space.end(Fault(fault), reason)
    else:
        thread.end()
        space.threads.remove(thread)
        thread.kernel.effects.append(EndThread(thread))


def clock(thread: Thread) -> None:
    thread.finish(thread.kernel.clock())
