"""``cloister doctor``: say what this host offers, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final, Literal, NamedTuple

from kernel.machine.host import sandbox

Status = Literal["ok", "missing", "optional"]

PACKAGES: Final = (
    "capstone",
    "cryptography",
    "greenlet",
    "keystone-engine",
    "msgpack",
    "msgspec",
    "prompt_toolkit",
    "pyseccomp",
    "rich",
    "unicorn",
)
"""The distributions that Cloister runs on, as in ``pyproject.toml``."""
_COLOURS: Final = {"ok": "green", "missing": "bold red", "optional": "yellow"}


class Check(NamedTuple):
    """One thing that was looked for."""

    group: str
    name: str
    status: Status
    """``missing``: Cloister does not run here without it.  ``optional``: it runs, with less."""
    found: str
    """What is there, or what goes without it."""
    advice: str = ""
    """What to do where it is not ok."""


def gather() -> list[Check]:
    """Look at this host; it is left as it is, and isolation is tried in children that then end."""
    return [*_python(), *_isolation(), *_system(), *_programs(), *_images()]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    yield Check("Python", "Python", "ok", f"{version}, {platform.python_implementation()}")
    for name in PACKAGES:
        try:
            yield Check("Python", name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            advice = "remove the folder .venv and start ./cloister again"
            yield Check("Python", name, "missing", "not installed", advice)


def _isolation() -> Iterator[Check]:
    release = platform.release()
    for layer in sandbox.layers():
        if layer.present:
            yield Check("Isolation", layer.name, "ok", layer.why)
            continue
        advice = f"enable it in the host's kernel ({release}), or use --allow-weak-isolation"
        if "namespace" in layer.name:
            advice = f"allow user namespaces (sysctl user.max_user_namespaces); {advice}"
        yield Check("Isolation", layer.name, "missing", layer.why, advice)


def _system() -> Iterator[Check]:
    newer = "use a newer Linux kernel"
    try:
        descriptor = os.memfd_create("cloister", os.MFD_ALLOW_SEALING)
        try:
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        finally:
            os.close(descriptor)
        yield Check("Linux", "memfd", "ok", "memory that is shared by its descriptor")
    except OSError as error:
        yield Check("Linux", "memfd", "missing", f"{error.strerror}", newer)
    try:
        os.close(os.pidfd_open(os.getpid()))
        yield Check("Linux", "pidfd", "ok", "the end of a process is noticed")
    except OSError as error:
        yield Check("Linux", "pidfd", "missing", f"{error.strerror}", newer)
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        yield Check("Linux", "cgroup v2", "ok", "mounted; limits do not depend on it")
    else:
        yield Check("Linux", "cgroup v2", "optional", "not mounted; limits do not depend on it")
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        yield Check("Linux", "/dev/kvm", "ok", "usable; the software engine does without it")
    else:
        yield Check("Linux", "/dev/kvm", "optional", "none; the software engine does without it")


def _programs() -> Iterator[Check]:
    path = shutil.which("qemu-system-x86_64")
    if path is None:
        yield Check(
            "Programs",
            "QEMU",
            "optional",
            "not installed; 'cloister bench boot' has nothing to compare with",
            "apt install qemu-system-x86",
        )
        return
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    version = done.stdout.partition("\n")[0].removeprefix("QEMU emulator version ")
    yield Check("Programs", "QEMU", "ok", version or path)


def _images() -> Iterator[Check]:
    from tools import images

    for state in images.states():
        if state.ready:
            yield Check("Images", state.name, "ok", state.path)
        else:
            advice = f"cloister images {state.how} {state.name}"
            yield Check("Images", state.name, "optional", f"{state.summary}: not here", advice)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 if Cloister cannot run here."""
    checks = gather()
    if args.json:
        print(json.dumps([check._asdict() for check in checks], indent=2))
    elif sys.stdout.isatty():
        _table(checks)
    else:
        _lines(checks)
    missing = [check.name for check in checks if check.status == "missing"]
    if missing:
        print(f"cloister: this host lacks {', '.join(missing)}", file=sys.stderr)
    return 1 if missing else 0


def _lines(checks: list[Check]) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        advice = f"; {check.advice}" if check.advice else ""
        print(f"{check.status:8}  {check.name:{width}}  {check.found}{advice}")


def _table(checks: list[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "", "status", "what is there", "what to do"):
        table.add_column(title, overflow="fold")
    group = ""
    for check in checks:
        if group and check.group != group:
            table.add_row()
        table.add_row(
            Text(check.group if check.group != group else "", style="bold"),
            check.name,
            Text(check.status, style=_COLOURS[check.status]),
            Text(check.found),
            Text(check.advice),
        )
        group = check.group
    Console().print(table)
