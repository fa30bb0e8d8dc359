"""May this certificate be used with this key, now, for this purpose? Asked once, at import, before the signer is.

A PDF library signs with a mismatching, expired or key-encipherment-only certificate without a word, so nothing of
that kind gets in. The steps follow RFC 5280 6.1: signatures, validity and names of the whole chain, basic
constraints, key usage, critical extensions. Not done here: name constraints, policies, revocation; and whether the
root deserves trust is the operator's decision, who is shown its fingerprint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID, ObjectIdentifier

from signing_service.chains import MALFORMED
from signing_service.errors import FieldError, Invalid

E = TypeVar("E", bound=x509.ExtensionType)

LONGEST_CHAIN = 8  # issuers; what a message to the signer carries
LARGEST_FILE = 1 << 20  # bytes; chains are a few kilobytes
SMALLEST_RSA = 2048
STRONG = (SHA256, SHA384, SHA512)
CURVES = (ec.SECP256R1, ec.SECP384R1)

FOR_DOCUMENTS = frozenset({
    ObjectIdentifier("1.3.6.1.5.5.7.3.36"),       # id-kp-documentSigning, RFC 9336
    ObjectIdentifier("1.3.6.1.4.1.311.10.3.12"),  # Microsoft document signing
    ObjectIdentifier("1.2.840.113583.1.1.5"),     # Adobe authentic documents
    ExtendedKeyUsageOID.EMAIL_PROTECTION,         # what many public authorities put there instead
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
})
UNDERSTOOD = frozenset({
    ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.CERTIFICATE_POLICIES, ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.POLICY_CONSTRAINTS, ExtensionOID.INHIBIT_ANY_POLICY, ExtensionOID.POLICY_MAPPINGS,
    ObjectIdentifier("1.3.6.1.5.5.7.1.3"),        # qcStatements, RFC 3739 3.2.6
})


class Purpose(StrEnum):
    """What the key is to sign."""

    DOCUMENTS = "documents"
    TIMESTAMPS = "timestamps"


@dataclass(frozen=True)
class CheckedCertificate:
    """A certificate that passed, with its issuers up to the root. Only `check` makes one."""

    certificate: bytes  # DER
    chain: tuple[bytes, ...]  # DER, issuer first, root last
    public_key: bytes  # DER SubjectPublicKeyInfo
    not_before: datetime
    not_after: datetime
    subject: str
    issuer: str
    root: str
    root_fingerprint: str  # SHA-256 of the root, hex: to be compared with what the authority publishes


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: a stable word, and the remedy with it."""

    code: str
    message: str


def read(data: bytes) -> tuple[x509.Certificate, ...]:
    """Every certificate in a file: PEM (one or many), DER, or PKCS#7 as PEM or DER. Invalid where there is none."""
    if len(data) > LARGEST_FILE:
        raise Invalid("The file is larger than any chain of certificates.", code="certificate-unreadable")
    for reader in _READERS:
        try:
            found = tuple(reader(data))
        except MALFORMED:
            continue
        if found:
            return found
    if b"PRIVATE KEY" in data:
        raise Invalid("This file holds a private key. Keys are made in the device and never imported: "
                      "destroy the file, and ask for a certificate with `credential csr`.", code="private-key")
    raise Invalid("There is no certificate in this file: PEM, DER and PKCS#7 (.p7b) are read. A certificate request "
                  "or a PKCS#12 file is something else.", code="certificate-unreadable")


def check(
    data: bytes, issuers: Sequence[bytes], public_key: bytes, now: datetime, purpose: Purpose,
) -> CheckedCertificate:
    """The certificate of this key in `data`, with its chain out of `data` and `issuers`.

    `public_key` is the DER SubjectPublicKeyInfo of the credential's key. Raises Invalid, which names everything
    that is wrong and the remedy for each.
    """
    try:
        given = [certificate for file in (data, *issuers) for certificate in read(file)]
        certificate = _of_key(given, public_key)
        chain = _chain(certificate, given)
        problems = _problems(certificate, chain, now, purpose)
    except MALFORMED as error:
        raise Invalid(f"A certificate is malformed ({error}). Have it issued again.", code="certificate-malformed") \
            from error
    if problems:
        raise _refusal(problems)
    return _checked(certificate, chain, public_key)


