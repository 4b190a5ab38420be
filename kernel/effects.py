"""What a step of the kernel asks its machine to do, in the order in which it must be done.

The kernel only describes; the machine acts.  Where an effect needs a confirmation, the machine
answers later with the event method of ``Kernel`` that the effect names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from kernel.abi import Fault
    from kernel.kernel import Device, Frame, Link, Mapping, Space, Thread

Answer = tuple[Any, ...]
Resource: TypeAlias = "Mapping | Device | Link | None"


class Resume(NamedTuple):
    """Return from the thread's system call with this answer.

    The resource (of ``map``, ``device_map`` and ``link_open``) is handed over beside the answer,
    for writing only if ``writable`` is set; of a link, that is the server's end.  If the machine
    cannot provide it, it answers ``[Error.NO_DEVICE]``.
    """

    thread: Thread
    answer: Answer
    resource: Resource = None
    writable: bool = False


class Start(NamedTuple):
    """Start a thread; with the first thread of its space, make the protection domain.

    A failure is answered with ``Kernel.died``.
    """

    thread: Thread
    entry: str
    argument: bytes


class Kill(NamedTuple):
    """End the protection domain; answered with ``Kernel.ended`` once nothing of it is left.

    The fault and its detail say why, for a space that has no fault endpoint.
    """

    space: Space
    fault: Fault
    detail: str


class EndThread(NamedTuple):
    """A thread ended while its space goes on: let go of its channel."""

    thread: Thread


class Unmap(NamedTuple):
    """See to it that the mapping is gone; answered with ``Kernel.unmapped``, or with ``died``.

    If ``asked`` is set, its space has asked for this itself and let go already.
    """

    mapping: Mapping
    asked: bool


class DropFrame(NamedTuple):
    """Free the frame's memory: no capability to it and no mapping of it is left."""

    frame: Frame


class Unmask(NamedTuple):
    """Call ``Kernel.interrupt`` once, as soon as the device has something to read."""

    device: Device


class Schedule(NamedTuple):
    """Apply the thread's priority and suspension, and the budget of its space."""

    thread: Thread


class Cut(NamedTuple):
    """Sever the link: whoever uses an end of it finds that it is over."""

    link: Link


Effect = Resume | Start | Kill | EndThread | Unmap | DropFrame | Unmask | Schedule | Cut
