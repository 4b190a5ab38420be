"""Guests' screens, as the tools see them: screenshots, and viewers."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from drivers.vnc.keys import CHARACTERS
from servers.display.interface import DisplayControl
from servers.init.description import (
    DeviceEntry,
    ProcessEntry,
)
from tools.errors import UserError

CONTROL: Final = "display.control"
"""The offer that screens are controlled through."""
DEFAULT_PORT: Final = 5900
VIEWER: Final = "viewer"
"""The process, and the device, of the viewer that is made for ``--vnc``."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``cloister boot`` that have to do with a screen."""
    parser.add_argument(
        "--screenshot",
        metavar="F.png",
        help="give the guest a screen, and write what it shows when the guest ends",
    )
    parser.add_argument(
        "--screenshot-after",
        type=float,
        metavar="S",
        help="write it after S seconds instead; the guest goes on",
    )
    parser.add_argument(
        "--vnc",
        nargs="?",
        type=int,
        const=DEFAULT_PORT,
        metavar="PORT",
        help="give the guest a screen, keyboard and mouse, for VNC clients that connect to PORT on "
        f"loopback (default {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--vnc-password", metavar="F", help="a file with a password that VNC clients have to know"
    )


def check(args: argparse.Namespace) -> None:
    """Raise ``UserError`` for arguments that make no sense."""
    if args.screenshot_after is not None and not args.screenshot:
        raise UserError("--screenshot-after goes with --screenshot", 2)
    if args.screenshot and not Path(args.screenshot).absolute().parent.is_dir():
        raise UserError(f"the folder of --screenshot {args.screenshot} does not exist")
    if args.vnc_password and args.vnc is None:
        raise UserError("--vnc-password goes with --vnc", 2)
    if args.vnc is not None and not 0 < args.vnc < 1 << 16:
        raise UserError(f"--vnc {args.vnc}: a port is 1 to 65535", 2)


def wanted(args: argparse.Namespace) -> bool:
    """Whether the guest is to have a screen."""
    return bool(args.screenshot) or args.vnc is not None


def viewer(port: int, password: str = "") -> tuple[DeviceEntry, ProcessEntry]:
    """A VNC driver and its socket."""
    device = DeviceEntry(name=VIEWER, file=f"listen:{port}", stream=True)
    process = ProcessEntry(
        name=VIEWER,
        program="drivers.vnc",
        holds=[f"socket=device:{VIEWER}"],
        offers=["viewer"],
        label="drivers",
        priority=120,
        config={"password": password},
    )
    return device, process


def viewers(args: argparse.Namespace) -> tuple[list[DeviceEntry], list[ProcessEntry]]:
    """What ``--vnc`` adds to a system."""
    if args.vnc is None:
        return [], []
    password = ""
    if args.vnc_password:
        try:
            password = Path(args.vnc_password).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read --vnc-password {args.vnc_password}: {error}") from None
        if not 0 < len(password.encode()) <= 8:
            raise UserError("a VNC password has 1 to 8 characters")
    device, process = viewer(args.vnc, password)
    return [device], [process]


def save(control: DisplayControl, name: str, path: Path, bar: bool = True) -> int:
    """Write a screenshot of a guest; the file's size."""
    size = control.screenshot(name, bar)
    content = b""
    while len(content) < size:
        piece = control.piece(len(content))
        if not piece:
            raise UserError(f"the screenshot of {name} is gone: another one was taken")
        content += piece
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write the screenshot {path}: {error.strerror}") from None
    return size


NAMED: Final = {
    "esc": 0x01,
    "backspace": 0x0E,
    "tab": 0x0F,
    "enter": 0x1C,
    "space": 0x39,
    "minus": 0x0C,
    "ctrl": 0x1D,
    "shift": 0x2A,
    "alt": 0x38,
    "caps": 0x3A,
    "super": 0xDB,
    "home": 0xC7,
    "up": 0xC8,
    "pageup": 0xC9,
    "left": 0xCB,
    "right": 0xCD,
    "end": 0xCF,
    "down": 0xD0,
    "pagedown": 0xD1,
    "insert": 0xD2,
    "delete": 0xD3,
    **{f"f{number}": 0x3A + number for number in range(1, 11)},
    "f11": 0x57,
    "f12": 0x58,
}
"""Names of keys, and their codes as of ``drivers.vnc.interface.Key``."""


def codes(word: str) -> list[int]:
    """Keys that are pressed together, as in ``ctrl-alt-delete`` or ``shift-a``."""
    found = []
    for name in word.split("-"):
        plain, shifted = CHARACTERS.get(ord(name), (0, True)) if len(name) == 1 else (0, True)
        code = NAMED.get(name.lower(), 0 if shifted else plain)
        if not code:
            raise UserError(
                f"there is no key {name!r} in {word!r}; known are characters that need "
                f"no shift, and {', '.join(NAMED)}"
            )
        found.append(code)
    return found


class Later:
    """Does something once, after some seconds."""

    def __init__(self, seconds: float, action: Callable[[], object]) -> None:
        self._due = time.monotonic() + seconds
        self._action: Callable[[], object] | None = action

    def __call__(self) -> None:
        if self._action is not None and time.monotonic() >= self._due:
            action, self._action = self._action, None
            action()

    @property
    def done(self) -> bool:
        return self._action is None
