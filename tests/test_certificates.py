from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signing_service.certificates import Purpose, check, read
from signing_service.errors import Invalid

NOW = dt.datetime(2026, 11, 20, 8, tzinfo=dt.UTC)
YEAR = dt.timedelta(days=365)
SIGNING_ONLY = frozenset({"digital_signature", "content_commitment"})
USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


@cache
def key(name: str) -> Any:
    """Keys by name, made once: `weak` is RSA-1024, `edwards` is Ed25519, everything else P-256."""
    if name == "edwards":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024) if name == "weak" else ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Made:
    """A certificate to be: what it says, and whose key signs it."""

    subject: str = "Nguyễn Văn An"
    key: str = "person"
    issuer: str = "Issuing CA"
    signed_by: str = "issuing"
    ca: bool = False
    path_length: int | None = None
    uses: frozenset[str] | None = SIGNING_ONLY
    extended: tuple[x509.ObjectIdentifier, ...] = ()
    extended_critical: bool = False
    begins: dt.datetime = NOW - YEAR
    ends: dt.datetime = NOW + YEAR
    critical: str | None = None

    def build(self) -> x509.Certificate:
        public = key(self.key).public_key()
        builder = x509.CertificateBuilder(
            _name(self.issuer), _name(self.subject), public, x509.random_serial_number(), self.begins, self.ends,
        ).add_extension(x509.BasicConstraints(self.ca, self.path_length), critical=True)
        if self.uses is not None:
            usage = x509.KeyUsage(**{use: use in self.uses for use in USES})
            builder = builder.add_extension(usage, critical=True)
        if self.extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(self.extended), critical=self.extended_critical)
        if self.critical:
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier(self.critical), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        return builder.sign(key(self.signed_by), SHA256())


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])


ISSUING = Made(
    subject="Issuing CA", key="issuing", issuer="Root CA", signed_by="root", ca=True, path_length=0,
    uses=frozenset({"key_cert_sign", "crl_sign"}),
)


def authority(**changes: Any) -> Made:
    return replace(ISSUING, **changes)


def root(**changes: Any) -> Made:
    return replace(ISSUING, subject="Root CA", key="root", **({"path_length": None} | changes))


def pem(*made: Made | x509.Certificate) -> bytes:
    built = [each.build() if isinstance(each, Made) else each for each in made]
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in built)


