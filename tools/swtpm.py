"""``cloister-swtpm``: a TPM behind swtpm's command line, for programs that start one called so.

    cloister-swtpm socket --tpm2 --tpmstate dir=DIR --server type=tcp,port=2321
        --ctrl type=tcp,port=2322 --flags not-need-init,startup-clear

Options are swtpm's (``man swtpm``), with the same meanings.  What has none here is refused, but for
``--seccomp``, ``mode=aes-...``, and ``backup``, ``fsync`` and ``lock`` of ``--tpmstate``: the state
is always encrypted, synced and locked.  A symbolic link ``swtpm`` to this program is all that a
test suite needs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from tpm.frontends import program, sockets
from tpm.frontends.port import Port
from tpm.frontends.server import FILE_KEY, MIGRATION_KEY, Options, Server
from tpm.interface import Tpm, TpmError, Version
from tpm.store import StoreError, keys
from tpm.store.blobs import BlobKey
from tpm.store.files import MODE, LockedJournal, open_file
from tpm.store.journal import Key
from tpm.versions import NAMES, available, make

NAME: Final = "cloister-swtpm"
FEATURES: Final = (
    "tpm-send-command-header",
    "flags-opt-startup",
    "flags-opt-disable-auto-shutdown",
    "cmdarg-seccomp",
    "cmdarg-key-fd",
    "cmdarg-pwd-fd",
    "cmdarg-print-states",
    "cmdarg-migration",
    "nvram-backend-dir",
    "rsa-keysize-2048",
    "rsa-keysize-3072",
)
STARTUP: Final = {
    ("2.0", "clear"): "8001 0000000c 00000144 0000",
    ("2.0", "state"): "8001 0000000c 00000144 0001",
    ("1.2", "clear"): "00c1 0000000c 00000099 0001",
    ("1.2", "state"): "00c1 0000000c 00000099 0002",
    ("1.2", "deactivated"): "00c1 0000000c 00000099 0003",
}
"""TPM2_Startup and TPM_Startup, by what ``--flags startup-...`` says."""
STATE: Final = "dir mode backup fsync lock"
"""What ``--tpmstate`` has."""
CHANNEL: Final = "type path port bindaddr ifname fd mode uid gid"
"""What both ``--server`` and ``--ctrl`` have."""
LOCK_RETRY: Final = 0.01
"""Seconds that a retry of LOCK_STORAGE stands for."""

Suboptions = dict[str, str]


class UsageError(Exception):
    """The command line is wrong; the text says how."""


def suboptions(option: str, text: str, known: str) -> Suboptions:
    """``a=1,b`` as a dictionary, if all names are among the ``known``."""
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in known.split():
            raise UsageError(f"{option} has no {name!r}; it has {', '.join(known.split())}")
        found[name] = value
    return found


def number(option: str, text: str, least: int = 0, most: int = 1 << 31, base: int = 10) -> int:
    try:
        value = int(text, base)
    except ValueError:
        raise UsageError(f"{option}: {text!r} is no number") from None
    if not least <= value <= most:
        raise UsageError(f"{option}: {value} is not between {least} and {most}")
    return value


class Parser(argparse.ArgumentParser):
    """Usage errors as exceptions."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser() -> Parser:
    parser = Parser(
        prog=f"{NAME} socket", description=(__doc__ or "").partition("\n\n")[0], allow_abbrev=False
    )
    parser.add_argument("-p", "--port", help="TCP port of the data channel")
    parser.add_argument("-f", "--fd", help="the data channel's socket, by its descriptor")
    parser.add_argument(
        "-t", "--terminate", action="store_true", help="end when a data connection has ended"
    )
    parser.add_argument("-d", "--daemon", action="store_true", help="go into the background")
    parser.add_argument("--server", help="type=tcp|unixio,port=,bindaddr=,path=,fd=,disconnect")
    parser.add_argument("--ctrl", help="type=tcp|unixio,port=,bindaddr=,path=,fd=,clientfd=")
    parser.add_argument("--tpmstate", help="dir=DIR,mode=0600; or $TPM_PATH")
    parser.add_argument("--flags", help="not-need-init,startup-clear|state|none|deactivated")
    parser.add_argument("--key", help="file=,fd=,format=hex|binary; pwdfile=,pwdfd=,kdf=; remove=")
    parser.add_argument("--migration-key", help="as --key, for state blobs")
    parser.add_argument("--locality", help="reject-locality-4,allow-set-locality")
    parser.add_argument("--log", help="file=,fd=,level=,prefix=,truncate")
    parser.add_argument("--pid", help="file=,fd=")
    parser.add_argument("--migration", help="incoming,release-lock-outgoing")
    parser.add_argument("-r", "--runas", metavar="USER", help="become this user")
    parser.add_argument("--seccomp", help="accepted: this program has a sandbox of its own")
    parser.add_argument("--tpm2", action="store_true", help="TPM 2.0 instead of 1.2")
    parser.add_argument("--print-capabilities", action="store_true", help="say what it can")
    parser.add_argument("--print-states", action="store_true", help="say which states there are")
    return parser


