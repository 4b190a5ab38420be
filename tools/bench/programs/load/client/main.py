"""A client: calls its two servers in every way there is, and looks at each answer."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from servers.runtime import (
    Environment,
    Frame,
    Mapping,
    Notification,
    ServerDied,
    TimedOut,
    with_system,
)
from servers.runtime.stream import Packet, StreamClient
from tools.bench.programs.load.interface import (
    NOT_ATTACHED,
    Stamp,
    Tally,
    Ticket,
    Worker,
    mark,
)
from tools.bench.programs.load.lane import Broken, Lane

PAGE: Final = 4096
RUN: Final = 16
"""Calls of one turn that carry nothing."""
SLOTS: Final = 8
ROUNDS: Final = 12
"""Bursts of packets in one session of a stream."""
PIECE: Final = 256
"""Bytes of data of a packet."""
PATIENCE: Final = 300_000_000
"""Nanoseconds without a signal after which the server is asked whether it heard ours."""
LATE: Final = 20_000_000_000
"""Nanoseconds in which a thread of this process has to be done."""

T = TypeVar("T")


class Settings(msgspec.Struct, frozen=True):
    """This process's configuration."""

    batch: int
    """Turns between two reports."""
    seed: int


class Client:
    """One client."""

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._settings = env.config(Settings)
        self._counts: Counter[str] = Counter()
        self._born = env.clock()
        self._random = random.Random(self._settings.seed ^ self._born)
        self._tally = env.open(Tally, "tally")
        self._near, self._far = (env.open(Worker, name) for name in ("near", "far"))
        self._direct = env.open(Worker, "near", direct=True)
        self._lanes = {name: self._lane(i) for i, name in enumerate(("near", "far", "direct"))}
        self._helper = self._lane(3)
        self._turns: list[Callable[[], None]] = []
        for turn, often in (
            (self._steps, 20),
            (self._link, 10),
            (self._tell, 5),
            (self._fill, 3),
            (self._relay, 2),
            (self._give, 2),
            (self._keep, 1),
            (self._stream, 1),
            (self._thread, 1),
        ):
            self._turns += [turn] * often

    def _lane(self, number: int) -> Lane:
        return Lane(self._born, number, self._counts)

    def run(self) -> None:
        """Work until told to stop, then give up everything."""
        self._once()
        if self._tally.begin():
            while True:
                for _ in range(self._settings.batch):
                    self._random.choice(self._turns)()
                more = self._tally.report(dict(self._counts))
                self._counts.clear()
                if not more:
                    break
        self._once()
        self._tally.rest()

    def _once(self) -> None:
        """Do everything once, and give it up: so all is as it is between two turns."""
        for turn in dict.fromkeys(self._turns):
            turn()
        for service in (self._near, self._far):
            _until_alive(service.release)

    # Ways to call

    def _steps(self) -> None:
        for _ in range(RUN):
            self._lanes["far"].call(self._far.step)

    def _link(self) -> None:
        for _ in range(RUN):
            self._lanes["direct"].call(self._direct.step)
            self._counts["over links"] += 1

    def _tell(self) -> None:
        word = self._env.notification()
        lane = self._lanes["near"]
        lane.call(self._near.tell, word)
        expected = lane.number & 0xFFFF or 1
        found = word.poll()
        if found & expected != expected:  # a server that died may have signalled it before
            raise Broken(f"a signal of {expected:#x} came as {found:#x}")
        word.drop()
        self._counts["with capabilities"] += 1

    def _fill(self) -> None:
        self._exchange(self._near.fill)

    def _relay(self) -> None:
        self._exchange(self._near.relay)

    def _exchange(self, method: Callable[[Ticket, Frame], Stamp]) -> None:
        """Share a frame that comes back changed."""
        lane = self._lanes["near"]
        shared: list[tuple[Frame, Mapping]] = []

        def call(ticket: Ticket) -> Stamp:
            # Another frame for each try: whoever got the one before may still be at it.
            frame = self._env.frame(PAGE * self._random.randint(1, 4))
            shared.append((frame, frame.map()))
            view = shared[-1][1].view
            view[:] = bytes((mark(ticket.number),)) * len(view)
            return method(ticket, frame)

        lane.call(call)
        _expect(shared[-1][1].view, mark(lane.number + 1))
        for frame, mapping in shared:
            mapping.close()
            frame.drop()
        self._counts["with capabilities"] += 1
        self._counts["frames shared"] += 1

    def _keep(self) -> None:
        """Share a frame, and take it away from a server that has it mapped."""
        frame = self._env.frame(PAGE)
        self._lanes["near"].call(self._near.keep, frame)
        frame.revoke()
        frame.drop()
        self._counts["with capabilities"] += 1
        self._counts["frames taken back"] += 1

    def _give(self) -> None:
        lane = self._lanes["far"]
        frame = lane.call(self._far.give).frame
        mapping = frame.map()
        _expect(mapping.view, mark(lane.number))
        mapping.close()
        frame.drop()
        self._counts["with capabilities"] += 1
        self._counts["frames shared"] += 1

    def _thread(self) -> None:
        """Have another thread of this process call."""
        event, failures = self._env.event(), list[Exception]()

        def body(env: Environment) -> None:
            try:
                self._helper.call(with_system(self._far, env.system).step)
            except Exception as error:
                failures.append(error)
            event.set()

        self._env.thread(body, "helper")
        if not event.wait(LATE):
            raise Broken("a thread did not come to its end")
        if failures:
            raise failures[0]
        self._counts["threads"] += 1

    def _stream(self) -> None:
        Session(self._env, self._near, self._counts, self._random).run()


