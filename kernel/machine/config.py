"""What a machine is booted with: its memory, its devices and its root task.

The same configuration boots every machine.  ``boot`` puts the first objects in place:

* the *root task*, started at ``entry``.  Its argument is msgpack ``[argument, {name: slot},
  name]``; the slots are its capabilities: one for each device by its name, ``policy`` and
  ``debug``, and the endpoint ``operator`` with all rights.
* the *operator*, the person's tools outside the system: a space without a protection domain, whose
  thread makes system calls like any other.  It may send to ``operator`` and hold ``debug``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgpack

from kernel.abi import ALL_RIGHTS, Right
from kernel.device import DEBUG, POLICY
from kernel.effects import Start
from kernel.endpoint import Endpoint
from kernel.kernel import Device, Kernel, Thread

OPERATOR = "operator"
ROOT_PRIORITY = 200
OPERATOR_MEMORY = 4 << 20
"""Bytes of quota of the operator's space."""


class DeviceConfig(NamedTuple):
    """A device: a host file by its path, or an open descriptor of whoever boots the machine."""

    name: str
    path: str | None = None
    fd: int | None = None
    writable: bool = False
    size: int = 0  # bytes; a file that does not exist is created with it, 0: it must exist
    stream: bool = False  # read in order and waited for (a terminal), not at offsets


class BootConfig(NamedTuple):
    """All that a machine has to know."""

    entry: str  # program of the root task
    argument: bytes = b""
    memory: int = 8 << 30  # bytes that all of user mode may use
    devices: Sequence[DeviceConfig] = ()
    paths: Sequence[str] = ()  # import path of user-mode programs
    readable: Sequence[str] = ()  # folders they may read while importing
    weak: bool = False  # go on where the host lacks a layer of isolation

    def pack(self) -> bytes:
        return msgpack.packb(self)  # type: ignore[no-any-return]

    @staticmethod
    def unpack(data: bytes) -> BootConfig:
        config = BootConfig(*msgpack.unpackb(data))
        return config._replace(devices=[DeviceConfig(*device) for device in config.devices])


class Booted(NamedTuple):
    """The first threads, and the devices with their configuration."""

    start: Start  # of the root task's thread
    operator: Thread
    operator_slots: dict[str, int]
    devices: dict[Device, DeviceConfig]


def boot(kernel: Kernel, config: BootConfig) -> Booted:
    """Put the first objects in place."""
    operator = kernel.boot(OPERATOR, OPERATOR_MEMORY)
    root = kernel.boot(config.entry.rpartition(".")[2], config.memory - OPERATOR_MEMORY)
    slots, devices = {}, {}
    for entry in config.devices:
        device = Device(kernel, entry.name, root.label)
        rights = ALL_RIGHTS if entry.writable else ALL_RIGHTS & ~Right.WRITE
        slots[entry.name] = kernel.give(root, device, rights)
        devices[device] = entry
    for name in (POLICY, DEBUG):
        slots[name] = kernel.give(root, Device(kernel, name, root.label), ALL_RIGHTS)
    endpoint = Endpoint(root)
    slots[OPERATOR] = kernel.give(root, endpoint, ALL_RIGHTS)
    operator_slots = {
        OPERATOR: kernel.give(operator, endpoint, Right.SEND),
        DEBUG: kernel.give(operator, Device(kernel, DEBUG, operator.label), Right.CONTROL),
    }
    thread = kernel.start(root, config.entry, ROOT_PRIORITY)
    argument = msgpack.packb([config.argument, slots, root.name])
    start = Start(thread, config.entry, argument)
    tool = kernel.start(operator, OPERATOR, ROOT_PRIORITY)
    return Booted(start, tool, operator_slots, devices)
