"""Where a process begins.

On the host machine this file is the process's main program, started with nothing but two
descriptors: the channel of its first thread and the notice channel.  It imports the program that
the kernel names, gives up what only importing needed, and calls ``main`` with the environment.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # started by path: the import path comes as arguments
    sys.path[:] = [*sys.argv[1:], *(path for path in sys.path if "servers" not in path)]

import importlib
from collections.abc import Callable

import msgspec

from kernel.abi import MAX_NAME, Fault
from servers.runtime.channel import Channel
from servers.runtime.environment import Birth, Environment

_THREAD_EXIT = next(
    spec.number
    for spec in importlib.import_module("kernel.abi").CALLS
    if spec.name == "thread_exit"
)


def environment(channel: Channel, argument: bytes) -> Environment:
    """The environment of a process's first thread from its argument, a packed ``Birth``."""
    return Environment(channel, msgspec.msgpack.decode(argument, type=Birth))


def exit_thread(channel: Channel, body: Callable[[], None]) -> None:
    """Run a thread's body and leave through ``thread_exit``, saying what went wrong if it did."""
    fault, reason = Fault.EXIT, ""
    try:
        body()
    except Exception as error:
        fault, reason = Fault.EXCEPTION, _describe(error)
    channel.exchange([_THREAD_EXIT, int(fault), reason[: 4 * MAX_NAME - 1]])


def _describe(error: Exception) -> str:
    """What and where, in one line short enough for a fault message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        file = trace.tb_frame.f_code.co_filename
        where = f" ({'/'.join(file.split('/')[-3:])}:{trace.tb_lineno})"
    text = f"{type(error).__name__}: {error}"
    room = 4 * MAX_NAME - 1 - len(where.encode())
    return text.encode()[:room].decode(errors="ignore") + where


if __name__ == "__main__":
    from servers.runtime.host import run

    run()
