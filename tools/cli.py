"""The command line: one table of commands, each a module that is imported when it is used.

A command's module has ``configure(parser)``, which adds its arguments, and ``run(args)``, which
returns the exit status: 0 for success, 1 for a failure, 2 for bad usage, 130 after Control-C.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import Final

COMMANDS: Final = {
    "shell": ("tools.shell.main", "boot a system and talk to it at a prompt"),
    "run": ("tools.run", "boot a system and attach to a console of it"),
    "boot": ("tools.boot", "boot one guest, its serial console on standard input and output"),
    "images": ("tools.images", "list, build and fetch guest images"),
    "tpm": ("tools.tpm", "serve a TPM on sockets"),
    "swtpm": ("tools.swtpm", "the same with the command line of swtpm"),
    "trace": ("tools.trace.main", "show or export what the kernel did"),
    "tcb": ("tools.tcb.main", "say how much code a process has to trust"),
    "check": ("tools.check.main", "search the kernel for a law that it breaks"),
    "bench": ("tools.bench.main", "measure Cloister against its peers"),
    "new": ("tools.new", "begin a server of your own"),
    "doctor": ("tools.doctor", "say what this host offers"),
    "abi": ("tools.abi", "write what comes from the table of system calls"),
    "lint": ("tools.lint", "check style, types and layers"),
    "test": ("tools.test", "run the tests"),
}
"""Name -> (module, what it does)."""
_VERBATIM: Final = ("swtpm", "test")
"""Commands whose arguments belong to another program."""


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return (
        "usage: cloister COMMAND [arguments]\n\n"
        "A microkernel whose VMMs, drivers and servers are isolated user-mode processes.\n\n"
        f"commands:\n{rows}\n\n"
        "'cloister COMMAND --help' explains a command.\n"
    )


def _dispatch(name: str, arguments: list[str]) -> int:
    module = importlib.import_module(COMMANDS[name][0])
    parser = argparse.ArgumentParser(
        prog=f"cloister {name}",
        description=(module.__doc__ or "").partition("\n\n")[0].replace("``", ""),
    )
    module.configure(parser)
    if name in _VERBATIM:
        args = argparse.Namespace(arguments=arguments)
    else:
        args = parser.parse_args(arguments)
    status: int = module.run(args)
    return status


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    from tools.errors import UserError

    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help", "help"):
        print(_usage(), end="")
        return 0 if given else 2
    name = given[0]
    if name not in COMMANDS:
        print(f"cloister: there is no command {name!r}; see 'cloister --help'", file=sys.stderr)
        return 2
    try:
        return _dispatch(name, given[1:])
    except UserError as error:
        print(f"cloister: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's flush succeeds
        return 1
    except ConnectionError as error:
        print(f"cloister: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
