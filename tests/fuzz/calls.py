"""Every dispatcher that there is, sent anything.

A script is a list of messages from the operator of a system of all servers and drivers, on the
simulator: to any offer, under any label, with any payload and any capabilities, as a call or as a
message that wants no answer.  Promised is that

* the answer is one that the interface knows, or an error with a name and a text;
* nobody ends by it, and everybody goes on answering;
* of the capabilities that came along a server keeps those alone that the method is there to keep,
  and none if it refused.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import msgspec

import drivers
import servers
import vmm
from kernel.abi import LABEL_LIMIT, MAX_CAPS, MAX_PAYLOAD, NULL, DebugOp, Right
from kernel.capability import Capability as KernelCapability
from kernel.machine.config import BootConfig, DeviceConfig
from servers.init.description import (
    Description,
    DeviceEntry,
    ProcessEntry,
)
from servers.init.planning import plan
from servers.runtime import Capability, Frame, Interface, KernelError, Notification
from servers.runtime.direct import CONNECT, CONNECTING
from servers.runtime.errors import BadArgument, NoQuota, TimedOut
from servers.runtime.interface import ANSWER, ERROR, Method
from tests.fuzz.programs.hand import Hand
from tests.fuzz.source import Source
from tests.fuzz.values import value
from tools.system import SimSystem

MOST: Final = 12
"""Messages of one script at most."""
TIMEOUT: Final = 3_000_000
"""Virtual nanoseconds after which an answer is not waited for any more."""
PATIENCE: Final = 10_000_000_000
"""Virtual nanoseconds that a server may take which waits for another that was stopped."""
ENDS: Final = ("", "killed: destroyed by init")
"""How a process may have ended: not, or because the script asked init for it."""
WORDS: Final = (
    *("echo", "", "audit", "block", "nobody", "audit.reader", "console.control", "boot", "a b"),
    *("x" * 70, "é" * 700, "echo.", ".echo", "terminal", "console"),
)
"""Texts that mean something to a server: processes, offers, events."""


class Offer(NamedTuple):
    """What can be called, and how many of a call's capabilities the server may keep."""

    interface: str
    keeps: Mapping[str, int] = MappingProxyType({})


OFFERS: Final = {
    "audit.audit": Offer("servers.audit.interface.Audit"),
    "audit.reader": Offer("servers.audit.interface.AuditReader"),
    "console.console": Offer("servers.console.interface.Console", {"attach": 1}),
    "console.control": Offer("servers.console.interface.ConsoleControl", {"show": 1}),
    "display.display": Offer("servers.display.interface.Display", {"attach": 3}),
    "display.control": Offer("servers.display.interface.DisplayControl"),
    "init": Offer("servers.init.interface.Control", {"watch": 1}),
    "init.scheduling": Offer("servers.init.interface.Scheduling"),
    "block.block": Offer("drivers.block.interface.Block", {"attach": 2}),
    "entropy.entropy": Offer("drivers.entropy.interface.Entropy"),
    "terminal.terminal": Offer("drivers.terminal.interface.Terminal"),
    "machine.vm": Offer("vmm.interface.Vm"),
    "switch.port": Offer("drivers.net.interface.Link", {"attach": 2}),
    "echo.echo": Offer("tests.support.echo.Echo", {"share": MAX_CAPS}),  # it gives them back
}


def interface(offer: str) -> type[Interface]:
    """The interface behind an offer."""
    module, _, name = OFFERS[offer].interface.rpartition(".")
    found: type[Interface] = getattr(importlib.import_module(module), name)
    return found


def known() -> set[str]:
    """Every interface of servers, drivers and the VMM, by its full name."""
    for package in (servers, drivers, vmm):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name.rpartition(".")[2] == "interface":
                importlib.import_module(module.name)
    own = ("servers.", "drivers.", "vmm.")
    found = [kind for kind in Interface.__subclasses__() if kind.__module__.startswith(own)]
    return {f"{kind.__module__}.{kind.__name__}" for kind in found}


def _process(name: str, program: str, offers: list[str], holds: list[str]) -> ProcessEntry:
    return ProcessEntry(name=name, program=program, offers=offers, holds=holds)


