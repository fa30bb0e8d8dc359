"""One signature's story: everything that happened to a signing request, in order, with what was decided and why.

The steps are the entries of the log; around them stands what the tables say of the document, its certificate and
its confirmation. Where an entry's columns do not say what its text says, the step shows it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, select

from policies.decision import Finding
from signing_service import credentials
from signing_service.audit import Event
from signing_service.db.engine import Database
from signing_service.db.tables import (
    agency,
    batch,
    checkpoint,
    client,
    confirmation,
    entry,
    intent,
    phone,
    policy,
    signatory,
    signing_request,
)
from signing_service.errors import NotFound
from signing_service.inspection import Entry, Known, is_within, note_reading, snapshot
from signing_service.naming import DocumentName, Names, find_names

MOST_STEPS = 500  # somebody who fetches a document every minute makes an entry every minute
LONGEST_LIST = 5  # more is told as a number

SIGNED_BY = frozenset({Event.DONE})
BROKEN = frozenset({Event.SUBMIT_DENIED, Event.REFUSED, Event.WITHDRAWN, Event.EXPIRED, Event.CONFIRM_DENIED,
                    Event.FAILED, Event.UNKNOWN_OUTCOME, Event.FINISH_FAILED, Event.WEBHOOK_GIVEN_UP, Event.TAMPERED})


@dataclass(frozen=True)
class Detail:
    """Something an entry says beyond its event: its name as the entry has it, and its value as text."""

    name: str
    value: str


@dataclass(frozen=True)
class Step:
    """One entry of the story. `since`: the time since the step before; `actor`: its kind, and a name or id.

    `is_open`: the reader may also open the entry on its own (it concerns an agency of theirs).
    """

    entry: Entry
    event: str
    at: datetime
    since: timedelta | None
    actor: tuple[str, str]
    details: tuple[Detail, ...]
    findings: tuple[Finding, ...]
    is_bad: bool
    is_open: bool

    @property
    def outcome(self) -> str:
        return str(self.entry.body.get("outcome", ""))


@dataclass(frozen=True)
class Certificate:
    """Whose key signed. `serial` and `fingerprint` (SHA-256) in lower-case hexadecimal."""

    holder: str
    issuer: str
    serial: str
    fingerprint: str
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, der: bytes) -> Certificate:
        read = x509.load_der_x509_certificate(der)
        return cls(read.subject.rfc4514_string(), read.issuer.rfc4514_string(), f"{read.serial_number:x}",
                   hashlib.sha256(der).hexdigest(), read.not_valid_before_utc, read.not_valid_after_utc)


@dataclass(frozen=True)
class Decided:
    """What the policy said when the document came in, and under which policy the signature was intended."""

    policy: str
    hash: str
    findings: tuple[Finding, ...]
    confirm: str | None
    hash_at_intent: str | None

    @property
    def was_changed(self) -> bool:
        """Did another policy come into force between submission and signature?"""
        return self.hash_at_intent is not None and self.hash_at_intent != self.hash


@dataclass(frozen=True)
class Confirmed:
    """The person's act. `phone` is what its browser said it was, where a phone confirmed."""

    id: str
    at: datetime
    channel: str
    matching_code: str
    phone_id: str | None
    phone: str | None


@dataclass(frozen=True)
class Place:
    """Where the story stands in the tree: its first and last place, and the newest checkpoint's size."""

    first: int | None
    last: int | None
    waiting: int
    checkpoint: int | None

    @property
    def is_covered(self) -> bool:
        """Is every step below a signed checkpoint?"""
        return (self.waiting == 0 and self.last is not None and self.checkpoint is not None
                and self.last < self.checkpoint)


