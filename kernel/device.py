"""Devices: the hardware that the machine has, handed to the root task at boot.

The kernel knows a device's name and who may use it; what it is, the machine knows.  A driver asks
for every privileged operation with a call on the device's capability.  Its interrupt is one shot:
raised once, it stays masked until acknowledged, so a device cannot storm its driver.

Two devices are authorities rather than hardware, and so of another kind: ``policy`` lets its
holder fill the label matrix and create spaces under any label, ``debug`` lets its holder see all
kernel state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel.abi import Error, TraceEvent
from kernel.capability import Capability, KernelObject, require
from kernel.effects import Unmask
from kernel.notification import Notification

if TYPE_CHECKING:
    from kernel.kernel import Kernel, Space, Thread

POLICY, DEBUG = "policy", "debug"
_KINDS = {POLICY: "Policy", DEBUG: "Debug"}


class Device(KernelObject):
    """A resource of the machine, or an authority."""

    def __init__(self, kernel: Kernel, name: str, label: int, size: int = 0) -> None:
        super().__init__(kernel, label, None, 0)
        self.kind = _KINDS.get(name, self.kind)
        self.name = name
        self.size = size  # in bytes; 0 for a stream
        self.binding: tuple[Space, int, int] | None = None  # slots of device and notification
        self.bits, self.masked = 0, True

    def interrupt(self) -> None:
        """The device has something to read."""
        self.kernel.note((self.kernel.now, TraceEvent.INTERRUPT, 0, self.id, 0))
        bound, masked, self.masked = self.bound(), self.masked, True
        if bound is not None and not masked:
            bound.signal(self.bits)

    def bound(self) -> Notification | None:
        """What its interrupt signals, while the driver holds the capabilities it bound with."""
        if self.binding is None:
            return None
        space, device, notification = self.binding
        held = device in space.caps and notification in space.caps
        return space.caps[notification].object if held else None


def device_map(thread: Thread, device: Capability[Device], rights: int) -> None:
    writable, target = device.for_writing(rights), device.object
    thread.kernel.answer(thread, (0, target.size), target, writable)


def irq_bind(
    thread: Thread, device: Capability[Device], notification: Capability[Notification], bits: int
) -> None:
    target = device.object
    require(target.bound() in (None, notification.object), Error.IN_USE)
    target.bits, target.masked = bits, True
    target.binding = (thread.space, device.slot, notification.slot)
    thread.finish()


def irq_ack(thread: Thread, device: Capability[Device]) -> None:
    target = device.object
    require(target.bound() is not None, Error.BAD_ARGUMENT)
    if target.masked:
        target.masked = False
        thread.kernel.effects.append(Unmask(target))
    thread.finish()


def label_allow(thread: Thread, authority: object, first: int, second: int, allowed: int) -> None:
    require(allowed <= 1 and first != second, Error.BAD_ARGUMENT)
    thread.kernel.labels.set(first, second, bool(allowed))
    for space in () if allowed else tuple(thread.kernel.spaces.values()):
        if space.label in (first, second):
            _separate(space, thread)
    thread.finish()


def _separate(space: Space, waiter: Thread) -> None:
    """Take from a space all that lets it talk with others, which it may no longer."""
    may = space.kernel.labels.may
    for thread in space.threads:
        cap = thread.reply_cap
        if cap is not None and cap.space is not None and not may(space.label, cap.space.label):
            thread.cancel()
            thread.fail(Error.DENIED)
    for held in tuple(space.caps.values()):
        foreign = held.object.label != space.label  # if its own, the other side loses it
        if held.space and foreign and held.object.conflicts(space.label, held.rights):
            held.delete(waiter)
    for mapping in space.mappings.values():
        if mapping.removing:  # perhaps since before
            mapping.remove(waiter)
