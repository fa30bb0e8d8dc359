"""The seam: everything that the rest of the system may ask of a device, and the plain data that names its keys.

Two real things stand behind `Device`: a PKCS#11 token (`hsm/token.py`) and, in the tests, an in-memory twin. One
contract suite runs over both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeVar

from hsm.algorithms import Algorithm, KeyKind

T = TypeVar("T")

SEED_SIZE = 20  # RFC 4226 4 (R6) recommends 160 bits: as long as the HMAC-SHA-1 output
ROW_MAC_SIZE = 32  # HMAC-SHA-256
OURS = "service:"  # how the ids of service keys begin, and no others
LONGEST_SEALED = 64 * 1024  # sealing is for webhook secrets and the like, not for files


class Custody(StrEnum):
    """Where a private key rests when nobody uses it."""

    WRAPPED = "wrapped"  # outside, encrypted under a key of the device that cannot leave it
    TOKEN = "token"  # noqa: S105 - not a password but the PKCS#11 word: a token object, never extractable


class ServiceKey(StrEnum):
    """The device's own keys, each for one closed purpose. Always token objects, never extractable."""

    WRAPPING = "wrapping"  # AES-256, wraps and unwraps only: if it could decrypt it would lay keys bare
    SEALING = "sealing"  # AES-256, encrypts and decrypts only
    ROW_MAC = "row-mac"  # generic secret, HMAC-SHA-256
    CHECKPOINT = "checkpoint"  # Ed25519 where the device can, else P-256
    SELF_TEST = "self-test"  # P-256: proves that the device signs, and signs nothing else
    TIMESTAMP = "timestamp"  # made by `Device.service_key`

    @property
    def key_id(self) -> str:
        """The id, and CKA_LABEL, under which the token keeps it."""
        return f"{OURS}{self.value}"


@dataclass(frozen=True)
class KeyRef:
    """Everything needed to use a key pair: plain data that may be kept in a database.

    The blob is worthless without the device that wrapped it. It does not bind anything: that this blob belongs to
    this public key shows only when a signature verifies (`hsm/verification.py`).
    """

    id: str
    kind: KeyKind
    custody: Custody
    public_key: bytes  # DER SubjectPublicKeyInfo (RFC 5280 4.1)
    blob: bytes | None  # RFC 5649-wrapped PKCS#8 private key; None for token custody


@dataclass(frozen=True)
class SecretRef:
    """The HMAC key of one-time codes, 20 bytes. Plain data.

    It rests outside, wrapped; where the module cannot wrap it is a token object, found by its id.
    """

    id: str
    blob: bytes  # empty: on the token


@dataclass(frozen=True)
class CheckpointKey:
    """The public half of the key that signs checkpoints of the log."""

    algorithm: str  # "ed25519" | "ecdsa-p256"
    public_key: bytes  # DER SubjectPublicKeyInfo


@dataclass(frozen=True)
class Capabilities:
    """What this device can do, found by asking it."""

    wrap: str | None  # the mechanism that wraps keys, "AES_KEY_WRAP_PAD"; None: keys and seeds stay on the token
    seal: bool  # AES-GCM
    pss: bool
    eddsa: bool
    ecdsa: bool
    rsa: bool

    @property
    def checkpoints(self) -> bool:
        """Can it sign the log's checkpoints? With Ed25519 or P-256: the log knows no others."""
        return self.eddsa or self.ecdsa

    @property
    def custody(self) -> Custody:
        """Where keys rest when nobody says otherwise."""
        return Custody.WRAPPED if self.wrap else Custody.TOKEN


@dataclass(frozen=True)
class Description:
    """Which device this is: for reports, receipts and the operator's screen. Nothing secret."""

    module: str
    library: str  # the library's own name and version
    slot: int
    token: str
    serial: str
    mechanisms: tuple[str, ...]
    capabilities: Capabilities


