"""Is a signed document exactly right, before it leaves? A direct check of the one revision that we appended.

pyHanko's validator reads the whole file again, resolves its objects and builds trees of ASN.1, in 5 to 15 ms. But
only three things in a signed document are new since somebody last looked: the value, its container and its
timestamp. All else was there when `prepare` tried out document and tail, and both are still, byte for byte, what
they were then, because their digest is in what was confirmed and signed. So what is checked here, in the bytes as
they will be on the disk, is:

1. /ByteRange names everything but one hexadecimal string, from the first byte of the file to its last, and that
   string is /Contents (ISO 32000-2 12.8.1);
2. the string is one DER ContentInfo, with nothing behind it but zeros, and each of its parts is the one it must be
   (RFC 5652 5, EN 319 142-1 6.3): versions, algorithms, no content of its own, exactly the given certificates, one
   signer, named by issuer and serial number;
3. its signed attributes are three: content type, the certificate's digest, and the digest of all that /ByteRange
   names, computed here from the file's bytes; their own digest is the one that was confirmed;
4. the value verifies with the certificate's key;
5. the certificate and its chain were fit to sign with at the signing time in /M (`certificate`);
6. the only unsigned attribute is the timestamp, which is whole, signed by the certificate it names, and about this
   value; without one there is none.

What it cannot vouch for it says with `Unusual`, and the complete validator is asked: a document that carries an
earlier signature (which must stand as before), an unusual timestamp token, a chain with constraints. The reading
here shares no code with the writing in `cms`. `tests/pdf/test_finished.py` holds both validators against each
other: what the complete one refuses is refused here.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from hsm.algorithms import Algorithm, Digest, Padding
from signing_service import der, timestamp_reading
from signing_service.der import Element, Malformed
from signing_service.pdf.certificate import check_fit, has_constraints, made_by
from signing_service.pdf.work import CompleteOrder, Refused

_CONTENTS: Final = re.compile(rb"/Contents ?<([0-9a-f]{2048,})>")
_RANGE: Final = re.compile(rb"/ByteRange \[0 (\d{1,12}) (\d{1,12}) (\d{1,12})\]")
_TIME: Final = re.compile(rb"/M \((?:\\072|:|D\\072|D:)(\d{14})Z\)")

_SIGNED_DATA: Final = der.oid("1.2.840.113549.1.7.2")
_DATA: Final = der.oid("1.2.840.113549.1.7.1")
_CONTENT_TYPE: Final = der.oid("1.2.840.113549.1.9.3")
_MESSAGE_DIGEST: Final = der.oid("1.2.840.113549.1.9.4")
_SIGNING_CERTIFICATE_V2: Final = der.oid("1.2.840.113549.1.9.16.2.47")
_TIMESTAMP_TOKEN: Final = der.oid("1.2.840.113549.1.9.16.2.14")

_DIGEST_OID: Final = {
    Digest.SHA256: der.oid("2.16.840.1.101.3.4.2.1"),
    Digest.SHA384: der.oid("2.16.840.1.101.3.4.2.2"),
    Digest.SHA512: der.oid("2.16.840.1.101.3.4.2.3"),
}
_MGF1: Final = der.oid("1.2.840.113549.1.1.8")


class Unusual(Exception):
    """Nothing is wrong that can be seen here, but this is for the complete validator to say."""


@dataclass(frozen=True)
class Signer:
    """The parts of the one SignerInfo that differ from document to document."""

    attributes: bytes       # DER SET, as it is signed
    value: bytes
    token: bytes | None


def check_finished(prefix: hashlib._Hash, border: int, tail: bytes, order: CompleteOrder) -> None:
    """Raise `Refused` unless the document of `border` bytes, then `tail`, is exactly right.

    Its code is wrong-value for a value that the certificate's key did not make, else invalid-output. `prefix`: the
    digest of those `border` bytes, under the algorithm's hash; it is left as it was. Raises `Unusual` where the
    complete validator must be asked.
    """
    try:
        container, message = _covered(prefix, border, tail, order.algorithm)
        signer = _signer(container, order)
        _check_attributes(signer, message, order)
    except (Malformed, IndexError) as error:
        raise _wrong("its container is not the one it must be") from error
    _check_fit(tail, order)
    _check_timestamp(signer, order)


def _wrong(why: str) -> Refused:
    return Refused("invalid-output", f"The signed document does not validate: {why}.")


def _require(condition: bool, why: str) -> None:
    if not condition:
        raise _wrong(why)


def _covered(prefix: hashlib._Hash, border: int, tail: bytes, algorithm: Algorithm) -> tuple[bytes, bytes]:
    """Step 1: the container, as it stands with its padding, and the digest of all around it."""
    contents, ranges = list(_CONTENTS.finditer(tail)), list(_RANGE.finditer(tail))
    _require(len(contents) == len(ranges) == 1, "it has no place for a signature, or several")
    start, end = contents[0].start(1) - 1, contents[0].end(1) + 1
    named = tuple(int(each) for each in ranges[0].groups())
    _require(named == (border + start, border + end, len(tail) - end), "not everything is covered")
    _require(contents[0].end(1) - contents[0].start(1) & 1 == 0, "half a byte is missing")
    message = prefix.copy()
    message.update(tail[:start])
    message.update(tail[end:])
    _require(message.name == algorithm.digest.value, "another hash function")
    return bytes.fromhex(contents[0][1].decode()), message.digest()


def _signer(padded: bytes, order: CompleteOrder) -> Signer:
    """Step 2."""
    container = der.first(padded)
    _require(not padded[len(container.whole):].strip(b"\0"), "something stands behind the container")
    kind, wrapped = _these(container, der.SEQUENCE, 2)
    version, digests, content, certificates, signers = _these(_only(wrapped, der.CONTEXT_0), der.SEQUENCE, 5)
    _require(
        kind.whole == _SIGNED_DATA and der.number_of(version) == 1 and content.whole == der.tlv(der.SEQUENCE, _DATA)
        and _is_digest(_only(digests, der.SET), order.algorithm.digest),
        "its container is not the one it must be",
    )
    _require(
        certificates.tag == der.CONTEXT_0
        and [each.whole for each in certificates.children()] == sorted({order.certificate, *order.chain}),
        "it carries other certificates",
    )
    return _info(_only(signers, der.SET), order)


def _info(info: Element, order: CompleteOrder) -> Signer:
    version, sid, digest, attributes, algorithm, value, *unsigned = info.children()
    _require(info.tag == der.SEQUENCE and der.number_of(version) == 1, "its container is not the one it must be")
    _require(sid.whole == _name(order.certificate), "it names another certificate")
    _require(
        _is_digest(digest, order.algorithm.digest) and _is_algorithm(algorithm, order.algorithm),
        "it names another algorithm",
    )
    _require(attributes.tag == der.CONTEXT_0 and value.tag == der.OCTETS, "its container is not the one it must be")
    token = _token(unsigned)
    # RFC 5652 5.4: what is signed is the attributes as a SET OF, not under their implicit tag.
    return Signer(bytes((der.SET,)) + attributes.whole[1:], value.content, token)


def _token(unsigned: list[Element]) -> bytes | None:
    if not unsigned:
        return None
    _require(len(unsigned) == 1, "its container is not the one it must be")
    name, values = _these(_only(unsigned[0], der.CONTEXT_1), der.SEQUENCE, 2)
    _require(name.whole == _TIMESTAMP_TOKEN, "it has an unsigned attribute that is no timestamp")
    return _only(values, der.SET).whole


def _these(element: Element, tag: int, count: int) -> list[Element]:
    found = element.children()
    if element.tag != tag or len(found) != count:
        raise Malformed("another shape")
    return found


def _only(element: Element, tag: int) -> Element:
    return _these(element, tag, 1)[0]


def _is_digest(element: Element, digest: Digest) -> bool:
    """RFC 5754 2: parameters absent, or NULL from those who write them."""
    name = _DIGEST_OID[digest]
    return element.whole in (der.tlv(der.SEQUENCE, name), der.tlv(der.SEQUENCE, name, der.NULL))


def _is_algorithm(element: Element, algorithm: Algorithm) -> bool:
    name, *parameters = element.children()
    if element.tag != der.SEQUENCE or name.whole != der.oid(algorithm.facts.oid):
        return False
    match algorithm.padding:
        case Padding.ECDSA:
            return not parameters           # RFC 5754 3.3
        case Padding.PKCS1:
            return [each.whole for each in parameters] == [der.NULL]    # RFC 3370 3.2
        case Padding.PSS:
            return len(parameters) == 1 and _is_pss(parameters[0], algorithm.digest)


def _is_pss(parameters: Element, digest: Digest) -> bool:
    """RFC 4056 3: the same hash everywhere, salt as long as it."""
    hashed, mask, salt = _these(parameters, der.SEQUENCE, 3)
    function, argument = _these(_only(mask, der.CONTEXT_1), der.SEQUENCE, 2)
    return (
        _is_digest(_only(hashed, der.CONTEXT_0), digest)
        and function.whole == _MGF1 and _is_digest(argument, digest)
        and der.number_of(_only(salt, 0xA2)) == digest.size
    )


@lru_cache(maxsize=1024)
def _name(certificate: bytes) -> bytes:
    """IssuerAndSerialNumber, with the issuer as the certificate spells it."""
    body = der.one(certificate, der.SEQUENCE).children()[0].children()
    at = 1 if body[0].tag == der.CONTEXT_0 else 0   # the version is there, but in certificates of version 1
    return der.tlv(der.SEQUENCE, body[at + 2].whole, body[at].whole)


def _check_attributes(signer: Signer, message: bytes, order: CompleteOrder) -> None:
    """Steps 3 and 4."""
    _require(signer.value == order.signature_value, "it carries another signature value")
    found = {}
    for attribute in der.one(signer.attributes, der.SET).children():
        name, values = _these(attribute, der.SEQUENCE, 2)
        _require(name.whole not in found, "an attribute is given twice")
        found[name.whole] = _only(values, der.SET)
    _require(
        found.keys() == {_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_CERTIFICATE_V2}, "it has other signed attributes"
    )
    _require(found[_CONTENT_TYPE].whole == _DATA, "its content type is another")
    _require(found[_MESSAGE_DIGEST].whole == der.tlv(der.OCTETS, message), "it is not about these bytes")
    _require(_identified(found[_SIGNING_CERTIFICATE_V2], order.certificate), "it names another certificate")
    digest = hashlib.new(order.algorithm.digest.value, signer.attributes).digest()
    _require(digest == order.to_sign, "it is not what was confirmed")
    if not made_by(order.certificate, order.algorithm, digest, signer.value):
        raise Refused("wrong-value", "The signature value was not made by the certificate's key.")


def _identified(attribute: Element, certificate: bytes) -> bool:
    """RFC 5035 3 and 4: one ESSCertIDv2, of SHA-256, which is the default and so left out."""
    identifier = _only(_only(attribute, der.SEQUENCE), der.SEQUENCE)
    return _only(identifier, der.SEQUENCE).whole == der.tlv(der.OCTETS, hashlib.sha256(certificate).digest())


def _check_fit(tail: bytes, order: CompleteOrder) -> None:
    """Step 5, at the time the document claims: the same answer today and next year."""
    if has_constraints((order.certificate, *order.chain)):
        raise Unusual("a chain with constraints")
    times = _TIME.findall(tail)
    if len(times) != 1:
        raise Unusual("a signing time in another form")
    try:
        check_fit(order.certificate, order.chain, order.algorithm, _moment(times[0].decode()))
    except (Refused, ValueError) as error:
        raise _wrong("the certificate's chain does not validate") from error


def _moment(digits: str) -> datetime:
    iso = f"{digits[:8]}T{digits[8:]}"      # which is read ten times as fast as by `strptime`
    return datetime.fromisoformat(iso).replace(tzinfo=UTC)


def _check_timestamp(signer: Signer, order: CompleteOrder) -> None:
    """Step 6."""
    _require(signer.token == order.timestamp_token, "its timestamp is another")
    if signer.token is None:
        return
    try:
        stamped = timestamp_reading.read(signer.token)
        sound = timestamp_reading.is_sound(stamped)
    except Malformed as error:
        raise Unusual("a timestamp token in another form") from error
    about_this = hashlib.new(stamped.info.digest, signer.value).digest() == stamped.info.imprint
    _require(sound and about_this, "the timestamp does not belong to this signature")
