"""What a timestamp token of the usual shape says, read directly (RFC 3161 2.4.2, RFC 5652 5, RFC 5816).

Almost every authority, ours among them, writes its tokens in DER and names itself by issuer and serial number. Those
are read here in a few dozen slices; `Malformed` means "not of that shape", never "bad": whoever asked goes on with
an ASN.1 library, which reads more and takes thirty times as long. Pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from signing_service import der
from signing_service.chains import MALFORMED
from signing_service.der import Element, Malformed

_SIGNED_DATA: Final = der.oid("1.2.840.113549.1.7.2")
_TST_INFO: Final = der.oid("1.2.840.113549.1.9.16.1.4")
_CONTENT_TYPE: Final = der.oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = der.oid("1.2.840.113549.1.9.4")
# RFC 5816 2.2: which certificate, by its SHA-1 (a name, not a signature) or by its SHA-256, the default that DER omits.
_SIGNING_CERTIFICATE: Final = {
    der.oid("1.2.840.113549.1.9.16.2.12"): "sha1",
    der.oid("1.2.840.113549.1.9.16.2.47"): "sha256",
}
_DIGESTS: Final = {
    der.oid("2.16.840.1.101.3.4.2.1"): "sha256",
    der.oid("2.16.840.1.101.3.4.2.2"): "sha384",
    der.oid("2.16.840.1.101.3.4.2.3"): "sha512",
}
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512(),
}
_TIME: Final = re.compile(rb"(\d{8})(\d{6})(?:\.(\d{1,6}))?Z")
_SMALLEST_RSA: Final = 2048    # bits; below it is for the library to refuse
_RSA_ANY: Final = der.oid("1.2.840.113549.1.1.1")   # the digest is the signer's (RFC 3370 3.2)
_RSA: Final = {
    der.oid("1.2.840.113549.1.1.11"): "sha256",
    der.oid("1.2.840.113549.1.1.12"): "sha384",
    der.oid("1.2.840.113549.1.1.13"): "sha512",
}
_ECDSA: Final = {
    der.oid("1.2.840.10045.4.3.2"): "sha256",
    der.oid("1.2.840.10045.4.3.3"): "sha384",
    der.oid("1.2.840.10045.4.3.4"): "sha512",
}


@dataclass(frozen=True)
class Info:
    """The TSTInfo. `imprint` was made with `digest`; `time` is UTC."""

    policy: bytes       # the OBJECT IDENTIFIER as it stands
    digest: str
    imprint: bytes
    serial: int
    time: datetime
    nonce: int | None


@dataclass(frozen=True)
class Stamped:
    """A token taken apart. Nothing is checked but its shape; `is_sound` looks at the rest."""

    content: bytes                      # the TSTInfo, as it is signed
    info: Info
    certificates: tuple[bytes, ...]
    certificate: bytes                  # of the signer, one of those
    digest: str                         # of content and attributes
    attributes: bytes                   # DER SET, as it is signed (RFC 5652 5.4)
    algorithm: Element
    value: bytes


def read(token: bytes) -> Stamped:
    """Take a token apart. Raises `Malformed` for any shape but the usual one."""
    with _usual():
        return _read(token)


@contextmanager
def _usual() -> Iterator[None]:
    """Too few values in a sequence are another shape, too."""
    try:
        yield
    except (ValueError, IndexError) as error:
        raise Malformed("not a token of the usual shape") from error


def _read(token: bytes) -> Stamped:
    kind, explicit = _exactly(2, der.one(token, der.SEQUENCE))
    _same(kind, _SIGNED_DATA)
    _, _, encapsulated, given, signers = _exactly(5, _tagged(explicit, der.CONTEXT_0).child())
    content_type, wrapped = _exactly(2, encapsulated)
    _same(content_type, _TST_INFO)
    content = _tagged(_tagged(wrapped, der.CONTEXT_0).child(), der.OCTETS).content
    certificates = tuple(_tagged(each, der.SEQUENCE).whole for each in _tagged(given, der.CONTEXT_0).children())
    signer = _tagged(signers, der.SET).child().children()
    if not 6 <= len(signer) <= 7:   # the seventh: unsigned attributes, of which nothing is made here
        raise Malformed("another kind of SignerInfo")
    _, sid, digest, attributes, algorithm, value = signer[:6]
    return Stamped(
        content=content, info=_info(content), certificates=certificates,
        certificate=_named(_tagged(sid, der.SEQUENCE).content, certificates), digest=_digest(digest),
        attributes=bytes((der.SET,)) + _tagged(attributes, der.CONTEXT_0).whole[1:], algorithm=algorithm,
        value=_tagged(value, der.OCTETS).content,
    )


def _exactly(count: int, element: Element) -> list[Element]:
    found = element.children()
    if len(found) != count:
        raise Malformed(f"{len(found)} values, not {count}")
    return found


def _tagged(element: Element, tag: int) -> Element:
    if element.tag != tag:
        raise Malformed("another tag")
    return element


def _same(element: Element, expected: bytes) -> None:
    if element.whole != expected:
        raise Malformed("something else")


def _digest(algorithm: Element) -> str:
    """A hash function of the closed set; parameters absent or NULL (RFC 5754 2)."""
    name, *parameters = algorithm.children()
    if name.whole not in _DIGESTS or [each.whole for each in parameters] not in ([], [der.NULL]):
        raise Malformed("another hash function")
    return _DIGESTS[name.whole]


def _named(issuer_and_serial: bytes, certificates: Sequence[bytes]) -> bytes:
    matching = [each for each in certificates if _issuer_and_serial(each) == issuer_and_serial]
    if len(matching) != 1:
        raise Malformed("it does not carry its signing certificate exactly once")
    return matching[0]


@lru_cache(maxsize=64)
def _issuer_and_serial(certificate: bytes) -> bytes:
    body = der.one(certificate, der.SEQUENCE).children()[0].children()
    at = 1 if body[0].tag == der.CONTEXT_0 else 0   # the version is there, but in certificates of version 1
    return body[at + 2].whole + body[at].whole


def _info(content: bytes) -> Info:
    version, policy, imprint, serial, time, *rest = der.one(content, der.SEQUENCE).children()
    if der.number_of(version) != 1:
        raise Malformed("another version")
    function, hashed = _exactly(2, imprint)
    nonces = [der.number_of(each) for each in rest if each.tag == der.INTEGER]
    # Beside the nonce: accuracy, ordering, and the authority's name. Extensions are for the library.
    if len(nonces) > 1 or any(each.tag not in (der.SEQUENCE, 0x01, der.INTEGER, der.CONTEXT_0) for each in rest):
        raise Malformed("something unusual in it")
    return Info(
        policy=_tagged(policy, der.OBJECT).whole, digest=_digest(function),
        imprint=_tagged(hashed, der.OCTETS).content, serial=der.number_of(serial), time=_time(time),
        nonce=nonces[0] if nonces else None,
    )


def _time(element: Element) -> datetime:
    """RFC 3161 2.4.2: `20261122101530Z`, or with a fraction of a second."""
    found = _TIME.fullmatch(_tagged(element, der.GENERALIZED_TIME).content)
    if found is None:
        raise Malformed("another kind of time")
    day, hour, fraction = (each.decode() for each in found.groups(b""))
    return datetime.fromisoformat(f"{day}T{hour}.{fraction:0<6}").replace(tzinfo=UTC)


def is_sound(stamped: Stamped) -> bool:
    """Is the TSTInfo what was signed, by the certificate that is named in what was signed? Raises `Malformed`.

    Not asked: whom to trust, what for, and when; `timestamp_check` asks that when the token is received.
    """
    with _usual():
        attributes = _attributes(stamped.attributes)
        digest = hashlib.new(stamped.digest, stamped.content).digest()
        return (
            attributes.get(_CONTENT_TYPE) == _TST_INFO
            and attributes.get(_MESSAGE_DIGEST) == der.tlv(der.OCTETS, digest)
            and _identify(attributes, stamped.certificate)
            and _verifies(stamped)
        )


def _attributes(attributes: bytes) -> dict[bytes, bytes]:
    """Each attribute's one value, by its name."""
    found = {}
    for attribute in der.one(attributes, der.SET).children():
        name, values = _exactly(2, attribute)
        if name.whole in found:
            raise Malformed("an attribute is given twice")
        found[name.whole] = _tagged(values, der.SET).child().whole
    return found


