"""Real clients of a TPM 2.0 against Cloister's, over the protocols of swtpm and of mssim.

`tpm2` runs a tool of tpm2-tools in the test's own folder. Objects are named in files that end in
``.ctx``, sessions in files that end in ``.session``. There is no resource manager between: after
every tool that was given an object, the object is flushed. Each test finds the TPM cleared.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import tpms

PROTOCOLS = ("swtpm", "mssim")
OTHER = os.environ.get("CLOISTER_OTHER_TPM", "")
"""The TCTI of another TPM to run the same tests against, to see which of the two is wrong."""
SECONDS = 20
"""A client that takes longer hangs."""


class Client:
    """tpm2-tools, spoken to in the terms of its command lines."""

    def __init__(self, tcti: str, folder: Path) -> None:
        self.tcti = tcti
        self.folder = folder
        self.environment = os.environ | {"TPM2TOOLS_TCTI": tcti, "TSS2_LOG": "all+NONE"}

    def run(
        self, *arguments: str, given: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Any program that finds the TPM by its environment."""
        return subprocess.run(
            arguments,
            input=given,
            capture_output=True,
            timeout=SECONDS,
            cwd=self.folder,
            env=self.environment | environment,
            check=False,
        )

    def succeeds(self, *arguments: str, given: bytes = b"", **environment: str) -> bytes:
        """What the program prints."""
        done = self.run(*arguments, given=given, **environment)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def _tool(self, arguments: tuple[str, ...], given: bytes) -> subprocess.CompletedProcess[bytes]:
        done = self.run("tpm2", *arguments, given=given)
        if any(argument.endswith(".ctx") for argument in arguments):
            self.run("tpm2", "flushcontext", "-t")
        return done

    def __call__(self, *arguments: str, given: bytes = b"") -> bytes:
        """What the tool prints; a tool that fails fails the test."""
        done = self._tool(arguments, given)
        assert done.returncode == 0, f"{arguments}: {done.stderr.decode(errors='replace')}"
        return done.stdout

    def refused(self, *arguments: str, given: bytes = b"") -> str:
        """The error text of a tool that has to fail."""
        done = self._tool(arguments, given)
        assert done.returncode != 0, f"{arguments} succeeded: {done.stdout!r}"
        return done.stderr.decode(errors="replace")

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return name

    def primary(self, algorithm: str = "ecc", hierarchy: str = "o", name: str = "p.ctx") -> str:
        """A storage key; its context is in the file ``name``."""
        self("createprimary", "-Q", "-C", hierarchy, "-G", algorithm, "-c", name)
        return name

    def key(self, parent: str, algorithm: str, *more: str, name: str = "key") -> str:
        """A loaded child: ``name``.pub and ``name``.priv, with its context in ``name``.ctx."""
        parts = ("-u", f"{name}.pub", "-r", f"{name}.priv")
        self("create", "-Q", "-C", parent, "-G", algorithm, *parts, *more)
        self("load", "-Q", "-C", parent, *parts, "-c", f"{name}.ctx")
        return f"{name}.ctx"

    def pem(self, context: str) -> str:
        """The file of an object's public key, as OpenSSL reads it."""
        name = f"{context}.pem"
        self("readpublic", "-Q", "-c", context, "-f", "pem", "-o", name)
        return name

    def verified(self, context: str, signature: str, message: bytes) -> None:
        """An ECDSA signature with SHA-256, verified without the TPM."""
        public = serialization.load_pem_public_key(self.read(self.pem(context)))
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(self.read(signature), message, ec.ECDSA(hashes.SHA256()))

    def policy(self, *commands: tuple[str, ...], name: str = "a.policy") -> str:
        """The file of the digest that these policy commands make in a trial session."""
        self("startauthsession", "-S", "trial.session")
        for command, *arguments in commands:
            self(command, "-S", "trial.session", "-L", name, *arguments)
        self("flushcontext", "trial.session")
        return name

    def session(self, *commands: tuple[str, ...], name: str = "policy.session") -> str:
        """A policy session that has satisfied these commands, as an authorization."""
        self("startauthsession", "--policy-session", "-S", name)
        for command, *arguments in commands:
            self(command, "-S", name, *arguments)
        return f"session:{name}"


def needs(program: str, package: str) -> pytest.MarkDecorator:
    """A test that skips without a program of a Debian package."""
    return pytest.mark.skipif(
        shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") is None,
        reason=f"there is no {program}: the Debian package {package} has it",
    )


@pytest.fixture(scope="session", params=PROTOCOLS)
def tcti(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """How clients find a TPM that runs during all tests."""
    if shutil.which("tpm2") is None:
        pytest.skip("there is no tpm2: the Debian package tpm2-tools has it")
    if OTHER:
        yield OTHER
        return
    state, first = tmp_path_factory.mktemp("state"), tpms.free_ports(2)
    where = (f"--{request.param}", f"127.0.0.1:{first}")
    serve = ("tools.cli", "tpm", "serve", "--startup", "clear", "--state", str(state), *where)
    with tpms.running(tpms.command(*serve)):
        tpms.connect(first).close()
        yield f"{request.param}:host=127.0.0.1,port={first}"


@pytest.fixture
def tpm2(tcti: str, tmp_path: Path) -> Iterator[Client]:
    """A client of a TPM that is cleared, in a folder that is empty."""
    client = Client(tcti, tmp_path)
    if tcti.startswith("mssim"):
        client.run("tpm2", "startup", "-c")
    client("clear", "-c", "p")
    yield client
    for kind in ("-t", "-l", "-s"):
        client.run("tpm2", "flushcontext", kind)
