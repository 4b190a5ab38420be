"""What kinds of virtio devices have in common, and how they wait for backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from vmm.devices.virtio.queue import Chain, Queue

RING_INDIRECT = 1 << 28
RING_EVENT_INDEX = 1 << 29
VERSION_1 = 1 << 32

Post = Callable[[Callable[[], None]], None]
"""``Board.post``."""

T = TypeVar("T")


class Transport:
    """What a device asks of its transport.  This one is connected to nothing."""

    queues: Sequence[Queue] = ()

    @property
    def running(self) -> bool:
        """Whether the driver is ready, and keeps the rules."""
        return False

    def give_back(self, queue: Queue, chain: Chain, written: int) -> None:
        """Return a request to the driver, with an interrupt if it wants one."""

    def wrote(self, gpa: int, length: int) -> None:
        """The device wrote to guest memory."""

    def fail(self) -> None:
        """The driver broke the rules: ask to be reset."""


class VirtioDevice:
    """A kind of device: its numbers, and what it does with requests."""

    kind = 0
    """Virtio device type (5)."""
    class_code = 0
    queue_count = 1

    def __init__(self) -> None:
        self.features = VERSION_1 | RING_INDIRECT | RING_EVENT_INDEX
        self.accepted = 0  # features that the driver wants
        self.transport = Transport()

    def configuration(self) -> bytes:
        """The device-specific configuration."""
        return b""

    def serve(self, queue: Queue) -> None:
        """The driver says that there are requests.  May raise ``QueueError``."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget all requests: their answers, when they come, are dropped."""


class Answer(Generic[T]):
    """A backend's answer that may come at once or later, on this thread or on another.

    ``finish`` is called once with the value, on the vCPU thread: within ``settle`` if the answer
    was there by then, otherwise through ``post``.
    """

    def __init__(self, post: Post, finish: Callable[[T], None]) -> None:
        self._post = post
        self._finish: Callable[[T], None] | None = finish
        self._values: list[T] = []
        self._settled = False

    def give(self, value: T) -> None:
        """Called by the backend."""
        self._values.append(value)
        if self._settled:
            self._post(self._deliver)

    def settle(self) -> None:
        """The call to the backend returned.  Called on the vCPU thread."""
        self._settled = True
        if self._values:
            self._deliver()

    def _deliver(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish(self._values[0])
