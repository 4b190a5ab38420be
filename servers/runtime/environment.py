"""The environment: all that a process holds.

A process is born with the capabilities that the system description routes to it, each under a
name, and with its configuration.  There is nothing else: no files, no network, no other processes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from kernel.abi import FOREVER, NULL, Right, ThreadOp
from servers.runtime.client import client
from servers.runtime.direct import CONNECT, CONNECTING, Links
from servers.runtime.errors import NotFound, TimedOut
from servers.runtime.handles import Capability, Endpoint, Frame, Notification, of_kind
from servers.runtime.interface import Interface
from servers.runtime.server import OFFER_SHIFT, Deferred, Server
from servers.runtime.syscalls import Syscalls

if TYPE_CHECKING:
    from servers.runtime.channel import Channel, DeviceAccess, Event

S = TypeVar("S", bound=Interface)
T = TypeVar("T")
C = TypeVar("C", bound=Capability)


class Device:
    """A device that this process may use: its contents, its size and its interrupt."""

    def __init__(self, system: Syscalls, slot: int, writable: bool) -> None:
        self._system = system
        self._slot = slot
        rights = Right.READ | Right.WRITE if writable else Right.READ
        self.size, resource = system.device_map(slot, rights)  # bytes; 0 for a stream
        self.access: DeviceAccess = system.channel.device(resource)

    def bind(self, notification: Notification, bits: int) -> None:
        """Signal ``bits`` when there is something to read, after each ``acknowledge``."""
        self._system.irq_bind(self._slot, notification.slot, bits)

    def acknowledge(self) -> None:
        """Ask for one more interrupt."""
        self._system.irq_ack(self._slot)


class Birth(msgspec.Struct, array_like=True, frozen=True):
    """The argument of a process's first thread: all that it is born with."""

    config: bytes
    """Its configuration, msgpack."""
    holds: dict[str, int]
    """Name -> capability."""
    name: str
    """Its own name."""
    offers: list[str] = []
    """The names of what it serves, all on one endpoint; their order is in its clients' badges."""
    clients: dict[int, str] = {}
    """Its clients' names by the number in their badges."""
    parts: list[tuple[str, Birth]] = []
    """Further programs that run in its address space, each a thread with a birth of its own."""


