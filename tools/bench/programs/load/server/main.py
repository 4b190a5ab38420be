"""A server under load: carries out what it is asked, and keeps what it is given as told."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from servers.runtime import (
    Environment,
    Failed,
    Frame,
    KernelError,
    Mapping,
    Notification,
    Right,
    ServiceError,
)
from servers.runtime.stream import StreamOffer, StreamServer
from tools.bench.programs.load.interface import (
    NOT_ATTACHED,
    Given,
    Stamp,
    Ticket,
    Worker,
    mark,
)
from tools.bench.programs.load.lane import Lane, Lanes

PAGE = 4096


class Attached:
    """One client's stream."""

    def __init__(self, offer: StreamOffer) -> None:
        self._stream = StreamServer(offer)

    def work(self) -> tuple[int, bool]:
        """Answer what is in the ring: how much there was, and whether there may be more."""
        packets = self._stream.take_all()
        for packet in packets:
            part = self._stream.part(packet)
            if bytes(part) != bytes((mark(packet.tag),)) * len(part):
                raise Failed(f"packet {packet.tag} came with other data")
            part[:] = bytes((mark(packet.tag + 1),)) * len(part)
            if not self._stream.put(packet):
                raise Failed("there is no room for an answer")
        return len(packets), len(packets) == self._stream.slots

    def close(self) -> None:
        self._stream.close()


class Serving(Worker):
    """The service, or one end of a link: these have only ``step``."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._lanes = Lanes(env.clock())

    def step(self, ticket: Ticket) -> Stamp:
        return self._lanes.stamp(self._env.badge, ticket)


class Main(Serving):
    """The service that is called through the kernel."""

    def __init__(self, env: Environment) -> None:
        super().__init__(env)
        self._signal = env.listen()
        self._kept: dict[int, tuple[Frame, Mapping]] = {}  # by the client's badge
        self._given: dict[int, Frame] = {}
        self._attached: dict[int, Attached] = {}
        self._wakes: dict[int, Notification] = {}
        self._bits: dict[int, int] = {}  # badge -> number of its bit
        self._next = env.open(Worker, "next") if env.has("next") else None
        self._lane = Lane(env.clock(), 0, Counter())

    def tell(self, ticket: Ticket, word: Notification) -> Stamp:
        word.signal(ticket.number & 0xFFFF or 1)
        word.drop()
        return self.step(ticket)

    def fill(self, ticket: Ticket, frame: Frame) -> Stamp:
        mapping = frame.map()
        _check(mapping, mark(ticket.number))
        _fill(mapping, mark(ticket.number + 1))
        mapping.close()
        frame.drop()
        return self.step(ticket)

    def relay(self, ticket: Ticket, frame: Frame) -> Stamp:
        assert self._next is not None
        following, mapping = self._next, frame.map()
        _check(mapping, mark(ticket.number))

        def call(there: Ticket) -> Stamp:
            _fill(mapping, mark(there.number))  # again for each try: who died may have changed it
            return following.fill(there, frame)

        self._lane.call(call)
        _check(mapping, mark(self._lane.number + 1))
        _fill(mapping, mark(ticket.number + 1))
        mapping.close()
        frame.drop()
        return self.step(ticket)

    def keep(self, ticket: Ticket, frame: Frame) -> Stamp:
        badge = self._env.badge
        self._forget(badge)
        self._kept[badge] = frame, frame.map()
        return self.step(ticket)

    def give(self, ticket: Ticket) -> Given:
        badge = self._env.badge
        self._take_back(badge)
        frame = self._given[badge] = self._env.frame(PAGE)
        mapping = frame.map()
        _fill(mapping, mark(ticket.number))
        mapping.close()
        return Given(self.step(ticket), frame)

    def attach(self, offer: StreamOffer) -> Notification:
        badge = self._env.badge
        self._detach(badge)
        self._attached[badge] = Attached(offer)
        if badge not in self._wakes:
            bit = self._bits.setdefault(badge, len(self._bits))
            self._wakes[badge] = self._signal.mint(Right.SEND | Right.GRANT, 1 << bit)
        return self._wakes[badge]

    def unheard(self) -> int:
        attached = self._attached.get(self._env.badge)
        return NOT_ATTACHED if attached is None else attached.work()[0]

    def notify(self, bits: int) -> None:
        """Serve the streams of the clients that signalled."""
        for badge, bit in self._bits.items():
            if bits >> bit & 1 and badge in self._attached:
                try:
                    _, more = self._attached[badge].work()
                except (ServiceError, KernelError):  # its client was killed, or took it back
                    self._detach(badge)
                    continue
                if more:
                    self._signal.signal(1 << bit)

    def release(self) -> None:
        badge = self._env.badge
        self._forget(badge)
        self._take_back(badge)
        self._detach(badge)
        if badge in self._wakes:
            self._wakes.pop(badge).drop()

    def _forget(self, badge: int) -> None:
        """Give up what was kept, which its client may have taken away."""
        if badge in self._kept:
            frame, mapping = self._kept.pop(badge)
            for give_up in (mapping.close, frame.drop):
                with suppress(KernelError):
                    give_up()

    def _take_back(self, badge: int) -> None:
        if badge in self._given:
            frame = self._given.pop(badge)
            frame.drop()

    def _detach(self, badge: int) -> None:
        if badge in self._attached:
            self._attached.pop(badge).close()


def _check(mapping: Mapping, byte: int) -> None:
    """Raise ``Failed`` unless there is one byte all over a mapping."""
    if bytes(mapping.view) != bytes((byte,)) * mapping.size:
        raise Failed(f"the frame does not hold {byte}, but {mapping.view[0]}")


def _fill(mapping: Mapping, byte: int) -> None:
    mapping.view[:] = bytes((byte,)) * mapping.size


def main(env: Environment) -> None:
    service = Main(env)
    env.serve(service, on="worker", notify=service.notify, direct=Serving)
