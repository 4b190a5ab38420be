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
from collections.abc import Callable, Mapping

import msgspec

from kernel.abi import MAX_NAME, Fault
from servers.runtime.channel import Channel
from servers.runtime.environment import Birth, Environment
from servers.runtime.errors import ProcessFailed

_THREAD_EXIT = next(
    spec.number
    for spec in importlib.import_module("kernel.abi").CALLS
    if spec.name == "thread_exit"
)
Main = Callable[[Environment], object]
_NOTHING: Mapping[str, Main] = {}
_ROOM = 4 * MAX_NAME - 1
"""Bytes of a reason at most."""


def _load(entry: str) -> Main:
    """A program's ``main``, when it has loaded what it must."""
    module = importlib.import_module(f"{entry}.main")
    if hasattr(module, "prepare"):
        module.prepare()
    main: Main = module.main
    return main


def prepared(
    entry: str, argument: bytes, instead: Mapping[str, Main] = _NOTHING
) -> Callable[[Channel], object]:
    """Load all programs of a process; what to run then.

    ``argument`` is a packed ``Birth``; ``instead`` has what to run in place of some programs.
    """
    birth = msgspec.msgpack.decode(argument, type=Birth)
    programs = [entry, *(program for program, _ in birth.parts)]
    main, *others = [instead.get(program) or _load(program) for program in programs]

    def run(channel: Channel) -> object:
        env = Environment(channel, birth)
        env.run_parts(others)
        return main(env)

    return run


def exit_thread(channel: Channel, body: Callable[[], object]) -> None:
    """Run a thread's body and leave through ``thread_exit``, saying what went wrong if it did.

    What a program's ``main`` returns, if it is text, is the reason that its supervisor is told.
    """
    fault, reason = Fault.EXIT, ""
    try:
        result = body()
        reason = result if isinstance(result, str) else ""
    except ProcessFailed as error:
        fault, reason = Fault.EXCEPTION, str(error)
    except Exception as error:
        fault, reason = Fault.EXCEPTION, _describe(error)
    channel.exchange([_THREAD_EXIT, int(fault), _cut(reason, _ROOM)])


def _describe(error: Exception) -> str:
    """What and where, in one line short enough for a fault message."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ""
    if trace is not None:
        file = trace.tb_frame.f_code.co_filename
        where = f" ({'/'.join(file.split('/')[-3:])}:{trace.tb_lineno})"
    return _cut(f"{type(error).__name__}: {error}", _ROOM - len(where.encode())) + where


def _cut(text: str, size: int) -> str:
    """``text`` as far as it fits into ``size`` bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


if __name__ == "__main__":
    from servers.runtime.host import run

    run()
