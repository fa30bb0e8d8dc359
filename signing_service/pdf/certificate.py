"""Is this certificate fit to sign with, before anything is prepared for it?

What a validator would find out afterwards is asked before the device is: dates, key usage, the kind of key, and
that each certificate of the chain issued the one before it (RFC 5280 6.1). Whom to trust and revocation are not
asked here: that belongs to the credential's own story.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.x509.oid import ExtensionOID

from hsm.algorithms import Algorithm, Digest, Padding
from signing_service.pdf.work import Refused

_HASHES: dict[Digest, hashes.HashAlgorithm] = {
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}
_MODERN = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD = (x509.BasicConstraints, x509.KeyUsage)
_CONSTRAINTS = frozenset({
    ExtensionOID.NAME_CONSTRAINTS, ExtensionOID.POLICY_CONSTRAINTS, ExtensionOID.POLICY_MAPPINGS,
    ExtensionOID.INHIBIT_ANY_POLICY,
})


@lru_cache(maxsize=1024)
def _loaded(certificate: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise Refused("wrong-certificate", "A certificate of the order cannot be read.") from error


def check_fit(
    certificate: bytes, chain: Sequence[bytes], algorithm: Algorithm, signing_time: datetime
) -> None:
    """Raise `Refused("wrong-certificate")` unless a signature made with it now could be valid."""
    every = [_loaded(each) for each in (certificate, *chain)]
    key = every[0].public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise _unfit("its key is neither RSA nor on an elliptic curve")
    if isinstance(key, rsa.RSAPublicKey) == (algorithm.padding is Padding.ECDSA):
        raise _unfit(f"its key cannot make a {algorithm} signature")
    if any(not each.not_valid_before_utc <= signing_time <= each.not_valid_after_utc for each in every):
        raise _unfit("it, or one of its chain, is not valid at the signing time")
    if not _may_sign(certificate):
        raise _unfit("its key usage does not allow signing documents")
    _check_chain(certificate, tuple(chain))


def _unfit(why: str) -> Refused:
    return Refused("wrong-certificate", f"The certificate cannot be used: {why}.")


@lru_cache(maxsize=1024)
def _may_sign(certificate: bytes) -> bool:
    try:
        usage = _loaded(certificate).extensions.get_extension_for_oid(ExtensionOID.KEY_USAGE).value
    except x509.ExtensionNotFound:
        return True  # RFC 5280 4.2.1.3: without the extension every use is allowed
    assert isinstance(usage, x509.KeyUsage)  # narrows what the OID already says
    return usage.digital_signature or usage.content_commitment


@lru_cache(maxsize=1024)
def _check_chain(certificate: bytes, chain: tuple[bytes, ...]) -> None:
    for lower, upper in pairwise(_loaded(each) for each in (certificate, *chain)):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise _unfit("its chain is not in order, from the issuer upwards") from error
    for below, issuer in enumerate(_loaded(each) for each in chain[:-1]):   # the last is what the others rest on
        if not _may_certify(issuer, below):
            raise _unfit("a certificate of its chain may not issue others")


def _may_certify(certificate: x509.Certificate, below: int) -> bool:
    """RFC 5280 6.1.4 (k)-(n), with `below` certificates of issuers between it and the signatory's."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    usages = [each.value for each in certificate.extensions if isinstance(each.value, x509.KeyUsage)]
    within = constraints.path_length is None or below <= constraints.path_length
    return constraints.ca and within and all(usage.key_cert_sign for usage in usages)


@lru_cache(maxsize=1024)
def has_constraints(certificates: tuple[bytes, ...]) -> bool:
    """Is there anything in this chain that only a complete path validation weighs (RFC 5280 6.1.4 (g)-(j), (o))?"""
    every = [_loaded(each) for each in certificates]
    modern = all(isinstance(each.signature_hash_algorithm, _MODERN) for each in every[:-1])
    return not modern or any(_is_constraint(extension) for each in every for extension in each.extensions)


def _is_constraint(extension: x509.Extension[x509.ExtensionType]) -> bool:
    return extension.oid in _CONSTRAINTS or (extension.critical and not isinstance(extension.value, _UNDERSTOOD))


def made_by(certificate: bytes, algorithm: Algorithm, digest: bytes, value: bytes) -> bool:
    """Did this certificate's key make this value over this digest?"""
    key = _loaded(certificate).public_key()
    function = _HASHES[algorithm.digest]
    hashed = utils.Prehashed(function)
    try:
        match algorithm.padding:
            case Padding.ECDSA if isinstance(key, ec.EllipticCurvePublicKey):
                key.verify(value, digest, ec.ECDSA(hashed))
            case Padding.PKCS1 if isinstance(key, rsa.RSAPublicKey):
                key.verify(value, digest, padding.PKCS1v15(), hashed)
            case Padding.PSS if isinstance(key, rsa.RSAPublicKey):
                salted = padding.PSS(padding.MGF1(function), algorithm.digest.size)
                key.verify(value, digest, salted, hashed)
            case _:
                return False
    except InvalidSignature:
        return False
    return True
