"""A virtio network adapter (Virtio 1.1, 5.1).

  configuration  00 address (6 bytes)  06 u16 status: 1 link is up
  queues         0 to receive  1 to transmit
  packets        10 bytes offload (``drivers.net.frames``), u16 buffers that it is in, the frame

Checksums and the cutting of TCP streams are left to whoever receives a frame: between two guests
on the same switch, to nobody.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from drivers.net.frames import NEEDS_CHECKSUM, OFFLOAD, PLAIN
from vmm.backends import Network
from vmm.devices.virtio.device import Post, VirtioDevice
from vmm.devices.virtio.queue import Chain, Queue, QueueError, split, total

CHECKSUM, GUEST_CHECKSUM, MAC, STATUS = 1 << 0, 1 << 1, 1 << 5, 1 << 16
GUEST_TSO4, GUEST_TSO6, HOST_TSO4, HOST_TSO6 = 1 << 7, 1 << 8, 1 << 11, 1 << 12
MERGEABLE: Final = 1 << 15
ALL_OFFLOADS: Final = GUEST_CHECKSUM | GUEST_TSO4 | GUEST_TSO6
RECEIVE, TRANSMIT = 0, 1
HEADER: Final = 12
LINK_UP: Final = 1
_BUFFERS: Final = struct.Struct("<H")


class VirtioNet(VirtioDevice):
    """An adapter in front of a ``Network`` backend."""

    kind = 1
    class_code = 0x02_0000
    queue_count = 2

    def __init__(self, backend: Network, address: bytes, post: Post) -> None:
        """``address`` is its own, of 6 bytes."""
        super().__init__()
        self._backend = backend
        self._address = address
        self.features |= CHECKSUM | HOST_TSO4 | HOST_TSO6 | MAC | STATUS | MERGEABLE | ALL_OFFLOADS
        backend.changed = lambda: post(self._changed)

    def configuration(self) -> bytes:
        return self._address + _BUFFERS.pack(LINK_UP)

    def serve(self, queue: Queue) -> None:
        if queue is self.transport.queues[TRANSMIT]:
            self._transmit(queue)
        else:
            self._receive(queue)

    def _changed(self) -> None:
        """The backend has frames for us, or room for ours."""
        if not self.transport.running:
            return
        try:
            for queue in self.transport.queues:
                if queue.enabled:
                    self.serve(queue)
        except QueueError:
            self.transport.fail()

    def _transmit(self, queue: Queue) -> None:
        """Send what the driver has, as far as there is room."""
        while self._backend.room() and (chain := queue.pop()) is not None:
            header, frame = split(chain.readable, HEADER)
            if total(header) < HEADER or chain.writable:
                raise QueueError("a packet without header, or with buffers to write")
            offload = b"".join(view for _, view in header)[: OFFLOAD.size]
            self._backend.send([view for _, view in frame], offload)
            self.transport.give_back(queue, chain, 0)
        self._backend.flush()

    def _receive(self, queue: Queue) -> None:
        """Give the driver what has arrived, as far as it has made room."""
        simple = self.accepted & ALL_OFFLOADS != ALL_OFFLOADS
        while (found := self._backend.peek(simple)) is not None:
            if not self._fill(queue, *found):
                return
            self._backend.skip()

    def _fill(self, queue: Queue, offload: bytes, frame: bytes | memoryview) -> bool:
        """Put a frame into the driver's buffers; False if it is to wait for more of them."""
        if offload != PLAIN:  # of which only the need for a checksum is ours to hand on
            offload = bytes([offload[0] & NEEDS_CHECKSUM]) + offload[1:]
        chains: list[Chain] = []
        room, needed = 0, HEADER + len(frame)
        while room < needed and (not chains or self.accepted & MERGEABLE):
            chain = queue.pop()
            if chain is None:
                queue.put_back(len(chains))
                return False
            if chain.readable or not chain.writable:
                raise QueueError("a buffer to receive into is to be written alone")
            chains.append(chain)
            room += total(chain.writable)
        if room < needed:  # it can never be taken: buffers are as large as this driver makes them
            queue.put_back(len(chains))
            return True
        packet = b"".join((offload, _BUFFERS.pack(len(chains)), frame))
        self._write(queue, chains, packet)
        return True

    def _write(self, queue: Queue, chains: Sequence[Chain], packet: bytes) -> None:
        source, at = memoryview(packet), 0
        for chain in chains:
            start = at
            for gpa, view in chain.writable:
                piece = source[at : at + len(view)]
                view[: len(piece)] = piece
                self.transport.wrote(gpa, len(piece))
                at += len(piece)
            self.transport.give_back(queue, chain, at - start)