@cache
def _boot_config() -> BootConfig:
    devices = [
        DeviceConfig("log", writable=True, size=1 << 16),
        DeviceConfig("disk", writable=True, size=1 << 16),
        DeviceConfig("random", stream=True),
        DeviceConfig("terminal-in", stream=True),
        DeviceConfig("terminal-out", writable=True, stream=True),
    ]
    terminal = ["device:terminal-in", "device:terminal-out"]
    description = Description(
        name="fuzz",
        device=[DeviceEntry(name=d.name, file="", writable=d.writable) for d in devices],
        process=[
            _process("audit", "servers.audit", ["audit", "reader"], ["device:log"]),
            _process("terminal", "drivers.terminal", ["terminal"], terminal),
            _process("console", "servers.console", ["console", "control"], ["terminal"]),
            _process("display", "servers.display", ["display", "control"], []),
            _process("entropy", "drivers.entropy", ["entropy"], ["device:random"]),
            _process("block", "drivers.block", ["block"], ["device:disk"]),
            msgspec.structs.replace(
                _process("switch", "servers.switch", ["port"], []),
                config={"ports": {"operator": [{"segments": ["lan"]}]}},
            ),
            _process("machine", "tests.fuzz.programs.machine", ["vm"], []),
            _process("hand", "tests.fuzz.programs.hand", ["hand"], ["init.scheduling"]),
            _process("echo", "tests.fuzz.programs.echo", ["echo"], []),
        ],
    )
    argument = msgspec.msgpack.encode(plan(description)[0])
    return BootConfig("servers.init", argument, devices=devices)


class Rig:
    """The system, and the operator's hands."""

    def __init__(self) -> None:
        self.system = SimSystem(_boot_config(), 0)
        self.system.machine.devices["random"].feed(bytes(range(256)))
        self.calls = self.system.calls
        self.slots = {"init": self.system._slots["operator"]}
        for offer in OFFERS:
            if not offer.startswith("init"):
                self.slots[offer] = self.system.control.connect(offer).slot
        hand = self.system.open(Hand, "hand")
        self.slots["init.scheduling"] = hand.give("scheduling").slot

    def capability(self, slot: int) -> KernelCapability[Any]:
        """The kernel's record of one of the operator's capabilities."""
        return self.system.machine.operator.thread.space.caps[slot]

    def kept(self, slot: int) -> int:
        """How many capabilities others have that were derived from one of the operator's."""
        found = self.capability(slot)
        order = list(found.children)
        for child in order:
            order.extend(child.children)
        mine = found.space
        return sum(child.space is not mine for child in order)

    def new(self, kind: type, pages: int = 1) -> int:
        """A capability with all rights."""
        if issubclass(kind, Frame):
            return self.calls.frame_create(4096 * pages)
        if issubclass(kind, Notification):
            return self.calls.notification_create()
        return self.slots["echo.echo"]

    def hold(self, kind: type, source: Source) -> Capability | None:
        """A new capability of a kind, or of another, perhaps with few rights; None if too many."""
        if source.chance(6):
            kind = source.pick((Frame, Notification))
        try:
            slot = self.new(kind, source.pick((1, 2, 3, 16, 0)))
            rights = source.pick((63, 63, 63, Right.READ | Right.GRANT, Right.SEND | Right.GRANT))
            held = self.capability(slot)
            return Capability(self.calls, self.calls.cap_mint(slot, rights & held.rights, 0, NULL))
        except (NoQuota, BadArgument):
            return None

    def settle(self) -> None:
        """Return when everybody waits: only then time passes."""
        word = Notification(self.calls, self.calls.notification_create())
        with suppress(TimedOut):
            word.wait(TIMEOUT)
        word.drop()

    def ended(self) -> list[str]:
        """Who ended in another way than the script asked for."""
        return [
            f"{info.name} ended: {info.ended or info.state}"
            for info in self.system.control.processes()
            if info.ended not in ENDS or info.state not in ("running", "restarting", "stopped")
        ]


