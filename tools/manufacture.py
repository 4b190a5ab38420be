"""``cloister tpm manufacture``: endorsement keys and certificates for a TPM in a folder."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.errors import UserError

if TYPE_CHECKING:
    from tpm.interface import Tpm
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
    from tpm.manufacture import Options, is_manufactured, manufacture, powered
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
    options.wanted()  # what is wrong with them is said before anything is made
    with powered(tpm) as execute:
        if args.not_overwrite and is_manufactured(execute):
            return 0
        endorsed = manufacture(execute, issuer(args.ek_issuer), options)
    for key, certificate in endorsed:
        print(f"{key.name}: certificate in NV Index 0x{key.certificate_index:08x}", end="")
        print(f", key at 0x{key.handle:08x}" if options.persist else "")
        if files:
            _write(files / f"ek-{key.name}.crt", certificate)
    return 0


def certify_guest(state: str, text: str) -> None:
    """Manufacture the TPM 2.0 in the files of a guest's devices, if it has no certificate yet.

    One that has is not even switched on, which would count as a reset.  Raises ``UserError``.
    """
    from tpm.instance import STATE, join
    from tpm.interface import TpmError
    from tpm.manufacture import ManufactureError, manufacture, powered
    from tpm.manufacture.profile import KEYS
    from tpm.store import StoreError
    from tpm.store.device import file_journal
    from tpm.versions import make

    try:
        with closing(file_journal(state)) as journal:
            blobs = journal.load()
            places = {key.certificate_index for key in KEYS.values()}
            if STATE in blobs and not places.isdisjoint(join(blobs)["nv"]):
                return
            with powered(make("2.0", lambda: journal, _say)) as execute:
                manufacture(execute, issuer(text))
    except (TpmError, StoreError, ManufactureError) as error:
        raise UserError(str(error)) from None


def _say(text: str) -> None:
    print(f"cloister: {text}", file=sys.stderr, flush=True)


def issuer(text: str | None) -> Issuer:
    """The authority that the command line names, or this user's own."""
    from tools.system import state_folder
    from tpm.manufacture import issuer as issuers

    if text:
        return issuers.given(text)
    folder = state_folder(ISSUER)
    if not (folder / issuers.CERTIFICATE).exists():
        _say(f"the issuer's certificate is {folder / issuers.CERTIFICATE}")
    return issuers.of_ones_own(folder)


def _folder(name: str | None) -> Path | None:
    if name and not Path(name).is_dir():
        raise UserError(f"--write-ek-cert-files {name}: there is no such folder")
    return Path(name) if name else None


def _write(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
