"""A certificate file that an operator imports: what passes is for this key, under a root that is among the files."""

from __future__ import annotations

from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signing_service.certificates import LONGEST_CHAIN, Purpose, check, read
from signing_service.errors import Invalid
from tests.fuzz import der
from tests.fuzz.stage import moment, stage
from tests.fuzz.target import Target


def run(data: bytes) -> str:
    """Alone, and with the issuers in files of their own."""
    words = {_checked(data, ()), _checked(data, (stage()["issuer"], stage()["chain root"]))}
    return " / ".join(sorted(words))


def _checked(data: bytes, issuers: tuple[bytes, ...]) -> str:
    try:
        found = check(data, issuers, stage()["key"], moment(), PURPOSES[len(data) % 2])
    except Invalid as refused:
        return refused.code
    assert _key(x509.load_der_x509_certificate(found.certificate)) == found.public_key == stage()["key"]
    assert 1 <= len(found.chain) <= LONGEST_CHAIN
    assert {found.certificate, *found.chain} <= {_der(each) for file in (data, *issuers) for each in read(file)}
    return "good"


def _key(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def seeds() -> list[bytes]:
    return [stage()[name] for name in ("chain pem", "chain p7b pem", "chain p7b der", "leaf", "issuer", "request ec")]


PURPOSES: Final = (Purpose.DOCUMENTS, Purpose.TIMESTAMPS)
TARGET: Final = Target(run, seeds, der.mutate_pem, short=250)
