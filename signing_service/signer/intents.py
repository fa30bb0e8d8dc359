"""The one door: from a confirmed line to a signature value. Nothing else signs with a credential's key.

    look      rows and their MACs, before any transaction                     (device, for MACs)
    intend    W3: decide again on fresh facts, move the request, write the intent
    perform   each intent once, before its deadline; verify with the certificate's key   (device)
    conclude  W4: the outcome, where there is none yet; the value; `finishing`

If we die before W3, nothing was signed and the person confirms again. Between W3 and W4 the device may have
signed: `reconcile` closes such an intent as `unknown-outcome`, and nobody retries, because a second signature is a
second signature. After W4 nothing is lost.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from hsm.algorithms import Algorithm
from hsm.device import Device, KeyRef
from hsm.errors import DeviceBusy, DeviceError, DeviceUnavailable, Tampered
from hsm.verification import holds
from policies.decision import Confirm as ConfirmedBy
from signing_service.audit import Event, Fact, record
from signing_service.db.compiled import Compiled
from signing_service.db.tables import intent, signature, signing_request
from signing_service.errors import NotFound, SigningError, Unavailable, WrongState
from signing_service.facts import local_day
from signing_service.ids import draw
from signing_service.signer.grounds import Accepted, Asked, Grounds, decide, read, rows_of, usable
from signing_service.signer.runtime import Runtime
from signing_service.signer.together import Unfit, together
from signing_service.wire.messages import Line, LineOutcome

log = logging.getLogger(__name__)
SPENT = "This document was already signed, or is in the confirmation twice."
UNRECORDED = "The signature could not be recorded. Its outcome is unknown."


class Outcome(StrEnum):
    """How an intent ended. `UNKNOWN`: the device may have signed, and the value is lost."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown-outcome"


@dataclass(frozen=True)
class Intent:
    """A durable promise to sign one digest with one key, once, before a deadline."""

    id: str
    signing_request_id: str
    credential_id: str
    document_digest: str
    to_sign: bytes
    algorithm: Algorithm
    key: KeyRef
    deadline: datetime
    agency_code: str
    client_id: str  # whose request it is, whoever confirmed it
    confirmation: Accepted


@dataclass(frozen=True)
class Performed:
    """What the device gave for one intent: a value that verified, or why not."""

    intent: Intent
    outcome: Outcome
    value: bytes | None
    why: str = ""


def look(rt: Runtime, credential_ids: set[str]) -> dict[str, SigningError]:
    """Check the MACs of the rows that lines rely on, before any transaction. Returns what was wrong, by credential."""
    wrong: dict[str, SigningError] = {}
    with rt.db.read() as tx:
        rows, keys = rows_of(tx, credential_ids)
    for credential_id, row in rows.items():
        try:
            rt.verified.check("credential", row)
            if row["key_id"] in keys:
                rt.verified.check("key", keys[row["key_id"]])
        except Tampered as error:
            wrong[credential_id] = report_tampering(rt, error, credential_id=credential_id)
        except DeviceError as error:
            log.warning("a row could not be checked: %s", error)
            wrong[credential_id] = Unavailable("The device does not answer. Nothing was signed.", code="device-away")
    return wrong


def report_tampering(rt: Runtime, error: Tampered, **where: Any) -> SigningError:
    """Put on record that a row did not carry its MAC. What the caller hears names no detail."""
    log.error("tampered row: %s", error)
    with rt.db.write() as tx:
        record(tx, rt.now(), Fact(Event.TAMPERED, f"signer:{rt.id}", "refused", data={"what": str(error)}, **where),
               mac=rt.entry_mac)
    return Unavailable("A record the signer relies on was changed outside it. Call an operator.", code="tampered",
                       retry_after=3600)


@dataclass
class Granted:
    """What the lines so far were granted at one moment: each counts for those after it."""

    now: datetime
    deadline: datetime
    day: str  # local, that daily limits count in
    intents: list[Intent] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    requests: set[str] = field(default_factory=set)
    digests: set[tuple[str, str]] = field(default_factory=set)
    of_credential: Counter[str] = field(default_factory=Counter)


