"""The split virtqueue (Virtio 1.1, 2.6): chains of guest buffers in, used buffers out.

  descriptor table  16 bytes each: u64 address, u32 length, u16 flags, u16 next
  available ring    u16 flags, u16 index, u16 heads[size], u16 used_event
  used ring         u16 flags, u16 index, {u32 head, u32 length}[size], u16 avail_event

Everything in it was written by the guest and may be nonsense.  What the specification forbids
raises ``QueueError``; the device then asks to be reset and touches the queue no more.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from vmm.memory import GuestAddressError, GuestMemory

MAX_SIZE = 256
NEXT, WRITE, INDIRECT = 1, 2, 4
NO_INTERRUPT = 1
DESCRIPTOR = struct.Struct("<QIHH")
RING_HEAD = struct.Struct("<HH")
U16 = struct.Struct("<H")
USED_ELEMENT = struct.Struct("<II")


class QueueError(Exception):
    """The driver broke the rules of virtqueues."""


class Buffer(NamedTuple):
    """A piece of guest memory, checked to be RAM."""

    gpa: int
    view: memoryview


def split(buffers: tuple[Buffer, ...], at: int) -> tuple[list[Buffer], list[Buffer]]:
    """Cut a list of buffers after ``at`` bytes."""
    first: list[Buffer] = []
    second: list[Buffer] = []
    for gpa, view in buffers:
        size = len(view)
        if at >= size:
            first.append(Buffer(gpa, view))
        elif at <= 0:
            second.append(Buffer(gpa, view))
        else:
            first.append(Buffer(gpa, view[:at]))
            second.append(Buffer(gpa + at, view[at:]))
        at -= size
    return first, second


def total(buffers: tuple[Buffer, ...] | list[Buffer]) -> int:
    """Bytes in a list of buffers."""
    return sum(len(view) for _, view in buffers)


class Chain(NamedTuple):
    """One request of the driver."""

    head: int
    readable: tuple[Buffer, ...]
    writable: tuple[Buffer, ...]


class Queue:
    """One queue, seen from the device."""

    def __init__(self, memory: GuestMemory) -> None:
        self._memory = memory
        self.reset()

    def reset(self) -> None:
        self.size = MAX_SIZE
        self.enabled = False
        self.descriptors = self.available = self.used = 0
        self.event_index = False
        self._next_available = 0
        self._next_used = 0

    def pop(self) -> Chain | None:
        """The next request, or None."""
        try:
            _, index = self._memory.read_struct(RING_HEAD, self.available)
            waiting = (index - self._next_available) & 0xFFFF
            if not waiting:
                return self._wait_for_more()
            if waiting > self.size:
                raise QueueError("more requests are available than the queue holds")
            slot = self.available + 4 + 2 * (self._next_available % self.size)
            (head,) = self._memory.read_struct(U16, slot)
            self._next_available = (self._next_available + 1) & 0xFFFF
            return self._walk(head)
        except GuestAddressError as error:
            raise QueueError(str(error)) from error

    def put_back(self, count: int) -> None:
        """The requests that were popped last are to be popped again."""
        self._next_available = (self._next_available - count) & 0xFFFF

    def _wait_for_more(self) -> Chain | None:
        """The queue is empty: tell the driver from which request on to notify us."""
        if self.event_index:
            event = self.used + 4 + 8 * self.size
            self._memory.write_struct(U16, event, self._next_available)
            _, index = self._memory.read_struct(RING_HEAD, self.available)
            if index != self._next_available:
                return self.pop()
        return None

    def _walk(self, head: int) -> Chain:
        readable: list[Buffer] = []
        writable: list[Buffer] = []
        table, entries, index = self.descriptors, self.size, head
        left = self.size
        indirect = False
        while True:
            if index >= entries:
                raise QueueError(f"descriptor {index} of {entries}")
            if not left:
                raise QueueError("a chain is longer than the queue")
            left -= 1
            address, length, flags, following = self._memory.read_struct(
                DESCRIPTOR, table + 16 * index
            )
            if flags & INDIRECT:
                if indirect or flags & NEXT or length % 16 or not length:
                    raise QueueError("an indirect table that the specification forbids")
                table, entries, index, indirect = address, length // 16, 0, True
                if entries > self.size:
                    raise QueueError("an indirect table is longer than the queue")
                left = entries
                continue
            if not length:
                raise QueueError("a buffer without length")
            buffer = Buffer(address, self._memory.view(address, length))
            if flags & WRITE:
                writable.append(buffer)
            elif writable:
                raise QueueError("a buffer to read follows one to write")
            else:
                readable.append(buffer)
            if not flags & NEXT:
                return Chain(head, tuple(readable), tuple(writable))
            index = following

    def push(self, chain: Chain, written: int) -> bool:
        """Give a request back with the number of bytes written.

        Returns whether the driver wants an interrupt for it.
        """
        memory = self._memory
        try:
            slot = self.used + 4 + 8 * (self._next_used % self.size)
            memory.write_struct(USED_ELEMENT, slot, chain.head, written)
            before = self._next_used
            self._next_used = after = (before + 1) & 0xFFFF
            memory.write_struct(U16, self.used + 2, after)
            if self.event_index:
                (event,) = memory.read_struct(U16, self.available + 4 + 2 * self.size)
                return (after - event - 1) & 0xFFFF < (after - before) & 0xFFFF
            flags, _ = memory.read_struct(RING_HEAD, self.available)
            return not flags & NO_INTERRUPT
        except GuestAddressError as error:
            raise QueueError(str(error)) from error
