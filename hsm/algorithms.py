"""The closed set of signature algorithms: what each is called on the device, in X.509/CMS, and what it hashes.

Pure: anyone may import. Unknown names die at the parser (`Algorithm(name)` raises ValueError). SHA-1 and RSA
below 2048 bits cannot be expressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Digest(StrEnum):
    """Hash functions that a signature may cover."""

    SHA256 = "sha256"
    SHA384 = "sha384"
    SHA512 = "sha512"

    @property
    def size(self) -> int:
        """Length of the digest in bytes."""
        return {"sha256": 32, "sha384": 48, "sha512": 64}[self.value]


class KeyKind(StrEnum):
    """Kinds of key pairs that the device makes."""

    RSA_2048 = "rsa-2048"
    RSA_3072 = "rsa-3072"
    RSA_4096 = "rsa-4096"
    P256 = "p-256"
    P384 = "p-384"

    @property
    def is_rsa(self) -> bool:
        return self.value.startswith("rsa-")

    @property
    def bits(self) -> int:
        """Modulus or field size in bits."""
        return int(self.value.removeprefix("rsa-").removeprefix("p-"))


class Padding(StrEnum):
    """How the digest becomes what the key operates on."""

    PKCS1 = "pkcs1"  # RSASSA-PKCS1-v1_5, RFC 8017 8.2: DigestInfo made by us, CKM_RSA_PKCS
    PSS = "pss"      # RSASSA-PSS, RFC 8017 8.1: MGF1 with the same hash, salt as long as the digest
    ECDSA = "ecdsa"  # CKM_ECDSA gives r||s, which we encode as DER (RFC 3279 2.2.3)


@dataclass(frozen=True)
class AlgorithmFacts:
    padding: Padding
    digest: Digest
    identifier: str  # the name asn1crypto knows for the CMS SignatureAlgorithmIdentifier
    oid: str


class Algorithm(StrEnum):
    """A signature algorithm: padding and digest together."""

    RSA_SHA256 = "rsa-sha256"
    RSA_SHA384 = "rsa-sha384"
    RSA_SHA512 = "rsa-sha512"
    PSS_SHA256 = "pss-sha256"
    PSS_SHA384 = "pss-sha384"
    PSS_SHA512 = "pss-sha512"
    ECDSA_SHA256 = "ecdsa-sha256"
    ECDSA_SHA384 = "ecdsa-sha384"
    ECDSA_SHA512 = "ecdsa-sha512"

    @property
    def facts(self) -> AlgorithmFacts:
        return _FACTS[self]

    @property
    def padding(self) -> Padding:
        return _FACTS[self].padding

    @property
    def digest(self) -> Digest:
        return _FACTS[self].digest

    def fits(self, kind: KeyKind) -> bool:
        """Can a key of this kind make such a signature?"""
        return kind.is_rsa == (self.padding is not Padding.ECDSA)


_FACTS = {
    Algorithm.RSA_SHA256: AlgorithmFacts(Padding.PKCS1, Digest.SHA256, "sha256_rsa", "1.2.840.113549.1.1.11"),
    Algorithm.RSA_SHA384: AlgorithmFacts(Padding.PKCS1, Digest.SHA384, "sha384_rsa", "1.2.840.113549.1.1.12"),
    Algorithm.RSA_SHA512: AlgorithmFacts(Padding.PKCS1, Digest.SHA512, "sha512_rsa", "1.2.840.113549.1.1.13"),
    Algorithm.PSS_SHA256: AlgorithmFacts(Padding.PSS, Digest.SHA256, "rsassa_pss", "1.2.840.113549.1.1.10"),
    Algorithm.PSS_SHA384: AlgorithmFacts(Padding.PSS, Digest.SHA384, "rsassa_pss", "1.2.840.113549.1.1.10"),
    Algorithm.PSS_SHA512: AlgorithmFacts(Padding.PSS, Digest.SHA512, "rsassa_pss", "1.2.840.113549.1.1.10"),
    Algorithm.ECDSA_SHA256: AlgorithmFacts(Padding.ECDSA, Digest.SHA256, "sha256_ecdsa", "1.2.840.10045.4.3.2"),
    Algorithm.ECDSA_SHA384: AlgorithmFacts(Padding.ECDSA, Digest.SHA384, "sha384_ecdsa", "1.2.840.10045.4.3.3"),
    Algorithm.ECDSA_SHA512: AlgorithmFacts(Padding.ECDSA, Digest.SHA512, "sha512_ecdsa", "1.2.840.10045.4.3.4"),
}


def default_algorithm(kind: KeyKind) -> Algorithm:
    """The algorithm used when nobody names one: the digest as strong as the key."""
    return {
        KeyKind.RSA_2048: Algorithm.RSA_SHA256,
        KeyKind.RSA_3072: Algorithm.RSA_SHA256,
        KeyKind.RSA_4096: Algorithm.RSA_SHA512,
        KeyKind.P256: Algorithm.ECDSA_SHA256,
        KeyKind.P384: Algorithm.ECDSA_SHA384,
    }[kind]
