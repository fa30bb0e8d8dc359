"""Is this timestamp token what we asked for, from an authority we trust? Pure: bytes and a moment in, a fact out.

Every token goes through here before it is believed, from outside authorities and from our own. What is checked
follows RFC 3161 2.2 and 2.4.2, RFC 5652 5.4-5.6, RFC 5816 and ETSI EN 319 422; what is *not* checked is whether the
authority's certificate has been revoked.

A token of the usual shape in which everything holds is read directly (`timestamp_reading`). Any other is taken apart
by an ASN.1 library, which says what is wrong with it, if anything is.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from asn1crypto import cms, core, tsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from signing_service import der as plain_der
from signing_service import timestamp_reading
from signing_service.chains import MALFORMED, leads_to_root
from signing_service.errors import Unavailable

TOLERANCE = timedelta(seconds=60)  # between the authority's clock and ours, in both directions
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512(),
}
SMALLEST_RSA = 2048  # bits

# What asn1crypto and cryptography raise about bytes that only look like a token.
UNREADABLE = (*MALFORMED, KeyError, IndexError, AttributeError, OverflowError, RecursionError, x509.ExtensionNotFound)


class TimeStampResp(core.Sequence):  # type: ignore[misc]  # asn1crypto ships no types
    """RFC 3161 2.4.2. asn1crypto's own takes the token for mandatory, so that it can read no refusal."""

    _fields = [("status", tsp.PKIStatusInfo), ("time_stamp_token", cms.ContentInfo, {"optional": True})]  # noqa: RUF012 - asn1crypto reads it as a list


class TokenRejected(Unavailable):
    """This is not a timestamp we may use. Another authority, or the same one later, may give a good one."""

    code = "timestamp-rejected"


@dataclass(frozen=True)
class Demand:
    """What the token must say, and who may say it.

    `imprint` was made with `digest` (sha256, sha384, sha512). The signing certificate is one of `pinned`, or leads to
    one of `roots` (DER); both empty refuses everything. `nonce`: None when none was sent, and then none may come back.
    """

    imprint: bytes
    digest: str
    roots: tuple[bytes, ...]
    pinned: tuple[bytes, ...] = ()
    nonce: int | None = None
    policy: str | None = None
    tolerance: timedelta = TOLERANCE


@dataclass(frozen=True)
class Proven:
    """What a checked token proves."""

    time: datetime
    serial: str
    policy: str
    authority: str  # subject of the certificate, for people


def check(token: bytes, demand: Demand, now: datetime) -> Proven:
    """Raises TokenRejected, with the reason in words, unless everything holds."""
    try:
        return _read_directly(token, demand, now) or _check(token, demand, now)
    except UNREADABLE as error:
        raise TokenRejected("The timestamp token cannot be read.") from error


def _read_directly(token: bytes, demand: Demand, now: datetime) -> Proven | None:
    """What it proves, if it is of the usual shape and all of it is right: each of the questions of `_check`."""
    try:
        stamped = timestamp_reading.read(token)
        info = stamped.info
        if (info.digest, info.imprint, info.nonce) != (demand.digest, demand.imprint, demand.nonce):
            return None
        if demand.policy is not None and plain_der.oid(demand.policy) != info.policy:
            return None
        if abs(info.time - now) > demand.tolerance or not timestamp_reading.is_sound(stamped):
            return None
        _check_purpose(stamped.certificate, info.time, now)
        _check_trust(stamped.certificate, stamped.certificates, demand, now)
    except (TokenRejected, *UNREADABLE):
        return None
    return Proven(info.time, f"{info.serial:x}", _dotted(info.policy), _subject(stamped.certificate))


@lru_cache(maxsize=64)
def _dotted(policy: bytes) -> str:
    return str(core.ObjectIdentifier.load(policy).dotted)


@lru_cache(maxsize=64)
def _subject(certificate: bytes) -> str:
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()