@dataclass(frozen=True, kw_only=True)
class Story:
    """One signing request from its submission to today. Digests are lower-case hexadecimal SHA-256."""

    id: str
    state: str
    reason: str | None
    document: DocumentName
    filename: str
    size: int
    pages: int
    external_id: str | None
    agency: tuple[str, str]        # code and name
    client: tuple[str, str]        # id and name
    signatory: tuple[str, str]
    office: str
    credential_id: str
    credential_kind: str
    level: str
    algorithm: str
    document_digest: str
    signed_digest: str | None
    created_at: datetime
    ended_at: datetime | None
    decided: Decided
    confirmed: Confirmed | None
    certificate: Certificate | None
    steps: tuple[Step, ...]
    place: Place
    signed_after: timedelta | None  # from submission to the signature value

    @property
    def is_whole(self) -> bool:
        """False where there are more entries than are told here."""
        return len(self.steps) < MOST_STEPS


def story(db: Database, reader: Known, now: datetime, request_id: str) -> Story:
    """The story of one signing request, on record as read. NotFound also for one outside the reader's agencies."""
    note_reading(db, reader, now, "story", {"signing_request": request_id[:40]})
    with snapshot(db) as tx:
        return tell(tx, reader, request_of(tx, reader, request_id))


def request_of(tx: Connection, reader: Known, request_id: str) -> Any:
    """The row of a signing request in the reader's scope, or NotFound."""
    row = tx.execute(select(signing_request).where(signing_request.c.id == request_id)).first()
    if row is None or not is_within(reader, row.agency_code):
        raise NotFound("There is no such signing request.")
    return row


def tell(tx: Connection, reader: Known, row: Any, leave_out: Sequence[str] = ()) -> Story:
    """The story around a row. The caller has put the reading on record; `leave_out` are events that are not told."""
    entries = tuple(each for each in map(Entry.of_row, entries_of(tx, row)) if each.body.get("event") not in leave_out)
    steps = tuple(_steps(reader, entries, find_names(tx, entries)))
    held = credentials.find(tx, row.credential_id)
    person = tx.execute(select(signatory).where(signatory.c.id == row.signatory_id)).first()
    return Story(
        id=row.id, state=row.state, reason=row.reason,
        document=DocumentName(row.document_type, row.number, row.symbol, row.subject), filename=row.filename,
        size=row.document_size, pages=row.pages, external_id=row.external_id,
        agency=(row.agency_code, _name(tx, agency.c.name, agency.c.code, row.agency_code)),
        client=(row.client_id, _name(tx, client.c.name, client.c.id, row.client_id)),
        signatory=(row.signatory_id, person.name if person else row.signatory_id),
        office=person.office if person else "", credential_id=row.credential_id, credential_kind=held.kind,
        level=row.level, algorithm=row.algorithm, document_digest=row.document_digest,
        signed_digest=row.signed_digest, created_at=row.created_at, ended_at=row.ended_at,
        decided=_decided(tx, row), confirmed=_confirmed(tx, row),
        certificate=Certificate.of(held.certificate) if held.certificate else None, steps=steps,
        place=_place(tx, entries),
        signed_after=next((step.at - row.created_at for step in steps if step.event in SIGNED_BY), None),
    )


def _name(tx: Connection, name: Any, key: Any, value: str) -> str:
    found = tx.execute(select(name).where(key == value)).scalar_one_or_none()
    return value if found is None else str(found)


# --------------------------------------------------------------------------------------------------------- entries


def entries_of(tx: Connection, row: Any) -> list[Any]:
    """The rows of a signing request's entries, in the order of the log, with those of its batch and confirmation."""
    own = tx.execute(select(entry).where(entry.c.signing_request_id == row.id).order_by(entry.c.id)
                     .limit(MOST_STEPS)).all()
    found = {each.id: each for each in [*own, *_of_batch(tx, row), *confirmation_entries(tx, row)]}
    return sorted(found.values(), key=lambda each: (each.leaf_index is None, each.leaf_index or 0, each.id))


def confirmation_entries(tx: Connection, row: Any) -> Iterator[Any]:
    """The entry of a confirmation names no single signing request, because it may be for many."""
    if row.confirmation_id is None:
        return
    at = tx.execute(select(confirmation.c.created_at).where(confirmation.c.id == row.confirmation_id)).scalar()
    yield from _at(tx, Event.CONFIRMED, at, row.signatory_id, "confirmation", row.confirmation_id)


