"""cloister boot --tpm-certificates: a guest finds certificates of its TPM's endorsement keys."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from cryptography import x509

from tests.end_to_end.rig import cloister
from tests.end_to_end.test_tpm_guests import LINUX, append, needs_tools

SCRIPT = """
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
cd /tmp
for name in rsa ecc; do tpm2 createek -Q -G $name -c c -f pem -u $name.pem; done
for index in 0x1c00002 0x1c0000a; do
echo "certificate $(tpm2 nvread $index | base64 | tr -d '\\n')"
done
for name in rsa ecc; do echo "key $(grep -v -- --- $name.pem | tr -d '\\n')"; done
"""


@needs_tools
def test_the_certificates_are_of_the_guests_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    done = cloister(
        *("boot", "--kernel", str(LINUX / "vmlinuz"), "--initrd", str(LINUX / "initramfs")),
        *("--append", append(SCRIPT), "--tpm", "2.0", "--tpm-certificates", "--timeout", "100"),
    )
    assert done.returncode == 0, done.stderr + done.stdout
    said = f"the issuer's certificate is {tmp_path}/tpm-issuer/certificate.pem"
    assert said in done.stderr
    pem = (tmp_path / "tpm-issuer" / "certificate.pem").read_bytes()
    issuer = x509.load_pem_x509_certificate(pem)
    certificates, keys = (
        [
            base64.b64decode(text)
            for text in re.findall(rf"^{what} (\S+)", done.stdout, re.MULTILINE)
        ]
        for what in ("certificate", "key")
    )
    assert len(certificates) == len(keys) == 2, done.stdout
    for der, key in zip(certificates, keys, strict=True):
        certificate = x509.load_der_x509_certificate(der)
        certificate.verify_directly_issued_by(issuer)
        assert key in der, "the key's SubjectPublicKeyInfo is what was certified"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--tpm-certificates",), "--tpm-certificates goes with --tpm"),
        (("--tpm", "1.2", "--tpm-certificates"), "--tpm-certificates is for a TPM 2.0"),
        (("--tpm", "2.0", "--tpm-certificates", "no"), "an issuer is given as KEY,CERTIFICATE"),
    ],
)
def test_what_does_not_go_together(
    options: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    done = cloister("boot", "--kernel", "guest:demo", *options)
    assert done.returncode != 0
    assert done.stderr.startswith("cloister: ")
    assert says in done.stderr
