"""What a machine is booted with: its memory, its devices and its root task.

The same configuration boots every machine.  ``boot`` puts the first objects in place:

* the *root task*, started at ``entry``.  Its argument is msgpack ``[argument, {name: slot},
  name]``; the slots are its capabilities: one for each device by its name, ``policy`` and
  ``debug``, and the endpoint ``operator`` with all rights.
* the *operator*, the person's tools outside the system: a space without a protection domain, whose
  thread makes system calls like any other.  It may send to ``operator`` and hold ``debug``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgpack

from kernel.abi import ALL_RIGHTS, Right, SpaceFlag
from kernel.capability import Capability, KernelObject
from kernel.device import DEBUG, POLICY
from kernel.effects import Start
from kernel.endpoint import Endpoint
from kernel.kernel import Device, Kernel, Space, Thread

OPERATOR = "operator"
ROOT_PRIORITY = 200
OPERATOR_MEMORY = 4 << 20
"""Bytes of quota of the operator's space."""


class DeviceConfig(NamedTuple):
    """A device: a file by its path, or an open descriptor of whoever boots the machine.

    The host machine takes descriptors alone.  A device without any is there, but cannot be used.
    """

    name: str
    path: str | None = None
    fd: int | None = None
    writable: bool = False
    size: int = 0  # bytes; a file that does not exist is created with it, 0: it must exist
    stream: bool = False  # read in order and waited for (a terminal), not at offsets
    reading: int | None = None  # a descriptor for reading alone, for the host machine


class BootConfig(NamedTuple):
    """All that a machine has to know."""

    entry: str  # program of the root task
    argument: bytes = b""
    memory: int = 8 << 30  # bytes that all of user mode may use
    devices: Sequence[DeviceConfig] = ()
    # For the host machine alone.  The first of the descriptors sent with this has the number 0.
    command: Sequence[str] = ()  # what a process executes
    environment: Mapping[str, str] = {}
    namespaces: int = 0  # flags of clone: those that each process gets of its own
    ruleset: int | None = None  # descriptor of Landlock's rules
    filters: Sequence[bytes] = ()  # system-call filters, by 2 * executable + importing
    forbidden: Mapping[int, str] = {}  # what the filters hold a process for: number -> its name
    without: Sequence[str] = ()  # steps into the sandbox to go on without

    def pack(self) -> bytes:
        return msgpack.packb(self)  # type: ignore[no-any-return]

    @staticmethod
    def unpack(data: bytes) -> BootConfig:
        config = BootConfig(*msgpack.unpackb(data, strict_map_key=False))
        return config._replace(devices=[DeviceConfig(*device) for device in config.devices])


class Booted(NamedTuple):
    """The first threads, and the devices with their configuration."""

    start: Start  # of the root task's thread
    operator: Thread
    operator_slots: dict[str, int]
    devices: dict[Device, DeviceConfig]


def new_space(kernel: Kernel, name: str, memory: int, label: int = 0) -> Space:
    """Make a space that no other created, with ``memory`` bytes of quota and all flags."""
    account = kernel.memory.open(memory)
    if account is None:
        raise ValueError(f"{memory} bytes for {name} are more than the machine has left")
    # The flags are a plain integer, since ~ of an IntFlag forgets unknown bits.
    space = Space(kernel, name, label, account, int(SpaceFlag.EXECUTABLE))
    kernel.spaces[space.id] = space
    return space


def give(space: Space, obj: KernelObject, rights: int, badge: int = 0) -> int:
    """Install a first capability to ``obj``; return its slot."""
    return Capability(obj, int(rights), badge).install(space)


def first_thread(space: Space, entry: str, priority: int) -> Thread:
    """Make the first thread of a booted space; the machine starts it."""
    thread = Thread(space, entry, priority)
    space.account.charge(thread.cost)
    space.threads.append(thread)
    return thread


def boot(kernel: Kernel, config: BootConfig) -> Booted:
    """Put the first objects in place."""
    operator = new_space(kernel, OPERATOR, OPERATOR_MEMORY)
    root = new_space(kernel, config.entry.rpartition(".")[2], config.memory - OPERATOR_MEMORY)
    slots, devices = {}, {}
    for entry in config.devices:
        device = Device(kernel, entry.name, root.label)
        rights = ALL_RIGHTS if entry.writable else ALL_RIGHTS & ~Right.WRITE
        slots[entry.name] = give(root, device, rights)
        devices[device] = entry
    for name in (POLICY, DEBUG):
        slots[name] = give(root, Device(kernel, name, root.label), ALL_RIGHTS)
    endpoint = Endpoint(root)
    slots[OPERATOR] = give(root, endpoint, ALL_RIGHTS)
    operator_slots = {
        OPERATOR: give(operator, endpoint, Right.SEND),
        DEBUG: give(operator, Device(kernel, DEBUG, operator.label), Right.CONTROL),
    }
    thread = first_thread(root, config.entry, ROOT_PRIORITY)
    argument = msgpack.packb([config.argument, slots, root.name])
    tool = first_thread(operator, OPERATOR, ROOT_PRIORITY)
    return Booted(Start(thread, config.entry, argument), tool, operator_slots, devices)