def _check(token: bytes, demand: Demand, now: datetime) -> Proven:
    signed = _signed_data(token)
    content, info = _info(signed)
    _check_info(info, demand, now)
    signer = signed["signer_infos"][0]
    certificates = _certificates(signed)
    certificate = _signer_certificate(signer, certificates)
    _check_attributes(signer, content, certificate)
    _check_signature(signer, certificate)
    _check_purpose(certificate, info["gen_time"].native, now)
    _check_trust(certificate, certificates, demand, now)
    return Proven(
        time=info["gen_time"].native, serial=f"{info['serial_number'].native:x}", policy=info["policy"].dotted,
        authority=_subject(certificate),
    )


def _require(condition: object, why: str) -> None:
    if not condition:
        raise TokenRejected(f"The timestamp is refused: {why}.")


def _signed_data(token: bytes) -> Any:
    info = cms.ContentInfo.load(token, strict=True)
    _require(info["content_type"].native == "signed_data", "it is not signed data")
    signed = info["content"]
    _require(len(signed["signer_infos"]) == 1, "it has more or fewer than one signature")  # RFC 3161 2.4.2
    return signed


def _info(signed: Any) -> tuple[bytes, Any]:
    """The TSTInfo, as the bytes that are signed and as what they say."""
    encapsulated = signed["encap_content_info"]
    _require(encapsulated["content_type"].native == "tst_info", "it does not carry a TSTInfo")
    content = bytes(encapsulated["content"])
    return content, tsp.TSTInfo.load(content, strict=True)


def _check_info(info: Any, demand: Demand, now: datetime) -> None:
    imprint = info["message_imprint"]
    _require(info["version"].native == "v1", "its version is not 1")
    _require(imprint["hash_algorithm"]["algorithm"].native == demand.digest, "it was made over another hash function")
    _require(imprint["hashed_message"].native == demand.imprint, "it is about something else (imprint)")
    _require(info["nonce"].native == demand.nonce, "it does not answer our question (nonce)")
    _require(demand.policy in (None, info["policy"].dotted), "it was issued under another policy")
    _require(abs(info["gen_time"].native - now) <= demand.tolerance, "its time is not now")
    extensions = info["extensions"].native or []
    _require(not any(extension["critical"] for extension in extensions), "it has a critical extension")


def _certificates(signed: Any) -> tuple[bytes, ...]:
    found = signed["certificates"]
    return tuple(each.chosen.dump() for each in found if each.name == "certificate") if found.native else ()


def _signer_certificate(signer: Any, certificates: tuple[bytes, ...]) -> bytes:
    matching = [each for each in certificates if _is_named(signer["sid"], asn1_x509.Certificate.load(each))]
    _require(len(matching) == 1, "it does not carry its signing certificate exactly once")
    return matching[0]


def _is_named(sid: Any, certificate: Any) -> bool:
    if sid.name == "issuer_and_serial_number":
        named = sid.chosen
        return bool(certificate.issuer == named["issuer"]
                    and certificate.serial_number == named["serial_number"].native)
    identifier = certificate.key_identifier
    return identifier is not None and identifier == sid.chosen.native


def _check_attributes(signer: Any, content: bytes, certificate: bytes) -> None:
    digest = signer["digest_algorithm"]["algorithm"].native
    _require(digest in HASHES, "it is signed over a hash function we do not accept")
    attributes: dict[str, Any] = {}
    for attribute in signer["signed_attrs"]:
        name = attribute["type"].native
        _require(name not in attributes, "an attribute is given twice")
        attributes[name] = attribute["values"]
    _require(_only(attributes, "content_type").native == "tst_info", "the signed content type is another")
    expected = hashlib.new(digest, content).digest()
    _require(_only(attributes, "message_digest").native == expected, "its content was changed")
    _check_certificate_id(attributes, certificate)


def _only(attributes: dict[str, Any], name: str) -> Any:
    values = attributes.get(name, ())
    _require(len(values) == 1, f"its attribute {name} is missing or given twice")
    return values[0]