def _of_batch(tx: Connection, row: Any) -> Iterator[Any]:
    if row.batch_id is None:
        return
    at = tx.execute(select(batch.c.created_at).where(batch.c.id == row.batch_id)).scalar()
    yield from _at(tx, Event.BATCHED, at, row.signatory_id, "batch", row.batch_id)


def _at(tx: Connection, event: Event, at: datetime | None, signatory_id: str, name: str, value: str) -> Iterator[Any]:
    """The entry was written in the transaction of its row, with the same time: that finds it without another index."""
    rows = tx.execute(select(entry).where(
        entry.c.at == at, entry.c.event == event.value, entry.c.signatory_id == signatory_id))
    return (each for each in rows if Entry.of_row(each).body.get("data", {}).get(name) == value)


def _steps(reader: Known, entries: Iterable[Entry], names: Names) -> Iterator[Step]:
    before: datetime | None = None
    for each in entries:
        at = _moment(each, before)
        event = str(each.body.get("event", ""))
        data = each.body.get("data", {})
        yield Step(
            each, event, at, None if before is None else at - before, names.of_actor(str(each.body.get("actor", ""))),
            details_of(data), findings_of(data),
            event in BROKEN or bool(each.disagrees), is_within(reader, each.body.get("agency_code")))
        before = at


def _moment(each: Entry, before: datetime | None) -> datetime:
    """As the text says; a damaged text has none, and stands where it stands."""
    try:
        return datetime.fromisoformat(str(each.body.get("at")))
    except ValueError:
        return before or datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def details_of(data: Any) -> tuple[Detail, ...]:
    """What an entry's data says, as text; findings are told apart."""
    if not isinstance(data, dict):
        return ()
    return tuple(Detail(name, _text(value)) for name, value in data.items() if name not in ("findings", "reasons"))


def findings_of(data: Any) -> tuple[Finding, ...]:
    """The rules that did not permit: entries have them as objects, or as `rule: why`."""
    if not isinstance(data, dict):
        return ()
    said = [each for name in ("findings", "reasons") if isinstance(data.get(name), list) for each in data[name]]
    pairs = [(str(each.get("rule", "")), str(each.get("why", ""))) if isinstance(each, dict)
             else (str(each).partition(": ")[0], str(each).partition(": ")[2]) for each in said]
    return tuple(Finding(rule, False, why) for rule, why in pairs)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) if len(value) <= LONGEST_LIST else str(len(value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {each}" for name, each in value.items())
    return str(value)


# ---------------------------------------------------------------------------------------------------- what is known


def _decided(tx: Connection, row: Any) -> Decided:
    at_intent = tx.execute(select(intent.c.policy_hash).where(intent.c.signing_request_id == row.id)).scalar()
    name = tx.execute(select(policy.c.name).where(policy.c.hash == row.policy_hash)).scalar()
    said = row.decision
    findings = tuple(Finding(each["rule"], bool(each["permits"]), each["why"]) for each in said.get("findings", ()))
    terms = said.get("terms") or {}
    return Decided(str(name or said.get("policy", "")), row.policy_hash, findings, terms.get("confirm"), at_intent)


def _confirmed(tx: Connection, row: Any) -> Confirmed | None:
    if row.confirmation_id is None:
        return None
    found = tx.execute(
        select(confirmation, phone.c.label).outerjoin(phone, phone.c.id == confirmation.c.phone_id)
        .where(confirmation.c.id == row.confirmation_id)).first()
    if found is None:
        return None
    return Confirmed(found.id, found.created_at, found.channel, found.matching_code, found.phone_id, found.label)


def _place(tx: Connection, entries: Sequence[Entry]) -> Place:
    places = [each.index for each in entries if each.index is not None]
    newest = tx.execute(select(checkpoint.c.size).order_by(checkpoint.c.size.desc()).limit(1)).scalar()
    return Place(min(places, default=None), max(places, default=None), len(entries) - len(places), newest)