class Session:
    """A packet stream to a server, from its making to its end."""

    def __init__(
        self, env: Environment, service: Worker, counts: Counter[str], chance: random.Random
    ) -> None:
        self._service, self._counts, self._random = service, counts, chance
        self._word = env.notification()
        self._stream = StreamClient(env, SLOTS, SLOTS * PIECE, self._word)
        self._tag = 0
        self._open: dict[int, Packet] = {}  # packets that were not answered, by tag

    def run(self) -> None:
        """Put bursts, and wait for the answers to each."""
        to_server = self._attach()
        for _ in range(ROUNDS):
            self._burst(self._random.choice((1, 1, 1, 2, SLOTS)))
            while self._open:
                try:
                    self._word.wait(PATIENCE)
                    self._take()
                except TimedOut:
                    if self._replaced():
                        to_server.drop()
                        self._stream.reset()
                        to_server = self._attach()
                        self._counts["streams attached again"] += 1
                        for packet in self._open.values():
                            self._put(packet)
        to_server.drop()
        self._stream.close()
        self._stream.offer.to_client.drop()
        self._word.drop()
        self._counts["streams"] += 1

    def _attach(self) -> Notification:
        to_server: Notification = _until_alive(lambda: self._service.attach(self._stream.offer))
        self._stream.connect(to_server)
        return to_server

    def _burst(self, size: int) -> None:
        for place in range(size):
            self._tag += 1
            packet = Packet(self._tag, 0, PIECE, place * PIECE, 0)
            self._open[self._tag] = packet
            self._put(packet)

    def _put(self, packet: Packet) -> None:
        part = self._stream.part(packet)
        part[:] = bytes((mark(packet.tag),)) * len(part)
        if not self._stream.put(packet):
            raise Broken("there is no room for a packet")

    def _take(self) -> int:
        """Take the answers that are here; how many."""
        count, more = 0, True
        while more:
            answers = self._stream.take_all()
            more = len(answers) == SLOTS  # whoever gets that many comes again without being told
            count += len(answers)
            for answer in answers:
                if self._open.pop(answer.tag, None) is None:
                    raise Broken(f"packet {answer.tag} was answered twice")
                _expect(self._stream.part(answer), mark(answer.tag + 1))
        self._counts["packets"] += count
        return count

    def _replaced(self) -> bool:
        """No signal came for a while: find out why; whether the server is another one."""
        self._counts["waits without a signal"] += 1
        try:
            unheard = self._service.unheard()
        except ServerDied:
            return True
        if unheard == NOT_ATTACHED:
            return True
        # The server hears a signal before any call that comes after it, so it has now done all
        # that it knew of, and signalled us: what shows only now was not told.
        signalled = self._word.poll()
        found = self._take()
        if unheard:
            self._counts["lost wake-ups of a server"] += 1
        elif found and not signalled:
            self._counts["lost wake-ups of a client"] += 1
        elif self._open:
            raise Broken(f"packets {sorted(self._open)} were lost")
        return False


def _expect(view: memoryview, byte: int) -> None:
    if bytes(view) != bytes((byte,)) * len(view):
        raise Broken(f"memory does not hold {byte}, but {view[0]}")


def _until_alive(method: Callable[[], T]) -> T:
    """Call a method that may be carried out twice, until a server lives long enough to answer."""
    while True:
        try:
            return method()
        except ServerDied:
            pass


def main(env: Environment) -> None:
    try:
        Client(env).run()
    except Exception as error:
        env.open(Tally, "tally").fault(f"{type(error).__name__}: {error}")
        raise