# Where channels are


def _listener(fields: Suboptions, option: str) -> socket.socket:
    """A socket that listens where the suboptions say."""
    kind = fields.get("type", "unixio" if "path" in fields else "tcp")
    if kind == "tcp":
        if "port" not in fields:
            raise UsageError(f"{option} needs port=, or fd=")
        port = number(f"{option} port", fields["port"], 0, 65535)
        return sockets.listen(
            sockets.Address(host=fields.get("bindaddr", sockets.LOCALHOST), port=port)
        )
    if kind != "unixio":
        raise UsageError(f"{option} type={kind}: it is tcp or unixio")
    if not fields.get("path"):
        raise UsageError(f"{option} type=unixio needs path=, or fd=")
    mode = number(f"{option} mode", fields["mode"], 0, 0o777, 8) if "mode" in fields else None
    found = sockets.listen(sockets.Address(path=fields["path"]), mode)
    owner = [number(f"{option} {name}", fields.get(name, "-1"), -1) for name in ("uid", "gid")]
    if owner != [-1, -1]:
        os.chown(fields["path"], *owner)
    return found


def _given(option: str, text: str) -> socket.socket:
    """A socket whose descriptor this process was started with."""
    try:
        found = socket.socket(fileno=number(option, text))
    except OSError as error:
        raise UsageError(f"{option}={text} is no socket: {error.strerror}") from None
    found.set_inheritable(False)
    return found


def _listens(found: socket.socket) -> bool:
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def _serve_data(server: Server, args: argparse.Namespace, fields: Suboptions) -> None:
    if args.fd is not None:
        fields = {"fd": args.fd}
    elif args.port is not None:
        fields = {**fields, "type": "tcp", "port": args.port}
    if "fd" in fields:
        found = _given("--server fd", fields["fd"])
        if _listens(found):
            server.listen_data(found)
        else:
            server.serve_data(found)
    elif fields:
        server.listen_data(_listener(fields, "--server"))


def _serve_control(server: Server, fields: Suboptions) -> None:
    for name in ("fd", "clientfd"):
        if name in fields:
            found = _given(f"--ctrl {name}", fields[name])
            if _listens(found):
                server.listen_control(found)
            else:
                server.serve_control(found)
            return
    if fields:
        server.listen_control(_listener(fields, "--ctrl"))


# Keys, logs


def _key(option: str, text: str | None) -> Key | None:
    """The key that ``--key`` or ``--migration-key`` names."""
    if text is None:
        return None
    fields = suboptions(option, text, "file fd pwdfile pwdfd mode format remove kdf")
    names = [name for name in ("file", "fd", "pwdfile", "pwdfd") if name in fields]
    if len(names) != 1:
        raise UsageError(f"{option} needs one of file=, fd=, pwdfile= and pwdfd=")
    source, value = names[0], fields[names[0]]
    if source.endswith("fd"):
        data = keys.read_secret(number(f"{option} {source}", value))
    else:
        data = keys.read_secret(open_file(value, os.O_RDONLY))
        if fields.get("remove", "false") in ("true", "1"):
            os.unlink(value)
    if source.startswith("pwd"):
        kdf = fields.get("kdf", "scrypt")
        if kdf not in ("scrypt", "pbkdf2", "sha512"):
            raise UsageError(f"{option} kdf={kdf}: it is scrypt, pbkdf2 or sha512")
        return keys.from_password(data, kdf)  # type: ignore[arg-type]
    form = fields.get("format", "hex")
    if form not in ("hex", "binary"):
        raise UsageError(f"{option} format={form}: it is hex or binary")
    return keys.parse_key(data, form)  # type: ignore[arg-type]


