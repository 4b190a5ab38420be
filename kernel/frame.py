"""Frames: page-aligned physical memory, and the mappings through which spaces see it.

A mapping is made through a capability and ends with it.  Taking one away is not believed but
verified: the thread that caused it waits until the machine confirms that the memory is no longer
reachable from the space, and a frame's memory is freed only after that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kernel.abi import MAPPING_COST, OBJECT_COST, PAGE_SIZE, Error
from kernel.capability import Capability, KernelObject, Refused, require
from kernel.effects import DropFrame, Unmap

if TYPE_CHECKING:
    from kernel.kernel import Space, Thread


class Frame(KernelObject):
    """A piece of memory of ``size`` bytes."""

    def __init__(self, space: Space, size: int) -> None:
        super().__init__(space.kernel, space.label, space.account, size + OBJECT_COST)
        self.size = size
        self.mappings: dict[Mapping, None] = {}  # those being removed included

    def destroy(self) -> None:
        if not self.mappings:
            self.kernel.effects.append(DropFrame(self))
            super().destroy()

    def settled(self, waiter: Thread) -> None:
        for mapping in self.mappings:
            if mapping.removing:
                mapping.remove(waiter)


class Mapping:
    """A frame as one space sees it."""

    def __init__(self, space: Space, cap: Capability[Frame], writable: bool) -> None:
        self.id = space.kernel.next_id()
        self.space, self.cap, self.frame = space, cap, cap.object
        self.writable, self.removing = writable, False
        self.waiters: list[Thread] = []
        self.machine: Any = None  # for the machine below
        self.frame.mappings[self] = cap.mappings[self] = None
        space.mappings[self.id] = self

    def remove(self, waiter: Thread | None, asked: bool = False) -> None:
        """Have the machine take it away; ``asked`` if its own space let go of it."""
        if waiter is not None:
            waiter.pending += 1
            self.waiters.append(waiter)
        self.cap.mappings.pop(self, None)
        if not self.removing:
            self.removing = True
            if self.space.alive:  # else the end of the space is the end of its mappings
                self.space.kernel.effects.append(Unmap(self, asked))

    def gone(self) -> None:
        """The machine has verified that it is gone."""
        if self.space.mappings.pop(self.id, None) is None:
            return
        self.cap.mappings.pop(self, None)  # if the machine could not provide it
        self.space.account.refund(MAPPING_COST)
        del self.frame.mappings[self]
        if not self.frame.holders:
            self.frame.destroy()
        for waiter in self.waiters:
            waiter.settle()


def frame_create(thread: Thread, size: int) -> None:
    require(size and size % PAGE_SIZE == 0, Error.BAD_ARGUMENT)
    thread.finish(Frame(thread.space, size).create(thread.space))


def map(thread: Thread, frame: Capability[Frame], rights: int) -> None:
    writable = frame.for_writing(rights)
    require(thread.space.account.charge(MAPPING_COST), Error.NO_QUOTA)
    mapping = Mapping(thread.space, frame, writable)
    thread.kernel.answer(thread, (0, mapping.id, frame.object.size), mapping, writable)


def unmap(thread: Thread, mapping: int) -> None:
    found = thread.space.mappings.get(mapping)
    if found is None or found.removing:
        raise Refused(Error.BAD_ARGUMENT)
    found.remove(thread, asked=True)
    thread.finish()
