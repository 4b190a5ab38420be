"""The interfaces of the benchmarks' programs."""

from __future__ import annotations

from servers.runtime import Interface


class Echo(Interface):
    """Gives back what it gets."""

    def echo(self, data: bytes) -> bytes: ...


class Caller(Interface):
    """Makes calls to an ``Echo``; both return the nanoseconds that all of them took."""

    def calls(self, count: int, size: int) -> int:
        """System calls alone: ``call`` with a payload, answered with the same."""

    def typed(self, count: int, size: int) -> int:
        """Calls of the interface's method."""

    def direct(self, count: int, size: int) -> int:
        """The same without the kernel in between."""
