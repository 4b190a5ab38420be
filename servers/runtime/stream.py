"""Packet streams: bulk data through a shared frame instead of through messages.

A stream joins a client, which makes it, and a server, which attaches to it.  One frame holds two
rings of small fixed packets and an area of data:

    0     request ring:  u32 head, u32 tail, u32 asleep
    64    answer ring:   u32 head, u32 tail, u32 asleep
    4096  request slots, then answer slots, ``PACKET`` bytes each
    data  from the next page on: ``data_size`` bytes that the client divides as it likes

``head`` counts the packets ever taken, ``tail`` those ever put, both modulo 2**32.  Each side
writes its own counters only.  A notification wakes whoever said that it sleeps.  Neither side
believes the other: counters, offsets and lengths are checked before use, and a packet is copied
before it is looked at, so that it cannot change between check and use.

The alternative, a message a packet, costs two switches through the kernel each; here a burst of
packets costs at most one signal each way.
"""

from __future__ import annotations

import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from kernel.abi import PAGE_SIZE, Right
from servers.runtime.errors import BadRequest, Failed, KernelError
from servers.runtime.handles import Capability, Frame, Mapping, Notification

if TYPE_CHECKING:
    from servers.runtime.environment import Environment

_PACKET: Final = struct.Struct("<QIIQQ")
PACKET: Final = _PACKET.size
"""Bytes of one packet in a ring."""
_MASK: Final = 0xFFFFFFFF
_HEAD, _TAIL, _ASLEEP = 0, 1, 2  # words of a ring's header
_fence: Final = threading.Lock()
"""Taking a lock is a barrier for the processor; which lock does not matter."""
_RINGS: Final = (0, 64)
MAX_SLOTS: Final = 1024
MAX_DATA: Final = 64 << 20


class Packet(NamedTuple):
    """One request or its answer."""

    tag: int
    """Chosen by the client; comes back in the answer."""
    operation: int
    """What to do; in the answer, how it went."""
    length: int
    """Bytes of data, from ``offset`` on."""
    offset: int
    """Where its data is in the data area."""
    argument: int
    """For the operation's use."""


class StreamOffer(msgspec.Struct, array_like=True, frozen=True):
    """What a client sends to the server that is to attach to its stream.

    The server answers with the notification on which it wants to hear of requests.
    """

    frame: Frame
    slots: int
    to_client: Notification


class _Ring:
    """One direction of a stream, from one side."""

    def __init__(self, view: memoryview, header: int, slots_at: int, slots: int) -> None:
        self._view = view
        # Native words, which are read and written whole; ``struct`` clears its bytes first.
        self._words = view[header : header + 12].cast("I")
        self._slots_at = slots_at
        self._slots = slots
        self._own = 0  # this side's counter; the copy in shared memory is for the other side only

    def _slot(self, count: int) -> int:
        return self._slots_at + count % self._slots * PACKET

    def put(self, packet: tuple[int, int, int, int, int]) -> bool:
        """Add a packet; False if the ring is full."""
        used = (self._own - self._words[_HEAD]) & _MASK
        if used >= self._slots:
            return False
        _PACKET.pack_into(self._view, self._slot(self._own), *packet)
        self._own = (self._own + 1) & _MASK
        self._words[_TAIL] = self._own
        return True

    def take(self) -> Packet | None:
        """Remove the oldest packet; raises ``Failed`` if the other side broke the ring."""
        waiting = (self._words[_TAIL] - self._own) & _MASK
        if not waiting:
            return None
        if waiting > self._slots:
            raise Failed("the other side of the packet stream broke its ring")
        packet = Packet(*_PACKET.unpack_from(self._view, self._slot(self._own)))
        self._own = (self._own + 1) & _MASK
        self._words[_HEAD] = self._own
        return packet

    def asleep(self) -> bool:
        """Whether the taker waits for a signal."""
        with _fence:  # what was put is seen before this is read
            return bool(self._words[_ASLEEP])

    def sleep(self, sleeping: bool) -> None:
        """The taker says whether it needs a signal for the next packet."""
        self._words[_ASLEEP] = int(sleeping)
        with _fence:  # it is seen before what comes next is read
            pass


