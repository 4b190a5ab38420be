"""Completes a boot configuration with all that isolates processes on this host."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from kernel.machine.config import BootConfig
from tools.isolation import devices, filters, linux

START: Final = os.path.join("servers", "runtime", "start.py")
"""The runtime's first program, in one of the import paths."""
ENVIRONMENT: Final = {
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "2",  # arenas are for threads that run at once; the interpreter's do not
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),  # a message's buffer is not mapped anew each time
    "MALLOC_TRIM_THRESHOLD_": str(16 << 20),
}
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_FILES: Final = ("/etc/ld.so.cache", "/dev/null", "/dev/urandom")


class LackingLayers(Exception):
    """This host lacks a layer of isolation; the text says which, and what the host said."""


def prepared(
    config: BootConfig, paths: Sequence[str], without: Collection[str] = ()
) -> tuple[BootConfig, list[int]]:
    """The whole configuration, and the descriptors to send with it, for the caller to close.

    ``paths`` is the import path of user-mode programs, ``without`` the layers, as in
    ``layers.LAYERS``, to go on without.  Raises ``LackingLayers``, or ``UserError`` for a device's
    file.
    """
    descriptors: list[int] = []
    try:
        return _complete(config, paths, without, descriptors), descriptors
    except BaseException:
        for fd in descriptors:
            os.close(fd)
        raise


def _complete(
    config: BootConfig, paths: Sequence[str], without: Collection[str], descriptors: list[int]
) -> BootConfig:
    entries = []
    for device in config.devices:
        fd, reading = devices.opened(device)
        entries.append(
            device._replace(path=None, fd=_add(descriptors, fd), reading=_add(descriptors, reading))
        )
    config = config._replace(
        devices=entries,
        command=_command(paths),
        environment=ENVIRONMENT,
        namespaces=sum(f for name, f in linux.NAMESPACES.items() if name not in without),
        without=list(without),
    )
    if "thread limit" not in without and not threads_are_counted():
        raise LackingLayers("thread limit (root's threads are counted from Linux 6.14 on)")
    if "seccomp" not in without:
        try:
            config = config._replace(filters=filters.filters(), forbidden=filters.forbidden())
        except (OSError, RuntimeError) as error:
            raise LackingLayers(f"seccomp ({error})") from None
    if "Landlock" not in without:
        try:
            descriptors.append(linux.ruleset(readable(paths), paths))
        except OSError as error:
            raise LackingLayers(f"Landlock ({error.strerror})") from None
        config = config._replace(ruleset=len(descriptors) - 1)
    return config


def _add(descriptors: list[int], fd: int | None) -> int | None:
    """Put a descriptor on the list, if there is one; its place."""
    if fd is None:
        return None
    descriptors.append(fd)
    return len(descriptors) - 1


def _interpreter() -> str:
    """The interpreter itself, not a virtual environment's link: it need not be found again."""
    return os.path.realpath(sys.executable)


def _command(paths: Sequence[str]) -> list[str]:
    """What a process executes."""
    for start in (os.path.join(path, START) for path in paths):
        if os.path.exists(start):
            return [_interpreter(), "-I", "-S", "-B", "-X", "utf8", start, *paths]
    raise FileNotFoundError(f"{START} is in none of the import paths {list(paths)}")


def readable(paths: Sequence[str]) -> list[str]:
    """What a process may read: the installation, and the code in the import path.

    Of a checkout only the packages: there may be disks and secrets beside them.
    """
    library = os.path.dirname(os.__file__)
    found = [_interpreter(), library, os.path.dirname(library), *_LIBRARIES, *_FILES]
    for path in paths:
        installed = os.path.basename(path).endswith("-packages")
        found += [path] if installed else _packages(path)
    return found


def _packages(folder: str) -> list[str]:
    """The packages and modules in a folder of code."""
    with os.scandir(folder) as entries:
        return [
            entry.path
            for entry in entries
            if entry.name.endswith((".py", ".so"))
            or (entry.is_dir() and any(name.endswith(".py") for name in _names(entry.path)))
        ]


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def threads_are_counted() -> bool:
    """Whether the number of a process's threads can be limited.

    The host does not apply ``RLIMIT_NPROC`` to its root.  It counts threads by pid namespace from
    Linux 6.14 on; before, ``pid_max`` is not the namespace's but the whole host's.
    """
    release = Path("/proc/sys/kernel/osrelease").read_text(encoding="ascii")
    version = [int(number) for number in re.findall(r"\d+", release)[:2]]
    return os.getuid() != 0 or version >= [6, 14]
