"""Threads: flows of control in an address space.

A thread is running in user mode or blocked in one system call; it has one outstanding call at
most.  A blocked thread is in exactly one queue, which ``queue`` names, or waits for a reply, which
``reply_cap`` names, or for the machine.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from kernel.abi import (
    MAX_ARGUMENT,
    MAX_NAME,
    NULL,
    OBJECT_COST,
    THREAD_COST,
    Error,
    Fault,
    Right,
    ThreadOp,
    ThreadState,
)
from kernel.capability import Capability, KernelObject, Refused, create, delete
from kernel.effects import EndThread, Resume, Schedule, Start
from kernel.endpoint import Message, Reply
from kernel.label import CONSUME, PRODUCE
from kernel.notification import Notification

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.space import Space

MAX_PRIORITY = 255


class Thread(KernelObject):
    """A flow of control."""

    __slots__ = (
        "bound",
        "budget",
        "deadline",
        "held",
        "message",
        "name",
        "pending",
        "period",
        "priority",
        "queue",
        "reply",
        "reply_cap",
        "space",
        "state",
        "suspended",
        "through",
        "wants_reply",
    )

    def __init__(self, kernel: Kernel, space: Space, name: str, priority: int) -> None:
        super().__init__(kernel, space.label, space.account, THREAD_COST)
        self.flows[(space.label, PRODUCE | CONSUME)] = 1  # whoever controls it talks with its label
        self.space = space
        self.name = name
        self.priority = priority  # 0 lowest, 255 highest
        self.budget = self.period = 0  # microseconds it may run per period; 0: no limit
        self.state = ThreadState.RUNNING
        self.suspended = False
        self.held: Resume | list[Any] | None = None  # answer or call kept back while suspended
        self.queue: deque[Thread] | None = None  # the one queue that it is blocked in
        self.deadline = 0  # when its call times out, in machine time; 0: never
        self.message: Message | None = None  # what it is sending
        self.through: Capability | None = None  # what it sends or receives through
        self.wants_reply = False
        self.reply = Reply(kernel, self)
        self.reply_cap: Capability | None = None  # with whoever is to answer its call
        self.bound: Notification | None = None  # heard while receiving
        self.pending = 0  # confirmations of the machine that it waits for

    def block(self, state: ThreadState, queue: deque[Thread] | None) -> None:
        """Wait in a queue, or for what the state names."""
        self.state = state
        self.queue = queue
        if queue is not None:
            queue.append(self)

    def cancel(self, kernel: Kernel) -> None:
        """Leave the queue, or give up waiting for a reply; the caller decides what comes next."""
        if self.queue is not None:
            self.queue.remove(self)
            self.queue = None
        if self.reply_cap is not None:
            cap, self.reply_cap = self.reply_cap, None
            delete(kernel, cap)
        self.message = None

    def end(self, kernel: Kernel) -> None:
        """The thread is no more."""
        if self.state is ThreadState.DEAD:
            return
        self.cancel(kernel)
        self.state = ThreadState.DEAD
        self.deadline = 0
        self.held = None
        if self.bound is not None:
            self.bound.unbind()
        if self.holders:  # its record stays as long as they
            self.space.account.refund(self.cost - OBJECT_COST)
            self.cost = OBJECT_COST
        else:
            super().destroy(kernel)

    def destroy(self, kernel: Kernel) -> None:
        """The last capability to it is gone; if it lives, it can no longer be controlled."""
        if self.state is ThreadState.DEAD:
            super().destroy(kernel)


def thread_create(
    kernel: Kernel, thread: Thread, space: int, entry: str, argument: bytes, priority: int
) -> None:
    target = thread.space.space(space)
    if (
        not 0 < len(entry.encode()) <= MAX_NAME
        or len(argument) > MAX_ARGUMENT
        or priority > MAX_PRIORITY
    ):
        raise Refused(Error.BAD_ARGUMENT)
    created = Thread(kernel, target, entry, min(priority, thread.priority))
    slot = create(kernel, created, thread.space, Right.CONTROL | Right.GRANT)
    target.threads.append(created)
    kernel.effects.append(Start(created, entry, argument))
    kernel.finish(thread, slot)


def _bind(kernel: Kernel, thread: Thread, target: Thread, slot: int) -> None:
    if slot == NULL:
        if target.bound is not None:
            target.bound.unbind()
        return
    notification = thread.space.lookup(slot, Notification, Right.RECEIVE)
    if target.bound is not None or notification.bound is not None:
        raise Refused(Error.IN_USE)
    if target.label != thread.label:
        raise Refused(Error.DENIED)  # it would hear through a capability of another label
    notification.bind(kernel, target, thread.space.caps[slot])


def thread_control(kernel: Kernel, thread: Thread, slot: int, operation: int, value: int) -> None:
    target = thread
    if slot != NULL:
        target = thread.space.lookup(slot, Thread, Right.CONTROL)
    if target.state is ThreadState.DEAD:
        raise Refused(Error.BAD_CAPABILITY)
    if operation == ThreadOp.BIND:
        _bind(kernel, thread, target, value)
    elif operation == ThreadOp.PRIORITY and value <= MAX_PRIORITY:
        target.priority = min(value, thread.priority)
    elif operation == ThreadOp.BUDGET and value >> 32 <= value & 0xFFFFFFFF:
        target.budget, target.period = value >> 32, value & 0xFFFFFFFF
    elif operation in (ThreadOp.SUSPEND, ThreadOp.RESUME):
        target.suspended = operation == ThreadOp.SUSPEND
    else:
        raise Refused(Error.BAD_ARGUMENT)
    if operation != ThreadOp.BIND:
        kernel.effects.append(Schedule(target))
    kernel.finish(thread)
    if not target.suspended:
        kernel.go_on(target)


def thread_exit(kernel: Kernel, thread: Thread, fault: int, reason: str) -> None:
    space = thread.space
    if fault not in (Fault.EXIT, Fault.EXCEPTION):
        raise Refused(Error.BAD_ARGUMENT)
    if thread is space.threads[0] or fault != Fault.EXIT:
        space.end(kernel, Fault(fault), reason)
    else:
        thread.end(kernel)
        space.threads.remove(thread)
        kernel.effects.append(EndThread(thread))
