"""The runtime that every user-mode process links: typed IPC, capabilities, memory, threads.

    class Polite(Greeter):
        def greet(self, name: str) -> str:
            return f"good day, {name}"

    def main(env: Environment) -> None:
        env.serve(Polite(), on="greeter")

The same server runs unchanged on the host machine, as a sandboxed process, and on the sim machine.
"""

from kernel.abi import FOREVER, Right
from servers.runtime.client import endpoint_of, with_system
from servers.runtime.environment import Device, Environment
from servers.runtime.errors import (
    BadRequest,
    Busy,
    Failed,
    KernelError,
    NoDevice,
    NotFound,
    NotPermitted,
    ProcessFailed,
    ServerDied,
    ServiceError,
    TimedOut,
)
from servers.runtime.handles import Capability, Endpoint, Frame, Mapping, Notification
from servers.runtime.interface import Interface
from servers.runtime.server import Deferred, Server

__all__ = [
    "FOREVER",
    "BadRequest",
    "Busy",
    "Capability",
    "Deferred",
    "Device",
    "Endpoint",
    "Environment",
    "Failed",
    "Frame",
    "Interface",
    "KernelError",
    "Mapping",
    "NoDevice",
    "NotFound",
    "NotPermitted",
    "Notification",
    "ProcessFailed",
    "Right",
    "Server",
    "ServerDied",
    "ServiceError",
    "TimedOut",
    "endpoint_of",
    "with_system",
]
