"""``cloister run``: boot a system and attach to a console of it."""

from __future__ import annotations

import argparse
import sys

from servers.runtime import Notification
from tools import system as systems
from tools.arguments import add_weak
from tools.console import ENDED, attend
from tools.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "system", help="a system description: a .toml file or a name in images/systems"
    )
    parser.add_argument(
        "--console", metavar="NAME", help="whose console to attach to (default: the first guest)"
    )
    add_weak(parser)


def run(args: argparse.Namespace) -> int:
    source = systems.load(args.system)
    guests = [vm.name for vm in source.description.vm]
    name = args.console or (guests[0] if guests else None)
    with systems.boot(source, weak=args.allow_weak_isolation) as system:
        running = {p.name: p.state == "running" for p in system.control.processes()}
        if name is None:
            print(f"{source.description.name} is running; Control-C ends it", file=sys.stderr)
            Notification(system.calls, system.calls.notification_create()).wait()
            return 0
        if name not in running:
            raise UserError(f"system {source.description.name} has no process named {name!r}")
        if not running[name]:
            system.control.start(name)
        if attend(system, name) == ENDED:
            print(f"\n{name} ended: {system.control.wait(name) or 'done'}", file=sys.stderr)
    return 0
