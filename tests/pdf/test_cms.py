"""The CMS that is joined from bytes is what an ASN.1 library would have built, and fits where it was promised room."""

from __future__ import annotations

import hashlib

import pytest
from asn1crypto import cms as asn1
from asn1crypto import tsp
from hypothesis import given
from hypothesis import strategies as st

from hsm.algorithms import Algorithm, Padding
from signing_service.pdf import cms
from tests.support.software_signatory import AUTHORITY, a_signatory, timestamp

CERTIFICATE = a_signatory().certificate
CHAIN = (AUTHORITY.root,)


@given(digest=st.binary(min_size=32, max_size=64), value=st.binary(min_size=1, max_size=600))
def test_what_is_joined_is_der_and_says_what_was_put_in(digest: bytes, value: bytes) -> None:
    attributes = cms.signed_attributes(CERTIFICATE, digest)
    der = cms.container(CERTIFICATE, CHAIN, Algorithm.ECDSA_SHA256, attributes, value)
    read = asn1.ContentInfo.load(der, strict=True)
    (signer,) = read["content"]["signer_infos"]
    found = {each["type"].native: each["values"][0] for each in signer["signed_attrs"]}
    assert set(found) == {"content_type", "message_digest", "signing_certificate_v2"}
    assert found["content_type"].native == "data"
    assert found["message_digest"].native == digest
    (identified,) = found["signing_certificate_v2"]["certs"]
    assert identified["hash_algorithm"]["algorithm"].native == "sha256"
    assert identified["cert_hash"].native == hashlib.sha256(CERTIFICATE).digest()
    assert signer["signature"].native == value
    assert signer["unsigned_attrs"].native is None
    assert {each.chosen.dump() for each in read["content"]["certificates"]} == {CERTIFICATE, AUTHORITY.root}


def test_the_signed_attributes_are_what_openssl_and_asn1crypto_would_hash() -> None:
    attributes = cms.signed_attributes(CERTIFICATE, bytes(32))
    again = asn1.CMSAttributes.load(attributes)
    assert sorted(each.dump() for each in again) == [each.dump() for each in again]
    assert cms.to_sign(Algorithm.ECDSA_SHA256, attributes) == hashlib.sha256(attributes).digest()


def test_the_signed_attributes_follow_from_digest_and_certificate_alone() -> None:
    assert cms.signed_attributes(CERTIFICATE, b"d" * 32) == cms.signed_attributes(CERTIFICATE, b"d" * 32)
    assert cms.signed_attributes(CERTIFICATE, b"d" * 32) != cms.signed_attributes(CERTIFICATE, b"e" * 32)
    assert cms.signed_attributes(CERTIFICATE, b"d" * 32) != cms.signed_attributes(AUTHORITY.root, b"d" * 32)


@pytest.mark.parametrize("timestamped", [False, True], ids=["B-B", "B-T"])
@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_room_kept_is_enough_and_not_much_more(algorithm: Algorithm, timestamped: bool) -> None:
    kind = "p-256" if algorithm.padding is Padding.ECDSA else "rsa"
    signatory = a_signatory(kind=kind, algorithm=algorithm)
    room = cms.reserve(signatory.certificate, CHAIN, algorithm, timestamped)
    value = signatory.sign(bytes(algorithm.digest.size))
    attributes = cms.signed_attributes(signatory.certificate, bytes(algorithm.digest.size))
    token = timestamp(value) if timestamped else None
    size = len(cms.container(signatory.certificate, CHAIN, algorithm, attributes, value, token))
    assert size <= room
    assert room - size < (cms.TIMESTAMP_RESERVE if timestamped else 0) + 128


def test_the_timestamp_is_an_unsigned_attribute() -> None:
    token = timestamp(b"value")
    attributes = cms.signed_attributes(CERTIFICATE, bytes(32))
    der = cms.container(CERTIFICATE, CHAIN, Algorithm.ECDSA_SHA256, attributes, b"value", token)
    (signer,) = asn1.ContentInfo.load(der)["content"]["signer_infos"]
    (attribute,) = signer["unsigned_attrs"]
    assert attribute["type"].native == "signature_time_stamp_token"
    assert attribute["values"][0].dump() == token
    assert isinstance(attribute["values"][0]["content"]["encap_content_info"]["content"].parsed, tsp.TSTInfo)
