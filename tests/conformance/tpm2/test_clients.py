"""Programs that use a TPM for something: a resource manager, disk encryption, OpenSSL, Python."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.conformance.tpm2.conftest import Client, needs
from tests.support import tpms

PROVIDER = ("-provider", "tpm2", "-provider", "default")


@contextmanager
def background(
    arguments: list[str], environment: dict[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        arguments,
        env=os.environ | (environment or {}),
        cwd=folder,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()


def until(done: object, seconds: float = 15) -> None:
    assert callable(done)
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


@contextmanager
def resource_manager(tpm2: Client) -> Iterator[Client]:
    """The same TPM behind tpm2-abrmd, on a bus of its own."""
    with background(["dbus-daemon", "--session", "--nofork", "--print-address"]) as bus:
        assert bus.stdout is not None
        found = {"DBUS_SESSION_BUS_ADDRESS": bus.stdout.readline().strip()}
        broker = shutil.which("tpm2-abrmd", path=os.environ["PATH"] + ":/usr/sbin")
        manager = [str(broker), "--session", "--allow-root", f"--tcti={tpm2.tcti}"]
        with background(manager, found):
            many = Client("tabrmd:bus_type=session", tpm2.folder)
            many.environment |= found
            until(lambda: many.run("tpm2", "getrandom", "--hex", "4").returncode == 0)
            yield many


@needs("tpm2-abrmd", "tpm2-abrmd")
@needs("dbus-daemon", "dbus")
def test_a_resource_manager_in_front(tpm2: Client) -> None:
    with resource_manager(tpm2) as many:
        for number in range(8):  # more objects than the TPM has room for
            many.succeeds("tpm2", "createprimary", "-Q", "-G", "ecc", "-c", f"{number}.ctx")
        for number in range(8):
            many.succeeds("tpm2", "readpublic", "-Q", "-c", f"{number}.ctx")
        many.succeeds("tpm2", "startauthsession", "--policy-session", "-S", "s")
        many.succeeds("tpm2", "policypcr", "-Q", "-S", "s", "-l", "sha256:0,7")
        many.succeeds("tpm2", "flushcontext", "s")


@needs("clevis", "clevis")
@needs("clevis-encrypt-tpm2", "clevis-tpm2")
@pytest.mark.parametrize("config", ["{}", '{"pcr_bank":"sha256","pcr_ids":"16,23"}'])
def test_clevis_encrypts_to_the_tpm(tpm2: Client, config: str) -> None:
    secret = b"a key to a disk"
    sealed = tpm2.succeeds("clevis", "encrypt", "tpm2", config, given=secret)
    assert secret not in sealed
    assert tpm2.succeeds("clevis", "decrypt", given=sealed) == secret
    if "pcr_ids" in config:
        tpm2("pcrextend", "23:sha256=" + "11" * 32)
        assert tpm2.run("clevis", "decrypt", given=sealed).returncode != 0
        tpm2("pcrreset", "23")
        assert tpm2.succeeds("clevis", "decrypt", given=sealed) == secret


@needs("systemd-cryptenroll", "systemd")
@needs("cryptsetup", "cryptsetup-bin")
def test_systemd_enrolls_the_tpm_for_a_disk(tpm2: Client) -> None:
    disk = tpm2.folder / "disk"
    disk.touch()
    os.truncate(disk, 32 << 20)
    cheap = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    make = ("cryptsetup", "luksFormat", "--batch-mode", "--type", "luks2", *cheap)
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    tpm2.run(*make, str(disk), "-", given=b"password", PATH=path)
    done = tpm2.run(
        *("systemd-cryptenroll", f"--tpm2-device={tpm2.tcti}", "--tpm2-pcrs=7", str(disk)),
        PASSWORD="password",
    )
    assert done.returncode == 0, done.stderr
    dump = tpm2.run("cryptsetup", "luksDump", "--dump-json-metadata", str(disk), PATH=path)
    tokens = json.loads(dump.stdout)["tokens"].values()
    assert [one["type"] for one in tokens] == ["systemd-tpm2"]
    assert next(iter(tokens))["tpm2-pcrs"] == [7]


def _provider() -> bool:
    """Whether OpenSSL has the module; to load it takes a TPM."""
    if shutil.which("openssl") is None:
        return False
    said = subprocess.run(["openssl", "version", "-m"], capture_output=True, text=True, check=False)
    return Path(said.stdout.partition('"')[2].partition('"')[0], "tpm2.so").exists()


needs_provider = pytest.mark.skipif(
    not _provider(),
    reason="OpenSSL has no provider for TPMs: the Debian package tpm2-openssl has it",
)
USE = (*PROVIDER, "-propquery", "?provider=tpm2")


def certified(client: Client) -> None:
    """A key of the TPM's in key.pem, and a certificate that it signed for itself."""
    client.environment["TPM2OPENSSL_TCTI"] = client.tcti
    make = ("genpkey", *PROVIDER, "-algorithm", "EC", "-pkeyopt", "group:P-256")
    client.succeeds("openssl", *make, "-out", "key.pem")
    assert b"TSS2 PRIVATE KEY" in client.read("key.pem")
    request = ("req", "-x509", *USE, "-key", "key.pem", "-subj", "/CN=tpm", "-days", "2")
    client.succeeds("openssl", *request, "-out", "certificate.pem")
    client.succeeds("openssl", "verify", "-CAfile", "certificate.pem", "certificate.pem")


@needs_provider
def test_openssl_signs(tpm2: Client) -> None:
    certified(tpm2)
    message = tpm2.write("message", b"signed by a TPM")
    sign = ("dgst", *USE, "-sha256", "-sign", "key.pem", "-out", "signature", message)
    tpm2.succeeds("openssl", *sign)
    pem = tpm2.succeeds("openssl", "x509", "-in", "certificate.pem", "-noout", "-pubkey")
    public = serialization.load_pem_public_key(pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(tpm2.read("signature"), b"signed by a TPM", ec.ECDSA(hashes.SHA256()))


@needs_provider
@needs("tpm2-abrmd", "tpm2-abrmd")
@needs("dbus-daemon", "dbus")
def test_openssl_serves_tls(tpm2: Client) -> None:
    """The digests of a handshake are the TPM's too: more of them than it has slots."""
    with resource_manager(tpm2) as many:
        certified(many)
        port = tpms.free_ports(1)
        serve = ["openssl", "s_server", *USE, "-key", "key.pem", "-cert", "certificate.pem"]
        serve += ["-accept", f"127.0.0.1:{port}", "-www", "-naccept", "2"]
        with background(serve, many.environment, many.folder):
            until(lambda: _listens(port))
            shake = ("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", "certificate.pem")
            said = many.succeeds("openssl", *shake, "-verify_return_error", given=b"Q\n")
    assert b"Verify return code: 0 (ok)" in said
    assert b"TLSv1.3" in said


def _listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def test_python_talks_to_it(tpm2: Client) -> None:
    pytss = pytest.importorskip(
        "tpm2_pytss", reason="there is no tpm2_pytss: pip install tpm2-pytss, with libtss2-dev"
    )
    with pytss.ESAPI(tpm2.tcti) as esapi:
        assert len(bytes(esapi.get_random(16))) == 16
        handle, public, *_ = esapi.create_primary(None, "ecc")
        assert public.publicArea.type == pytss.TPM2_ALG.ECC
        digest, ticket = esapi.hash(b"message", pytss.TPM2_ALG.SHA256, pytss.ESYS_TR.OWNER)
        assert len(bytes(digest)) == 32
        assert ticket.hierarchy == pytss.TPM2_RH.OWNER
        esapi.flush_context(handle)
