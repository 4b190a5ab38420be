"""A manufactured TPM: its endorsement keys are those of its certificates, to tpm2-tools too."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.conformance.tpm2.conftest import Client
from tests.support import tpms

pytestmark = pytest.mark.skipif(
    shutil.which("tpm2") is None, reason="there is no tpm2: the Debian package tpm2-tools has it"
)
_PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def manufacture(state: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return tpms.finished(
        tpms.command("tools.cli", "tpm", "manufacture", "--state", str(state), *more)
    )


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client of a TPM that has certificates, in a folder that has their issuer's."""
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path / "user"))
    state = tmp_path / "state"
    state.mkdir()
    done = manufacture(state)
    assert done.returncode == 0, done.stderr
    first = tpms.free_ports(2)
    serve = ("tools.cli", "tpm", "serve", "--startup", "clear", "--state", str(state))
    with tpms.running(tpms.command(*serve, "--swtpm", f"127.0.0.1:{first}")):
        tpms.connect(first).close()
        yield Client(f"swtpm:host=127.0.0.1,port={first}", tmp_path)


def issuer(folder: Path) -> x509.Certificate:
    path = folder / "user" / "tpm-issuer" / "certificate.pem"
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize(("algorithm", "index"), [("rsa", "0x1c00002"), ("ecc", "0x1c0000a")])
def test_the_certificate_is_of_the_key_that_the_tpm_makes(
    made: Client, algorithm: str, index: str
) -> None:
    made("createek", "-G", algorithm, "-c", "ek.ctx", "-u", "ek.pem", "-f", "pem")
    made("nvread", "-C", "o", index, "-o", "ek.der")
    certificate = x509.load_der_x509_certificate(made.read("ek.der"))
    assert certificate.public_key().public_bytes(*_PUBLIC) == made.read("ek.pem")
    certificate.verify_directly_issued_by(issuer(made.folder))
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [one.dotted_string for one in usage] == ["2.23.133.8.1"]


def test_tpm2_tools_fetch_the_certificates(made: Client) -> None:
    made("getekcertificate", "-X", "-o", "rsa.der", "-o", "ecc.der")
    for name in ("rsa.der", "ecc.der"):
        found = x509.load_der_x509_certificate(made.read(name))
        found.verify_directly_issued_by(issuer(made.folder))


def test_nobody_but_the_platform_takes_a_certificate_away(made: Client) -> None:
    made.refused("nvundefine", "-C", "o", "0x1c00002")
    made.refused("nvwrite", "-C", "o", "0x1c00002", "-i", "-", given=b"another")


def test_what_cannot_be_manufactured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path / "user"))
    state = tmp_path / "state"
    state.mkdir()
    for wrong, says in (
        (("--ek", "rsa1"), "there is no endorsement key 'rsa1'"),
        (("--ek-issuer", "nothing"), "an issuer is given as KEY,CERTIFICATE"),
        (("--write-ek-cert-files", "/no/such"), "there is no such folder"),
    ):
        done = manufacture(state, *wrong)
        assert done.returncode == 1, done.stderr
        assert says in done.stderr
    assert manufacture(state, "--ek", "ecc256").returncode == 0
    again = manufacture(state, "--ek", "ecc256")
    assert again.returncode == 1
    assert "has the NV Index 0x01c0000a already" in again.stderr
    assert manufacture(state, "--ek", "ecc256", "--not-overwrite").returncode == 0
    assert manufacture(state, "--ek", "ecc256", "--renew").returncode == 0
