"""The interface through which a virtual machine is controlled while it runs."""

from __future__ import annotations

import msgspec

from servers.runtime import Interface


class VmStatus(msgspec.Struct, array_like=True, frozen=True):
    """What a virtual machine is doing."""

    state: str
    """starting, running or paused."""
    uptime_ns: int
    """Since the guest's first instruction."""
    exits: dict[str, int]
    """How often the guest left the engine, by kind: halted, stopped (a timer or a device)."""


class Vm(Interface):
    """A virtual machine."""

    def pause(self) -> None:
        """Stop the guest's processor between two instructions."""

    def resume(self) -> None:
        """Let it go on."""

    def status(self) -> VmStatus: ...
