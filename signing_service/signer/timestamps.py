"""Our own timestamp authority (RFC 3161, ETSI EN 319 422): tokens by message, each serial number on record first.

A token is joined from bytes that we wrote ourselves (`timestamp_tokens`); nothing from outside is parsed here but the
message, whose imprint is bytes of a known length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import new
from typing import Any

from sqlalchemy import Connection, select

from hsm.algorithms import Digest
from hsm.device import KeyRef
from hsm.errors import DeviceError, Tampered
from hsm.verification import holds
from signing_service.audit import Event, Fact, record
from signing_service.credentials import Credential, of_mapping
from signing_service.db.tables import credential, key
from signing_service.errors import SigningError, Unavailable, Unsupported
from signing_service.ids import uuid7
from signing_service.signer import clock, timestamp_tokens
from signing_service.signer.grounds import key_ref
from signing_service.signer.intents import report_tampering
from signing_service.signer.runtime import Runtime
from signing_service.signer.timestamp_tokens import Said
from signing_service.wire.messages import IssueTimestamp, TimestampIssued


@dataclass(frozen=True)
class Authority:
    """The key and certificate that sign tokens at this moment."""

    credential: Credential
    key: KeyRef
    certificate: bytes      # DER


@dataclass(frozen=True)
class Recorded:
    """A token that may be made: its serial number is in the log."""

    asked: IssueTimestamp
    serial: int
    at: datetime
    authority: Authority


def issue_all(rt: Runtime, asked: Sequence[IssueTimestamp]) -> list[TimestampIssued | SigningError]:
    """Tokens for a batch: one transaction for their records, then one signature each."""
    try:
        authority = current(rt)
        with rt.db.write() as tx:
            now = clock.check(rt, tx)
            rights = [_record(rt, tx, authority, each, now) for each in asked]
    except SigningError as error:
        return [error for _ in asked]
    return [right if isinstance(right, SigningError) else _issue(rt, right) for right in rights]


def current(rt: Runtime) -> Authority:
    """The active timestamp credential. Raises Unavailable where there is none, or its certificate has ended."""
    with rt.db.read() as tx:
        row = _newest(tx, rt.now())
        key_row = tx.execute(select(key).where(key.c.id == row["key_id"])).mappings().first() if row else None
    if row is None or key_row is None:
        raise Unavailable("The timestamp authority has no certificate yet.", code="no-timestamp-credential",
                          retry_after=60)
    try:
        rt.verified.check("credential", row)
        rt.verified.check("key", key_row)
    except Tampered as error:
        raise report_tampering(rt, error, credential_id=row["id"]) from error
    except DeviceError as error:
        raise Unavailable("The device does not answer.", code="device-away") from error
    held = of_mapping(row)
    if not held.is_valid(rt.now()) or held.certificate is None:
        raise Unavailable("The timestamp authority's certificate is not valid now.", code="timestamp-certificate",
                          retry_after=3600)
    return Authority(held, key_ref(key_row), held.certificate)


def _newest(tx: Connection, now: datetime) -> Any:
    """The newest authority that is valid now, or else the newest: one that is to come displaces nobody."""
    is_valid = (credential.c.not_before <= now) & (credential.c.not_after >= now)
    return tx.execute(
        select(credential).where(credential.c.kind == "timestamp", credential.c.state == "active")
        .order_by(is_valid.desc(), credential.c.id.desc()).limit(1)
    ).mappings().first()


def _record(rt: Runtime, tx: Connection, authority: Authority, asked: IssueTimestamp,
            now: datetime) -> Recorded | SigningError:
    if asked.policy is not None and asked.policy != rt.settings.tsa_policy:
        return Unsupported("This authority does not issue timestamps under that policy.", code="unaccepted-policy")
    if len(asked.imprint) != Digest(asked.digest).size:
        return Unsupported("The imprint's length does not fit its algorithm.", code="bad-imprint")
    serial = uuid7().int
    record(tx, now, Fact(
        Event.TIMESTAMP, f"signer:{rt.id}", client_id=asked.client_id,
        signing_request_id=asked.signing_request_id, credential_id=authority.credential.id,
        data={"serial": str(serial), "imprint": asked.imprint.hex(), "digest": asked.digest},
    ), mac=rt.entry_mac)
    return Recorded(asked, serial, now, authority)


def _issue(rt: Runtime, right: Recorded) -> TimestampIssued | SigningError:
    authority, holder = right.authority, right.authority.credential
    content = timestamp_tokens.info(_said(rt, right))
    attributes = timestamp_tokens.signed_attributes(authority.certificate, holder.algorithm, content)
    digest = new(holder.algorithm.digest.value, attributes).digest()
    try:
        value = rt.device.sign(authority.key, holder.algorithm, digest)
    except DeviceError as error:
        return Unavailable(f"The timestamp could not be signed: {type(error).__name__}.", code="device-away")
    if not holds(authority.key.public_key, holder.algorithm, digest, value):
        return Unavailable("The device gave a value that does not verify.", code="device-wrong")
    carried = (authority.certificate, *holder.chain) if right.asked.with_certificate else ()
    token = timestamp_tokens.token(authority.certificate, carried, holder.algorithm, content, attributes, value)
    return TimestampIssued(token, str(right.serial))


def _said(rt: Runtime, right: Recorded) -> Said:
    """RFC 3161 2.4.2. The time is UTC to the millisecond, and true within the accuracy."""
    asked = right.asked
    return Said(
        policy=rt.settings.tsa_policy, digest=Digest(asked.digest), imprint=asked.imprint, serial=right.serial,
        at=right.at, accuracy=rt.settings.tsa_accuracy_seconds,
        nonce=None if asked.nonce is None else int(asked.nonce),
    )