def _layout(slots: int) -> int:
    """Where the data area begins."""
    return PAGE_SIZE + -(-2 * slots * PACKET // PAGE_SIZE) * PAGE_SIZE


class _Side:
    """What both sides of a stream have: ``data``, a ring to put into and a ring to take from."""

    def __init__(self, mapping: Mapping, slots: int, out: int, wake: Notification | None) -> None:
        view = mapping.view
        self._mapping = mapping
        starts = (PAGE_SIZE, PAGE_SIZE + slots * PACKET)
        self._out = _Ring(view, _RINGS[out], starts[out], slots)
        self._in = _Ring(view, _RINGS[1 - out], starts[1 - out], slots)
        self._wake = wake
        self.slots = slots
        self.data = view[_layout(slots) :]
        """The data area, shared with the other side."""
        self._in.sleep(True)

    def put(self, packet: Packet) -> bool:
        """Send a packet and wake the other side if it sleeps; False if there is no room now."""
        if not self.post(packet):
            return False
        self.wake()
        return True

    def post(self, packet: Packet) -> bool:
        """Add a packet without waking the other side, which comes after the last of several."""
        return self._out.put(packet)

    def wake(self) -> None:
        """Wake the other side if it sleeps."""
        if self._wake is not None and self.needs_wake():
            self._wake.signal()

    def needs_wake(self) -> bool:
        """Whether the other side waits for a signal before it looks at what was posted."""
        return self._out.asleep()

    def take_all(self) -> list[Packet]:
        """The packets that are here.  Afterwards the next one is announced by a signal.

        At most as many as the ring has slots, so that a side that goes on putting cannot hold the
        other one up for ever: whoever gets that many comes again without being told.
        """
        packets: list[Packet] = []
        self._in.sleep(False)
        while len(packets) < self.slots:
            packet = self._in.take()
            if packet is None:
                self._in.sleep(True)
                packet = self._in.take()  # came before the other side saw that we sleep
                if packet is None:
                    break
                self._in.sleep(False)
            packets.append(packet)
        return packets

    def part(self, packet: Packet) -> memoryview:
        """The packet's data; raises ``Failed`` if it is not within the data area."""
        end = packet.offset + packet.length
        if end > len(self.data):
            raise Failed("a packet names data outside its stream")
        return self.data[packet.offset : end]

    def close(self) -> None:
        """Unmap the stream."""
        self.data = memoryview(b"")
        self._mapping.close()


class StreamClient(_Side):
    """The side that makes the stream.  ``signal`` is signalled when answers come.

    Send ``offer`` to the server, and hand the notification that it answers with to ``connect``.
    When the server was replaced, ``reset``, offer again, and put again what was not answered: the
    data area is as it was.
    """

    def __init__(self, env: Environment, slots: int, data_size: int, signal: Notification) -> None:
        """``slots`` packets each way, a power of two; ``data_size`` bytes of data."""
        _check(slots)
        self._frame = env.frame(_layout(slots) + data_size)
        super().__init__(self._frame.map(), slots, 0, None)
        self.offer = StreamOffer(self._frame, slots, signal.mint(Right.SEND | Right.GRANT))

    def connect(self, to_server: Notification) -> None:
        """Signal this for requests from now on."""
        self._wake = to_server

    def reset(self) -> None:
        """Empty the rings; nobody may be attached."""
        self._frame.revoke()
        self._mapping.view[:PAGE_SIZE] = bytes(PAGE_SIZE)
        data = self.data
        super().__init__(self._mapping, self.slots, 0, None)
        self.data = data

    def close(self) -> None:
        """Take the frame back from the server and unmap it."""
        self._frame.revoke()
        super().close()
        self._frame.drop()


class StreamServer(_Side):
    """The side that attaches to an offer, whose capabilities become its own.

    Raises ``BadRequest`` if the offer is no good, and has given the capabilities up then.
    """

    def __init__(self, offer: StreamOffer) -> None:
        self._held = (offer.frame, offer.to_client)
        try:
            super().__init__(_attach(offer), offer.slots, 1, offer.to_client)
        except BadRequest:
            _drop(*self._held)
            raise

    def close(self) -> None:
        """Unmap the stream and give up its capabilities, which the client may have revoked."""
        with suppress(KernelError):
            super().close()
        _drop(*self._held)


def _attach(offer: StreamOffer) -> Mapping:
    """Map an offer's frame if it is what it should be."""
    if not _valid(offer.slots):
        raise BadRequest(f"a stream has a power of two of slots, at most {MAX_SLOTS}")
    try:
        mapping = offer.frame.map()
    except (KernelError, MemoryError) as error:
        raise BadRequest(f"the stream's frame cannot be mapped: {error}") from None
    if 0 <= mapping.size - _layout(offer.slots) <= MAX_DATA:
        return mapping
    mapping.close()
    raise BadRequest(f"a stream's frame holds its slots and at most {MAX_DATA >> 20} MiB of data")


def _drop(*capabilities: Capability) -> None:
    """Give up capabilities, of which some may have been revoked."""
    for capability in capabilities:
        with suppress(KernelError):
            capability.drop()


def _valid(slots: int) -> bool:
    return 0 < slots <= MAX_SLOTS and not slots & (slots - 1)


def _check(slots: int) -> None:
    if not _valid(slots):
        raise ValueError(f"a stream has a power of two of slots, at most {MAX_SLOTS}")
