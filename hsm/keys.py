"""Make, wrap, unwrap, find and destroy key objects: functions over a session, without any state."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from pkcs11 import (
    DEFAULT,
    Attribute,
    GCMParams,
    KeyType,
    Mechanism,
    MechanismFlag,
    MultipleObjectsReturned,
    NoSuchKey,
    ObjectClass,
    PrivateKey,
    PublicKey,
    Session,
)
from pkcs11._pkcs11 import (  # type: ignore[attr-defined]  # the stub leaves these out
    DecryptMixin,
    EncryptMixin,
    SignMixin,
    UnwrapMixin,
    WrapMixin,
)

from hsm.algorithms import KeyKind
from hsm.device import OURS, SEED_SIZE, Custody, KeyRef, SecretRef, object_id
from hsm.encodings import curve_parameters, subject_public_key
from hsm.errors import Unsupported
from hsm.residents import Name

# In the order of preference; the same one for ever on one token, unless a module takes it away. PKCS#11 3.1 calls
# RFC 5649 KWP and gives the older name to RFC 3394 with padding, which is what softokn does under it; SoftHSM does
# RFC 5649 there. Either notices a blob that was changed.
WRAPPINGS = (Mechanism.AES_KEY_WRAP_PAD, Mechanism.AES_KEY_WRAP_KWP)
NONCE_SIZE, TAG_SIZE = 12, 16  # AES-GCM with the sizes that NIST SP 800-38D 8.2.2 prefers
SIGNING = MechanismFlag.SIGN | MechanismFlag.VERIFY


class Borrowed(SignMixin, EncryptMixin, DecryptMixin, WrapMixin, UnwrapMixin):  # type: ignore[misc]  # Cython
    """A key as one session uses it. python-pkcs11 ties a key to the session that found it; the token does not."""

    session: Any = None  # these three are properties further up, which would look into an object we do not have
    handle: Any = None
    key_type: Any = None

    def __init__(self, session: Session, handle: int) -> None:
        self.session = session
        self.handle = handle


@dataclass(frozen=True)
class Wrapping:
    """The key that wraps others, and how."""

    handle: int
    mechanism: Mechanism


def generate(session: Session, key_id: str, kind: KeyKind, *, stored: bool) -> tuple[PublicKey, PrivateKey]:
    """A key pair: as token objects that can never be extracted, or as session objects that can be wrapped."""
    how: dict[str, Any] = {
        "id": object_id(key_id),
        "label": key_id,
        "store": stored,
        "capabilities": SIGNING,
        "private_template": {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: not stored},
    }
    if kind.is_rsa:
        return session.generate_keypair(KeyType.RSA, kind.bits, **how)
    return generate_on_curve(session, KeyType.EC, Mechanism.EC_KEY_PAIR_GEN, curve_parameters(kind), how)


def generate_on_curve(
    session: Session, key_type: KeyType, mechanism: Mechanism, parameters: bytes, how: dict[str, Any]
) -> tuple[PublicKey, PrivateKey]:
    """An EC or Edwards key pair; `how` is what `Session.generate_keypair` takes."""
    curve = session.create_domain_parameters(key_type, {Attribute.EC_PARAMS: parameters}, local=True)
    return curve.generate_keypair(mechanism=mechanism, **how)


def generate_wrapped(session: Session, wrapping: Wrapping, key_id: str, kind: KeyKind) -> KeyRef:
    """A key pair that rests outside. Between birth and wrapping it exists only in this session."""
    public, private = generate(session, key_id, kind, stored=False)
    with _destroyed_after(public, private):
        blob = wrap(session, wrapping, private)
        return KeyRef(key_id, kind, Custody.WRAPPED, subject_public_key(public, kind), blob)


def generate_stored(session: Session, key_id: str, kind: KeyKind) -> KeyRef:
    """A key pair that lives on the token for ever. Raises ValueError when the id is taken."""
    if find(session, key_id, ObjectClass.PRIVATE_KEY):
        raise ValueError(f"there is already a key {key_id} on the token")
    public, private = generate(session, key_id, kind, stored=True)
    check_cannot_leave(private, key_id)
    return KeyRef(key_id, kind, Custody.TOKEN, subject_public_key(public, kind), None)


def generate_seed(session: Session, wrapping: Wrapping | None, seed_id: str) -> tuple[SecretRef, bytes]:
    """A seed from the device's generator. It must be shown once, so it has to pass through here once.

    Wrapped; where the module cannot wrap, a token object that can never be extracted, and the blob is empty.
    """
    seed = session.generate_random(SEED_SIZE * 8)
    if wrapping is None:
        _create_seed(session, seed_id, seed, stored=True)
        return SecretRef(seed_id, b""), seed
    secret = _create_seed(session, seed_id, seed, stored=False)
    with _destroyed_after(secret):
        return SecretRef(seed_id, wrap(session, wrapping, secret)), seed


def _create_seed(session: Session, seed_id: str, seed: bytes, *, stored: bool) -> Any:
    return session.create_object({
        Attribute.CLASS: ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
        Attribute.ID: object_id(seed_id),
        Attribute.LABEL: seed_id,
        Attribute.TOKEN: stored,
        Attribute.PRIVATE: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: not stored,
        Attribute.SIGN: True,
        Attribute.VALUE: seed,
    })


@contextmanager
def _destroyed_after(*objects: Any) -> Iterator[None]:
    """On a failure nothing is to be done: the session is dropped, and its objects with it."""
    yield
    for each in objects:
        each.destroy()


def wrap(session: Session, wrapping: Wrapping, key: Any) -> bytes:
    return cast(bytes, Borrowed(session, wrapping.handle).wrap_key(key, mechanism=wrapping.mechanism))


def unwrap_private(session: Session, wrapping: Wrapping, key: KeyRef, blob: bytes) -> Any:
    """The private key as a session object: sensitive, and it can never be wrapped again."""
    key_type = KeyType.RSA if key.kind.is_rsa else KeyType.EC
    # A private key cannot encrypt, wrap or verify: python-pkcs11 would say "false", and SoftHSM refuses even that.
    template = {Attribute.ENCRYPT: DEFAULT, Attribute.WRAP: DEFAULT, Attribute.VERIFY: DEFAULT}
    return _unwrap(session, wrapping, (ObjectClass.PRIVATE_KEY, key_type, blob), key.id, template)


def unwrap_secret(session: Session, wrapping: Wrapping, secret: SecretRef) -> Any:
    """The HMAC key as a session object: sensitive, and it can never be wrapped again."""
    return _unwrap(session, wrapping, (ObjectClass.SECRET_KEY, KeyType.GENERIC_SECRET, secret.blob), secret.id, {})


def _unwrap(
    session: Session, wrapping: Wrapping, what: tuple[ObjectClass, KeyType, bytes], label: str, template: dict[Any, Any]
) -> Any:
    closed = {Attribute.PRIVATE: True, Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
    return Borrowed(session, wrapping.handle).unwrap_key(
        *what,
        id=object_id(label),
        label=label,
        mechanism=wrapping.mechanism,
        store=False,
        capabilities=MechanismFlag.SIGN,
        template={**closed, **template},
    )


def encrypt(session: Session, key: int, owner: str, secret: bytes) -> bytes:
    """Nonce, ciphertext, tag. A random nonce is safe for 2^32 secrets (NIST SP 800-38D 8.3)."""
    nonce = session.generate_random(8 * NONCE_SIZE)
    return nonce + cast(bytes, Borrowed(session, key).encrypt(secret, **_gcm(nonce, owner)))


def decrypt(session: Session, key: int, owner: str, blob: bytes) -> bytes:
    nonce, sealed = blob[:NONCE_SIZE], blob[NONCE_SIZE:]
    return cast(bytes, Borrowed(session, key).decrypt(sealed, **_gcm(nonce, owner)))


def _gcm(nonce: bytes, owner: str) -> dict[str, Any]:
    parameters = GCMParams(nonce, aad=owner.encode(), tag_bits=8 * TAG_SIZE)
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": parameters}


def find(session: Session, key_id: str, object_class: ObjectClass) -> list[Any]:
    """All token objects of this id and class. The search is exhausted: an open one blocks the session."""
    return list(
        session.get_objects(
            {
                Attribute.TOKEN: True,
                Attribute.CLASS: object_class,
                Attribute.ID: object_id(key_id),
                Attribute.LABEL: key_id,
            }
        )
    )


def find_one(session: Session, key_id: str, object_class: ObjectClass) -> Any:
    """The one token object of this id and class. Raises python-pkcs11's NoSuchKey: to be doubted by the caller."""
    found = find(session, key_id, object_class)
    if not found:
        raise NoSuchKey(key_id)
    if len(found) > 1:
        raise MultipleObjectsReturned(key_id)
    return found[0]


