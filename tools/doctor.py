"""``cloister doctor``: say what this host offers, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
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

Status = Literal["ok", "missing", "optional"]

PACKAGES: Final = (
    "capstone",
    "cryptography",
    "greenlet",
    "keystone-engine",
    "lz4",
    "msgpack",
    "msgspec",
    "prompt_toolkit",
    "pygount",
    "pyseccomp",
    "resvg-py",
    "rich",
    "unicorn",
)
"""The distributions that Cloister runs on, as in ``pyproject.toml``."""
PROGRAMS: Final = (
    ("QEMU", "qemu-system-x86_64", "qemu-system-x86", "nothing to compare guests with"),
    ("gdb", "gdb", "gdb", "a guest cannot be debugged from outside"),
    ("swtpm", "swtpm", "swtpm", "nothing to compare virtual TPMs with"),
    ("tpm2-tools", "tpm2", "tpm2-tools", "virtual TPMs are not tried with its programs"),
)
"""Name, program, Debian package, and what goes without it; Cloister needs none of them."""
_USER_NAMESPACES: Final = (
    "allow user namespaces (sysctl user.max_user_namespaces above 0, and where they exist "
    "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
)
_LAYER_ADVICE: Final = {
    "thread limit": "run as an ordinary user",
    "Landlock": "boot Linux 5.13 or newer with landlock in its list of security modules (lsm=)",
    "seccomp": "install libseccomp (apt install libseccomp2)",
}
_KVM_GET_API_VERSION: Final = 0xAE00
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
    host = [*_isolation(), *_linux()] if sys.platform == "linux" else [*_elsewhere()]
    return [*_python(), *host, *_programs(), *_images()]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    yield Check("Python", "Python", "ok", f"{version}, {platform.python_implementation()}")
    for name in PACKAGES:
        if name == "pyseccomp" and sys.platform != "linux":
            continue
        try:
            yield Check("Python", name, "ok", metadata.version(name))
        except metadata.PackageNotFoundError:
            advice = "remove the folder .venv and start ./cloister again"
            yield Check("Python", name, "missing", "not installed", advice)


def _isolation() -> Iterator[Check]:
    from tools.isolation import layers  # for Linux alone

    for layer in layers.layers():
        if layer.present:
            yield Check("Isolation", layer.name, "ok", layer.why or "tried, and it holds")
            continue
        advice = _LAYER_ADVICE.get(layer.name, _USER_NAMESPACES)
        advice = f"{advice}, or use --allow-weak-isolation"
        yield Check("Isolation", layer.name, "missing", layer.why, advice)


def _elsewhere() -> Iterator[Check]:
    found = f"this is {platform.system()}; processes are isolated by Linux"
    yield Check("Linux", "Linux", "missing", found, "use Linux, or the sim machine: --machine sim")


def _linux() -> Iterator[Check]:
    yield Check("Linux", "kernel", "ok", f"{platform.release()}, {platform.machine()}")
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
    yield _kvm()


def _kvm() -> Check:
    name, without = "/dev/kvm", "the software engine does without it"
    try:
        descriptor = os.open(name, os.O_RDWR | os.O_CLOEXEC)
        try:
            version = fcntl.ioctl(descriptor, _KVM_GET_API_VERSION)
        finally:
            os.close(descriptor)
        return Check("Linux", name, "ok", f"it answers, interface version {version}")
    except FileNotFoundError:
        return Check("Linux", name, "optional", f"none; {without}")
    except PermissionError:
        advice = "become a member of its group (usually kvm)"
        return Check("Linux", name, "optional", f"this user may not open it; {without}", advice)
    except OSError as error:
        return Check("Linux", name, "optional", f"{error.strerror}; {without}")


def _programs() -> Iterator[Check]:
    for name, program, package, without in PROGRAMS:
        path = shutil.which(program)
        if path is None:
            found, advice = f"not installed; {without}", f"apt install {package}"
            yield Check("Programs", name, "optional", found, advice)
        else:
            yield Check("Programs", name, "ok", _version(path) or path)


def _version(path: str) -> str:
    """The first line of what a program says of its version; empty if it does not."""
    try:
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "" if done.returncode else done.stdout.partition("\n")[0].strip()


def _images() -> Iterator[Check]:
    from tools import images

    for state in images.states():
        advice = f"cloister images {state.how} {state.name}"
        if state.ready:
            yield Check("Images", state.name, "ok", state.path)
        elif state.status == "outdated":
            found = f"{state.path}: made by another version of Cloister"
            yield Check("Images", state.name, "optional", found, advice)
        else:
            yield Check("Images", state.name, "optional", f"{state.summary}: not here", advice)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 if Cloister cannot run here."""
    checks = gather()
    if args.json:
        print(json.dumps([check._asdict() for check in checks], indent=2))
    elif sys.stdout.isatty() and importlib.util.find_spec("rich"):
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
