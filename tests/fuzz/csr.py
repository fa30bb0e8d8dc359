"""A certificate request, as the development authority takes it: a certificate for exactly its key, or `Invalid`."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing_service.certificates import read
from signing_service.cli.development_ca import MARK, DevelopmentCa
from signing_service.errors import Invalid
from tests.fuzz import der
from tests.fuzz.stage import moment, stage
from tests.fuzz.target import Target


def run(data: bytes) -> str:
    try:
        issued = authority().issue(data, moment(), timestamping=bool(len(data) % 2))
    except Invalid as refused:
        return refused.code
    certificate, _root = read(issued)
    assert _key(certificate) == _key(x509.load_pem_x509_csr(data))
    assert MARK in certificate.subject.rfc4514_string()
    return "issued"


def _key(thing: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return thing.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def authority() -> DevelopmentCa:
    with tempfile.TemporaryDirectory() as name:
        return DevelopmentCa.make(Path(name), moment())


def seeds() -> list[bytes]:
    return [stage()["request ec"], stage()["request rsa"]]


TARGET: Final = Target(run, seeds, der.mutate_pem, largest=8_192)
