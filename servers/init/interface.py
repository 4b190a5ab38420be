"""The interface through which the person's tools control a running system."""

from __future__ import annotations

import msgspec

from servers.runtime import Endpoint, Interface, Notification


class ProcessInfo(msgspec.Struct, array_like=True, frozen=True):
    """One process of the system description."""

    name: str
    program: str
    state: str
    """running, stopped, restarting or failed."""
    starts: int
    """How often it was started."""
    space: str
    """The name of its address space, as ``debug`` reports it."""
    ended: str
    """How it ended the last time, if it did."""
    vm: bool
    """Whether it is a virtual machine's VMM."""


class Usage(msgspec.Struct, array_like=True, frozen=True):
    """What one running virtual machine has used."""

    name: str
    weight: int
    cpu_ns: int
    """CPU time since it was started."""


class Scheduling(Interface):
    """What a scheduling policy sees and may do."""

    def usage(self) -> list[Usage]:
        """All virtual machines that are running."""

    def favour(self, name: str, favoured: bool) -> None:
        """Give a virtual machine its priority of the description, or the lowest."""


class Control(Interface):
    """What a person may do with the system."""

    def processes(self) -> list[ProcessInfo]:
        """All processes of the description, running or not."""

    def start(self, name: str) -> None:
        """Start a process or virtual machine that is not running."""

    def stop(self, name: str) -> None:
        """End a process or virtual machine and leave it stopped."""

    def kill(self, name: str) -> None:
        """End a process as if it had failed, so that its restart rule applies."""

    def wait(self, name: str) -> str:
        """Return once the process is not running; how it ended."""

    def watch(self, name: str, ended: Notification) -> None:
        """Signal once the process is not running, which may be at once."""

    def connect(self, offer: str) -> Endpoint:
        """A capability to an offer, ``process`` or ``process.offer``."""
