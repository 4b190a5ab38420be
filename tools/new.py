"""``cloister new``: begin a server of your own: its folder, its test, and a system to run it in."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from tools.errors import UserError
from tools.system import ROOT

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")

_TEMPLATES = {
    "servers/{name}/__init__.py": '''"""The {name} server."""
''',
    "servers/{name}/README.md": """# {name}

What it is for, in a sentence.

| | |
| --- | --- |
| offers | `{name}`: the interface `{title}` |
| holds | nothing |
| when it dies | init starts it again; it keeps no state |
""",
    "servers/{name}/interface.py": '''"""The {name} interface."""

from __future__ import annotations

from servers.runtime import Interface


class {title}(Interface):
    """What it is for."""

    def greet(self, name: str) -> str:
        """A greeting for ``name``, which must not be empty."""
''',
    "servers/{name}/main.py": '''"""The {name} server's program."""

from __future__ import annotations

from servers.{name}.interface import {title}
from servers.runtime import BadRequest, Environment


class Polite({title}):
    """Greets whoever has a name."""

    def greet(self, name: str) -> str:
        if not name:
            raise BadRequest("greet: a name is needed")
        return f"good day, {{name}}"


def main(env: Environment) -> None:
    env.serve(Polite(), on="{name}")
''',
    "images/systems/{name}.toml": """# A system with the {name} server in it.
name = "{name}"

[[process]]
name = "{name}"
program = "servers.{name}"
offers = ["{name}"]
""",
    "tests/servers/{name}/test_{name}.py": '''"""The {name} server on the simulator."""

from __future__ import annotations

import pytest

from servers.{name}.interface import {title}
from servers.runtime import BadRequest
from tools import system


def test_it_greets() -> None:
    with system.boot(system.load("{name}"), machine="sim") as running:
        server = running.open({title}, "{name}")
        assert server.greet("Ada") == "good day, Ada"


def test_it_needs_a_name() -> None:
    with system.boot(system.load("{name}"), machine="sim") as running:
        server = running.open({title}, "{name}")
        with pytest.raises(BadRequest, match="a name is needed"):
            server.greet("")
''',
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", choices=("server",), help="what to begin")
    parser.add_argument("name", help="its name: lower-case letters, digits and _")
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="the tree to write into (default: this one)"
    )


def create(name: str, root: Path) -> list[Path]:
    """Write the files of a new server; nothing is written if one of them exists."""
    if not _NAME.fullmatch(name):
        raise UserError(f"{name!r} is not a name: use lower-case letters, digits and _", 2)
    title = "".join(part.capitalize() for part in name.split("_"))
    files = {root / path.format(name=name): text for path, text in _TEMPLATES.items()}
    taken = [path for path in files if path.exists()]
    if taken:
        raise UserError(f"{taken[0]} exists already; choose another name")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(name=name, title=title), encoding="utf-8")
    return list(files)


def run(args: argparse.Namespace) -> int:
    for path in create(args.name, args.root):
        print(f"wrote {path.relative_to(args.root)}")
    print(f"\nnext: cloister test tests/servers/{args.name}; cloister shell {args.name}")
    return 0
