"""The one way into the kernel: a channel that carries system calls.

A channel belongs to one thread.  On the host machine it is a socket, on the sim machine a switch to
the scheduler; everything above it is the same code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from servers.runtime.errors import raise_kernel_error

Resource = Any
"""What the machine hands over beside an answer: memory or a device, opaque until wrapped."""


class Event(Protocol):
    """A flag that threads of one address space wait for, without the kernel."""

    def set(self) -> None:
        """Set the flag and wake whoever waits."""

    def wait(self, timeout: int | None) -> bool:
        """Wait at most ``timeout`` ns (None: for ever), clear the flag, say whether it was set."""


class Memory(Protocol):
    """A mapping of a frame as this process sees it."""

    view: memoryview

    def close(self) -> None:
        """Make the memory unreachable; stale views read zeros."""


class DeviceAccess(Protocol):
    """A device as the machine lets this process use it."""

    def read_at(self, offset: int, size: int) -> bytes: ...
    def read_into(self, offset: int, buffers: list[memoryview]) -> int: ...
    def write_from(self, offset: int, buffers: list[memoryview]) -> int: ...
    def sync(self) -> None: ...
    def read(self, size: int) -> bytes: ...
    def write(self, data: bytes) -> int: ...


class LinkEnd(Protocol):
    """One end of a link: whole messages, one way and the other."""

    def send(self, data: bytes, /) -> object:
        """Send a message, waiting while the other side has many to read; raises ``OSError`` once
        the link is cut."""

    def receive(self) -> bytes:
        """The next message; empty, or raises ``OSError``, once the link is cut."""

    def wait(self, timeout: int) -> bool:
        """Wait at most so many ns for the next message, or the cut, and say whether it is here."""


class Channel(Protocol):
    """What a machine gives to each thread."""

    parallel: bool
    """Whether the threads of an address space run side by side.  Where they do not, one that
    computes for long lets the others run by making a system call."""

    def exchange(self, request: list[Any]) -> list[Any]:
        """Send a system call and return its answer, ``[error, result, ...]``."""

    def exchange_resource(self, request: list[Any]) -> tuple[list[Any], Resource]:
        """The same for the calls that hand over a resource."""

    def memory(self, resource: Resource, mapping: int, size: int, writable: bool) -> Memory:
        """Wrap what ``map`` handed over."""

    def device(self, resource: Resource) -> DeviceAccess:
        """Wrap what ``device_map`` handed over."""

    def link(self, resource: Resource) -> LinkEnd:
        """Wrap what ``link_open`` handed over."""

    def event(self) -> Event:
        """A flag for threads of this address space."""

    def register(self, entry: str, function: Callable[[Channel, bytes], None]) -> None:
        """Have ``thread_create`` in this address space run ``function`` for ``entry``."""


class Caller:
    """The base of the generated ``Syscalls``, whose methods raise kernel errors as exceptions."""

    __slots__ = ("channel", "exchange")

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.exchange = channel.exchange

    def invoke_resource(self, request: list[Any]) -> tuple[list[Any], Resource]:
        answer, resource = self.channel.exchange_resource(request)
        if answer[0]:
            raise_kernel_error(request, answer[0])
        return answer, resource
