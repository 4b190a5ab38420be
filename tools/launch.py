"""Behind ``./cloister``: the checkout's own virtual environment, made on first use.

It needs nothing but Python's standard library.  The environment is in ``.venv`` of the checkout;
its stamp, written last, says for which ``pyproject.toml``, place and Python it was made.  Where
the stamp differs, the environment is brought up to date or made again.  Every start pays for this
module, so it imports little and asks the stamp for all it wants to know.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

DEVELOPER_COMMANDS = ("lint", "test")
"""Commands that need the ``dev`` extra; everything else does without it."""


class Checkout:
    """A checkout and its environment; ``root`` has no symbolic links in it."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.venv = os.path.join(root, ".venv")
        self.python = os.path.join(self.venv, "bin", "python")
        self.stamp = os.path.join(self.venv, "cloister-stamp")

    def inside(self) -> bool:
        """Whether this process runs in the environment."""
        return os.path.realpath(sys.prefix) == self.venv

    def expected(self, extra: str) -> str:
        """The stamp of an environment with an extra, ``dev``, or without one, an empty string."""
        with open(os.path.join(self.root, "pyproject.toml"), encoding="utf-8") as file:
            project = file.read()
        return "\n".join((extra, self.root, sys.implementation.cache_tag, project))

    def whole(self) -> bool:
        """Whether the environment has the parts without which it cannot even start."""
        configuration = os.path.join(self.venv, "pyvenv.cfg")
        return os.path.exists(configuration) and os.access(self.python, os.X_OK)

    def found(self) -> str:
        """The stamp of the environment that is there, or an empty string."""
        try:
            with open(self.stamp, encoding="utf-8") as file:
                return file.read()
        except (OSError, UnicodeDecodeError):
            return ""

    def fits(self) -> bool:
        """Whether the environment was made here and for this Python; it may lack packages."""
        if not self.whole():
            return False
        lines = self.found().split("\n", 3)
        return lines[1:3] == [self.root, sys.implementation.cache_tag]

    def ready(self, extra: str) -> bool:
        """Whether the environment has what is needed; one with an extra does for all."""
        if not self.fits():
            return False
        found = self.found()
        return found == self.expected("dev") or (not extra and found == self.expected(""))


def launch(root: str) -> NoReturn:
    """Run the command line in the checkout's environment, which is made first if need be."""
    checkout = Checkout(root)
    extra = "dev" if sys.argv[1:2] and sys.argv[1] in DEVELOPER_COMMANDS else ""
    if checkout.inside() and checkout.ready(extra):
        from tools.cli import main

        sys.exit(main())
    if checkout.inside() or not checkout.whole():
        from tools.environment import EnvironmentFailure, prepare

        try:
            prepare(checkout, extra)
        except EnvironmentFailure as failure:
            sys.exit(f"cloister: {failure}")
        except KeyboardInterrupt:
            sys.exit(130)
    elif os.path.abspath(sys.executable) == checkout.python:
        sys.exit(f"cloister: {checkout.venv} is damaged; remove it and start again")
    command = [checkout.python, "-I", os.path.join(root, "cloister"), *sys.argv[1:]]
    os.execv(checkout.python, command)