def _identify(attributes: dict[bytes, bytes], certificate: bytes) -> bool:
    given = [(attributes[name], function) for name, function in _SIGNING_CERTIFICATE.items() if name in attributes]
    return bool(given) and all(_identifies(attribute, function, certificate) for attribute, function in given)


def _identifies(attribute: bytes, function: str, certificate: bytes) -> bool:
    """RFC 5035 4 and 5: the first identifier is that of the signing certificate."""
    identifiers = der.one(attribute, der.SEQUENCE).children()[0]
    hashed, *issuer_serial = identifiers.children()[0].children()
    names = issuer_serial[0].children() if issuer_serial else []
    if hashed.tag != der.OCTETS or (names and len(names) != 2):
        raise Malformed("another certificate identifier")
    if names and names[0].child().child().whole + names[1].whole != _issuer_and_serial(certificate):
        return False
    return hashed.content == hashlib.new(function, certificate, usedforsecurity=False).digest()


@lru_cache(maxsize=64)
def _public_key(certificate: bytes) -> object:
    try:
        return x509.load_der_x509_certificate(certificate).public_key()
    except MALFORMED as error:
        raise Malformed("a certificate that cannot be read") from error


def _verifies(stamped: Stamped) -> bool:
    key, function = _public_key(stamped.certificate), _HASHES[stamped.digest]
    digest, hashed = hashlib.new(stamped.digest, stamped.attributes).digest(), Prehashed(function)
    name = stamped.algorithm.children()[0].whole
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and _ECDSA.get(name) == stamped.digest:
            key.verify(stamped.value, digest, ec.ECDSA(hashed))
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size >= _SMALLEST_RSA and (
            _RSA.get(name) == stamped.digest or name == _RSA_ANY
        ):
            key.verify(stamped.value, digest, padding.PKCS1v15(), hashed)
        else:
            raise Malformed("another signature algorithm")
    except InvalidSignature:
        return False
    return True
