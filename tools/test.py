"""``cloister test``: run the tests; the arguments are pytest's."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from tools.errors import UserError

ROOT = Path(__file__).resolve().parent.parent


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("arguments", nargs="*", help="arguments for pytest")


def run(args: argparse.Namespace) -> int:
    if not (ROOT / "tests").is_dir():
        raise UserError("the tests come with the source, not with an installed package")
    command = [sys.executable, "-m", "pytest"]
    if not any(argument.startswith(("-n", "-s", "--pdb")) for argument in args.arguments):
        command += ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "worksteal"]
    return subprocess.run([*command, *args.arguments], cwd=ROOT, check=False).returncode
