"""Capabilities as values: what a process can hold, pass as a parameter and get as a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from kernel.abi import FOREVER, NULL, PAGE_SIZE, Right

if TYPE_CHECKING:
    from servers.runtime.channel import Memory
    from servers.runtime.syscalls import Syscalls

C = TypeVar("C", bound="Capability")


class Capability:
    """A capability of this process by its number.  Passing it on derives one for the receiver."""

    __slots__ = ("slot", "system")

    def __init__(self, system: Syscalls, slot: int) -> None:
        self.system = system
        self.slot = slot

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.slot})"

    def mint(self: C, rights: Right, badge: int = 0) -> C:
        """Derive a capability with fewer or equal rights, and a badge if this one has none."""
        return type(self)(self.system, self.system.cap_mint(self.slot, rights, badge, NULL))

    def revoke(self) -> None:
        """Take back everything derived from this one, everywhere."""
        self.system.cap_revoke(self.slot)

    def drop(self) -> None:
        """Delete it."""
        self.system.cap_drop(self.slot)

    def bind(self, system: Syscalls) -> Any:
        """The same capability used from another thread of this process."""
        return type(self)(system, self.slot)


class Endpoint(Capability):
    """Where messages are sent to, or received from."""

    __slots__ = ()


class Notification(Capability):
    """A word of bits that can be signalled."""

    __slots__ = ()

    def signal(self, bits: int = 1) -> None:
        self.system.signal(self.slot, bits)

    def wait(self, timeout: int = FOREVER) -> int:
        """The bits, once there are any; ``timeout`` in ns."""
        return self.system.wait(self.slot, timeout)

    def poll(self) -> int:
        """The bits, 0 if there are none."""
        return self.system.poll(self.slot)


class Mapping:
    """A frame in this process's memory: ``view`` is valid until it is closed or revoked."""

    __slots__ = ("_memory", "_system", "number", "size")

    def __init__(self, system: Syscalls, number: int, size: int, memory: Memory) -> None:
        self._system = system
        self._memory = memory
        self.number = number
        self.size = size

    @property
    def view(self) -> memoryview:
        return self._memory.view

    def close(self) -> None:
        """Unmap it."""
        self._memory.close()
        self._system.unmap(self.number)


class Frame(Capability):
    """A piece of memory, a whole number of pages."""

    __slots__ = ()

    @staticmethod
    def create(system: Syscalls, size: int) -> Frame:
        """Create one of at least ``size`` bytes, zeroed."""
        return Frame(system, system.frame_create(-(-size // PAGE_SIZE) * PAGE_SIZE))

    def map(self, writable: bool = True) -> Mapping:
        rights = Right.READ | Right.WRITE if writable else Right.READ
        number, size, resource = self.system.map(self.slot, rights)
        memory = self.system.channel.memory(resource, number, size, writable)
        return Mapping(self.system, number, size, memory)


def of_kind(kind: type[C], system: Syscalls, slot: int) -> C:
    """Wrap a slot as the kind of capability that an annotation names."""
    return kind(system, slot)
