"""``cloister tpm manufacture``: endorsement keys and certificates for a TPM in a folder."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.errors import UserError

if TYPE_CHECKING:
    from tpm.interface import Tpm
    from tpm.manufacture import Endorsed
    from tpm.manufacture.client import Execute
    from tpm.manufacture.issuer import Issuer

ISSUER: Final = "tpm-issuer"
"""The folder of this user's own authority, beside those of the systems."""
ISSUER_HELP: Final = (
    "the authority that issues the certificates, two PEM files "
    "(default: one of this user's own, made on first use)"
)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", required=True, metavar="DIR", help="folder of the TPM's state")
    parser.add_argument(
        "--ek",
        default="",
        metavar="NAMES",
        help="the endorsement keys, with commas between (default: rsa2048,ecc256,ecc384)",
    )
    parser.add_argument("--ek-issuer", metavar="KEY,CERTIFICATE", help=ISSUER_HELP)
    parser.add_argument(
        "--allow-signing", action="store_true", help="make keys that sign, of no standard template"
    )
    parser.add_argument(
        "--decryption",
        action="store_true",
        help="make keys that decrypt, the default without --allow-signing",
    )
    parser.add_argument("--vmid", default="", metavar="NAME", help="the certificates' subject")
    parser.add_argument(
        "--write-ek-cert-files", metavar="DIR", help="write the certificates to ek-NAME.crt too"
    )
    parser.add_argument(
        "--no-persist", action="store_true", help="do not keep the keys at persistent handles"
    )
    found = parser.add_mutually_exclusive_group()
    found.add_argument("--renew", action="store_true", help="replace certificates that are there")
    found.add_argument(
        "--not-overwrite", action="store_true", help="do nothing if certificates are there"
    )


def run(args: argparse.Namespace, tpm: Tpm) -> int:
    """Manufacture a TPM that has no power yet; raises ``UserError`` and ``TpmError``."""
    from tpm.manufacture import Options, is_manufactured, manufacture
    from tpm.manufacture.profile import USUAL

    files = _folder(args.write_ek_cert_files)
    options = Options(
        keys=tuple(args.ek.split(",")) if args.ek else USUAL,
        signing=args.allow_signing,
        decryption=args.decryption or not args.allow_signing,
        persist=not args.no_persist,
        subject=args.vmid,
        renew=args.renew,
    )
    endorsed = _powered(
        tpm,
        lambda execute: (
            []
            if args.not_overwrite and is_manufactured(execute)
            else manufacture(execute, issuer(args.ek_issuer), options)
        ),
    )
    for key, certificate in endorsed:
        print(f"{key.name}: certificate in NV Index 0x{key.certificate_index:08x}", end="")
        print(f", key at 0x{key.handle:08x}" if options.persist else "")
        if files:
            _write(files / f"ek-{key.name}.crt", certificate)
    return 0


_STARTUP: Final = bytes.fromhex("8001 0000000c 00000144 0000")
_SHUTDOWN: Final = bytes.fromhex("8001 0000000c 00000145 0000")


def _powered(tpm: Tpm, work: Callable[[Execute], list[Endorsed]]) -> list[Endorsed]:
    """Do something with a TPM between its startup and an orderly end."""
    tpm.power_on()
    try:
        tpm.execute(_STARTUP)
        return work(tpm.execute)
    finally:
        tpm.execute(_SHUTDOWN)
        tpm.power_off()


def issuer(text: str | None) -> Issuer:
    """The authority that the command line names, or this user's own."""
    from tools.system import state_folder
    from tpm.manufacture import issuer as issuers

    return issuers.given(text) if text else issuers.of_ones_own(state_folder(ISSUER))


def _folder(name: str | None) -> Path | None:
    if name and not Path(name).is_dir():
        raise UserError(f"--write-ek-cert-files {name}: there is no such folder")
    return Path(name) if name else None


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