_MOVE = Compiled(update(signing_request).where(
    signing_request.c.id == bindparam("which"), signing_request.c.state == "pending",
    signing_request.c.expires_at > bindparam("now"),
).values({name: bindparam(name) for name in ("state", "confirmation_id", "tail_digest")}))
_INTEND = Compiled(insert(intent))


def intend(rt: Runtime, tx: Connection, asked: Sequence[Asked], now: datetime) -> list[Intent | SigningError]:
    """W3: an intent, or the refusal, for each line. What is refused has written nothing.

    All lines cost the statements of one. Where a row cannot be read, or somebody else was faster with one of the
    requests, that line is found by halves, and the others do not notice.
    """
    def decided(some: Sequence[Asked]) -> list[Intent | SigningError]:
        grounds = read(rt, tx, some, now)
        granted = Granted(now, now + timedelta(seconds=rt.settings.intent_seconds),
                          local_day(now, rt.settings.timezone))
        answers = [_decided(rt, each, grounds, granted) for each in some]
        _write(rt, tx, granted)
        return answers

    def refused(each: Asked, error: Unfit) -> SigningError:
        return error if isinstance(error, SigningError) else _damaged(each.line, error)

    return together(tx, asked, decided, refused=refused)


def _decided(rt: Runtime, asked: Asked, grounds: Grounds, granted: Granted) -> Intent | SigningError:
    try:
        return _granted(rt, asked, grounds, granted)
    except SigningError as error:
        return error
    except (ValueError, TypeError) as error:
        return _damaged(asked.line, error)


def _damaged(line: Line, error: Exception) -> SigningError:
    """A front that was taken over writes into its rows what it likes."""
    log.error("a row of %s cannot be read", line.signing_request_id, exc_info=error)
    return WrongState("The signing request cannot be read.", code="row-damaged")


def _granted(rt: Runtime, asked: Asked, grounds: Grounds, granted: Granted) -> Intent:
    confirmed, line, now = asked.confirmed, asked.line, granted.now
    request = check_line(grounds.requests.get(line.signing_request_id), confirmed, line, now)
    holder, ref = usable(grounds, line, confirmed.signatory_id, now)
    policy_hash = decide(grounds, request, holder, confirmed, now, granted.of_credential[holder.id])
    if line.signing_request_id in grounds.intended:  # its rows were set back; without the entry the log is broken
        raise WrongState(SPENT, code="spent")
    if line.signing_request_id in granted.requests:
        raise WrongState("The signing request is no longer pending.", code="not-pending")
    if (confirmed.id, line.document_digest) in granted.digests:
        raise WrongState(SPENT, code="spent")
    made = Intent(
        id=draw("in"), signing_request_id=line.signing_request_id, credential_id=line.credential_id,
        document_digest=line.document_digest, to_sign=line.to_sign, algorithm=holder.algorithm, key=ref,
        deadline=granted.deadline, agency_code=request.agency_code,
        client_id=request.client_id, confirmation=confirmed,
    )
    _grant(rt, granted, made, line, policy_hash)
    return made


def _grant(rt: Runtime, granted: Granted, made: Intent, line: Line, policy_hash: str) -> None:
    granted.requests.add(made.signing_request_id)
    granted.digests.add((made.confirmation.id, made.document_digest))
    granted.of_credential[made.credential_id] += 1
    granted.intents.append(made)
    granted.rows.append({
        "id": made.id, "confirmation_id": made.confirmation.id, "signing_request_id": made.signing_request_id,
        "credential_id": made.credential_id, "key_id": made.key.id, "document_digest": made.document_digest,
        "tail_digest": line.tail_digest, "to_sign": made.to_sign, "algorithm": made.algorithm.value,
        "policy_hash": policy_hash, "signer_id": rt.id, "created_at": granted.now, "deadline": made.deadline,
        "local_day": granted.day,
    })
    granted.facts.append(_fact(Event.INTENT, made, data={
        "intent": made.id, "confirmation": made.confirmation.id, "key": made.key.id,
        "tail_digest": line.tail_digest, "to_sign": made.to_sign.hex(), "algorithm": made.algorithm.value,
        "policy": policy_hash,
    }))


