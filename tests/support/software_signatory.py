"""A signatory whose key is in memory: what the device does in production, for tests that are about documents."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from asn1crypto import keys as asn1_keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from pyhanko.sign.timestamps import DummyTimeStamper

from hsm.algorithms import Algorithm, Digest, Padding
from signing_service.pdf.complete import complete
from signing_service.pdf.prepare import prepare
from signing_service.pdf.work import Appearance, CompleteOrder, Level, Prepared, PrepareOrder
from tests.support.ca import TestCa

AUTHORITY = TestCa()
NOW = datetime.now(UTC).replace(microsecond=0)

_HASHES = {Digest.SHA256: hashes.SHA256(), Digest.SHA384: hashes.SHA384(), Digest.SHA512: hashes.SHA512()}
_KEYS: dict[str, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey] = {}


def _key(kind: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    """One key of each kind for the whole run: RSA keys take a while to make."""
    if kind not in _KEYS:
        makers = {
            "rsa": lambda: rsa.generate_private_key(65537, 2048),
            "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "p-384": lambda: ec.generate_private_key(ec.SECP384R1()),
            "tsa": lambda: rsa.generate_private_key(65537, 2048),
        }
        _KEYS[kind] = makers[kind]()
    return _KEYS[kind]


def spki(kind: str) -> bytes:
    return _key(kind).public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def private_der(kind: str) -> bytes:
    return _key(kind).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass(frozen=True)
class Signatory:
    """`certificate` is for the key of `kind`; the chain is the test authority's root."""

    certificate: bytes
    kind: str = "p-256"
    algorithm: Algorithm = Algorithm.ECDSA_SHA256
    chain: tuple[bytes, ...] = (AUTHORITY.root,)

    def sign(self, digest: bytes) -> bytes:
        key, function = _key(self.kind), _HASHES[self.algorithm.digest]
        hashed = utils.Prehashed(function)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return key.sign(digest, ec.ECDSA(hashed))
        if self.algorithm.padding is Padding.PSS:
            salted = padding.PSS(padding.MGF1(function), self.algorithm.digest.size)
            return key.sign(digest, salted, hashed)
        return key.sign(digest, padding.PKCS1v15(), hashed)

    def prepares(
        self,
        document: Path,
        tail: Path,
        *,
        level: Level = Level.B_B,
        appearance: Appearance | None = None,
        reason: str | None = None,
    ) -> Prepared:
        return prepare(self.order(document, tail, level=level, appearance=appearance, reason=reason))

    def order(
        self,
        document: Path,
        tail: Path,
        *,
        level: Level = Level.B_B,
        appearance: Appearance | None = None,
        reason: str | None = None,
        signing_time: datetime = NOW,
    ) -> PrepareOrder:
        return PrepareOrder(
            document, tail, self.certificate, self.chain, self.algorithm, level, signing_time,
            appearance=appearance, reason=reason,
        )

    def completes(
        self, document: Path, tail: Path, output: Path, prepared: Prepared, *, token: bytes | None = None
    ) -> CompleteOrder:
        return self.completes_with(document, tail, output, prepared, self.sign(prepared.to_sign), token=token)

    def completes_with(
        self,
        document: Path,
        tail: Path,
        output: Path,
        prepared: Prepared,
        value: bytes,
        *,
        token: bytes | None = None,
    ) -> CompleteOrder:
        return CompleteOrder(
            document, tail, output, self.certificate, self.chain, self.algorithm,
            Level.B_T if token else Level.B_B, prepared.to_sign, value, token,
        )

    def signs(
        self,
        document: Path,
        output: Path,
        *,
        appearance: Appearance | None = None,
        reason: str | None = None,
        timestamped: bool = False,
    ) -> Path:
        """The whole way: prepare, sign, complete. Returns `output`."""
        tail = output.with_suffix(".tail")
        level = Level.B_T if timestamped else Level.B_B
        prepared = self.prepares(document, tail, level=level, appearance=appearance, reason=reason)
        value = self.sign(prepared.to_sign)
        token = timestamp(value) if timestamped else None
        complete(self.completes_with(document, tail, output, prepared, value, token=token))
        return output


def a_signatory(
    name: str = "Nguyễn Văn Thử", kind: str = "p-256", algorithm: Algorithm = Algorithm.ECDSA_SHA256
) -> Signatory:
    return Signatory(AUTHORITY.issue(spki(kind), name), kind, algorithm)


def timestamp(value: bytes, at: datetime = NOW + timedelta(seconds=2)) -> bytes:
    """A token over a signature value, by an authority under the same root (RFC 3161)."""
    certificate = AUTHORITY.issue(spki("tsa"), "Test TSA", timestamping=True)
    stamper = DummyTimeStamper(
        asn1_x509.Certificate.load(certificate),
        asn1_keys.PrivateKeyInfo.load(private_der("tsa")),
        fixed_dt=at,
    )
    imprint = hashlib.sha256(value).digest()
    token: bytes = asyncio.run(stamper.async_timestamp(imprint, "sha256")).dump()
    return token