def _problems(
    certificate: x509.Certificate, chain: tuple[x509.Certificate, ...], now: datetime, purpose: Purpose,
) -> list[Problem]:
    problems = [*_usable(certificate, purpose), *_current(certificate, now)]
    for depth, issuer in enumerate(chain):
        problems += [*_authority(issuer, depth), *_current(issuer, now)]
    return problems


def _checked(certificate: x509.Certificate, chain: tuple[x509.Certificate, ...], key: bytes) -> CheckedCertificate:
    return CheckedCertificate(
        certificate=certificate.public_bytes(Encoding.DER),
        chain=tuple(issuer.public_bytes(Encoding.DER) for issuer in chain),
        public_key=key,
        not_before=certificate.not_valid_before_utc, not_after=certificate.not_valid_after_utc,
        subject=_name(certificate), issuer=certificate.issuer.rfc4514_string(), root=_name(chain[-1]),
        root_fingerprint=chain[-1].fingerprint(SHA256()).hex(),
    )


def _refusal(problems: Sequence[Problem]) -> Invalid:
    said = list(dict.fromkeys(problems))
    return Invalid(
        "This certificate cannot be used. " + " ".join(problem.message for problem in said),
        code=said[0].code, errors=[FieldError("certificate", problem.message) for problem in said],
    )


# ------------------------------------------------------------------------------------------------------- the chain


def _of_key(given: Sequence[x509.Certificate], public_key: bytes) -> x509.Certificate:
    for certificate in given:
        if _spki(certificate) == public_key:
            return certificate
    names = "; ".join(_name(certificate) for certificate in given)
    raise Invalid(f"None of these certificates belongs to this credential's key: {names}. It was made for another "
                  "key; ask for one with the request that `credential csr` prints.", code="certificate-other-key")


def _chain(certificate: x509.Certificate, given: Sequence[x509.Certificate]) -> tuple[x509.Certificate, ...]:
    """The issuers from the nearest to the root, each of which signed the one before it."""
    if _issued(certificate, certificate):
        raise _refusal([Problem("certificate-self-signed", "It is self-signed: nobody vouches for it. "
                                "Have it issued by an authority.")])
    chain: list[x509.Certificate] = []
    last = certificate
    while not _is_root(last):
        last = _issuer(last, given)
        chain.append(last)
        if len(chain) > LONGEST_CHAIN:
            raise _refusal([Problem("chain-too-long", f"Its chain has more than {LONGEST_CHAIN} issuers.")])
    return tuple(chain)


def _is_root(certificate: x509.Certificate) -> bool:
    """Nobody relies on what a root signed of itself, so its signature counts only where it could count."""
    if certificate.subject != certificate.issuer:
        return False
    return not isinstance(certificate.signature_hash_algorithm, STRONG) or _issued(certificate, certificate)


def _issuer(child: x509.Certificate, given: Sequence[x509.Certificate]) -> x509.Certificate:
    weak = tuple(_strong_signature(child))
    if weak:
        raise _refusal(weak)
    named = [candidate for candidate in given if candidate.subject == child.issuer]
    for candidate in named:
        if _issued(child, candidate):
            return candidate
    wanted = child.issuer.rfc4514_string()
    if named:
        raise _refusal([Problem("chain-signature", f"The certificate of {wanted!r} that was given did not sign "
                                f"{_name(child)!r}. Take the one the authority publishes.")])
    raise _refusal([Problem("chain-incomplete", f"The certificate of the issuer {wanted!r} is missing. "
                            "Download it from the authority and add it with --chain.")])


