"""What a device gives and takes is not what X.509 and CMS speak: the translations. Pure.

PKCS#11 2.40 mechanisms: 2.1.6 (RSA wants the DigestInfo), 2.3.1 (ECDSA gives r || s), 2.3.3 (EC points).
"""

from __future__ import annotations

from typing import Any

from asn1crypto.core import OctetString
from asn1crypto.keys import ECDomainParameters, NamedCurve, PublicKeyInfo
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import MGF, Attribute, KeyType, Mechanism, PublicKey

from hsm.algorithms import Algorithm, Digest, KeyKind, Padding

CURVES = {KeyKind.P256: "secp256r1", KeyKind.P384: "secp384r1"}
_COORDINATE = {KeyKind.P256: 32, KeyKind.P384: 48}
POINTS = {KeyKind.P256: 65, KeyKind.P384: 97}  # 04 || x || y
ED25519_OID = bytes.fromhex("06032b6570")  # 1.3.101.112 (RFC 8410 3), as PKCS#11 3.0 wants it
ED25519_NAME = bytes.fromhex("130c656477617264733235353139")  # the same as PrintableString "edwards25519"

# The DER of DigestInfo up to the digest itself (RFC 8017 9.2, note 1): constant, so it is not built each time.
_DIGEST_INFO = {
    Digest.SHA256: bytes.fromhex("3031300d060960864801650304020105000420"),
    Digest.SHA384: bytes.fromhex("3041300d060960864801650304020205000430"),
    Digest.SHA512: bytes.fromhex("3051300d060960864801650304020305000440"),
}
_HASHES = {Digest.SHA256: Mechanism.SHA256, Digest.SHA384: Mechanism.SHA384, Digest.SHA512: Mechanism.SHA512}
_MGFS = {Digest.SHA256: MGF.SHA256, Digest.SHA384: MGF.SHA384, Digest.SHA512: MGF.SHA512}


def curve_parameters(kind: KeyKind) -> bytes:
    """CKA_EC_PARAMS: the named curve."""
    return bytes(ECDomainParameters(name="named", value=NamedCurve.unmap(CURVES[kind])).dump())


def to_operate_on(kind: KeyKind, algorithm: Algorithm, digest: bytes) -> tuple[bytes, dict[str, Any]]:
    """What goes into C_Sign, and under which mechanism."""
    if algorithm.padding is Padding.PKCS1:
        return _DIGEST_INFO[algorithm.digest] + digest, {"mechanism": Mechanism.RSA_PKCS}
    if algorithm.padding is Padding.PSS:
        salt_and_hashes = (_HASHES[algorithm.digest], _MGFS[algorithm.digest], algorithm.digest.size)
        return digest, {"mechanism": Mechanism.RSA_PKCS_PSS, "mechanism_param": salt_and_hashes}
    # Only the leftmost bits count (FIPS 186-5 6.4.1), and some tokens refuse more than those.
    return digest[: _COORDINATE[kind]], {"mechanism": Mechanism.ECDSA}


def signature_value(algorithm: Algorithm, raw: bytes) -> bytes:
    """A signature value as certificates and CMS spell it."""
    return der_of(raw) if algorithm.padding is Padding.ECDSA else raw


def der_of(raw: bytes) -> bytes:
    """r || s as Ecdsa-Sig-Value (RFC 3279 2.2.3)."""
    half = len(raw) // 2
    r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    return encode_dss_signature(r, s)


def subject_public_key(public: PublicKey, kind: KeyKind) -> bytes:
    """DER SubjectPublicKeyInfo of a public key object."""
    if kind.is_rsa:
        exponent, modulus = (int.from_bytes(public[name], "big")
                             for name in (Attribute.PUBLIC_EXPONENT, Attribute.MODULUS))
        key = RSAPublicNumbers(exponent, modulus).public_key()  # with the NULL of RFC 3279 2.3.1, as certificates
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # have it: they are compared whole
    parameters = ECDomainParameters(name="named", value=NamedCurve.unmap(CURVES[kind]))
    algorithm: dict[str, Any] = {"algorithm": "ec", "parameters": parameters}
    return bytes(PublicKeyInfo({"algorithm": algorithm, "public_key": _point(public, POINTS[kind])}).dump())


def ed25519_public_key(public: PublicKey) -> bytes:
    """DER SubjectPublicKeyInfo (RFC 8410 4) of an Ed25519 public key object."""
    key = Ed25519PublicKey.from_public_bytes(_point(public, 32))
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _point(public: PublicKey, size: int) -> bytes:
    """CKA_EC_POINT is an OCTET STRING around the point; some tokens leave the OCTET STRING out.

    Told apart by length: a bare point also begins with 04, the tag of an OCTET STRING.
    """
    value: bytes = public[Attribute.EC_POINT]
    return value if len(value) == size else bytes(OctetString.load(value, strict=True).native)


def kind_of_public(public: PublicKey) -> KeyKind | None:
    """Which of our kinds a public key object is; None for any other."""
    if public[Attribute.KEY_TYPE] is KeyType.RSA:
        name = f"rsa-{8 * len(public[Attribute.MODULUS].lstrip(bytes(1)))}"
        return KeyKind(name) if name in list(KeyKind) else None
    parameters = public[Attribute.EC_PARAMS]
    return next((kind for kind in CURVES if curve_parameters(kind) == parameters), None)
