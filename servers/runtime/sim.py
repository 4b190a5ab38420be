"""The runtime's side of the sim machine: a program is a module of this interpreter.

The machine is handed ``programs`` and knows nothing else of user mode; nothing here knows the
machine but by the methods that its channel has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from servers.runtime.channel import Channel, DeviceAccess, Event, LinkEnd, Memory, Resource
from servers.runtime.start import Main, exit_thread, prepared

Entry = Callable[[Channel, bytes], None]


class SimMemory:
    """A frame's memory; once closed, its view is empty."""

    def __init__(self, view: memoryview) -> None:
        self.view = view

    def close(self) -> None:
        self.view = memoryview(bytearray(0))


class SimProgram:
    """One address space: its threads' entries and its mappings."""

    def __init__(self, name: str, mains: dict[str, Main] | None = None) -> None:
        self.name = name
        self._mains = mains or {}
        self._entries: dict[str, Entry] = {}
        self._memory: dict[int, SimMemory] = {}

    def run(self, entry: str, argument: bytes, inner: Any) -> None:
        channel = SimChannelAdapter(self, inner)
        if entry in self._entries:
            body = self._entries.pop(entry)
            exit_thread(channel, lambda: body(channel, argument))
        else:
            run = prepared(entry, argument, self._mains)
            exit_thread(channel, lambda: run(channel))

    def release(self, mapping: int) -> None:
        memory = self._memory.pop(mapping, None)
        if memory is not None:
            memory.close()


class SimChannelAdapter:
    """The machine's channel as the runtime's ``Channel``."""

    def __init__(self, program: SimProgram, inner: Any) -> None:
        self._program = program
        self._inner = inner

    def exchange(self, request: list[Any]) -> list[Any]:
        answer: list[Any] = self._inner.call(request)[0]
        return answer

    def exchange_resource(self, request: list[Any]) -> tuple[list[Any], Resource]:
        answer, resource = self._inner.call(request)
        return answer, resource

    def memory(self, resource: Resource, mapping: int, size: int, writable: bool) -> Memory:
        memory = SimMemory(resource)
        self._program._memory[mapping] = memory
        return memory

    def device(self, resource: Resource) -> DeviceAccess:
        device: DeviceAccess = resource
        return device

    def link(self, resource: Resource) -> LinkEnd:
        end: LinkEnd = resource
        return end

    parallel = False

    def event(self) -> Event:
        event: Event = self._inner.event()
        return event

    def register(self, entry: str, function: Entry) -> None:
        self._program._entries[entry] = function


def programs(mains: dict[str, Main] | None = None) -> Callable[[str], SimProgram]:
    """The factory for a sim machine; ``mains`` replaces programs by functions, for tests."""
    return lambda name: SimProgram(name, mains)


def operator_channel(inner: Any) -> Channel:
    """The operator's channel of a sim machine, for the tools."""
    return SimChannelAdapter(SimProgram("operator"), inner)
