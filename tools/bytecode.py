"""Byte code for user mode, made ahead: its processes cannot write files, and so cannot cache it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

PACKAGES = ("kernel", "servers", "drivers", "vmm")


def _stale(source: str) -> bool:
    cached = importlib.util.cache_from_source(source)
    try:
        return os.stat(cached).st_mtime_ns < os.stat(source).st_mtime_ns
    except OSError:
        return True


def refresh(root: Path) -> None:
    """Compile what changed since it was compiled; where that cannot be written, do without."""
    stale = [
        os.path.join(folder, name)
        for package in PACKAGES
        for folder, _, names in os.walk(root / package)
        for name in names
        if name.endswith(".py") and _stale(os.path.join(folder, name))
    ]
    if stale:
        import py_compile

        for source in stale:
            try:
                py_compile.compile(source)
            except (OSError, py_compile.PyCompileError):
                pass  # a program that does not compile says so itself when it is started