def _issued(child: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _strong_signature(certificate: x509.Certificate) -> Iterator[Problem]:
    used = certificate.signature_hash_algorithm
    if not isinstance(used, STRONG):
        name = used.name if used else "a kind of hash that is not known"
        yield Problem("weak-signature", f"{_name(certificate)!r} is signed with {name}: "
                      "have it issued again with SHA-256 or stronger.")


def _authority(issuer: x509.Certificate, depth: int) -> Iterator[Problem]:
    """RFC 5280 4.2.1.9 and 4.2.1.3; `depth` is how many intermediate issuers stand below this one."""
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        yield Problem("not-an-authority", f"{_name(issuer)!r} is not an authority and may not issue certificates.")
    elif constraints.path_length is not None and constraints.path_length < depth:
        yield Problem("path-length", f"{_name(issuer)!r} may not have so many authorities below it.")
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        yield Problem("not-an-authority", f"The key of {_name(issuer)!r} is not for signing certificates.")
    yield from _strong_key(issuer)
    yield from _unknown_critical(issuer)


# -------------------------------------------------------------------------------------------------- the certificate


def _usable(certificate: x509.Certificate, purpose: Purpose) -> Iterator[Problem]:
    yield from _strong_key(certificate)
    yield from _named(certificate)
    yield from _key_usage(certificate)
    yield from _extended_usage(certificate, purpose)
    yield from _unknown_critical(certificate)
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        yield Problem("is-an-authority", "It is an authority's certificate; signatures need an end entity's.")


def _current(certificate: x509.Certificate, now: datetime) -> Iterator[Problem]:
    if now < certificate.not_valid_before_utc:
        yield Problem("not-yet-valid", f"{_name(certificate)!r} is valid only from "
                      f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC: import it then, or look at the clock.")
    if now > certificate.not_valid_after_utc:
        yield Problem("expired", f"{_name(certificate)!r} expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} "
                      "UTC: have a new one issued.")


def _strong_key(certificate: x509.Certificate) -> Iterator[Problem]:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < SMALLEST_RSA:
            yield Problem("weak-key", f"{_name(certificate)!r} has an RSA key of {key.key_size} bits; "
                          f"{SMALLEST_RSA} are the least.")
    elif not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, CURVES):
        yield Problem("weak-key", f"{_name(certificate)!r} has a key of a kind that is not used here: "
                      "RSA, P-256 or P-384.")


def _named(certificate: x509.Certificate) -> Iterator[Problem]:
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not any(str(attribute.value).strip() for attribute in common):
        yield Problem("no-name", "Its subject has no common name: nobody could see who signed.")


def _key_usage(certificate: x509.Certificate) -> Iterator[Problem]:
    """RFC 5280 4.2.1.3: digitalSignature, contentCommitment (non-repudiation), or both."""
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None:
        yield Problem("no-key-usage", "It does not say what its key is for (key usage): have one issued for signing.")
    elif not usage.digital_signature and not usage.content_commitment:
        yield Problem("key-usage", "Its key is not for signing (key usage has neither digitalSignature nor "
                      "nonRepudiation), perhaps for encryption only: have one issued for signing.")
    elif usage.key_cert_sign:
        yield Problem("key-usage", "Its key may sign certificates: such a key is not for documents.")


def _extended_usage(certificate: x509.Certificate, purpose: Purpose) -> Iterator[Problem]:
    listed = _extension(certificate, x509.ExtendedKeyUsage)
    uses = frozenset(listed or ())
    if purpose is Purpose.TIMESTAMPS:
        if uses != {ExtendedKeyUsageOID.TIME_STAMPING} or not _is_critical(certificate, x509.ExtendedKeyUsage):
            yield Problem("extended-key-usage", "A timestamping certificate has exactly one extended key usage, "
                          "timeStamping, and it is critical (RFC 3161 2.3): have one issued so.")
    elif listed is not None and not uses & FOR_DOCUMENTS:
        yield Problem("extended-key-usage", "Its extended key usage is for something else than documents: "
                      "have one issued for document signing.")


def _unknown_critical(certificate: x509.Certificate) -> Iterator[Problem]:
    """RFC 5280 4.2: a critical extension that is not understood is a refusal."""
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in UNDERSTOOD:
            yield Problem("critical-extension", f"{_name(certificate)!r} has a critical extension "
                          f"{extension.oid.dotted_string} that is not understood.")


# -------------------------------------------------------------------------------------------------------- reading


def _pem(data: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(re.sub(rb"-----(BEGIN|END) TRUSTED ", rb"-----\1 ", data))


_READERS: tuple[Callable[[bytes], Sequence[x509.Certificate]], ...] = (
    _pem,
    lambda data: [x509.load_der_x509_certificate(data)],
    pkcs7.load_pem_pkcs7_certificates,
    pkcs7.load_der_pkcs7_certificates,
)


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _is_critical(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> bool:
    return certificate.extensions.get_extension_for_class(kind).critical


def _spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()
