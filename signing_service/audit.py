"""Entries: what happened, written in the transaction of the fact they record.

An entry is inserted without any global lock and has no place yet; the sequencer (in the signer) gives it a leaf
index and puts it under a signed checkpoint. Refusals are recorded in a transaction of their own. Never in an
entry: codes, PINs, tokens, seeds, signature values, document content.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, cast

from sqlalchemy import Connection, delete, insert, select

from signing_service.db.compiled import Compiled
from signing_service.db.tables import entry, tile
from signing_service.ids import draw
from signing_service.tlog.entries import canonical
from signing_service.tlog.tiles import Append

FORMAT = 1  # of the body; a reader refuses what it does not know


class Event(StrEnum):
    """Everything that is recorded. `subject:action[:phase]`."""

    SUBMITTED = "signing-request:submit"
    SUBMIT_DENIED = "signing-request:submit:denied"
    SUBMIT_REFUSED = "signing-request:submit:refused"    # the file itself could not be accepted
    BATCHED = "batch:create"
    WITHDRAWN = "signing-request:withdraw"
    REFUSED = "signing-request:refuse"
    EXPIRED = "signing-request:expire"
    SIGNED = "signing-request:signed"
    FINISH_FAILED = "signing-request:finish:failed"
    DELIVERED = "signing-request:deliver"
    OUTSIDE_TIMESTAMP = "timestamp:receive"
    WEBHOOK_DELIVERED = "webhook:deliver"
    WEBHOOK_GIVEN_UP = "webhook:give-up"
    AUDITOR_READ = "audit:read"
    CLIENT_CHANGED = "client:change"
    AGENCY_CHANGED = "agency:change"
    TOKEN_ISSUED = "token:issue"                         # noqa: S105 - the name of an event
    TOKEN_REFUSED = "token:refuse"                       # noqa: S105 - the name of an event

    SHOWN = "signing-request:show"                       # an official opened it on the phone
    LOOKED = "signing-request:look"                      # and saw a page of it
    SIGNED_IN = "sign-in:accepted"                       # password and code, of an auditor or an operator
    SIGN_IN_REFUSED = "sign-in:refused"
    SESSION_ENDED = "session:end"
    PASSWORD_SET = "password:set"                        # noqa: S105 - the name of an event
    STOP_LIMITED = "stop-code:limited"                   # too many from one place: the signer was not asked
    TICKET_LIMITED = "ticket:limited"

    CODE_ACCEPTED = "code:accepted"
    CODE_REJECTED = "code:rejected"
    CODE_LOCKED = "code:locked"
    CODE_UNLOCKED = "code:unlocked"
    CODE_ENROLLING = "code:enrol"
    CODE_ENROLLED = "code:enrol:complete"
    CODE_PROVEN = "code:prove"                           # of a sign-in: nothing was confirmed by it
    TICKET_ISSUED = "ticket:issue"
    TICKET_REDEEMED = "ticket:redeem"
    TICKET_DONE = "ticket:done"
    TICKET_REFUSED = "ticket:refused"
    PHONE_ENROLLING = "phone:enrol"
    PHONE_READY = "phone:ready"
    PHONE_RETIRED = "phone:retire"
    PHONE_REFUSED = "phone:refused"                      # a proof that is no active phone of this person
    SUSPENDED_ONESELF = "signatory:suspend-oneself"      # outcome `alarm`: it was not the person who asked
    STOP_USED = "stop-code:used"
    STOP_REFUSED = "stop-code:refused"
    AUDITOR_ADDED = "auditor:add"
    AUDITOR_CHANGED = "auditor:change"
    CONFIRMED = "signing-request:confirm"
    CONFIRM_DENIED = "signing-request:confirm:denied"
    INTENT = "signature:intent"
    DONE = "signature:done"
    FAILED = "signature:failed"
    UNKNOWN_OUTCOME = "signature:unknown-outcome"
    TIMESTAMP = "timestamp:issue"
    BOOTSTRAPPED = "operator:bootstrap"
    OPERATOR_ADDED = "operator:add"
    OPERATOR_CHANGED = "operator:change"
    SIGNATORY_ADDED = "signatory:add"
    SIGNATORY_CHANGED = "signatory:change"
    KEY_MADE = "key:make"
    KEY_DESTROYED = "key:destroy"
    KEY_FAILED = "key:make:failed"
    CREDENTIAL_ADDED = "credential:add"
    CERTIFICATE_REQUESTED = "credential:csr"
    CERTIFICATE_IMPORTED = "credential:import"
    CREDENTIAL_STATE = "credential:state"
    POLICY_ACTIVATED = "policy:activate"
    SIGNER_STARTED = "signer:start"
    TAMPERED = "signer:tampered"                         # a row's MAC was wrong; nothing was done with it
    ALIVE = "log:alive"                                  # nothing else happened: silence is on record, too
    RESTORED = "log:restored"                            # an older database stands here: a backup was put back
    EPOCH_BEGUN = "log:epoch"                            # and an operator said that the service goes on from it
    ENTRY_UNPROVEN = "log:entry-unproven"                # a signer's entry came to the sequencer without its MAC


FRONT_EVENTS = frozenset({
    Event.SUBMITTED, Event.SUBMIT_DENIED, Event.SUBMIT_REFUSED, Event.BATCHED, Event.WITHDRAWN, Event.REFUSED,
    Event.EXPIRED, Event.SIGNED, Event.FINISH_FAILED, Event.DELIVERED, Event.OUTSIDE_TIMESTAMP,
    Event.WEBHOOK_DELIVERED, Event.WEBHOOK_GIVEN_UP, Event.AUDITOR_READ, Event.CLIENT_CHANGED,
    Event.AGENCY_CHANGED, Event.TOKEN_ISSUED, Event.TOKEN_REFUSED, Event.SHOWN, Event.LOOKED, Event.SIGNED_IN,
    Event.SIGN_IN_REFUSED, Event.SESSION_ENDED, Event.PASSWORD_SET, Event.STOP_LIMITED, Event.TICKET_LIMITED,
})
SIGNER_EVENTS = frozenset(Event) - FRONT_EVENTS


@dataclass(frozen=True)
class Fact:
    """What is to be recorded. `actor` is `kind:id`, such as `client:cl_…`, `operator:op_…`, `job:expiry`."""

    event: Event
    actor: str
    outcome: str = "ok"
    client_id: str | None = None
    signatory_id: str | None = None
    agency_code: str | None = None
    credential_id: str | None = None
    signing_request_id: str | None = None
    document_digest: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


# What comes from a signer carries its MAC; a front has no right to these columns.
_NEW = {is_proven: Compiled(insert(entry)) for is_proven in (False, True)}
INDEXED = ("client_id", "signatory_id", "agency_code", "credential_id", "signing_request_id", "document_digest")


def instant(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, so that text sorts as time does."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def body(entry_id: str, now: datetime, fact: Fact) -> bytes:
    """The canonical bytes of an entry: exactly these are the leaf. Fields without a value are left out."""
    return _body(entry_id, instant(now), fact, indexed(fact))


def _body(entry_id: str, at: str, fact: Fact, columns: Mapping[str, str | None]) -> bytes:
    fields: dict[str, Any] = {
        "v": FORMAT, "id": entry_id, "at": at, "event": fact.event.value, "actor": fact.actor,
        "outcome": fact.outcome, "data": fact.data,
    }
    fields.update((name, value) for name, value in columns.items() if value is not None)
    return canonical(fields)


def indexed(fact: Fact) -> dict[str, str | None]:
    """The columns by which entries are found, besides what each of them has."""
    return {
        "client_id": fact.client_id, "signatory_id": fact.signatory_id, "agency_code": fact.agency_code,
        "credential_id": fact.credential_id, "signing_request_id": fact.signing_request_id,
        "document_digest": fact.document_digest,
    }


@dataclass(frozen=True)
class EntryMac:
    """How the signer proves its own entries until they are sequenced: a key that only a signer can derive."""

    signer_id: str
    key: bytes

    def over(self, leaf: bytes) -> bytes:
        return hmac.digest(self.key, leaf, sha256)


def record(tx: Connection, now: datetime, *facts: Fact, mac: EntryMac | None = None) -> None:
    """Insert entries into the transaction of the facts they record."""
    at = instant(now)
    _NEW[mac is not None].many(tx, [_row(now, at, fact, mac) for fact in facts])


def _row(now: datetime, at: str, fact: Fact, mac: EntryMac | None) -> dict[str, Any]:
    entry_id, row = draw("en"), cast(dict[str, Any], indexed(fact))
    leaf = _body(entry_id, at, fact, row)
    row |= {"id": entry_id, "at": now, "event": fact.event.value, "actor": fact.actor, "outcome": fact.outcome,
            "body": leaf.decode()}
    if mac is not None:
        row |= {"mac": mac.over(leaf), "mac_by": mac.signer_id}
    return row


def disagreements(row: Any) -> list[str]:
    """Which columns of an entry row do not say what its body says (the body is what the tree covers)."""
    content = json.loads(row.body)
    expected = {"id": content.get("id"), "event": content.get("event"), "actor": content.get("actor"),
                "outcome": content.get("outcome")}
    expected |= {name: content.get(name) for name in INDEXED}
    wrong = [name for name, value in expected.items() if getattr(row, name) != value]
    if instant(row.at) != content.get("at"):
        wrong.append("at")
    return wrong


@dataclass(frozen=True)
class StoredTiles:
    """The tree's tiles as one transaction sees them (`tlog.tiles.Tiles`)."""

    tx: Connection

    def read(self, level: int, index: int) -> bytes:
        """The tile's hashes, concatenated; empty where there is none."""
        found = self.tx.execute(select(tile.c.hashes).where(tile.c.level == level, tile.c.tile_index == index)).first()
        return bytes(found.hashes) if found else b""

    def write(self, grown: Append) -> None:
        """Store what a longer tree changed, in the transaction of the checkpoint that covers it."""
        for (level, index), hashes in grown.changed.items():
            self.tx.execute(delete(tile).where(tile.c.level == level, tile.c.tile_index == index))
            self.tx.execute(insert(tile).values(level=level, tile_index=index, hashes=hashes))
