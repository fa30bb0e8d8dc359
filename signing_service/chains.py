"""Does a certificate lead to a root we trust? RFC 5280 6, in the part that a service's own certificates need.

Names, signatures, dates, basic constraints with path length, key usage, extended key usage, and no critical
extension we do not understand (name constraints among them: such a path is refused). Revocation is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

LONGEST = 6             # certificates between leaf and root; three is usual
MOST_CANDIDATES = 16    # certificates in a token that are tried; each try is a signature check
SMALLEST_RSA = 2048     # bits
HASHES = frozenset({"sha256", "sha384", "sha512"})
UNDERSTOOD = frozenset({
    ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
})
# What cryptography raises about bytes that only look like a certificate, when they are read or only when asked.
MALFORMED = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion, x509.DuplicateExtension,
             x509.UnsupportedGeneralNameType)


def leads_to_root(
    leaf: bytes, others: Sequence[bytes], roots: Sequence[bytes], now: datetime, purpose: x509.ObjectIdentifier,
) -> bool:
    """Is there a path from `leaf` over `others` to one of `roots`, all valid now and fit for `purpose`?

    Everything is DER. A root is trusted by being in the list; of it only key, name, dates and CA right are used.
    """
    trusted = _loaded(roots)
    waiting = [each for each in _loaded(others[:MOST_CANDIDATES]) if each not in trusted]
    reached = [x509.load_der_x509_certificate(leaf)]
    if not _is_clean(reached[0], now):
        return False
    # Breadth first, each certificate once: a token full of look-alikes costs 16 x 16 checks and not 16!.
    for depth in range(LONGEST + 1):
        if any(_may_issue(root, child, now, purpose, depth) for root in trusted for child in reached):
            return True
        reached = [each for each in waiting if any(_may_issue(each, child, now, purpose, depth) for child in reached)]
        waiting = [each for each in waiting if each not in reached]
    return False


def _loaded(ders: Iterable[bytes]) -> list[x509.Certificate]:
    return [x509.load_der_x509_certificate(der) for der in ders]


def _may_issue(
    issuer: x509.Certificate, child: x509.Certificate, now: datetime, purpose: x509.ObjectIdentifier, below: int,
) -> bool:
    """`below`: certification authorities between the issuer and the leaf (RFC 5280 4.2.1.9)."""
    return (
        issuer.subject == child.issuer and _is_clean(issuer, now) and _is_authority(issuer, purpose, below)
        and _has_signed(issuer, child)
    )


def _is_clean(certificate: x509.Certificate, now: datetime) -> bool:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return False
    return all(each.oid in UNDERSTOOD for each in certificate.extensions if each.critical)


def _is_authority(certificate: x509.Certificate, purpose: x509.ObjectIdentifier, below: int) -> bool:
    found = {each.oid: each.value for each in certificate.extensions}
    constraints = found.get(ExtensionOID.BASIC_CONSTRAINTS)
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        return False
    if constraints.path_length is not None and below > constraints.path_length:
        return False
    usage = found.get(ExtensionOID.KEY_USAGE)
    if isinstance(usage, x509.KeyUsage) and not usage.key_cert_sign:
        return False
    purposes = found.get(ExtensionOID.EXTENDED_KEY_USAGE)
    return not isinstance(purposes, x509.ExtendedKeyUsage) or bool(
        {purpose, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & set(purposes))


def _has_signed(issuer: x509.Certificate, child: x509.Certificate) -> bool:
    function = child.signature_hash_algorithm
    if function is None or function.name not in HASHES:
        return False
    key = issuer.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < SMALLEST_RSA:
        return False
    try:
        child.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
