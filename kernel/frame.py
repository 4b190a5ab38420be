"""Frames: page-aligned physical memory, and the mappings through which spaces see it.

A mapping is made through a capability and ends with it.  Taking one away is not believed but
verified: the thread that caused it waits until the machine confirms that the memory is no longer
reachable from the space, and a frame's memory is freed only after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernel.abi import (
    ALL_RIGHTS,
    MAPPING_COST,
    OBJECT_COST,
    PAGE_SIZE,
    Error,
    Right,
)
from kernel.capability import Capability, KernelObject, Refused, create
from kernel.effects import DropFrame, Unmap

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.space import Space
    from kernel.thread import Thread


class Frame(KernelObject):
    """A piece of memory of ``size`` bytes."""

    __slots__ = ("mappings", "size")

    def __init__(self, kernel: Kernel, space: Space, size: int) -> None:
        super().__init__(kernel, space.label, space.account, size + OBJECT_COST)
        self.size = size
        self.mappings: dict[Mapping, None] = {}  # those being removed included

    def destroy(self, kernel: Kernel) -> None:
        if not self.mappings:
            kernel.effects.append(DropFrame(self))
            super().destroy(kernel)

    def settled(self, kernel: Kernel, waiter: Thread) -> None:
        for mapping in self.mappings:
            if mapping.removing:
                mapping.remove(kernel, waiter, asked=False)


class Mapping:
    """A frame as one space sees it."""

    __slots__ = ("cap", "frame", "id", "machine", "removing", "space", "waiters", "writable")

    def __init__(self, kernel: Kernel, cap: Capability, frame: Frame, writable: bool) -> None:
        assert cap.space is not None
        self.id = kernel.next_id()
        self.cap: Capability = cap
        self.frame = frame
        self.space = cap.space
        self.writable = writable
        self.removing = False
        self.waiters: list[Thread] = []
        self.machine: Any = None  # for the machine below
        frame.mappings[self] = None
        cap.mappings[self] = None
        self.space.mappings[self.id] = self

    def remove(self, kernel: Kernel, waiter: Thread | None, asked: bool) -> None:
        """Have the machine take it away; ``asked`` if its own space let go of it."""
        if waiter is not None:
            waiter.pending += 1
            self.waiters.append(waiter)
        self.cap.mappings.pop(self, None)
        if not self.removing:
            self.removing = True
            if self.space.alive:  # else the end of the space is the end of its mappings
                kernel.effects.append(Unmap(self, asked))

    def gone(self, kernel: Kernel) -> None:
        """The machine has verified that it is gone."""
        if self.space.mappings.pop(self.id, None) is None:
            return
        self.cap.mappings.pop(self, None)  # if the machine could not provide it
        self.space.account.refund(MAPPING_COST)
        del self.frame.mappings[self]
        if not self.frame.holders:
            self.frame.destroy(kernel)
        for waiter in self.waiters:
            kernel.settle(waiter)


def frame_create(kernel: Kernel, thread: Thread, size: int) -> None:
    space = thread.space
    if size == 0 or size % PAGE_SIZE:
        raise Refused(Error.BAD_ARGUMENT)
    frame = Frame(kernel, space, size)
    kernel.finish(thread, create(kernel, frame, space, ALL_RIGHTS & ~Right.CONTROL))


def map_frame(kernel: Kernel, thread: Thread, frame: int, rights: int) -> None:
    space = thread.space
    if rights not in (Right.READ, Right.READ | Right.WRITE):
        raise Refused(Error.BAD_ARGUMENT)
    target = space.lookup(frame, Frame, rights)
    if not space.account.charge(MAPPING_COST):
        raise Refused(Error.NO_QUOTA)
    mapping = Mapping(kernel, space.find(frame), target, bool(rights & Right.WRITE))
    kernel.answer(thread, (0, mapping.id, target.size), mapping, mapping.writable)


def unmap(kernel: Kernel, thread: Thread, mapping: int) -> None:
    found = thread.space.mappings.get(mapping)
    if found is None or found.removing:
        raise Refused(Error.BAD_ARGUMENT)
    found.remove(kernel, thread, asked=True)
    kernel.finish_when_unmapped(thread)
