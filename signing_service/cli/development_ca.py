"""A certificate authority for trying things out. Every name it gives says so; nobody should ever trust its root."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from signing_service.chains import MALFORMED
from signing_service.errors import Invalid, NotFound, WrongState

MARK = "DEVELOPMENT ONLY"
ROOT_DAYS = timedelta(days=3650)
ISSUED_DAYS = timedelta(days=365)
EARLIER = timedelta(minutes=5)  # clocks of one office differ a little


@dataclass(frozen=True)
class DevelopmentCa:
    """A root whose key lies in a file. `issue` is everything it can do."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, directory: Path, now: datetime) -> DevelopmentCa:
        """A fresh root in this directory. Raises WrongState where there is one already."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls(_root(key, now), key)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(directory / "ca.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        _write_new(directory / "ca.pem", made.certificate.public_bytes(Encoding.PEM))
        return made

    @classmethod
    def open(cls, directory: Path) -> DevelopmentCa:
        try:
            key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        except OSError as error:
            raise NotFound(f"There is no CA in {directory}: make one with `development ca init`.") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Invalid("This is not a key that `development ca init` made.")
        return cls(certificate, key)

    def issue(self, request: bytes, now: datetime, *, timestamping: bool = False) -> bytes:
        """A certificate for a PKCS#10 request in PEM; its common name gets the mark. PEM, the root behind it."""
        csr = _read(request)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_marked(csr.subject)).issuer_name(self.certificate.subject).public_key(csr.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - EARLIER).not_valid_after(now + ISSUED_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(csr.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if timestamping:  # RFC 3161 2.3: this use alone, and critical
            builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        issued = builder.sign(self.key, SHA256())
        return issued.public_bytes(Encoding.PEM) + self.certificate.public_bytes(Encoding.PEM)


def _root(key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Signing service root, {MARK}")])
    return (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLIER).not_valid_after(now + ROOT_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, SHA256())
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    """Documents (with non-repudiation) for those it issues to, certificates for itself."""
    return x509.KeyUsage(
        digital_signature=signs, content_commitment=signs, key_cert_sign=not signs, crl_sign=not signs,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )


def _marked(subject: x509.Name) -> x509.Name:
    """The same name with the mark in its common name, so that no screen shows it without."""
    attributes = [
        x509.NameAttribute(NameOID.COMMON_NAME, f"{str(attribute.value)[:64 - len(MARK) - 3]} ({MARK})")
        if attribute.oid == NameOID.COMMON_NAME else attribute
        for attribute in subject
    ]
    if not any(attribute.oid == NameOID.COMMON_NAME for attribute in attributes):
        raise Invalid("The request has no common name.", code="csr")
    return x509.Name(attributes)


def _read(request: bytes) -> x509.CertificateSigningRequest:
    try:
        csr = x509.load_pem_x509_csr(request)
        is_proven, _ = csr.is_signature_valid, csr.subject  # names are read when they are asked for
    except (*MALFORMED, InvalidSignature) as error:
        raise Invalid("This is not a certificate request in PEM.", code="csr") from error
    if not is_proven:
        raise Invalid("The request is not signed with its own key.", code="csr")
    return csr


def _write_new(path: Path, data: bytes) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise WrongState(f"There is {path} already.", code="exists") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