def _write(rt: Runtime, tx: Connection, granted: Granted) -> None:
    """Move the requests, insert the intents. WrongState where another was faster with any of them."""
    if not granted.rows:
        return
    moved = _MOVE.many(tx, [
        {"which": row["signing_request_id"], "now": granted.now, "state": "signing",
         "confirmation_id": row["confirmation_id"], "tail_digest": row["tail_digest"]} for row in granted.rows])
    if moved != len(granted.rows):
        raise WrongState("The signing request is no longer pending.", code="not-pending")
    try:
        _INTEND.many(tx, granted.rows)
    except IntegrityError as error:  # unique per request, and per (confirmation, digest): spent is spent
        raise WrongState(SPENT, code="spent") from error
    record(tx, granted.now, *granted.facts, mac=rt.entry_mac)


def check_line(request: Any, confirmed: Accepted, line: Line, now: datetime) -> Any:
    """The line names this person's own pending request, and exactly the document that was submitted."""
    if request is None or request.signatory_id != confirmed.signatory_id:
        raise NotFound("There is no such signing request.")
    if confirmed.channel != ConfirmedBy.PHONE and request.client_id != confirmed.client_id:
        raise NotFound("There is no such signing request.")
    if request.state != "pending":
        raise WrongState(f"The signing request is {request.state}.", code="not-pending")
    if request.expires_at <= now:
        raise WrongState("The signing request has expired.", code="expired")
    if (request.document_digest, request.credential_id) != (line.document_digest, line.credential_id):
        raise WrongState("The confirmation is for another document or credential.", code="other-document")
    if line.algorithm != request.algorithm or len(line.to_sign) != Algorithm(request.algorithm).digest.size:
        raise WrongState("The confirmation is for another algorithm.", code="other-algorithm")
    return request


def _fact(event: Event, made: Intent, outcome: str = "ok", data: dict[str, Any] | None = None) -> Fact:
    return Fact(
        event, f"person:{made.confirmation.signatory_id}", outcome, client_id=made.client_id,
        signatory_id=made.confirmation.signatory_id, agency_code=made.agency_code,
        credential_id=made.credential_id, signing_request_id=made.signing_request_id,
        document_digest=made.document_digest, data=data or {},
    )


class Late(Exception):
    """The time to act upon an intent has passed, and the device was not asked."""


def perform(rt: Runtime, made: Sequence[Intent]) -> list[Performed]:
    """Ask the device, once for each. A value is believed only when it verifies with the credential's public key,
    which is the certificate's since the import.

    Never raises: what went wrong is the outcome. Where the device did not answer it may have signed.
    """
    values = rt.device.side_by_side([partial(_asked, rt, each) for each in made])
    return [_judged(each, value) for each, value in zip(made, values, strict=True)]


def _asked(rt: Runtime, made: Intent, device: Device) -> bytes:
    now = rt.now()
    if now >= made.deadline or now >= rt.lease.until:
        raise Late
    return device.sign(made.key, made.algorithm, made.to_sign)


def _judged(made: Intent, value: bytes | Exception) -> Performed:
    if isinstance(value, Exception):
        return _failed(made, value)
    if not holds(made.key.public_key, made.algorithm, made.to_sign, value):
        return Performed(made, Outcome.FAILED, None, "the device's value does not verify with the credential's key")
    return Performed(made, Outcome.DONE, value)


