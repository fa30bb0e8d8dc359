"""Checkpoints and the signed notes that carry them (C2SP tlog-checkpoint and signed-note).

A note is a text, a blank line, and signature lines `— <name> <base64(key id || signature)>`. What is signed is
the text with its last newline. The key id is four bytes and only tells keys apart; trust comes from the whole
public key, which the verifier holds beforehand.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signing_service.errors import Invalid
from signing_service.tlog.tree import HASH_BYTES

KeyAlgorithm = Literal["ed25519", "ecdsa-p256"]

_TYPE: dict[KeyAlgorithm, int] = {"ed25519": 0x01, "ecdsa-p256": 0x02}  # signed-note, "Signature types"
_MAX_NOTE = 64 * 1024  # characters; ours has 300, one with 16 witnesses some 3,000
_MAX_SIGNATURES = 64  # signed-note asks for at least 16
_ED25519_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")  # RFC 8410 4: AlgorithmIdentifier, BIT STRING
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SIGNATURE_LINE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")


class NoteInvalid(Invalid):
    """This is not a note, or not one that a key we hold has signed; its text must not be believed."""

    code = "note-invalid"


@dataclass(frozen=True)
class CheckpointKey:
    """A public key that signs checkpoints: SPKI DER, Ed25519 or P-256; `Invalid` when it is something else."""

    algorithm: KeyAlgorithm
    public_key: bytes

    def __post_init__(self) -> None:
        _load(self)


@dataclass(frozen=True)
class Verifier:
    """A key under the name it signs with: the tuple that signed-note identifies a signer by."""

    name: str
    key: CheckpointKey

    def __post_init__(self) -> None:
        _check_name(self.name)

    @property
    def key_id(self) -> bytes:
        return key_id(self.name, self.key)


@dataclass(frozen=True)
class Checkpoint:
    """The root of the log `origin` at `size` entries.

    `signed_by` names the keys whose signatures were verified; empty means that nobody vouches for it. Only
    `open_note` fills it. It does not count in comparisons.
    """

    origin: str
    size: int
    root: bytes
    signed_by: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        if not self.origin or not self.origin.isprintable():
            raise Invalid("a checkpoint needs an origin of printable characters")
        if self.size < 0 or len(self.root) != HASH_BYTES:
            raise Invalid(f"a checkpoint has a size of at least 0 and a root of {HASH_BYTES} bytes")

    def body(self) -> str:
        """The text to sign: origin, size and root on a line each (tlog-checkpoint, "Note text")."""
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


def key_id(name: str, key: CheckpointKey) -> bytes:
    """The four bytes that tell keys apart.

    Ed25519: the first four bytes of SHA-256(name || 0x0A || 0x01 || the 32 bytes of the key). ECDSA has a rule
    of its own (signed-note, type 0x02): the first four bytes of SHA-256(SPKI DER), without the name.
    """
    if key.algorithm == "ecdsa-p256":
        return hashlib.sha256(key.public_key).digest()[:4]
    return hashlib.sha256(name.encode() + b"\n" + _typed_key(key)).digest()[:4]


def verifier_string(name: str, key: CheckpointKey) -> str:
    """The line to give to auditors: `<name>+<key id in hex>+<base64(type || key)>`.

    The key is 32 raw bytes for Ed25519 and SPKI DER for ECDSA.
    """
    _check_name(name)
    return f"{name}+{key_id(name, key).hex()}+{_base64(_typed_key(key))}"


def parse_verifier(text: str) -> Verifier:
    """Read what `verifier_string` writes; `NoteInvalid` when it is damaged or its key id does not fit."""
    name, _, rest = text.strip().partition("+")
    hexed, _, encoded = rest.partition("+")
    raw = _unbase64(encoded, "the verifier's key")
    try:
        verifier = Verifier(name, _key_of_type(raw[:1], raw[1:]))
    except Invalid as error:
        raise NoteInvalid(f"this is not a verifier key: {error.message}") from error
    if verifier.key_id.hex() != hexed:
        raise NoteInvalid("the verifier's key id does not belong to its name and key")
    return verifier


def sign_note(body: str, name: str, key: CheckpointKey, sign: Callable[[bytes], bytes]) -> str:
    """The note with one signature line.

    `sign` gets the whole text (not a digest) and returns 64 bytes for Ed25519, DER over SHA-256 for ECDSA. The
    value is verified before it is put into the note: a damaged one raises `NoteInvalid` instead of leaving.
    """
    verifier = Verifier(name, key)
    _check_text(body)
    if not body.endswith("\n"):
        raise NoteInvalid("the text of a note ends with a newline")
    signature = sign(body.encode())
    if not _verifies(key, signature, body.encode()):
        raise NoteInvalid("the device's signature over the note does not verify with its key")
    return f"{body}\n{_signature_line(verifier, signature)}"


def open_note(text: str, verifiers: Sequence[Verifier], *, origin: str | None = None) -> Checkpoint:
    """The checkpoint in a note that at least one of these keys has signed.

    Lines of unknown keys are ignored; a line of a known key that does not verify rejects the note. `origin` is
    the log it must come from: only the text is signed, so with ECDSA the name beside a signature can be
    replaced, and a key that serves two logs is told apart by the origin alone. Raises `NoteInvalid` with a
    plain reason.
    """
    if not verifiers:
        raise NoteInvalid("no key was given to verify the note with")
    body, signatures = _split(text)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    signers: list[str] = []
    for name, value in signatures:
        verifier = known.get((name, value[:4]))
        if verifier is None:
            continue
        if not _verifies(verifier.key, value[4:], body.encode()):
            raise NoteInvalid(f"the signature of {name} does not belong to this text")
        signers.append(name)
    if not signers:
        raise NoteInvalid("none of the keys given has signed this note")
    checkpoint = _parse_body(body)
    if origin is not None and checkpoint.origin != origin:
        raise NoteInvalid(f"this checkpoint is one of {checkpoint.origin}, not of {origin}")
    return replace(checkpoint, signed_by=tuple(dict.fromkeys(signers)))


def read_unverified(text: str) -> Checkpoint:
    """The checkpoint a note claims, signatures not looked at: `signed_by` is empty, and a report says so."""
    return _parse_body(_split(text)[0])


def _parse_body(body: str) -> Checkpoint:
    """Three lines and no more: this log signs no extension lines, which nobody could check."""
    lines = body.split("\n")
    if len(lines) != 4 or lines[3]:
        raise NoteInvalid("a checkpoint has exactly three lines: origin, size and root")
    origin, size, root = lines[:3]
    if not _SIZE.fullmatch(size):
        raise NoteInvalid("the size of the checkpoint is not a decimal number without leading zeros")
    try:
        return Checkpoint(origin, int(size), _unbase64(root, "the root of the checkpoint"))
    except NoteInvalid:
        raise
    except Invalid as error:
        raise NoteInvalid(error.message) from error


def _split(text: str) -> tuple[str, list[tuple[str, bytes]]]:
    """Text and signatures; the last blank line divides them (signed-note, "Format")."""
    _check_text(text)
    at = text.rfind("\n\n")
    if at < 1 or not text.endswith("\n") or at + 2 == len(text):
        raise NoteInvalid("this is not a signed note: text, a blank line and signature lines")
    lines = text[at + 2 : -1].split("\n")
    if len(lines) > _MAX_SIGNATURES:
        raise NoteInvalid(f"the note has more than {_MAX_SIGNATURES} signatures")
    return text[: at + 1], [_parse_signature(line) for line in lines]


def _parse_signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise NoteInvalid("a signature line of the note is malformed")
    value = _unbase64(match[2], "a signature of the note")
    if len(value) <= 4:
        raise NoteInvalid("a signature of the note is too short")
    return match[1], value


def _signature_line(verifier: Verifier, signature: bytes) -> str:
    return f"— {verifier.name} {_base64(verifier.key_id + signature)}\n"


def _check_text(text: str) -> None:
    if len(text) > _MAX_NOTE:
        raise NoteInvalid(f"a note has at most {_MAX_NOTE} characters")
    if any(character < " " and character != "\n" for character in text):
        raise NoteInvalid("a note has no control characters other than newline")
    if _has_half_a_pair(text):
        raise NoteInvalid("a note is valid UTF-8")


def _has_half_a_pair(text: str) -> bool:
    """A surrogate alone, as Python reads a byte that is no UTF-8: it cannot be hashed or signed."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _check_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() or character < " " for character in name):
        raise NoteInvalid("a key name is not empty and has no blanks and no plus sign")
    if _has_half_a_pair(name):
        raise NoteInvalid("a key name is valid UTF-8")