def find_private(session: Session, key_id: str) -> Any:
    """The private token key of this id; refused when it could leave the device."""
    private = find_one(session, key_id, ObjectClass.PRIVATE_KEY)
    check_cannot_leave(private, key_id)
    return private


def find_seed(session: Session, seed_id: str) -> Any:
    """A seed that rests on the token. One of our own secrets is never taken for one, whatever a row says."""
    if seed_id.startswith(OURS):
        raise NoSuchKey(seed_id)
    return find_one(session, seed_id, ObjectClass.SECRET_KEY)


def check_cannot_leave(key: Any, key_id: str) -> None:
    """Raises Unsupported for a key that is not sensitive, or was extractable at any time."""
    if not (key[Attribute.NEVER_EXTRACTABLE] and key[Attribute.SENSITIVE]):
        raise Unsupported(f"the key {key_id} could leave the device: it was not made here, or not by us")


def destroy(session: Session, key_id: str) -> None:
    """Destroy both halves of a token key pair. The private half first: a public one alone harms nobody."""
    for object_class in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        for each in find(session, key_id, object_class):
            each.destroy()


def name_of(key_id: str, blob: bytes | None) -> Name:
    """The name of a resident key: id and blob together, so that a swapped blob is never taken for the old one."""
    return key_id, hashlib.sha256(blob).digest() if blob is not None else b""