class Message:
    """One message of a script."""

    def __init__(self, rig: Rig, source: Source) -> None:
        self.offer = source.pick(tuple(OFFERS))
        self.answered = not source.chance(8)
        self.slots: list[int] = []
        methods = interface(self.offer).methods()
        self.label = source.number() % (len(methods) + 1)
        self.method: Method | None = None
        if self.label < len(methods):
            self.method = methods[self.label]
        else:
            self.label = source.pick((CONNECT, len(methods), LABEL_LIMIT - 2))
            self.method = CONNECTING if self.label == CONNECT else None
        self.data = self._payload(rig, source)[:MAX_PAYLOAD]
        for _ in range(source.count(3) if source.chance(5) else 0):
            self._attach(rig, Notification, source)

    def _attach(self, rig: Rig, kind: type, source: Source) -> Any:
        """A capability that travels along, by its index; sometimes another number."""
        held = rig.hold(kind, source) if len(self.slots) < MAX_CAPS else None
        if held is None or source.chance(10):
            return source.integer() % (1 << 32)
        self.slots.append(held.slot)
        return len(self.slots) - 1

    def _payload(self, rig: Rig, source: Source) -> bytes:
        if self.method is None or source.chance(10):
            return source.blob()

        def hold(kind: type, inner: Source) -> Any:
            return self._attach(rig, kind, inner)

        fields = self.method.arguments.kind.__annotations__
        found = [value(kind, source, WORDS, hold) for kind in fields.values()]
        try:
            data = msgspec.msgpack.encode(found)
        except OverflowError:  # a number that msgpack cannot carry
            return source.blob()
        return source.edited(data) if source.chance(10) else data


def _check_answer(message: Message, label: int, data: bytes, slots: list[int]) -> None:
    """An answer is a result of the method, or an error."""
    what = f"{message.offer} {message.label}: {data[:200]!r}"
    assert label in (ANSWER, ERROR), what
    if label == ERROR:
        name, text = msgspec.msgpack.decode(data, type=tuple[str, str])
        assert name and not slots, what
        assert "Traceback" not in text and "RecursionError" not in text, what
        return
    assert message.method is not None, f"there is no such method: {what}"
    hook = message.method.result
    if hook.plain_decode is not None:
        if OFFERS[message.offer].interface.startswith("tests."):
            return  # one that lies for a living
        hook.plain_decode(data)


def _exchange(rig: Rig, message: Message) -> None:
    """Send a message, and look at its answer and at what the server kept."""
    refused = True
    slot = rig.slots[message.offer]
    try:
        if message.answered:
            answer = rig.calls.call(slot, message.label, message.data, message.slots, TIMEOUT)
            _check_answer(message, *answer)
            refused = answer[0] == ERROR
            for found in answer[2]:
                rig.calls.cap_drop(found)
        else:
            rig.calls.send(slot, message.label, message.data, message.slots, TIMEOUT)
            refused = False
            rig.settle()
    except TimedOut:
        refused = False
    except KernelError:
        pass  # the kernel did not let it through
    keeps = 0
    if message.method is not None and not refused:
        keeps = OFFERS[message.offer].keeps.get(message.method.name, 0)
    kept = sum(rig.kept(slot) for slot in set(message.slots))
    name = message.method.name if message.method else message.label
    assert kept <= keeps, f"{message.offer} {name} kept {kept} capabilities of {message.data!r}"


def target(data: bytes) -> None:
    """Send a script of messages."""
    source, rig = Source(data), Rig()
    for _ in range(MOST):
        if not source:
            break
        _exchange(rig, Message(rig, source))
    assert not rig.ended(), rig.ended()
    for offer, slot in rig.slots.items():
        name = offer.partition(".")[0]
        if offer == "init" or name in _running(rig):
            answer = rig.calls.call(slot, 9999, b"", [], PATIENCE)
            assert answer[0] == ERROR, f"{offer} does not go on"
    rig.system.close()


def raw(data: bytes) -> None:
    """A message by its numbers: offer, label, capabilities; the rest is the payload."""
    source, rig = Source(data), Rig()
    message = Message(rig, Source(b""))
    message.offer, message.label = source.pick(tuple(OFFERS)), source.number()
    methods = interface(message.offer).methods()
    message.method = methods[message.label] if message.label < len(methods) else None
    message.slots = [rig.new(kind) for kind in (Frame, Notification) * 4][: source.count(MAX_CAPS)]
    message.data = source.rest()[:MAX_PAYLOAD]
    for message.answered in (True, False):
        _exchange(rig, message)
    assert not rig.ended(), rig.ended()
    rig.system.close()


def _running(rig: Rig) -> set[str]:
    return {info.name for info in rig.system.control.processes() if info.state == "running"}


def table(rig: Rig, process: str) -> tuple[int, ...]:
    """What a process has: bytes used, capabilities, mappings, threads."""
    rows = {row[1]: row for row in rig.system.debug(DebugOp.SPACES)}
    return tuple(rows[process][i] for i in (4, 6, 7, 8))