class Environment:
    """What one thread of a process works with."""

    def __init__(
        self, channel: Channel, birth: Birth, threads: Iterator[int] | None = None
    ) -> None:
        self.system = Syscalls(channel)
        self.name = birth.name
        self._birth = birth
        self._holds = birth.holds
        self._threads = threads or itertools.count(1)  # numbers the threads of this process
        self._server: Server | None = None

    # What it holds

    def has(self, name: str) -> bool:
        """Whether a capability of that name was routed here."""
        return name in self._holds

    def names(self) -> list[str]:
        """The names of all that was routed here."""
        return list(self._holds)

    def slot(self, name: str) -> int:
        """The number of a capability; raises ``NotFound`` that names it."""
        if name not in self._holds:
            raise NotFound(f"{self.name} holds no capability named {name!r}")
        return self._holds[name]

    def capability(self, name: str, kind: type[C]) -> C:
        """A capability by its name."""
        return of_kind(kind, self.system, self.slot(name))

    def config(self, kind: type[T]) -> T:
        """This process's configuration from the system description."""
        return msgspec.msgpack.decode(self._birth.config, type=kind)

    def device(self, name: str, writable: bool = True) -> Device:
        """Map a device; raises ``NoDevice`` if the machine cannot provide it."""
        return Device(self.system, self.slot(name), writable)

    # Clients

    def open(
        self,
        interface: type[S],
        name: str,
        timeout: int = FOREVER,
        retries: int = 0,
        direct: bool = False,
    ) -> S:
        """A client of the service behind the capability ``name``; ``timeout`` in ns a call.

        With ``direct``, its methods that carry no capabilities are called without the kernel in
        between, if the service allows it.
        """
        return client(interface, self.system, self.slot(name), timeout, retries, direct)

    def client(
        self,
        interface: type[S],
        capability: Capability,
        timeout: int = FOREVER,
        retries: int = 0,
    ) -> S:
        """A client of the service behind a capability that came in a message."""
        return client(interface, self.system, capability.slot, timeout, retries)

    # Servers

    def server(
        self,
        roots: dict[str, Interface],
        notify: Callable[[int], None] | None = None,
        fault: Callable[[int, bytes], None] | None = None,
    ) -> Server:
        """A server of several offers, each with its root object; its ``run`` starts it."""
        endpoints = {self.slot(offer) for offer in roots}
        if len(endpoints) != 1:
            raise ValueError("all offers of a process are on one endpoint")
        indexes = {
            self._birth.offers.index(offer) if offer in self._birth.offers else 0: root
            for offer, root in roots.items()
        }
        endpoint = Endpoint(self.system, endpoints.pop())
        self._server = Server(self.system, endpoint, indexes, notify, fault)
        return self._server

    def serve(
        self,
        root: Interface,
        on: str,
        notify: Callable[[int], None] | None = None,
        direct: Callable[[Environment], Interface] | None = None,
    ) -> None:
        """Answer calls to the offer ``on`` for ever.

        ``notify`` gets the bits of the notification that ``listen`` returned.  With ``direct``,
        clients may call without the kernel in between: each that asks for it gets a thread here,
        and a service of its own that ``direct`` makes from that thread's environment.
        """
        server = self.server({on: root}, notify)
        if direct is not None:
            server.special[CONNECT] = (CONNECTING, Links(self, direct).open)
        server.run()

    def serving(self, badge: int) -> Server:
        """A server of one client's calls, which come some other way than through an endpoint."""
        self._server = Server(self.system, Endpoint(self.system, NULL), {})
        self._server.badge = badge
        return self._server

    def listen(self) -> Notification:
        """A notification that this thread hears while it serves."""
        notification = self.notification()
        self.system.thread_control(NULL, ThreadOp.BIND, notification.slot)
        return notification

    def session(self, service: Interface) -> Endpoint:
        """A capability for a client, whose calls go to ``service``."""
        return self._serving().session(service)

    def close(self, service: Interface) -> None:
        """End a session."""
        self._serving().close(service)

    def defer(self) -> Any:
        """Return this from a method to answer its call later: it is a ``Deferred``."""
        return Deferred(self.system)

    @property
    def badge(self) -> int:
        """The badge of the call that is being handled."""
        return self._serving().badge

    @property
    def caller(self) -> str:
        """The name of the client whose call is being handled, as init knows it."""
        number = self.badge & ((1 << OFFER_SHIFT) - 1)
        return self._birth.clients.get(number, "")

    def run_parts(self, mains: Sequence[Callable[[Environment], object]]) -> None:
        """Start the other programs of this address space, in the order of ``Birth.parts``."""
        for (program, birth), main in zip(self._birth.parts, mains, strict=True):
            self._start(main, program, birth)

    def _serving(self) -> Server:
        if self._server is None:
            raise RuntimeError(f"{self.name} is not serving yet")
        return self._server

    # Memory, time, threads

    def frame(self, size: int) -> Frame:
        """A new frame of at least ``size`` bytes."""
        return Frame.create(self.system, size)

    def notification(self) -> Notification:
        return Notification(self.system, self.system.notification_create())

    def clock(self) -> int:
        """The machine's monotonic time in ns."""
        return self.system.clock()

    def sleep(self, duration: int) -> None:
        """Let ``duration`` ns pass."""
        notification = self.notification()
        try:
            notification.wait(duration)
        except TimedOut:
            pass
        finally:
            notification.drop()

    @property
    def parallel(self) -> bool:
        """Whether threads run side by side; else they take turns at system calls."""
        return self.system.channel.parallel

    def event(self) -> Event:
        """A flag for the threads of this process, faster than a notification."""
        return self.system.channel.event()

    def thread(
        self, function: Callable[[Environment], None], name: str, priority: int = 100
    ) -> None:
        """Run ``function`` in a new thread, with an environment of its own."""
        self._start(function, name, self._birth, priority)

    def _start(
        self, main: Callable[[Environment], object], name: str, birth: Birth, priority: int = 100
    ) -> None:
        entry = f"{name}#{next(self._threads)}"

        def run(channel: Channel, _argument: bytes) -> None:
            main(Environment(channel, birth, self._threads))

        self.system.channel.register(entry, run)
        # Nobody controls it, and what is left of it when it ends must not be kept.
        self.system.cap_drop(self.system.thread_create(NULL, entry, b"", priority))
