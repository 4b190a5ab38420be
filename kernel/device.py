"""Devices: the hardware that the machine has, handed to the root task at boot.

The kernel knows a device's name and who may use it; what it is, the machine knows.  A driver asks
for every privileged operation with a call on the device's capability.  Its interrupt is one shot:
raised once, it stays masked until acknowledged, so a device cannot storm its driver.

Two devices are authorities rather than hardware: ``policy`` lets its holder fill the label matrix
and create spaces under any label, ``debug`` lets its holder see all kernel state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel import debug as report
from kernel.abi import Error, Right, TraceEvent
from kernel.capability import KernelObject, Refused
from kernel.effects import Unmask
from kernel.notification import Notification

if TYPE_CHECKING:
    from kernel.kernel import Kernel
    from kernel.space import Space
    from kernel.thread import Thread

POLICY = "policy"
DEBUG = "debug"
AUTHORITIES = (POLICY, DEBUG)


class Device(KernelObject):
    """A resource of the machine, or an authority."""

    __slots__ = ("binding", "bits", "masked", "name", "size")

    def __init__(self, kernel: Kernel, name: str, label: int, size: int = 0) -> None:
        super().__init__(kernel, label, None, 0)
        self.name = name
        self.size = size  # in bytes; 0 for a stream
        self.binding: tuple[Space, int, int] | None = None  # slots of device and notification
        self.bits = 0
        self.masked = True

    def interrupt(self, kernel: Kernel) -> None:
        """The device has something to read."""
        kernel.note(TraceEvent.INTERRUPT, 0, self.id)
        if not self.masked:
            self.masked = True
            bound = self.bound()
            if bound is not None:
                bound.signal(kernel, self.bits)

    def bound(self) -> Notification | None:
        """What its interrupt signals, while the driver holds the capabilities it bound with."""
        if self.binding is None:
            return None
        space, device, notification = self.binding
        found = space.caps.get(notification)
        if device not in space.caps or found is None:
            return None
        assert isinstance(found.object, Notification)
        return found.object


def _hardware(thread: Thread, slot: int, rights: int) -> Device:
    device = thread.space.lookup(slot, Device, rights)
    if device.name in AUTHORITIES:
        raise Refused(Error.BAD_CAPABILITY)
    return device


def _authority(thread: Thread, slot: int, name: str) -> None:
    if thread.space.lookup(slot, Device, Right.CONTROL).name != name:
        raise Refused(Error.BAD_CAPABILITY)


def device_map(kernel: Kernel, thread: Thread, device: int, rights: int) -> None:
    if rights not in (Right.READ, Right.READ | Right.WRITE):
        raise Refused(Error.BAD_ARGUMENT)
    target = _hardware(thread, device, rights)
    kernel.answer(thread, (0, target.size), target, bool(rights & Right.WRITE))


def irq_bind(kernel: Kernel, thread: Thread, device: int, notification: int, bits: int) -> None:
    target = _hardware(thread, device, Right.CONTROL)
    word = thread.space.lookup(notification, Notification, Right.SEND)
    if target.bound() not in (None, word):
        raise Refused(Error.IN_USE)
    target.binding, target.bits, target.masked = (thread.space, device, notification), bits, True
    kernel.finish(thread)


def irq_ack(kernel: Kernel, thread: Thread, device: int) -> None:
    target = _hardware(thread, device, Right.CONTROL)
    if target.bound() is None:
        raise Refused(Error.BAD_ARGUMENT)
    if target.masked:
        target.masked = False
        kernel.effects.append(Unmask(target))
    kernel.finish(thread)


def label_allow(
    kernel: Kernel, thread: Thread, authority: int, first: int, second: int, allowed: int
) -> None:
    _authority(thread, authority, POLICY)
    if allowed > 1 or first == second:
        raise Refused(Error.BAD_ARGUMENT)
    kernel.labels.set(first, second, bool(allowed))
    if not allowed:
        kernel.separate(first, second, thread)
    kernel.finish_when_unmapped(thread)


def clock(kernel: Kernel, thread: Thread) -> None:
    kernel.finish(thread, kernel.clock())


def debug(kernel: Kernel, thread: Thread, authority: int, operation: int, start: int) -> None:
    _authority(thread, authority, DEBUG)
    report.answer(kernel, thread, operation, start)
