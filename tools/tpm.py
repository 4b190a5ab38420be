"""``cloister tpm``: a TPM on sockets, for software that speaks the protocols of simulators.

``serve`` keeps the TPM's state in a folder and serves it until a signal comes.  With ``--swtpm``
the data channel is at the address and the control channel at the next port (for a UNIX socket at
the path with ``.ctrl``); with ``--mssim`` so is the platform port.
"""

from __future__ import annotations

import argparse
import socket
import sys
from typing import TYPE_CHECKING, Final

from tools import manufacture
from tools.errors import UserError

if TYPE_CHECKING:
    from tpm.frontends.sockets import Address
    from tpm.store.journal import Key

_ATTEMPTS: Final = 20
"""How often two free ports are looked for that are neighbours."""
_STARTUP: Final = {
    ("2.0", "clear"): "8001 0000000c 00000144 0000",
    ("2.0", "state"): "8001 0000000c 00000144 0001",
    ("1.2", "clear"): "00c1 0000000c 00000099 0001",
    ("1.2", "state"): "00c1 0000000c 00000099 0002",
}


def configure(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve a TPM on sockets")
    serve.add_argument("--version", choices=("2.0", "1.2"), default="2.0", help="default: 2.0")
    serve.add_argument("--state", required=True, metavar="DIR", help="folder of the TPM's state")
    where = "HOST:PORT or unix:PATH, port 0 for any that is free"
    serve.add_argument("--swtpm", metavar="ADDRESS", help=f"swtpm's two channels: {where}")
    serve.add_argument("--mssim", metavar="ADDRESS", help=f"mssim's two ports: {where}")
    serve.add_argument(
        "--startup",
        choices=("clear", "state", "none"),
        default="none",
        help="the startup command to begin with, as a machine's firmware sends it (default: none)",
    )
    _add_key(serve)
    making = commands.add_parser(
        "manufacture", help="give a TPM 2.0 endorsement keys and their certificates"
    )
    manufacture.configure(making)
    _add_key(making)


def _add_key(parser: argparse.ArgumentParser) -> None:
    key = parser.add_mutually_exclusive_group()
    key.add_argument(
        "--key",
        metavar="FILE",
        help="the key that the state is encrypted under, 16 or 32 bytes in hexadecimal "
        "(default: one that is made in the state's folder)",
    )
    key.add_argument("--password", metavar="FILE", help="make the key from this file's password")


def run(args: argparse.Namespace) -> int:
    from tpm.interface import TpmError
    from tpm.manufacture import ManufactureError
    from tpm.store import StoreError

    try:
        return _manufacture(args) if args.command == "manufacture" else _serve(args)
    except (TpmError, StoreError, ManufactureError) as error:
        raise UserError(str(error)) from None


def _key(args: argparse.Namespace) -> Key | None:
    """What the state is encrypted under, if not the key beside it."""
    from tpm.store import keys

    if args.key:
        return keys.key_file(args.key)
    return keys.password_file(args.password) if args.password else None


def _manufacture(args: argparse.Namespace) -> int:
    from tpm.frontends import program
    from tpm.versions import make

    state = program.open_state(args.state, "2.0", _key(args), say=_say)
    return manufacture.run(args, make("2.0", lambda: state, _say))


def _serve(args: argparse.Namespace) -> int:
    from tpm.frontends import program
    from tpm.frontends.port import Port
    from tpm.frontends.server import Server
    from tpm.versions import make

    if not args.swtpm and not args.mssim:
        raise UserError("say where to serve: --swtpm ADDRESS, --mssim ADDRESS, or both", 2)
    state = program.open_state(args.state, args.version, _key(args), say=_say)
    port = Port(make(args.version, lambda: state, _say), log=_say)
    server = Server(port)
    _listen(server, args)
    port.tpm.power_on()
    if args.startup != "none":
        port.execute(bytes.fromhex(_STARTUP[args.version, args.startup]), 0)
    print("ready", flush=True)
    return program.run(server)


def _listen(server: object, args: argparse.Namespace) -> None:
    """Open the sockets, and say where they are."""
    from tpm.frontends import sockets
    from tpm.frontends.server import Server

    assert isinstance(server, Server)
    pairs = (
        (args.swtpm, "swtpm", server.listen_control, "control channel"),
        (args.mssim, "mssim", server.listen_platform, "platform port"),
    )
    for text, name, second, what in pairs:
        if not text:
            continue
        listener, other = _pair(sockets.parse(text))
        server.listen_data(listener)
        second(other)
        address = sockets.bound(listener)
        print(f"{name}: commands at {address}, {what} at {sockets.bound(other)}", flush=True)


def _pair(address: Address) -> tuple[socket.socket, socket.socket]:
    """Sockets at an address and at the next one; of free ports, two that are neighbours."""
    from tpm.frontends import sockets
    from tpm.interface import TpmError

    for attempts_left in reversed(range(_ATTEMPTS)):
        first = sockets.listen(address)
        try:
            return first, sockets.listen(sockets.bound(first).next())
        except TpmError:
            first.close()
            if address.path or address.port or not attempts_left:
                raise
    raise AssertionError


def _say(text: str) -> None:
    print(f"cloister: {text}", file=sys.stderr, flush=True)
