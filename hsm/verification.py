"""Did the device sign what we asked, with the key we meant? Judged by another library than the device's.

Pure. A wrapped blob binds nothing, and a device can lie: nothing leaves before `holds` said yes with the public
key of the *certificate*.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key

from hsm.algorithms import Algorithm, Digest, Padding
from hsm.device import CheckpointKey, KeyRef

_HASHES: dict[Digest, hashes.HashAlgorithm] = {
    Digest.SHA256: hashes.SHA256(),
    Digest.SHA384: hashes.SHA384(),
    Digest.SHA512: hashes.SHA512(),
}
_DIGESTED = {digest: Prehashed(made) for digest, made in _HASHES.items()}
_ECDSA = {digest: ec.ECDSA(made) for digest, made in _DIGESTED.items()}
KEPT = 4096  # public keys that are read once: a batch is signed with one or few


def holds(public_key: bytes, algorithm: Algorithm, digest: bytes, signature: bytes) -> bool:
    """Is this a signature over this digest by the key with this DER SubjectPublicKeyInfo? Never raises."""
    try:
        _verify(public_key, algorithm, digest, signature)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def matches(key: KeyRef, public_key: bytes) -> bool:
    """Is the key reference for this public key (of a certificate)? Compares the key, not its spelling in DER."""
    try:
        ours, theirs = load_der_public_key(key.public_key), load_der_public_key(public_key)
    except (UnsupportedAlgorithm, ValueError):
        return False
    return ours == theirs


def checkpoint_holds(key: CheckpointKey, message: bytes, signature: bytes) -> bool:
    """Is this the checkpoint key's signature over this message? Never raises."""
    try:
        public = load_der_public_key(key.public_key)
        if isinstance(public, Ed25519PublicKey) and key.algorithm == "ed25519":
            public.verify(signature, message)
        elif isinstance(public, ec.EllipticCurvePublicKey) and key.algorithm == "ecdsa-p256":
            public.verify(signature, message, ec.ECDSA(hashes.SHA256()))
        else:
            return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def _verify(public_key: bytes, algorithm: Algorithm, digest: bytes, signature: bytes) -> None:
    public = _read(public_key)
    if isinstance(public, ec.EllipticCurvePublicKey) and algorithm.padding is Padding.ECDSA:
        public.verify(signature, digest, _ECDSA[algorithm.digest])
    elif isinstance(public, rsa.RSAPublicKey) and algorithm.padding is not Padding.ECDSA:
        public.verify(signature, digest, rsa_padding(algorithm), _DIGESTED[algorithm.digest])
    else:
        raise InvalidSignature


@lru_cache(KEPT)
def _read(public_key: bytes) -> PublicKeyTypes:
    """The key itself, by all of its bytes."""
    return load_der_public_key(public_key)


def rsa_padding(algorithm: Algorithm) -> padding.PKCS1v15 | padding.PSS:
    """The padding as `cryptography` names it; the PSS salt is as long as the digest (RFC 8017 9.1)."""
    if algorithm.padding is Padding.PKCS1:
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(_HASHES[algorithm.digest]), algorithm.digest.size)


def hash_of(algorithm: Algorithm) -> hashes.HashAlgorithm:
    """The algorithm's hash as `cryptography` names it."""
    return _HASHES[algorithm.digest]
