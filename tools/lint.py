"""``cloister lint``: check style, types, layers and what is generated."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tools import abi

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    ("ruff", ["ruff", "check", "."]),
    ("mypy --strict", ["mypy"]),
    ("import-linter", ["lint-imports"]),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """It takes no arguments."""


def run(args: argparse.Namespace) -> int:
    """Run every check; 1 if any fails."""
    failed = []
    for name, command in CHECKS:
        print(f"--- {name}", flush=True)
        program = Path(sys.executable).parent / command[0]
        if subprocess.run([str(program), *command[1:]], cwd=ROOT, check=False).returncode:
            failed.append(name)
    print("--- generated files", flush=True)
    if abi.run(argparse.Namespace(check=True)):
        failed.append("generated files")
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0
