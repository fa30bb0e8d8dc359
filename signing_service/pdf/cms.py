"""The CMS of a PAdES signature, put together byte by byte from parts that never change (RFC 5652, RFC 5035).

All but two digests and the signature value is the same DER for every signature of a credential, so the parts are
encoded once per certificate and joined. asn1crypto encodes the rare parts; the joining is ours, because building
the whole tree through an ASN.1 library costs twenty times the signature itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from asn1crypto import algos, core, x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_der_x509_certificate

from hsm.algorithms import Algorithm, Digest, Padding

_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_OCTETS: Final = 0x04
_CONTEXT_0: Final = 0xA0
_CONTEXT_1: Final = 0xA1

# A timestamp token with its chain: ours take 2 to 3 kB, public ones 4 to 7 kB. Too small would be found out only
# after the device has signed; too large pads the file with zeros.
TIMESTAMP_RESERVE: Final = 8_192
# Headers that grow by a byte or two when their content does.
_SLACK: Final = 64


def _tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _oid(dotted: str) -> bytes:
    encoded: bytes = core.ObjectIdentifier(dotted).dump()
    return encoded


_SIGNED_DATA = _oid("1.2.840.113549.1.7.2")
_DATA = _oid("1.2.840.113549.1.7.1")
_CONTENT_TYPE = _oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST = _oid("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE_V2 = _oid("1.2.840.113549.1.9.16.2.47")
_TIMESTAMP_TOKEN = _oid("1.2.840.113549.1.9.16.2.14")
_VERSION_1 = bytes((0x02, 0x01, 0x01))
_NULL = bytes((0x05, 0x00))

# RFC 5754 2: parameters absent.
_DIGEST_ALGORITHM = {
    Digest.SHA256: _tlv(_SEQUENCE, _oid("2.16.840.1.101.3.4.2.1")),
    Digest.SHA384: _tlv(_SEQUENCE, _oid("2.16.840.1.101.3.4.2.2")),
    Digest.SHA512: _tlv(_SEQUENCE, _oid("2.16.840.1.101.3.4.2.3")),
}


@lru_cache(maxsize=16)
def _signature_algorithm(algorithm: Algorithm) -> bytes:
    facts = algorithm.facts
    if facts.padding is Padding.ECDSA:
        return _tlv(_SEQUENCE, _oid(facts.oid))
    if facts.padding is Padding.PKCS1:
        return _tlv(_SEQUENCE, _oid(facts.oid), _NULL)
    digest = {"algorithm": facts.digest.value}
    parameters = algos.RSASSAPSSParams({
        "hash_algorithm": digest,
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": digest},
        "salt_length": facts.digest.size,
    })
    encoded: bytes = algos.SignedDigestAlgorithm(
        {"algorithm": "rsassa_pss", "parameters": parameters}
    ).dump()
    return encoded


@lru_cache(maxsize=1024)
def _signing_certificate(certificate: bytes) -> bytes:
    # RFC 5035 4: SHA-256 is the DEFAULT, so DER leaves hashAlgorithm out.
    identifier = _tlv(_SEQUENCE, _tlv(_OCTETS, hashlib.sha256(certificate).digest()))
    return _attribute(_SIGNING_CERTIFICATE_V2, _tlv(_SEQUENCE, _tlv(_SEQUENCE, identifier)))


def _attribute(name: bytes, value: bytes) -> bytes:
    return _tlv(_SEQUENCE, name, _tlv(_SET, value))


_CONTENT_TYPE_IS_DATA = _attribute(_CONTENT_TYPE, _DATA)


def signed_attributes(certificate: bytes, message_digest: bytes) -> bytes:
    """The DER SET that is signed: content type, message digest, signing certificate (EN 319 142-1 6.3).

    No signing time: PAdES forbids it here and keeps it in /M. Follows from its arguments alone.
    """
    return _tlv(_SET, *sorted((
        _CONTENT_TYPE_IS_DATA,
        _attribute(_MESSAGE_DIGEST, _tlv(_OCTETS, message_digest)),
        _signing_certificate(certificate),
    )))  # X.690 11.6: a DER SET OF is sorted by its encodings


def to_sign(algorithm: Algorithm, attributes: bytes) -> bytes:
    """What the device signs: the digest of the signed attributes (RFC 5652 5.4)."""
    return hashlib.new(algorithm.digest.value, attributes).digest()


@lru_cache(maxsize=1024)
def _signer_identifier(certificate: bytes) -> bytes:
    body = x509.Certificate.load(certificate)["tbs_certificate"]
    return _tlv(_SEQUENCE, body["issuer"].dump(), body["serial_number"].dump())


@lru_cache(maxsize=1024)
def _certificates(certificates: tuple[bytes, ...]) -> bytes:
    return _tlv(_CONTEXT_0, *sorted(set(certificates)))


def container(
    certificate: bytes,
    chain: Sequence[bytes],
    algorithm: Algorithm,
    attributes: bytes,
    value: bytes,
    timestamp_token: bytes | None = None,
) -> bytes:
    """The DER ContentInfo that goes into /Contents, with the chain and, if given, the timestamp."""
    digest_algorithm = _DIGEST_ALGORITHM[algorithm.digest]
    unsigned = b""
    if timestamp_token is not None:
        unsigned = _tlv(_CONTEXT_1, _attribute(_TIMESTAMP_TOKEN, timestamp_token))
    signer = _tlv(
        _SEQUENCE,
        _VERSION_1,
        _signer_identifier(certificate),
        digest_algorithm,
        bytes((_CONTEXT_0,)) + attributes[1:],  # RFC 5652 5.3: IMPLICIT [0] in place of the SET's own tag
        _signature_algorithm(algorithm),
        _tlv(_OCTETS, value),
        unsigned,
    )
    signed_data = _tlv(
        _SEQUENCE,
        _VERSION_1,
        _tlv(_SET, digest_algorithm),
        _tlv(_SEQUENCE, _DATA),
        _certificates((certificate, *chain)),
        _tlv(_SET, signer),
    )
    return _tlv(_SEQUENCE, _SIGNED_DATA, _tlv(_CONTEXT_0, signed_data))


@lru_cache(maxsize=1024)
def value_size(certificate: bytes) -> int:
    """The largest signature value, in bytes, that the certificate's key makes."""
    key = load_der_x509_certificate(certificate).public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size // 8 + 1
    if isinstance(key, ec.EllipticCurvePublicKey):
        # RFC 3279 2.2.3: a SEQUENCE of two INTEGERs, each with a header and perhaps a sign byte.
        return 2 * ((key.key_size + 7) // 8 + 3) + 3
    raise ValueError("neither an RSA nor an elliptic-curve key")


def reserve(certificate: bytes, chain: Sequence[bytes], algorithm: Algorithm, timestamped: bool) -> int:
    """How many bytes to keep free for the container: computed from its real parts, no trial signature."""
    attributes = signed_attributes(certificate, bytes(algorithm.digest.size))
    without_timestamp = container(certificate, chain, algorithm, attributes, bytes(value_size(certificate)))
    return len(without_timestamp) + _SLACK + (TIMESTAMP_RESERVE if timestamped else 0)
