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

    def registers(self) -> str:
        """The processor's registers and the code at RIP, in lines for a person."""

    def disassemble(self, address: int) -> str:
        """The code at a linear address, in lines for a person."""

    def gdb(self, data: bytes, wait_ns: int) -> bytes:
        """Octets from a debugger, and octets for it (GDB's remote serial protocol).

        The first call stops the guest.  Where there is nothing to say, the call waits for something
        for ``wait_ns``, a tenth of a second at most.
        """

    def gdb_end(self) -> None:
        """The debugger is gone: forget its breakpoints, and let the guest go on."""

    # A guest's state leaves in pieces of a stream (`vmm/snapshot/format.py`), and comes so.

    def save_begin(self) -> None:
        """Begin the stream, while the guest runs on."""

    def save_piece(self) -> bytes:
        """The next piece of the stream.

        Empty after each round through the memory, of which the first has all and each further one
        what has changed; and empty at the stream's end.
        """

    def save_stop(self) -> None:
        """Stop the guest, between two of its instructions and with no request under way.

        What follows is the last round, the state, and the stream's end.
        """

    def save_end(self, go_on: bool) -> None:
        """The state is taken, or not wanted any more; whether the guest goes on."""

    def load_begin(self) -> None:
        """Stop the guest: it will be another."""

    def load_piece(self, data: bytes) -> None:
        """The next piece of a stream."""

    def load_end(self, go_on: bool) -> None:
        """All has come: be that guest; whether it goes on at once."""

    def load_go(self) -> None:
        """Go on, after ``load_end`` without."""
