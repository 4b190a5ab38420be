"""A virtio entropy source (Virtio 1.1, 5.4): a request is room for random bytes."""

from __future__ import annotations

from vmm.backends import Entropy
from vmm.devices.virtio.device import Answer, Post, VirtioDevice
from vmm.devices.virtio.queue import Chain, Queue, QueueError

MOST = 4096
"""Bytes asked of the backend for one request; a driver may be given fewer than it has room for."""


class VirtioRng(VirtioDevice):
    """An entropy source in front of an ``Entropy`` backend."""

    kind = 4
    class_code = 0xFF_0000

    def __init__(self, backend: Entropy, post: Post) -> None:
        super().__init__()
        self._backend = backend
        self._post = post
        self._generation = 0
        self._asked = 0

    @property
    def busy(self) -> bool:
        """Whether an answer of the backend is still to come."""
        return self._asked > 0

    def reset(self) -> None:
        self._generation += 1

    def serve(self, queue: Queue) -> None:
        while (chain := queue.pop()) is not None:
            self._begin(queue, chain)

    def _begin(self, queue: Queue, chain: Chain) -> None:
        if chain.readable or not chain.writable:
            raise QueueError("an entropy request must have buffers to write, and no others")
        room = min(sum(len(view) for _, view in chain.writable), MOST)
        generation = self._generation

        def finish(data: bytes) -> None:
            self._asked -= 1
            if generation != self._generation:
                return
            left = data[:room]
            for gpa, view in chain.writable:
                piece, left = left[: len(view)], left[len(view) :]
                view[: len(piece)] = piece
                self.transport.wrote(gpa, len(piece))
            self.transport.give_back(queue, chain, min(len(data), room))

        self._asked += 1
        answer = Answer(self._post, finish)
        self._backend.request(room, answer.give)
        answer.settle()
