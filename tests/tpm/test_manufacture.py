"""Endorsement keys and certificates (TCG EK Credential Profile 2.4), and who issues them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtensionOID, NameOID

from tests.tpm.tpm20.client import ENDORSEMENT, PLATFORM, Client, Failed, b2, started, u16, u32
from tests.tpm.tpm20.oracle import AVAILABLE, Oracle
from tests.vmm.tpm_backend import MemoryStorage
from tools.errors import UserError
from tools.manufacture import certify_guest
from tpm.instance import VOLATILE, Instance
from tpm.manufacture import (
    Endorsed,
    ManufactureError,
    Options,
    is_manufactured,
    manufacture,
    powered,
)
from tpm.manufacture.certificate import public_key
from tpm.manufacture.issuer import CERTIFICATE, KEY, NEVER, Issuer, given, of_ones_own
from tpm.manufacture.profile import KEYS, policy_a, policy_b
from tpm.store.device import file_journal
from tpm.tpm20.codec import codec, decode, encode
from tpm.tpm20.structures import Public, Public2B

SHA256, SHA384, SHA512 = 0xB, 0xC, 0xD
READ_PUBLIC, NV_READ, NV_READ_PUBLIC, NV_WRITE, NV_UNDEFINE = 0x173, 0x14E, 0x169, 0x137, 0x122
CREATE_PRIMARY, CHANGE_EPS, CHANGE_AUTH, GET_CAPABILITY = 0x131, 0x124, 0x129, 0x17A
OWNER = 0x40000001
ECC = Options(keys=("ecc256",))
SUSPENDED = "suspended"


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return of_ones_own(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def usual(issuer: Issuer) -> tuple[Client, list[Endorsed]]:
    """A TPM with everything that is made by default. No test changes it."""
    _, client = started()
    return client, manufacture(client.execute, issuer)


def content(client: Client, index: int) -> bytes:
    """All of an NV Index, read with its own, empty, authValue."""
    size = int.from_bytes(client.call(NV_READ_PUBLIC, [index]).tpm2b()[-2:], "big")
    out = b""
    while len(out) < size:
        count = min(512, size - len(out))
        reply = client.call(NV_READ, [index, index], u16(count) + u16(len(out)), [b""])
        out += reply.tpm2b()
    return out


def persistent(client: Client, handle: int) -> Public:
    public: Public = decode(Public, client.call(READ_PUBLIC, [handle]).tpm2b())
    return public


def spki(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined,no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def handles(client: Client, kind: int) -> list[int]:
    reply = client.call(GET_CAPABILITY, [], u32(1) + u32(kind << 24) + u32(100)).parameters
    return [int.from_bytes(reply[at : at + 4], "big") for at in range(9, len(reply), 4)]


# The profile's tables.


@pytest.mark.parametrize(
    ("made", "published"),
    [
        (
            policy_a(SHA256),
            "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
        ),
        (
            policy_b(SHA256),
            "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0",
        ),
        (
            policy_b(SHA384),
            "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419ca"
            "cb47ba09699646150f9fc000f3f80e12",
        ),
        (
            policy_b(SHA512),
            "b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a4"
            "29c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea",
        ),
    ],
)
def test_policies_are_those_that_the_profile_prints(made: bytes, published: str) -> None:
    assert made.hex() == published


def test_the_template_l_1_octet_by_octet() -> None:
    expected = (
        bytes.fromhex("0001 000b 000300b2 0020")
        + policy_a(SHA256)
        + bytes.fromhex("0006 0080 0043 0010 0800 00000000 0100")
        + bytes(256)
    )
    assert encode(Public, KEYS["rsa2048"].public) == expected


def test_the_template_h_3_octet_by_octet() -> None:
    expected = (
        bytes.fromhex("0023 000c 000300f2 0030")
        + policy_b(SHA384)
        + bytes.fromhex("0006 0100 0043 0010 0004 0010 0000 0000")
    )
    assert encode(Public, KEYS["ecc384"].public) == expected


def test_places_are_distinct() -> None:
    rows = list(KEYS.values())
    indices = [i for row in rows for i in (row.certificate_index, row.template_index)]
    assert len(set(indices)) == len(indices)
    assert len({row.handle for row in rows}) == len(rows)


# What is made.


def test_the_keys_are_those_that_their_templates_make(
    usual: tuple[Client, list[Endorsed]], issuer: Issuer
) -> None:
    client, endorsed = usual
    assert [one.key.name for one in endorsed] == ["rsa2048", "ecc256", "ecc384"]
    for key, der in endorsed:
        sensitive = b2(b2(b"") + b2(b""))
        template = b2(encode(Public, key.public))
        parameters = sensitive + template + b2(b"") + u32(0)
        reply = client.call(CREATE_PRIMARY, [ENDORSEMENT], parameters, [b""], handle_out=True)
        public = codec(Public2B).read(reply.parameters, 0)[0]
        client.flush(reply.handle)
        assert public == persistent(client, key.handle)
        certificate = x509.load_der_x509_certificate(der)
        assert spki(certificate.public_key()) == spki(public_key(public))
        certificate.verify_directly_issued_by(issuer.certificate)


def test_the_certificates_are_in_nv_for_good(usual: tuple[Client, list[Endorsed]]) -> None:
    client, endorsed = usual
    for key, der in endorsed:
        index = key.certificate_index
        assert content(client, index) == der
        public = client.call(NV_READ_PUBLIC, [index]).tpm2b()
        # As swtpm_setup has it: ppwrite, writelocked, writedefine, ppread, ownerread, authread,
        # no_da, written, platformcreate.
        assert public[6:10] == bytes.fromhex("62072801")
        with pytest.raises(Failed) as failure:
            client.call(NV_WRITE, [PLATFORM, index], b2(b"x") + u16(0), [b""])
        assert failure.value.code == 0x148
        with pytest.raises(Failed):
            client.call(NV_UNDEFINE, [OWNER, index], b"", [b""])
    assert handles(client, 1) == [0x01C00002, 0x01C0000A, 0x01C00016]
    assert handles(client, 0x81) == [0x81010001, 0x8101000A, 0x81010016]
    assert handles(client, 0x80) == []


def test_all_that_the_profile_asks_of_a_certificate(
    usual: tuple[Client, list[Endorsed]], issuer: Issuer
) -> None:
    for key, der in usual[1]:
        found = x509.load_der_x509_certificate(der)
        assert found.version == x509.Version.v3
        assert len(found.subject) == 0
        assert found.issuer == issuer.certificate.subject
        assert found.not_valid_after_utc == NEVER
        assert found.not_valid_before_utc <= datetime.now(UTC)
        critical = {one.oid: one.critical for one in found.extensions}
        assert critical == {
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME: True,  # for the subject is empty
            ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES: False,
            ExtensionOID.BASIC_CONSTRAINTS: True,
            ExtensionOID.KEY_USAGE: True,
            ExtensionOID.EXTENDED_KEY_USAGE: False,
            ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        }
        get = found.extensions.get_extension_for_oid
        name = get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
        assert isinstance(name, x509.SubjectAlternativeName)
        assert [(one.oid.dotted_string, one.value) for one in name[0].value] == [
            ("2.23.133.2.1", "id:434C4F49"),
            ("2.23.133.2.2", "Cloister"),
            ("2.23.133.2.3", "id:00010000"),
        ]
        attributes = get(ExtensionOID.SUBJECT_DIRECTORY_ATTRIBUTES).value
        assert isinstance(attributes, x509.UnrecognizedExtension)
        # SEQUENCE { tpmSpecification, SET { SEQUENCE { "2.0", 0, 159 } } }
        assert attributes.value.hex() == (
            "301930170605678105021031 0e300c0c03322e30020100 0202009f".replace(" ", "")
        )
        usage = get(ExtensionOID.KEY_USAGE).value
        assert isinstance(usage, x509.KeyUsage)
        assert (usage.key_encipherment, usage.key_agreement) == (key.is_rsa, not key.is_rsa)
        assert not usage.digital_signature
        authority = get(ExtensionOID.AUTHORITY_KEY_IDENTIFIER).value
        own = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert isinstance(authority, x509.AuthorityKeyIdentifier)
        assert authority.key_identifier == own.value.digest
    serials = {x509.load_der_x509_certificate(one.certificate).serial_number for one in usual[1]}
    assert len(serials) == len(usual[1])


def test_a_name_for_the_machine(issuer: Issuer) -> None:
    _, client = started()
    made = manufacture(client.execute, issuer, ECC._replace(subject="machine 7", persist=False))
    found = x509.load_der_x509_certificate(made[0].certificate)
    assert found.subject.rfc4514_string() == "CN=machine 7"
    name = found.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert not name.critical
    assert handles(client, 0x81) == []


@pytest.mark.parametrize("decryption", [False, True])
@pytest.mark.parametrize("name", ["ecc256", "ecc384"])
def test_keys_that_sign(issuer: Issuer, name: str, decryption: bool) -> None:
    _, client = started()
    options = Options(keys=(name,), signing=True, decryption=decryption)
    ((key, der),) = manufacture(client.execute, issuer, options)
    usage = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.value.digital_signature
    assert usage.value.key_agreement == decryption
    template = content(client, KEYS[name].template_index)
    parameters = b2(b2(b"") + b2(b"")) + b2(template) + b2(b"") + u32(0)
    reply = client.call(CREATE_PRIMARY, [ENDORSEMENT], parameters, [b""], handle_out=True)
    assert codec(Public2B).read(reply.parameters, 0)[0] == persistent(client, key.handle)
    attributes = int.from_bytes(template[4:8], "big")
    assert attributes & 0x10000 == 0
    assert attributes & 0x60000 == (0x60000 if decryption else 0x40000)


@pytest.mark.parametrize("name", ["rsa2048-high", "ecc256-high", "ecc521"])
def test_the_rest_of_the_profile(issuer: Issuer, name: str) -> None:
    _, client = started()
    ((key, der),) = manufacture(client.execute, issuer, Options(keys=(name,)))
    found = x509.load_der_x509_certificate(content(client, key.certificate_index))
    assert found == x509.load_der_x509_certificate(der)
    assert spki(found.public_key()) == spki(public_key(persistent(client, key.handle)))


# Once more, and when not.


def test_it_is_not_done_twice(issuer: Issuer) -> None:
    tpm, client = started()
    assert not is_manufactured(client.execute)
    manufacture(client.execute, issuer, ECC)
    assert is_manufactured(client.execute)
    before = tpm.state.save()
    with pytest.raises(ManufactureError, match="NV Index 0x01c0000a already"):
        manufacture(client.execute, issuer, Options(keys=("ecc384", "ecc256")))
    assert tpm.state.save() == before
    client.call(NV_UNDEFINE, [PLATFORM, 0x01C0000A], b"", [b""])
    with pytest.raises(ManufactureError, match="object at 0x8101000a already"):
        manufacture(client.execute, issuer, ECC)


def test_new_certificates_for_new_keys(issuer: Issuer) -> None:
    """ChangeEPS makes other keys of the same templates."""
    _, client = started()
    signing = ECC._replace(signing=True)
    ((_, first),) = manufacture(client.execute, issuer, signing)
    client.call(CHANGE_EPS, [PLATFORM], b"", [b""])
    ((key, second),) = manufacture(client.execute, issuer, ECC._replace(renew=True))
    found = x509.load_der_x509_certificate(content(client, key.certificate_index))
    assert found == x509.load_der_x509_certificate(second)
    assert spki(found.public_key()) == spki(public_key(persistent(client, key.handle)))
    assert found.public_key() != x509.load_der_x509_certificate(first).public_key()
    # The template of the key that signed is gone with it.
    assert handles(client, 1) == [0x01C0000A]
    again = manufacture(client.execute, issuer, ECC._replace(renew=True))
    assert x509.load_der_x509_certificate(again[0].certificate).public_key() == found.public_key()


@pytest.mark.parametrize("hierarchy", [OWNER, ENDORSEMENT, PLATFORM])
def test_a_tpm_that_somebody_has_taken_over(issuer: Issuer, hierarchy: int) -> None:
    _, client = started()
    client.call(CHANGE_AUTH, [hierarchy], b2(b"mine"), [b""])
    with pytest.raises(ManufactureError, match="the TPM answers with code 0x9a2"):
        manufacture(client.execute, issuer, ECC)
    assert handles(client, 1) == []
    assert handles(client, 0x80) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(keys=("rsa1",)), "no endorsement key 'rsa1'"),
        (Options(keys=()), "nothing that the endorsement keys should do"),
        (Options(decryption=False), "nothing that the endorsement keys should do"),
    ],
)
def test_options_without_sense(issuer: Issuer, options: Options, says: str) -> None:
    tpm, client = started()
    before = tpm.state.save()
    with pytest.raises(ManufactureError, match=says):
        manufacture(client.execute, issuer, options)
    assert tpm.state.save() == before


def test_a_suspended_tpm_is_left_alone(issuer: Issuer) -> None:
    storage = MemoryStorage()
    tpm = Instance(lambda: storage)
    tpm.power_on()
    tpm.execute(bytes.fromhex("8001 0000000c 00000144 0000"))
    tpm.store_volatile()
    tpm.power_off()
    before = dict(storage.blobs)
    assert VOLATILE in before
    with pytest.raises(ManufactureError, match=SUSPENDED), powered(tpm) as execute:
        manufacture(execute, issuer, ECC)
    assert storage.blobs == before
    assert not tpm.running


def test_what_fails_leaves_an_orderly_tpm(issuer: Issuer) -> None:
    storage = MemoryStorage()
    tpm = Instance(lambda: storage)
    with pytest.raises(ManufactureError), powered(tpm) as execute:
        manufacture(execute, issuer, Options(keys=("no",)))
    assert not tpm.running
    with powered(tpm) as execute:
        # TPMA_STARTUP_CLEAR.orderly
        answer = execute(bytes.fromhex("8001 00000016 0000017a 00000006 00000201 00000001"))
        assert answer[-4] & 0x80


@pytest.mark.skipif(not AVAILABLE, reason="swtpm is not installed")
def test_another_tpm(issuer: Issuer) -> None:
    """Nothing but commands is needed."""
    with Oracle() as oracle:
        client = Client(oracle.execute)
        client.startup()
        made = manufacture(oracle.execute, issuer, Options(keys=("rsa2048", "ecc384")))
        for key, der in made:
            assert content(client, key.certificate_index) == der
            found = x509.load_der_x509_certificate(der)
            assert spki(found.public_key()) == spki(public_key(persistent(client, key.handle)))


# A guest's TPM.


def test_the_files_of_a_guests_tpm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOISTER_STATE", str(tmp_path))
    state = tmp_path / "tpm"
    certify_guest(str(state), "")
    assert state.stat().st_size == 1 << 20
    assert (tmp_path / "tpm.key").stat().st_size == 4096
    with closing(file_journal(str(state))) as journal:
        assert "nv.01c00002" in journal.load()
        with pytest.raises(UserError, match="in use by another instance"):
            certify_guest(str(state), "")
    before = hashlib.sha256(state.read_bytes()).digest()
    certify_guest(str(state), "")
    assert hashlib.sha256(state.read_bytes()).digest() == before, "it was certified already"


# Issuers.


def fingerprint(folder: Path) -> bytes:
    return of_ones_own(folder).certificate.fingerprint(hashes.SHA256())


def test_ones_own_issuer_is_made_once(tmp_path: Path) -> None:
    """However many programs want it at the same time."""
    folder = tmp_path / "one" / "two"
    with ProcessPoolExecutor(4, get_context("fork")) as pool:
        found = list(pool.map(fingerprint, [folder] * 4))
    certificate = of_ones_own(folder).certificate
    assert set(found) == {certificate.fingerprint(hashes.SHA256())}
    assert sorted(path.name for path in folder.iterdir()) == sorted((KEY, CERTIFICATE))
    assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600
    certificate.verify_directly_issued_by(certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(True, 0)


def test_ones_own_issuer_is_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    (tmp_path / KEY).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ManufactureError, match="symbolic link"):
        of_ones_own(tmp_path)


AnyKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
Make = Callable[..., str]


@pytest.fixture
def authority(tmp_path: Path) -> Make:
    """Files of an authority, as KEY,CERTIFICATE."""

    def make(
        key: AnyKey | None = None,
        *,
        certified: AnyKey | None = None,
        ca: bool | None = True,
        signs: bool | None = True,
        days: tuple[int, int] = (-1, 1),
        password: bytes = b"",
    ) -> str:
        key = key or ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        subject = certified or key
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(subject.public_key())
            .serial_number(1)
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
        )
        if ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
        if signs is not None:
            usage = [False] * 5 + [signs, False, False, False]
            builder = builder.add_extension(x509.KeyUsage(*usage), critical=True)
        hashed = None if isinstance(subject, ed25519.Ed25519PrivateKey) else hashes.SHA256()
        pem = builder.sign(subject, hashed).public_bytes(serialization.Encoding.PEM)
        (tmp_path / "ca.pem").write_bytes(pem)
        hidden: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password:
            hidden = serialization.BestAvailableEncryption(password)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden
        )
        (tmp_path / "ca.key").write_bytes(pem)
        return f"{tmp_path}/ca.key,{tmp_path}/ca.pem"

    return make


@pytest.mark.parametrize("kind", ["P-256", "P-384", "RSA"])
def test_an_authority_that_is_given(authority: Make, kind: str) -> None:
    keys: dict[str, Callable[[], AnyKey]] = {
        "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
    }
    issuer = given(authority(keys[kind](), signs=None))
    _, client = started()
    ((_, der),) = manufacture(client.execute, issuer, ECC)
    found = x509.load_der_x509_certificate(der)
    found.verify_directly_issued_by(issuer.certificate)
    assert found.not_valid_after_utc == issuer.certificate.not_valid_after_utc
    # The authority's certificate has no identifier of its key: it is computed (RFC 5280, 4.2.1.2).
    authority_of = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    expected = x509.SubjectKeyIdentifier.from_public_key(issuer.key.public_key())
    assert authority_of.key_identifier == expected.digest


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"ca": False}, "not an authority's"),
        ({"ca": None}, "not an authority's"),
        ({"signs": False}, "may not sign certificates"),
        ({"days": (-2, -1)}, "is not valid now"),
        ({"days": (1, 2)}, "is not valid now"),
        ({"password": b"secret"}, "is encrypted"),
        ({"certified": ec.generate_private_key(ec.SECP256R1())}, "do not belong together"),
        ({"key": ed25519.Ed25519PrivateKey.generate()}, "neither RSA"),
        ({"key": rsa.generate_private_key(65537, 1024)}, "neither RSA"),
    ],
)
def test_no_authority(authority: Make, wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ManufactureError, match=says):
        given(authority(**wrong))


def test_no_files_of_an_authority(authority: Make, tmp_path: Path) -> None:
    both = authority()
    key, certificate = both.split(",")
    os.mkfifo(tmp_path / "fifo")
    for text, says in (
        ("", "KEY,CERTIFICATE"),
        (key, "KEY,CERTIFICATE"),
        (f"{key},", "KEY,CERTIFICATE"),
        (f"{certificate},{certificate}", "no private key in PEM"),
        (f"{key},{key}", "no certificate in PEM"),
        (f"{tmp_path}/none,{certificate}", "No such file"),
        (f"{tmp_path}/fifo,{certificate}", "not an ordinary file"),
        (f"{key},{tmp_path}", "not an ordinary file"),
    ):
        with pytest.raises(ManufactureError, match=says):
            given(text)