def _check_certificate_id(attributes: dict[str, Any], certificate: bytes) -> None:
    """RFC 5816 2.2: ESSCertID (SHA-1 by definition; a name, not a signature) or ESSCertIDv2 names the certificate."""
    given = [name for name in ("signing_certificate", "signing_certificate_v2") if name in attributes]
    _require(given, "it does not say which certificate signed it (ESSCertID)")
    for name in given:
        named = _only(attributes, name)["certs"][0]
        function = "sha1" if name == "signing_certificate" else named["hash_algorithm"]["algorithm"].native
        _require(function in HASHES or name == "signing_certificate", "ESSCertID uses a hash function we do not accept")
        same = hashlib.new(function, certificate, usedforsecurity=False).digest() == named["cert_hash"].native
        _require(same and _same_issuer(named["issuer_serial"], certificate), "ESSCertID names another certificate")


def _same_issuer(issuer_serial: Any, certificate: bytes) -> bool:
    if issuer_serial.native is None:  # optional; the hash has named the certificate already
        return True
    parsed = asn1_x509.Certificate.load(certificate)
    names = [name.chosen for name in issuer_serial["issuer"] if name.name == "directory_name"]
    return parsed.issuer in names and parsed.serial_number == issuer_serial["serial_number"].native


def _check_signature(signer: Any, certificate: bytes) -> None:
    # RFC 5652 5.4: what is signed is the attributes as a SET OF, not under their implicit tag.
    covered = b"\x31" + signer["signed_attrs"].dump()[1:]
    key = x509.load_der_x509_certificate(certificate).public_key()
    function = HASHES[signer["digest_algorithm"]["algorithm"].native]
    try:
        _verify(key, signer["signature_algorithm"], signer["signature"].native, covered, function)
    except InvalidSignature as error:
        raise TokenRejected("The timestamp is refused: its signature is wrong.") from error


def _verify(key: Any, algorithm: Any, value: bytes, covered: bytes, function: hashes.HashAlgorithm) -> None:
    kind = algorithm.signature_algo
    named = algorithm["algorithm"].native
    bare = named in ("rsassa_pkcs1v15", "rsaes_pkcs1v15")  # rsaEncryption: the hash is the digest algorithm's
    _require(bare or algorithm.hash_algo == function.name, "signature and digest use different hash functions")
    if kind == "rsassa_pkcs1v15" and isinstance(key, rsa.RSAPublicKey):
        _require(key.key_size >= SMALLEST_RSA, "its RSA key is too small")
        key.verify(value, covered, padding.PKCS1v15(), function)
    elif kind == "rsassa_pss" and isinstance(key, rsa.RSAPublicKey):
        _require(key.key_size >= SMALLEST_RSA, "its RSA key is too small")
        salt = algorithm["parameters"]["salt_length"].native
        key.verify(value, covered, padding.PSS(padding.MGF1(function), salt), function)
    elif kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(value, covered, ec.ECDSA(function))
    else:
        _require(False, "it is signed with an algorithm that does not fit its key")


def _check_purpose(der: bytes, issued: datetime, now: datetime) -> None:
    begins, ends = _validity(der)
    _require(begins <= issued <= ends and begins <= now <= ends, "the authority's certificate is not valid now")
    _check_extensions(der)


@lru_cache(maxsize=64)
def _validity(der: bytes) -> tuple[datetime, datetime]:
    certificate = x509.load_der_x509_certificate(der)
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


@lru_cache(maxsize=64)  # of those that are fit: what raises is not kept
def _check_extensions(der: bytes) -> None:
    extensions = x509.load_der_x509_certificate(der).extensions
    usage = next((each for each in extensions if isinstance(each.value, x509.ExtendedKeyUsage)), None)
    # RFC 3161 2.3: exactly this one purpose, and critical.
    _require(usage is not None and usage.critical and list(usage.value) == [ExtendedKeyUsageOID.TIME_STAMPING],
             "its certificate is not for timestamps alone")
    for each in extensions:
        if isinstance(each.value, x509.KeyUsage):
            _require(each.value.digital_signature or each.value.content_commitment, "its key is not for signing")
        if isinstance(each.value, x509.BasicConstraints):
            _require(not each.value.ca, "it is signed by a certification authority")


def _check_trust(certificate: bytes, others: tuple[bytes, ...], demand: Demand, now: datetime) -> None:
    if certificate in demand.pinned:
        return
    _require(leads_to_root(certificate, others, demand.roots, now, ExtendedKeyUsageOID.TIME_STAMPING),
             "its certificate does not lead to a root we trust")