def _failed(made: Intent, error: Exception) -> Performed:
    match error:
        case Late():
            return Performed(made, Outcome.FAILED, None, "the deadline passed before the device was asked")
        case DeviceBusy():
            return Performed(made, Outcome.FAILED, None, "too many calls wait for the device")
        case DeviceUnavailable():
            return Performed(made, Outcome.UNKNOWN, None, "the device did not answer: it may have signed")
        case DeviceError() | ValueError():
            log.error("the device could not sign", exc_info=error)
            return Performed(made, Outcome.FAILED, None, f"the device refused: {type(error).__name__}")
    log.error("nobody foresaw what the device raised", exc_info=error)
    return Performed(made, Outcome.UNKNOWN, None, f"{type(error).__name__}: the device may have signed")


_CLOSE = Compiled(update(intent).where(intent.c.id == bindparam("which"), intent.c.outcome.is_(None)).values(
    {name: bindparam(name) for name in ("outcome", "outcome_at")}))
_WRITTEN = Compiled(select(intent.c.id, intent.c.outcome).where(intent.c.id == bindparam("which")))
_KEEP = Compiled(insert(signature))
_IN_SIGNING = update(signing_request).where(
    signing_request.c.id == bindparam("which"), signing_request.c.state == "signing")
_FINISHING = Compiled(_IN_SIGNING.values(state="finishing"))
_FAILED = Compiled(_IN_SIGNING.values(state="failed", reason=bindparam("reason"), ended_at=bindparam("ended_at")))


def conclude(rt: Runtime, tx: Connection, performed: Sequence[Performed], now: datetime) -> list[LineOutcome]:
    """W4: first outcome wins. A late signer finds one already and discards its value.

    An outcome that is already there as we would write it is our own: a COMMIT whose acknowledgement was lost.
    """
    def written(some: Sequence[Performed]) -> list[LineOutcome]:
        closed = _CLOSE.many(tx, [
            {"which": each.intent.id, "outcome": each.outcome.value, "outcome_at": now} for each in some])
        if closed != len(some):
            raise WrongState("The outcome was recorded by another.", code="late")
        _keep(tx, some, now)
        record(tx, now, *(_outcome_fact(each) for each in some), mac=rt.entry_mac)
        return [_told(each) for each in some]

    def refused(each: Performed, error: Unfit) -> LineOutcome:
        found = _WRITTEN.first(tx, {"which": each.intent.id})
        if found is not None and found.outcome == each.outcome:
            return _told(each)
        if not isinstance(error, SigningError):
            raise error
        return LineOutcome(each.intent.signing_request_id, "failed", error.code, error.message)

    return together(tx, performed, written, refused=refused)


def _keep(tx: Connection, performed: Sequence[Performed], now: datetime) -> None:
    """The values, and the states of their requests."""
    done = [each for each in performed if each.value is not None]
    failed = [each for each in performed if each.value is None]
    try:
        _KEEP.many(tx, [{"intent_id": each.intent.id, "signing_request_id": each.intent.signing_request_id,
                         "value": each.value, "created_at": now} for each in done])
    except IntegrityError as error:  # somebody planted a value: reconcile will close the intent
        raise WrongState(UNRECORDED, code=Outcome.UNKNOWN.value) from error
    _FINISHING.many(tx, [{"which": each.intent.signing_request_id} for each in done])
    _FAILED.many(tx, [{"which": each.intent.signing_request_id, "reason": each.why, "ended_at": now}
                      for each in failed])


def _outcome_fact(performed: Performed) -> Fact:
    made = performed.intent
    if performed.value is not None:
        digest = sha256(performed.value).hexdigest()
        return _fact(Event.DONE, made, data={"intent": made.id, "value_digest": digest})
    event = Event.UNKNOWN_OUTCOME if performed.outcome is Outcome.UNKNOWN else Event.FAILED
    return _fact(event, made, performed.outcome.value, {"intent": made.id, "why": performed.why})


def _told(performed: Performed) -> LineOutcome:
    request_id = performed.intent.signing_request_id
    if performed.outcome is Outcome.DONE:
        return LineOutcome(request_id, "done")
    return LineOutcome(request_id, "failed", performed.outcome.value, performed.why)