class Device(Protocol):
    """Keys that never leave.

    Safe to call from any thread. Every method may raise `DeviceUnavailable` (it is then unknown whether the
    device did what was asked), `DeviceBusy` (nothing was asked of it) or another `DeviceError`; after one, the
    next call reconnects by itself. No call waits longer than the deadline the device was opened with.
    """

    def side_by_side(self, calls: Sequence[Callable[[Device], T]]) -> Iterator[T | Exception]:
        """What each call gives, or what it raised, in their order and as soon as it is known.

        As many are under way as the device takes at once, and nobody waits for a thread between two of them. A call
        asks the device that it is handed, and has as long for all that it asks as another for one thing.
        """

    def describe(self) -> Description:
        """Module, token, mechanisms and capabilities as found when the device was opened."""

    def generate_key(self, key_id: str, kind: KeyKind, custody: Custody) -> KeyRef:
        """A fresh key pair. `key_id` becomes CKA_LABEL, its digest CKA_ID; ids are never used twice.

        Raises ValueError for an empty id or one of ours, Unsupported when the device lacks the kind. RSA takes
        0.3 s to several seconds: never call it inside a request.
        """

    def sign(self, key: KeyRef, algorithm: Algorithm, digest: bytes) -> bytes:
        """One signature over a *digest*. ECDSA values are DER (RFC 3279 2.2.3).

        The caller verifies it with the certificate's key before believing it. Raises ValueError, before the
        device is asked, when the digest's length or the key's kind does not fit; KeyNotFound when the blob is
        not of this device.
        """

    def generate_seed(self, seed_id: str) -> tuple[SecretRef, bytes]:
        """A seed of 20 bytes drawn by the device; the bytes are returned this once, to be shown."""

    def hmac_sha1(self, secret: SecretRef, message: bytes) -> bytes:
        """HMAC-SHA-1 (20 bytes, RFC 2104) computed in the device; KeyNotFound when the blob is not of it."""

    def mac(self, message: bytes) -> bytes:
        """HMAC-SHA-256 (32 bytes) with the row-mac key. Callers use `hsm.sealing.row_mac`."""

    def sign_checkpoint(self, message: bytes) -> bytes:
        """Ed25519 over the message (RFC 8032), or ECDSA P-256 with SHA-256 as DER: see `checkpoint_key`."""

    def checkpoint_key(self) -> CheckpointKey:
        """Whose signatures `sign_checkpoint` makes. Both raise Unsupported where the device can do neither kind."""

    def service_key(self, purpose: str, kind: KeyKind) -> KeyRef:
        """The token key pair for a closed purpose (`ServiceKey.TIMESTAMP`): made on first use, then found.

        Raises ValueError for a purpose that signs nothing through here, Unsupported when the key on the token
        is of another kind.
        """

    def random(self, n: int) -> bytes:
        """`n` bytes (at least 1) of the device's random generator."""

    def encrypt(self, owner: str, secret: bytes) -> bytes:
        """AES-256-GCM under the sealing key, bound to the owner. Callers use `hsm.sealing.seal`."""

    def decrypt(self, owner: str, blob: bytes) -> bytes:
        """What `encrypt` was given. Raises Tampered for another owner, a changed blob or another device."""

    def destroy(self, key: KeyRef) -> None:
        """Token objects are destroyed for ever; of a wrapped key the resident copy is dropped. Repeatable."""

    def self_test(self) -> None:
        """Find the self-test key, sign with it, verify with another library. Raises DeviceError."""

    def recover(self) -> None:
        """Reconnect if the connection was lost and prove it by a self-test; where all is well, a signature that is
        verified. What that costs does not grow with the keys that are loaded."""

    @property
    def hopeless(self) -> bool:
        """Do so many calls hang in the device that only a new process helps? Never waits."""

    def close(self) -> None: ...


def one_by_one(device: Device, calls: Sequence[Callable[[Device], T]]) -> Iterator[T | Exception]:
    """`Device.side_by_side` where there is nobody to share the work with."""
    for call in calls:
        try:
            yield call(device)
        except Exception as error:  # an answer like another: those after it are made all the same
            yield error


def object_id(key_id: str) -> bytes:
    """CKA_ID of a key: short and of one length, because some tokens refuse long ones."""
    return hashlib.sha256(key_id.encode()).digest()[:16]


def check_new_id(key_id: str) -> None:
    """Refuse ids that could not be told from another key's or from our own service keys."""
    if not key_id or len(key_id) > 128 or not key_id.isprintable() or key_id.startswith(OURS):
        raise ValueError(f"not an id for a new key: {key_id!r}")


def check_signable(kind: KeyKind, algorithm: Algorithm, digest: bytes) -> None:
    """Refuse, before the device is asked, what cannot be a signature."""
    if not algorithm.fits(kind):
        raise ValueError(f"a {kind} key cannot make {algorithm} signatures")
    if len(digest) != algorithm.digest.size:
        raise ValueError(f"{algorithm} signs {algorithm.digest.size} bytes of digest, not {len(digest)}")


def signing_purpose(purpose: str) -> ServiceKey:
    """The service key that signs for a purpose through `Device.service_key`; the others are not for callers."""
    if purpose != ServiceKey.TIMESTAMP:
        raise ValueError(f"no service key for the purpose {purpose!r}")
    return ServiceKey.TIMESTAMP