def spki(name: str) -> bytes:
    encoded: bytes = key(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def importing(data: bytes, *issuers: bytes, owner: str = "person", purpose: Purpose = Purpose.DOCUMENTS) -> Any:
    return check(data, issuers, spki(owner), NOW, purpose)


TIMESTAMPING = (ExtendedKeyUsageOID.TIME_STAMPING,)

ACCEPTED: dict[str, tuple[Made, ...]] = {
    "a person's certificate with its chain": (Made(), authority(), root()),
    "the chain in any order, with a stranger in it": (root(), Made(subject="B", key="b"), authority(), Made()),
    "issued by the root itself": (Made(issuer="Root CA", signed_by="root"), root()),
    "digital signature without non-repudiation": (Made(uses=frozenset({"digital_signature"})), authority(), root()),
    "non-repudiation alone, as qualified certificates have it":
        (Made(uses=frozenset({"content_commitment"})), authority(), root()),
    "for document signing": (Made(extended=(x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36"),)), authority(), root()),
}


@pytest.mark.parametrize("given", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(given: tuple[Made, ...]) -> None:
    checked = importing(pem(*given))
    assert checked.public_key == spki("person")
    assert checked.subject == "CN=Nguyễn Văn An"
    assert checked.root == "CN=Root CA"
    assert (checked.not_before, checked.not_after) == (NOW - YEAR, NOW + YEAR)


def test_the_chain_comes_back_issuer_first_and_root_last() -> None:
    person, issuing, top = Made().build(), authority().build(), root().build()
    checked = importing(pem(top, person), pem(issuing))
    assert [checked.certificate, *checked.chain] == [each.public_bytes(Encoding.DER) for each in (person, issuing, top)]
    assert checked.root_fingerprint == top.fingerprint(SHA256()).hex()


SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)
MONTHS = dt.timedelta(days=60)

REFUSED: dict[str, tuple[tuple[Made, ...], str]] = {
    "of another key": ((Made(key="other"), authority(), root()), "certificate-other-key"),
    "expired": ((Made(ends=NOW - MONTHS), authority(), root()), "expired"),
    "not valid yet": ((Made(begins=NOW + MONTHS), authority(), root()), "not-yet-valid"),
    "its issuer has expired": ((Made(), authority(ends=NOW - MONTHS), root()), "expired"),
    "the root has expired": ((Made(), authority(), root(ends=NOW - MONTHS)), "expired"),
    "for encryption only": ((Made(uses=frozenset({"key_encipherment"})), authority(), root()), "key-usage"),
    "for key agreement only": ((Made(uses=frozenset({"key_agreement"})), authority(), root()), "key-usage"),
    "without a key usage": ((Made(uses=None), authority(), root()), "no-key-usage"),
    "its key may sign certificates":
        ((Made(uses=frozenset({"digital_signature", "key_cert_sign"})), authority(), root()), "key-usage"),
    "an authority's own": ((Made(ca=True), authority(path_length=None), root()), "is-an-authority"),
    "for a web server": ((Made(extended=SERVER), authority(), root()), "extended-key-usage"),
    "for timestamps": ((Made(extended=TIMESTAMPING), authority(), root()), "extended-key-usage"),
    "without a name": ((Made(subject=""), authority(), root()), "no-name"),
    "a critical extension that nobody knows": ((Made(critical="1.2.3.4"), authority(), root()), "critical-extension"),
    "self-signed": ((Made(issuer="Nguyễn Văn An", signed_by="person"),), "certificate-self-signed"),
    "alone": ((Made(),), "chain-incomplete"),
    "without the root": ((Made(), authority()), "chain-incomplete"),
    "an issuer of the right name and another key": ((Made(), authority(key="forged"), root()), "chain-signature"),
    "signed by somebody else in its name": ((Made(signed_by="forger"), authority(), root()), "chain-signature"),
    "issued by a person": ((Made(), authority(ca=False, path_length=None), root()), "not-an-authority"),
    "issued with a key that is not for certificates":
        ((Made(), authority(uses=frozenset({"digital_signature"})), root()), "not-an-authority"),
    "more authorities than the root allows": ((Made(), authority(), root(path_length=0)), "path-length"),
    "an authority with a weak key":
        ((Made(signed_by="weak"), authority(key="weak"), root()), "weak-key"),
}


@pytest.mark.parametrize(("given", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(given: tuple[Made, ...], code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        importing(pem(*given))
    assert refusal.value.code == code
    assert "." in refusal.value.message


@pytest.mark.parametrize(("owner", "code"), [("weak", "weak-key"), ("edwards", "weak-key")])
def test_a_key_that_is_too_weak_or_of_another_kind_is_refused(owner: str, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        importing(pem(Made(key=owner), authority(), root()), owner=owner)
    assert refusal.value.code == code


def test_everything_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(Invalid) as refusal:
        importing(pem(Made(ends=NOW - MONTHS, uses=None, extended=SERVER), authority(), root()))
    said = " ".join(error.message for error in refusal.value.errors)
    assert [word in said for word in ("expired", "key usage", "something else than documents")] == [True] * 3


TIMESTAMP_CASES = {
    "exactly timeStamping, critical": (Made(extended=TIMESTAMPING, extended_critical=True), None),
    "timeStamping, not critical": (Made(extended=TIMESTAMPING), "extended-key-usage"),
    "timeStamping beside another use":
        (Made(extended=TIMESTAMPING + SERVER, extended_critical=True), "extended-key-usage"),
    "no extended key usage at all": (Made(), "extended-key-usage"),
}


@pytest.mark.parametrize(("made", "code"), TIMESTAMP_CASES.values(), ids=TIMESTAMP_CASES.keys())
def test_a_timestamping_certificate_is_for_nothing_else(made: Made, code: str | None) -> None:
    data = pem(made, authority(), root())
    if code is None:
        assert importing(data, purpose=Purpose.TIMESTAMPS).certificate
        return
    with pytest.raises(Invalid) as refusal:
        importing(data, purpose=Purpose.TIMESTAMPS)
    assert refusal.value.code == code


FORMS: dict[str, Callable[[list[x509.Certificate]], bytes]] = {
    "PEM": lambda certificates: pem(*certificates),
    "PEM with words around it": lambda certificates: b"Kinh gui\n" + pem(*certificates) + b"\n-- \n",
    "PKCS#7 as PEM": lambda certificates: pkcs7.serialize_certificates(certificates, Encoding.PEM),
    "PKCS#7 as DER": lambda certificates: pkcs7.serialize_certificates(certificates, Encoding.DER),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_chain_is_read_in_the_forms_that_authorities_send(form: Callable[[list[x509.Certificate]], bytes]) -> None:
    sent = [Made().build(), authority().build(), root().build()]
    assert set(read(form(sent))) == set(sent)


def test_der_files_are_read_one_by_one() -> None:
    files = [each.build().public_bytes(Encoding.DER) for each in (Made(), authority(), root())]
    assert len(importing(files[0], *files[1:]).chain) == 2


def _private_key() -> bytes:
    encoded: bytes = key("person").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return encoded


NO_CERTIFICATES = {
    "nothing": (b"", "certificate-unreadable"),
    "a text": (b"xin ch\xc3\xa0o", "certificate-unreadable"),
    "a broken PEM": (pem(Made())[:200] + b"\n-----END CERTIFICATE-----\n", "certificate-unreadable"),
    "DER cut short": (b"\x30\x82\x01\x00\x01", "certificate-unreadable"),
    "a private key": (_private_key(), "private-key"),
    "two megabytes": (b"0" * 2_000_000, "certificate-unreadable"),
}


@pytest.mark.parametrize(("data", "code"), NO_CERTIFICATES.values(), ids=NO_CERTIFICATES.keys())
def test_a_file_without_a_certificate_is_refused(data: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        read(data)
    assert refusal.value.code == code


CHANGED_DER: dict[str, tuple[bytes, bytes, str]] = {  # what no library makes by itself, and some only meet when asked
    "a version that there is not": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x52", "certificate-unreadable"),
    "a name that is no text": (b"\x0c\x0aIssuing CA", b"\x03\x0a\x00ssuing CA", "certificate-malformed"),
}


@pytest.mark.parametrize(("honest", "changed", "code"), CHANGED_DER.values(), ids=CHANGED_DER.keys())
def test_a_certificate_that_is_none_is_refused(honest: bytes, changed: bytes, code: str) -> None:
    data = Made().build().public_bytes(Encoding.DER)
    assert data.count(honest) == 1
    with pytest.raises(Invalid) as refusal:
        importing(data.replace(honest, changed))
    assert refusal.value.code == code


def with_sha1(made: Made) -> x509.Certificate:
    """The same certificate signed with SHA-1, which no library of today makes by itself."""
    encoded = asn1_x509.Certificate.load(made.build().public_bytes(Encoding.DER))
    for algorithm in (encoded["signature_algorithm"], encoded["tbs_certificate"]["signature"]):
        algorithm["algorithm"] = "sha1_ecdsa"
    signed: bytes = encoded["tbs_certificate"].dump(force=True)
    encoded["signature_value"] = key(made.signed_by).sign(signed, ec.ECDSA(SHA1()))
    return x509.load_der_x509_certificate(encoded.dump(force=True))


@pytest.mark.parametrize("weak", ["the certificate", "its issuer"])
def test_a_certificate_signed_with_sha1_is_refused(weak: str) -> None:
    person = with_sha1(Made()) if weak == "the certificate" else Made()
    issuing = with_sha1(authority()) if weak == "its issuer" else authority()
    with pytest.raises(Invalid) as refusal:
        importing(pem(person, issuing, root()))
    assert refusal.value.code == "weak-signature"


def test_a_root_may_be_signed_with_sha1_because_nobody_relies_on_that() -> None:
    assert importing(pem(Made(), authority(), with_sha1(root()))).root == "CN=Root CA"