def _load(key: CheckpointKey) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    try:
        public = serialization.load_der_public_key(key.public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise Invalid("a checkpoint key is a public key in SPKI DER") from error
    if key.algorithm == "ed25519" and isinstance(public, ed25519.Ed25519PublicKey):
        return public
    if key.algorithm == "ecdsa-p256" and isinstance(public, ec.EllipticCurvePublicKey):
        if isinstance(public.curve, ec.SECP256R1):
            return public
        raise Invalid("a checkpoint key on an elliptic curve is on P-256")
    raise Invalid(f"this public key is not for {key.algorithm}")


def _verifies(key: CheckpointKey, signature: bytes, text: bytes) -> bool:
    public = _load(key)
    try:
        if isinstance(public, ed25519.Ed25519PublicKey):
            public.verify(signature, text)
        else:
            public.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _typed_key(key: CheckpointKey) -> bytes:
    body = key.public_key[len(_ED25519_SPKI_PREFIX) :] if key.algorithm == "ed25519" else key.public_key
    return bytes([_TYPE[key.algorithm]]) + body


def _key_of_type(kind: bytes, body: bytes) -> CheckpointKey:
    if kind == b"\x01":
        return CheckpointKey("ed25519", _ED25519_SPKI_PREFIX + body)
    if kind == b"\x02":
        return CheckpointKey("ecdsa-p256", body)
    raise NoteInvalid("only Ed25519 and ECDSA P-256 keys are known")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: str, what: str) -> bytes:
    """Strict: one text for one value, or an edited note could still verify."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteInvalid(f"{what} is not base64") from error
    if _base64(data) != text:
        raise NoteInvalid(f"{what} is not base64 in its one canonical spelling")
    return data
