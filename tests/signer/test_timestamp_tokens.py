"""Our timestamp tokens are, byte for byte, what an ASN.1 library builds of the same values; and others believe them."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asn1crypto import algos, cms, core, tsp, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hsm.algorithms import Algorithm, Digest, Padding
from signing_service import timestamp_reading
from signing_service.signer import timestamp_tokens
from signing_service.signer.timestamp_tokens import Said
from signing_service.timestamp_check import Demand, check
from tests.support import campaign
from tests.support.ca import TestCa

CA = TestCa()
KEYS = {True: rsa.generate_private_key(65537, 2048), False: ec.generate_private_key(ec.SECP384R1())}
HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}


def spki(is_rsa: bool) -> bytes:
    return KEYS[is_rsa].public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


CERTIFICATES = {is_rsa: CA.issue(spki(is_rsa), "Cơ quan cấp dấu thời gian", timestamping=True) for is_rsa in KEYS}


def certificate_for(algorithm: Algorithm) -> bytes:
    return CERTIFICATES[algorithm.padding is not Padding.ECDSA]


def made_by_a_library(said: Said, certificate: bytes, carried: tuple[bytes, ...], algorithm: Algorithm,
                      value: bytes) -> tuple[bytes, bytes, bytes]:
    """TSTInfo, signed attributes and token of the same values, built by asn1crypto as a tree."""
    info = {
        "version": "v1", "policy": said.policy,
        "message_imprint": {"hash_algorithm": {"algorithm": said.digest.value}, "hashed_message": said.imprint},
        "serial_number": said.serial,
        "gen_time": said.at.replace(microsecond=said.at.microsecond // 1000 * 1000),
        "accuracy": {"seconds": said.accuracy}, "ordering": False,
    }
    content = tsp.TSTInfo(info if said.nonce is None else {**info, "nonce": said.nonce}).dump()
    parsed = x509.Certificate.load(certificate)
    identified = tsp.ESSCertIDv2({
        "cert_hash": hashlib.sha256(certificate).digest(),
        "issuer_serial": {"issuer": [x509.GeneralName("directory_name", parsed.issuer)],
                          "serial_number": parsed.serial_number},
    })
    digest = algorithm.digest.value
    attributes = cms.CMSAttributes([
        {"type": "content_type", "values": ["tst_info"]},
        {"type": "message_digest", "values": [hashlib.new(digest, content).digest()]},
        {"type": "signing_certificate_v2", "values": [tsp.SigningCertificateV2({"certs": [identified]})]},
    ])
    signer = cms.SignerInfo({
        "version": "v1",
        "sid": cms.SignerIdentifier("issuer_and_serial_number", {
            "issuer": parsed.issuer, "serial_number": parsed.serial_number}),
        "digest_algorithm": {"algorithm": digest}, "signed_attrs": attributes,
        "signature_algorithm": signature_algorithm(algorithm), "signature": value,
    })
    signed = {
        "version": "v3", "digest_algorithms": [{"algorithm": digest}],
        "encap_content_info": {"content_type": "tst_info", "content": core.ParsableOctetString(content)},
        "signer_infos": [signer],
    }
    if carried:
        signed["certificates"] = [x509.Certificate.load(each) for each in carried]
    token = cms.ContentInfo({"content_type": "signed_data", "content": cms.SignedData(signed)})
    return content, attributes.untag().dump(), token.dump()


def signature_algorithm(algorithm: Algorithm) -> algos.SignedDigestAlgorithm:
    if algorithm.padding is not Padding.PSS:
        return algos.SignedDigestAlgorithm({"algorithm": algorithm.facts.identifier})
    digest = {"algorithm": algorithm.digest.value}
    return algos.SignedDigestAlgorithm({"algorithm": "rsassa_pss", "parameters": algos.RSASSAPSSParams({
        "hash_algorithm": digest, "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": digest},
        "salt_length": algorithm.digest.size,
    })})


SAID = st.builds(
    lambda digest, *rest: Said(rest[0], digest, hashlib.new(digest.value, rest[1]).digest(), *rest[2:]),
    st.sampled_from(Digest), st.sampled_from(["1.3.6.1.4.1.13762.3", "2.16.704.1.2.3", "0.4.0.2023.1.1"]),
    st.binary(max_size=8), st.integers(1, (1 << 128) - 1),
    st.datetimes(datetime(2020, 1, 1), datetime(2049, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - as it asks for
    st.integers(1, 100_000), st.none() | st.integers(0, (1 << 64) - 1),
)


@settings(max_examples=campaign.rounds(60, 3_000), deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    said=SAID, algorithm=st.sampled_from(Algorithm), chain=st.integers(0, 3),
    value=st.binary(min_size=1, max_size=600),
)
def test_a_token_is_what_a_library_builds(said: Said, algorithm: Algorithm, chain: int, value: bytes) -> None:
    certificate = certificate_for(algorithm)
    carried = (certificate, CA.root, CERTIFICATES[True])[:chain] if chain < 3 else (CA.root, certificate)
    content = timestamp_tokens.info(said)
    attributes = timestamp_tokens.signed_attributes(certificate, algorithm, content)
    token = timestamp_tokens.token(certificate, carried, algorithm, content, attributes, value)
    assert (content, attributes, token) == made_by_a_library(said, certificate, carried, algorithm, value)


def signed(algorithm: Algorithm, data: bytes, at: datetime) -> bytes:
    said = Said("1.3.6.1.4.1.13762.3", Digest.SHA256, hashlib.sha256(data).digest(), 4711, at, 1, 99)
    certificate, content = certificate_for(algorithm), timestamp_tokens.info(said)
    attributes = timestamp_tokens.signed_attributes(certificate, algorithm, content)
    digest = hashlib.new(algorithm.digest.value, attributes).digest()
    hashed = utils.Prehashed(HASHES[algorithm.digest.value])
    key = KEYS[algorithm.padding is not Padding.ECDSA]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        value = key.sign(digest, ec.ECDSA(hashed))
    elif algorithm.padding is Padding.PSS:
        salted = padding.PSS(padding.MGF1(HASHES[algorithm.digest.value]), algorithm.digest.size)
        value = key.sign(digest, salted, hashed)
    else:
        value = key.sign(digest, padding.PKCS1v15(), hashed)
    return timestamp_tokens.token(certificate, (certificate, CA.root), algorithm, content, attributes, value)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_openssl_and_our_own_check_believe_it(algorithm: Algorithm, tmp_path: Path) -> None:
    now, data = datetime.now(UTC), b"what is stamped"
    token = signed(algorithm, data, now)
    demand = Demand(hashlib.sha256(data).digest(), "sha256", roots=(CA.root,), nonce=99)
    assert check(token, demand, now).serial == f"{4711:x}"
    (tmp_path / "token.der").write_bytes(token)
    (tmp_path / "data").write_bytes(data)
    (tmp_path / "root.pem").write_bytes(
        subprocess.run(["openssl", "x509", "-inform", "DER"], input=CA.root, capture_output=True, check=True).stdout)
    said = subprocess.run(
        ["openssl", "ts", "-verify", "-token_in", "-in", tmp_path / "token.der", "-data", tmp_path / "data",
         "-CAfile", tmp_path / "root.pem"], capture_output=True, check=False, text=True)
    if algorithm.padding is not Padding.PSS:    # `openssl ts` has no PSS, `check` above does
        assert "Verification: OK" in said.stdout + said.stderr


@pytest.mark.parametrize("algorithm", [Algorithm.RSA_SHA256, Algorithm.ECDSA_SHA384])
def test_it_is_read_directly_and_no_bit_of_it_may_change(algorithm: Algorithm) -> None:
    now, data = datetime.now(UTC), b"what is stamped"
    token = signed(algorithm, data, now)
    stamped = timestamp_reading.read(token)
    assert timestamp_reading.is_sound(stamped)
    assert stamped.info.imprint == hashlib.sha256(data).digest()
    assert (stamped.info.serial, stamped.info.nonce, stamped.info.digest) == (4711, 99, "sha256")
    assert abs((stamped.info.time - now).total_seconds()) < 0.001
    covered = token.index(stamped.content), token.index(stamped.attributes[1:]), token.rindex(stamped.value)
    sizes = len(stamped.content), len(stamped.attributes) - 1, len(stamped.value)
    for start, size in zip(covered, sizes, strict=True):
        for at in range(start, start + size, campaign.rounds(7, 1)):
            assert not is_sound(token[:at] + bytes((token[at] ^ 1,)) + token[at + 1:]), f"byte {at}"


def is_sound(token: bytes) -> bool:
    try:
        return timestamp_reading.is_sound(timestamp_reading.read(token))
    except timestamp_reading.Malformed:
        return False
