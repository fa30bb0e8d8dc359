"""The device's own keys: made once, on an empty token, and found ever after.

They are never made during a recovery. A token that had them and has them no longer was re-initialised or is
another one; new keys would hide that, and could not open what the old ones wrapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, PKCS11Error, Session

from hsm import keys
from hsm.algorithms import KeyKind
from hsm.device import Capabilities, CheckpointKey, Custody, KeyRef, ServiceKey, object_id
from hsm.encodings import ED25519_NAME, ED25519_OID, ed25519_public_key, kind_of_public, subject_public_key
from hsm.errors import KeyNotFound, Unsupported


@dataclass(frozen=True)
class Checkpoint:
    """The key that signs the log's checkpoints."""

    handle: int
    public: CheckpointKey


@dataclass(frozen=True)
class ServiceKeys:
    """Handles of what is used all the time, valid for one connection. None: the device cannot do it."""

    wrapping: keys.Wrapping | None
    sealing: int | None
    row_mac: int
    checkpoint: Checkpoint | None
    self_test: KeyRef


def service_keys(session: Session, able: Capabilities, *, make: bool) -> ServiceKeys:
    """Find them all; make the missing ones if `make`, else raise KeyNotFound.

    Raises Unsupported where the token has a wrapping key and the module cannot wrap: it could, once, and what was
    wrapped then would be lost for as long as nobody notices.
    """
    if able.wrap is None and keys.find(session, ServiceKey.WRAPPING.key_id, ObjectClass.SECRET_KEY):
        raise Unsupported("keys of this token are wrapped, and its module cannot unwrap them now: use the one that did")
    if make:
        _make_missing(session, able)
    return ServiceKeys(
        wrapping=_wrapping(session, able),
        sealing=_secret(session, ServiceKey.SEALING) if able.seal else None,
        row_mac=_secret(session, ServiceKey.ROW_MAC),
        checkpoint=_checkpoint(session) if able.checkpoints else None,
        self_test=found_pair(session, ServiceKey.SELF_TEST, self_test_kind(able)),
    )


def self_test_kind(able: Capabilities) -> KeyKind:
    return KeyKind.P256 if able.ecdsa else KeyKind.RSA_2048


def found_pair(session: Session, service: ServiceKey, kind: KeyKind) -> KeyRef:
    """The key pair of a purpose. Raises KeyNotFound, or Unsupported when the token's is of another kind."""
    _found(session, service, ObjectClass.PRIVATE_KEY)
    public = _found(session, service, ObjectClass.PUBLIC_KEY)
    there = kind_of_public(public)
    if there is not kind:
        raise Unsupported(f"the {service} key on the token is a {there} key, not {kind}")
    return KeyRef(service.key_id, kind, Custody.TOKEN, subject_public_key(public, kind), None)


def make_pair(session: Session, service: ServiceKey, kind: KeyKind) -> None:
    """Make the key pair of a purpose, unless the token has one."""
    if not keys.find(session, service.key_id, ObjectClass.PRIVATE_KEY):
        keys.generate(session, service.key_id, kind, stored=True)


def _make_missing(session: Session, able: Capabilities) -> None:
    """The row-mac key comes last and says that the token is complete: one missing beside it was lost, not forgotten.

    If we die halfway, the next start makes the rest.
    """
    if keys.find(session, ServiceKey.ROW_MAC.key_id, ObjectClass.SECRET_KEY):
        return
    if able.wrap:
        _make_secret(session, ServiceKey.WRAPPING, KeyType.AES, MechanismFlag.WRAP | MechanismFlag.UNWRAP)
    if able.seal:
        _make_secret(session, ServiceKey.SEALING, KeyType.AES, MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT)
    make_pair(session, ServiceKey.SELF_TEST, self_test_kind(able))
    if able.checkpoints:
        _make_checkpoint(session, able)
    _make_secret(session, ServiceKey.ROW_MAC, KeyType.GENERIC_SECRET, MechanismFlag.SIGN)


def _make_checkpoint(session: Session, able: Capabilities) -> None:
    if not able.eddsa:
        make_pair(session, ServiceKey.CHECKPOINT, KeyKind.P256)
    elif not keys.find(session, ServiceKey.CHECKPOINT.key_id, ObjectClass.PRIVATE_KEY):
        _make_ed25519(session, ServiceKey.CHECKPOINT.key_id)


def _make_secret(session: Session, service: ServiceKey, key_type: KeyType, may: MechanismFlag) -> None:
    """256 bits that never leave and can do one thing."""
    if keys.find(session, service.key_id, ObjectClass.SECRET_KEY):
        return
    session.generate_key(
        key_type,
        256,
        id=object_id(service.key_id),
        label=service.key_id,
        store=True,
        capabilities=may,
        template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    )


def _make_ed25519(session: Session, key_id: str) -> None:
    """PKCS#11 3.0 names the curve by OID; modules from before it by a PrintableString."""
    how: dict[str, Any] = {
        "id": object_id(key_id),
        "label": key_id,
        "store": True,
        "capabilities": keys.SIGNING,
        "private_template": {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
    }
    make = partial(keys.generate_on_curve, session, KeyType.EC_EDWARDS, Mechanism.EC_EDWARDS_KEY_PAIR_GEN)
    try:
        make(ED25519_OID, how)
    except PKCS11Error:
        make(ED25519_NAME, how)


def _wrapping(session: Session, able: Capabilities) -> keys.Wrapping | None:
    if able.wrap is None:
        return None
    return keys.Wrapping(_secret(session, ServiceKey.WRAPPING), Mechanism[able.wrap])


def _checkpoint(session: Session) -> Checkpoint:
    """What is on the token counts: a module that learned Ed25519 later does not change the log's key."""
    public = _found(session, ServiceKey.CHECKPOINT, ObjectClass.PUBLIC_KEY)
    if public[Attribute.KEY_TYPE] is KeyType.EC_EDWARDS:
        key = CheckpointKey("ed25519", ed25519_public_key(public))
    else:
        found = found_pair(session, ServiceKey.CHECKPOINT, KeyKind.P256)
        key = CheckpointKey("ecdsa-p256", found.public_key)
    return Checkpoint(_found(session, ServiceKey.CHECKPOINT, ObjectClass.PRIVATE_KEY).handle, key)


def _secret(session: Session, service: ServiceKey) -> int:
    handle: int = _found(session, service, ObjectClass.SECRET_KEY).handle
    return handle


def _found(session: Session, service: ServiceKey, object_class: ObjectClass) -> Any:
    """The one object. We are freshly logged in, so that a look-up without a result can be believed."""
    found = keys.find(session, service.key_id, object_class)
    if len(found) > 1:
        raise Unsupported(f"the token has {len(found)} {service} keys: it cannot be known which one is ours")
    if not found:
        raise KeyNotFound(
            f"the {service} key is gone from the token: it was initialised anew or is another token; "
            "restore its backup, because a new key cannot open what the old one wrapped"
        )
    if object_class is not ObjectClass.PUBLIC_KEY:
        keys.check_cannot_leave(found[0], service.key_id)
    return found[0]
