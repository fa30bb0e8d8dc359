"""The DER of our timestamp tokens (RFC 3161 2.4.2, RFC 5652, RFC 5816), joined from parts that hardly ever change.

All but the imprint, the serial number, the time, the nonce, one digest and the signature is the same for every token
of a certificate. Those parts are encoded once; `tests/signer/test_timestamp_tokens.py` holds the result equal, byte
for byte, to what an ASN.1 library builds from the same values, which takes hundreds of times as long.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from hsm.algorithms import Algorithm, Digest, Padding
from signing_service import der

_SIGNED_DATA: Final = der.oid("1.2.840.113549.1.7.2")
_TST_INFO: Final = der.oid("1.2.840.113549.1.9.16.1.4")
_CONTENT_TYPE: Final = der.oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = der.oid("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE_V2: Final = der.oid("1.2.840.113549.1.9.16.2.47")
_MGF1: Final = der.oid("1.2.840.113549.1.1.8")
_DIGESTS: Final = {
    Digest.SHA256: der.oid("2.16.840.1.101.3.4.2.1"),
    Digest.SHA384: der.oid("2.16.840.1.101.3.4.2.2"),
    Digest.SHA512: der.oid("2.16.840.1.101.3.4.2.3"),
}
_VERSION_1: Final = der.integer(1)
_VERSION_3: Final = der.integer(3)  # RFC 5652 5.1: the content is not plain data
_DIRECTORY_NAME: Final = 0xA4       # GeneralName, explicit because a Name is a CHOICE
_SALT: Final = 0xA2


@dataclass(frozen=True)
class Said:
    """What one token says. `at` is UTC, told to the millisecond; `accuracy` in seconds."""

    policy: str
    digest: Digest
    imprint: bytes
    serial: int
    at: datetime
    accuracy: int
    nonce: int | None = None


def info(said: Said) -> bytes:
    """The TSTInfo. `ordering` is FALSE, the default, and so left out."""
    imprint = der.tlv(der.SEQUENCE, _digest(said.digest), der.tlv(der.OCTETS, said.imprint))
    return der.tlv(
        der.SEQUENCE, _VERSION_1, _oid(said.policy), imprint, der.integer(said.serial), _time(said.at),
        der.tlv(der.SEQUENCE, der.integer(said.accuracy)), b"" if said.nonce is None else der.integer(said.nonce),
    )


def _time(at: datetime) -> bytes:
    """X.690 11.7: no zeros at the end of a fraction, and no fraction that is nought."""
    fraction = f".{at.microsecond // 1000:03}".rstrip("0").rstrip(".")
    return der.tlv(der.GENERALIZED_TIME, f"{at:%Y%m%d%H%M%S}{fraction}Z".encode())


_oid = lru_cache(maxsize=16)(der.oid)


@lru_cache(maxsize=8)
def _digest(digest: Digest) -> bytes:
    """With NULL, as nearly every client writes it: what was asked comes back as it was asked (RFC 3161 2.4.2)."""
    return der.tlv(der.SEQUENCE, _DIGESTS[digest], der.NULL)


@lru_cache(maxsize=16)
def signature_algorithm(algorithm: Algorithm) -> bytes:
    """The AlgorithmIdentifier of CMS and PKCS #10, DER (RFC 4056 for PSS: salt as long as the digest)."""
    name = der.oid(algorithm.facts.oid)
    match algorithm.padding:
        case Padding.ECDSA:
            return der.tlv(der.SEQUENCE, name)
        case Padding.PKCS1:
            return der.tlv(der.SEQUENCE, name, der.NULL)
        case Padding.PSS:
            function = _digest(algorithm.digest)
            return der.tlv(der.SEQUENCE, name, der.tlv(
                der.SEQUENCE, der.tlv(der.CONTEXT_0, function),
                der.tlv(der.CONTEXT_1, der.tlv(der.SEQUENCE, _MGF1, function)),
                der.tlv(_SALT, der.integer(algorithm.digest.size)),
            ))


@lru_cache(maxsize=16)
def _issuer_and_serial(certificate: bytes) -> tuple[bytes, bytes]:
    body = der.one(certificate, der.SEQUENCE).children()[0].children()
    return body[3].whole, body[1].whole     # behind the version, which every certificate with extensions has


@lru_cache(maxsize=16)
def _signing_certificate(certificate: bytes) -> bytes:
    """ESSCertIDv2 with SHA-256, its default, and the issuer and serial number besides."""
    issuer, serial = _issuer_and_serial(certificate)
    named = der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, der.tlv(_DIRECTORY_NAME, issuer)), serial)
    identified = der.tlv(der.SEQUENCE, der.tlv(der.OCTETS, hashlib.sha256(certificate).digest()), named)
    return _attribute(_SIGNING_CERTIFICATE_V2, der.tlv(der.SEQUENCE, der.tlv(der.SEQUENCE, identified)))


def _attribute(name: bytes, value: bytes) -> bytes:
    return der.tlv(der.SEQUENCE, name, der.tlv(der.SET, value))


_IS_TST_INFO: Final = _attribute(_CONTENT_TYPE, _TST_INFO)


def signed_attributes(certificate: bytes, algorithm: Algorithm, content: bytes) -> bytes:
    """The DER SET that is signed: content type, the TSTInfo's digest, and the certificate to verify it with."""
    digest = hashlib.new(algorithm.digest.value, content).digest()
    return der.tlv(der.SET, *sorted((
        _IS_TST_INFO, _attribute(_MESSAGE_DIGEST, der.tlv(der.OCTETS, digest)), _signing_certificate(certificate),
    )))  # X.690 11.6: a DER SET OF is sorted by its encodings


@lru_cache(maxsize=16)
def _certificates(certificates: tuple[bytes, ...]) -> bytes:
    return der.tlv(der.CONTEXT_0, *sorted(certificates)) if certificates else b""


def token(
    certificate: bytes, carried: tuple[bytes, ...], algorithm: Algorithm, content: bytes, attributes: bytes,
    value: bytes,
) -> bytes:
    """The token (DER ContentInfo) with the certificates it carries: none, or the authority's with its chain."""
    digest = _digest(algorithm.digest)
    signer = der.tlv(
        der.SEQUENCE, _VERSION_1, der.tlv(der.SEQUENCE, *_issuer_and_serial(certificate)), digest,
        bytes((der.CONTEXT_0,)) + attributes[1:],   # RFC 5652 5.3: IMPLICIT [0] in place of the SET's own tag
        signature_algorithm(algorithm), der.tlv(der.OCTETS, value),
    )
    encapsulated = der.tlv(der.SEQUENCE, _TST_INFO, der.tlv(der.CONTEXT_0, der.tlv(der.OCTETS, content)))
    signed = der.tlv(
        der.SEQUENCE, _VERSION_3, der.tlv(der.SET, digest), encapsulated, _certificates(carried),
        der.tlv(der.SET, signer),
    )
    return der.tlv(der.SEQUENCE, _SIGNED_DATA, der.tlv(der.CONTEXT_0, signed))
