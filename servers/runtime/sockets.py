"""Sockets behind devices, for drivers that speak with the outside.

The runtime does not import this: few processes need it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from typing import TYPE_CHECKING

from servers.runtime.errors import NoDevice, ProcessFailed

if TYPE_CHECKING:
    from servers.runtime.environment import Environment


def no_waiting(sock: socket.socket) -> None:
    """Have it fail where it would wait; the usual way is no system call that we may make."""
    flags = fcntl.fcntl(sock, fcntl.F_GETFL)
    fcntl.fcntl(sock, fcntl.F_SETFL, flags | os.O_NONBLOCK)


def listener(env: Environment, name: str = "socket") -> socket.socket | None:
    """The listening socket behind a device, which the simulator does not have.

    It does not wait.  Raises ``ProcessFailed`` if there is nothing behind the device.
    """
    if not env.parallel:
        return None
    try:
        fd = int(getattr(env.device(name).access, "fd", -1))
    except NoDevice:
        raise ProcessFailed(f"the device {name!r} has nothing behind it") from None
    found = socket.socket(fileno=fd)
    no_waiting(found)
    return found