class Log:
    """Where messages go."""

    def __init__(self, text: str | None) -> None:
        fields = suboptions("--log", text or "", "file fd level prefix truncate")
        self._prefix = fields.get("prefix", "")
        self._fd: int | None = 2
        silent = "level" in fields and not number("--log level", fields["level"])
        if silent or fields.get("file") == "-":
            self._fd = None
        elif "fd" in fields:
            self._fd = number("--log fd", fields["fd"])
        elif "file" in fields:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            flags |= os.O_TRUNC if "truncate" in fields else 0
            self._fd = open_file(fields["file"], flags, 0o640)

    def __call__(self, text: str) -> None:
        if self._fd is not None:
            lines = "".join(f"{self._prefix}{line}\n" for line in text.splitlines())
            try:
                os.write(self._fd, lines.encode())
            except OSError:
                self._fd = None  # nobody listens any more


# Life


class Program:
    """One run of the command line."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._log = Log(args.log)
        self._version: Version = "2.0" if args.tpm2 else "1.2"
        self._flags = set(filter(None, (args.flags or "").split(",")))
        wrong = self._flags - {
            "not-need-init", "disable-auto-shutdown", "startup-clear", "startup-state",
            "startup-none", "startup-deactivated",
        }  # fmt: skip
        if wrong:
            raise UsageError(f"--flags has no {min(wrong)!r}")
        self._migration = suboptions(
            "--migration", args.migration or "", "incoming release-lock-outgoing"
        )
        self._key = _key("--key", args.key)
        self._blob_key = _key("--migration-key", args.migration_key)
        self._wait = 0.0

    def run(self) -> int:
        args = self._args
        control = suboptions("--ctrl", args.ctrl or "", f"{CHANNEL} clientfd terminate")
        data = suboptions("--server", args.server or "", f"{CHANNEL} disconnect")
        if not (control or data or args.fd or args.port):
            raise UsageError("say where to serve: --server, --ctrl, or both")
        locality = suboptions(
            "--locality", args.locality or "", "reject-locality-4 allow-set-locality"
        )
        tpm = make(self._version, self._open, self._log)
        port = Port(
            tpm,
            set_locality="allow-set-locality" in locality,
            reject_locality_4="reject-locality-4" in locality,
            auto_shutdown="disable-auto-shutdown" not in self._flags,
            log=self._log,
        )
        server = Server(port, self._options(control, data, tpm))
        _serve_data(server, args, data)
        _serve_control(server, control)
        if args.runas:
            _become(args.runas)
        if "incoming" not in self._migration:
            self._lock(tpm, 0)
        self._start(port, bool(control))
        return self._live(server)

    def _options(self, control: Suboptions, data: Suboptions, tpm: Tpm) -> Options:
        flags = (FILE_KEY if self._key else 0) | (MIGRATION_KEY if self._blob_key else 0)
        options = Options(
            once="disconnect" in data,
            end_with_data=self._args.terminate,
            end_with_control="terminate" in control,
            config_flags=flags,
            lock=lambda retries: self._lock(tpm, retries),
        )
        if self._blob_key is not None:
            blobs = BlobKey(self._blob_key)
            options.seal, options.unseal = blobs.seal, blobs.unseal
        return options

    def _lock(self, tpm: Tpm, retries: int) -> None:
        self._wait = retries * LOCK_RETRY
        tpm.lock()

    def _open(self) -> LockedJournal:
        """The state that ``--tpmstate`` names."""
        fields = suboptions("--tpmstate", self._args.tpmstate or "", STATE)
        folder = fields.get("dir") or os.environ.get("TPM_PATH")
        if not folder:
            raise StoreError("say where the TPM's state is: --tpmstate dir=DIR")
        mode = number("--tpmstate mode", fields["mode"], 0, 0o777, 8) if "mode" in fields else MODE
        return program.open_state(
            folder, self._version, self._key, mode=mode, wait=self._wait, say=self._log
        )

    def _start(self, port: Port, control: bool) -> None:
        """Switch the TPM on if nobody else is to."""
        wanted = {flag.removeprefix("startup-") for flag in self._flags if "startup-" in flag}
        wanted &= {"clear", "state", "deactivated"}
        if control and not wanted and "not-need-init" not in self._flags:
            return
        port.power_on()
        for kind in wanted:
            if (self._version, kind) not in STARTUP:
                raise UsageError(f"--flags startup-{kind}: not for a TPM {self._version}")
            answer = port.execute(bytes.fromhex(STARTUP[self._version, kind]), 0)
            if code := int.from_bytes(answer[6:10], "big"):
                raise TpmError(f"the TPM's startup failed with code {code:#x}")

    def _live(self, server: Server) -> int:
        pid = suboptions("--pid", self._args.pid or "", "file fd")
        if self._args.daemon and _detach():
            return 0
        path = pid.get("file")
        if path:
            fd = open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.write(fd, b"%d\n" % os.getpid())
            os.close(fd)
        elif "fd" in pid:
            os.write(number("--pid fd", pid["fd"]), b"%d\n" % os.getpid())
        try:
            return 0 if program.run(server) in (0, 130) else 1
        finally:
            if path:
                os.unlink(path)


def _become(name: str) -> None:
    """Give up root for another user."""
    import pwd

    try:
        user = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        raise UsageError(f"--runas: there is no user {name!r}") from None
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    except OSError as error:
        raise TpmError(f"cannot become the user {name}: {error.strerror}") from None


def _detach() -> bool:
    """Go on in the background; True in the process that stays behind, and is to end."""
    if os.fork():
        return True
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in range(3):
        os.dup2(null, fd)
    os.close(null)
    return False


def _capabilities() -> str:
    from importlib import metadata  # slow, and for this alone

    features = [f"tpm-{version}" for version in sorted(available())] + list(FEATURES)
    try:
        version = metadata.version("cloister")
    except metadata.PackageNotFoundError:
        version = "0"
    return json.dumps({"type": "swtpm", "features": features, "version": version})


def _states(args: argparse.Namespace) -> str:
    """What there is in the folder, without opening it."""
    fields = suboptions("--tpmstate", args.tpmstate or "", STATE)
    version: Version = "2.0" if args.tpm2 else "1.2"
    path = os.path.join(fields.get("dir", os.environ.get("TPM_PATH", "")), NAMES[version])
    states = ["permall"] if os.path.isfile(f"{path}.state") else []
    return json.dumps({"type": "swtpm", "states": states})


def _dispatch(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(f"usage: {NAME} socket OPTIONS; '{NAME} socket --help' lists them")
        return 0 if arguments else 1
    if arguments[0] in ("-v", "--version"):
        print(f"TPM emulator version {json.loads(_capabilities())['version']}, {NAME}")
        return 0
    if arguments[0] != "socket":
        raise UsageError(f"there is no {arguments[0]!r}: it serves sockets alone, '{NAME} socket'")
    args = _parser().parse_args(arguments[1:])
    printer: Callable[[], str] | None = None
    if args.print_capabilities:
        printer = _capabilities
    elif args.print_states:
        printer = lambda: _states(args)  # noqa: E731
    if printer is not None:
        print(printer())
        return 0
    return Program(args).run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 1 for whatever goes wrong, as swtpm's."""
    try:
        return _dispatch(sys.argv[1:] if arguments is None else arguments)
    except (UsageError, TpmError, StoreError) as error:
        print(f"{NAME}: {error}", file=sys.stderr)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{NAME}: {where}{error.strerror}", file=sys.stderr)
    return 1


def configure(parser: argparse.ArgumentParser) -> None:
    """Its arguments are its own."""


def run(args: argparse.Namespace) -> int:
    """The same as a command of ``cloister``."""
    return main(args.arguments)


if __name__ == "__main__":
    sys.exit(main())
