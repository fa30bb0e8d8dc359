"""A certification authority for tests: a root, and certificates for public keys whose private halves are elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class TestCa:
    """`root` is DER. Certificates are valid from an hour before `start` for `days`."""

    __test__ = False

    def __init__(self, start: datetime | None = None, days: int = 365) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._from = (start or datetime.now(UTC)) - timedelta(hours=1)
        self._days = days
        name = _name("Test root")
        built = self._build(name, name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True,
        ).add_extension(_usage(certificates=True), critical=True)
        self.root = built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
        self._issuer = name

    def issue(self, public_key: bytes, common_name: str, *, timestamping: bool = False) -> bytes:
        """A certificate (DER) for an SPKI: for signing documents, or for timestamps."""
        spki = serialization.load_der_public_key(public_key)
        built = self._build(self._issuer, _name(common_name), spki)
        built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        built = built.add_extension(_usage(), critical=True)
        if timestamping:
            built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        return built.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)

    def _build(self, issuer: x509.Name, subject: x509.Name, key: object) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number()).not_valid_before(self._from)
            .not_valid_after(self._from + timedelta(days=self._days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # type: ignore[arg-type]
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "VN"),
                      x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates, content_commitment=not certificates, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=certificates, crl_sign=certificates,
        encipher_only=False, decipher_only=False)
