"""What the development authority is asked to certify comes out of a file, and may be anything."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from signing_service.cli.development_ca import DevelopmentCa
from signing_service.errors import Invalid

NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Nguyễn Văn An")])
REQUEST = x509.CertificateSigningRequestBuilder().subject_name(NAME).sign(
    ec.generate_private_key(ec.SECP256R1()), SHA256()).public_bytes(Encoding.DER)
ELLIPTIC = bytes.fromhex("06072a8648ce3d0201")  # id-ecPublicKey, RFC 5480 2.1.1
P256 = bytes.fromhex("06082a8648ce3d030107")

REFUSED = {
    "a text": b"xin chao",
    "a request cut short": REQUEST[:90],
    "a key of a kind that nobody knows": REQUEST.replace(ELLIPTIC, ELLIPTIC[:-1] + b"\x7f"),
    "a curve that nobody knows": REQUEST.replace(P256, P256[:-1] + b"\x7f"),
    "a name that is no text": REQUEST.replace(b"\x0c\x10Nguy", b"\x03\x10\x00guy"),
    "another name than was signed": REQUEST.replace(b"An", b"Ba"),
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_request_is_refused(request_: bytes, tmp_path: Path) -> None:
    assert request_ != REQUEST
    now = datetime.now(UTC)
    armour = b"-----%s CERTIFICATE REQUEST-----\n"
    text = armour % b"BEGIN" + base64.encodebytes(request_) + armour % b"END"
    with pytest.raises(Invalid) as refusal:
        DevelopmentCa.make(tmp_path, now).issue(text, now)
    assert refusal.value.code == "csr"
