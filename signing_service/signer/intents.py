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
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Custody, KeyRef
from hsm.errors import DeviceBusy, DeviceError, DeviceUnavailable, Tampered
from hsm.verification import holds
from policies.decision import Confirm as ConfirmedBy
from signing_service import credentials
from signing_service.audit import Event, Fact, record
from signing_service.db.tables import credential, intent, key, signature, signing_request
from signing_service.errors import Denied, NotFound, Reason, SigningError, Unavailable, WrongState
from signing_service.facts import Paper, active_policy, gather, local_day
from signing_service.ids import draw
from signing_service.signer.runtime import Runtime
from signing_service.wire.messages import Line, LineOutcome

log = logging.getLogger(__name__)


class Outcome(StrEnum):
    """How an intent ended. `UNKNOWN`: the device may have signed, and the value is lost."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown-outcome"


@dataclass(frozen=True)
class Accepted:
    """A confirmation whose code is spent: the only thing that `intend` acts upon. A phone's names no client."""

    id: str
    signatory_id: str
    client_id: str | None
    channel: str


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
        rows = {row["id"]: row for row in tx.execute(
            select(credential).where(credential.c.id.in_(credential_ids))).mappings()}
        keys = {row["id"]: row for row in tx.execute(
            select(key).where(key.c.id.in_({row["key_id"] for row in rows.values()}))).mappings()}
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


def intend(rt: Runtime, tx: Connection, confirmed: Accepted, line: Line, now: datetime) -> Intent:
    """W3 for one line. Raises a refusal; call it inside a savepoint, so that then nothing was written."""
    try:
        found = tx.execute(select(signing_request).where(signing_request.c.id == line.signing_request_id)).first()
        request = check_line(found, confirmed, line, now)
        holder, ref = _usable(rt, tx, line, confirmed.signatory_id, now)
        decision = decide(rt, tx, request, holder, confirmed, now)
    except (ValueError, TypeError) as error:  # a front that was taken over writes into its rows what it likes
        log.exception("a row of %s cannot be read", line.signing_request_id)
        raise WrongState("The signing request cannot be read.", code="row-damaged") from error
    moved = tx.execute(
        update(signing_request)
        .where(signing_request.c.id == line.signing_request_id, signing_request.c.state == "pending",
               signing_request.c.expires_at > now)
        .values(state="signing", confirmation_id=confirmed.id, tail_digest=line.tail_digest)
    )
    if moved.rowcount != 1:
        raise WrongState("The signing request is no longer pending.", code="not-pending")
    made = Intent(
        id=draw("in"), signing_request_id=line.signing_request_id, credential_id=line.credential_id,
        document_digest=line.document_digest, to_sign=line.to_sign, algorithm=holder.algorithm, key=ref,
        deadline=now + timedelta(seconds=rt.settings.intent_seconds), agency_code=request.agency_code,
        client_id=request.client_id, confirmation=confirmed,
    )
    _write(rt, tx, made, line, now, decision)
    return made


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


def _usable(rt: Runtime, tx: Connection, line: Line, signatory_id: str,
            now: datetime) -> tuple[credentials.Credential, KeyRef]:
    """The credential and its key, as rows whose MACs were checked, valid at this moment."""
    row = tx.execute(select(credential).where(credential.c.id == line.credential_id)).mappings().first()
    if row is None or row["signatory_id"] != signatory_id or row["kind"] not in ("personal", "agency"):
        raise NotFound("The signatory has no such credential.")
    held = credentials.find(tx, line.credential_id)
    if not held.is_valid(now):
        raise WrongState(f"The credential cannot sign now: it is {held.state}, or its certificate is not valid.",
                         code="credential-not-usable")
    if held.algorithm != line.algorithm:
        raise WrongState("The credential's algorithm has changed.", code="other-algorithm")
    key_row = tx.execute(select(key).where(key.c.id == held.key_id)).mappings().first()
    if key_row is None or not rt.verified.knows("credential", row) or not rt.verified.knows("key", key_row):
        raise WrongState("The credential changed at this moment. Confirm again.", code="credential-changed")
    return held, key_ref(key_row)


def key_ref(row: Any) -> KeyRef:
    return KeyRef(id=row["id"], kind=KeyKind(row["kind"]), custody=Custody(row["custody"]),
                  public_key=row["public_key"], blob=row["blob"])


def decide(rt: Runtime, tx: Connection, request: Any, holder: credentials.Credential, confirmed: Accepted,
           now: datetime) -> str:
    """Decide again, now, with the policy in force. Returns its hash; raises Denied with the findings."""
    policy = active_policy(tx)
    facts = gather(tx, Paper.of_row(request), holder, now, timezone=rt.settings.timezone,
                   confirm=ConfirmedBy(confirmed.channel), signatory_id=confirmed.signatory_id)
    decision = policy.decide(facts)
    if not decision.permitted:
        findings = [Reason(finding.rule, finding.why) for finding in decision.findings if not finding.permits]
        raise Denied("The policy does not permit this signature now.", findings=findings)
    return decision.policy_hash


def _write(rt: Runtime, tx: Connection, made: Intent, line: Line, now: datetime, policy_hash: str) -> None:
    try:
        tx.execute(insert(intent).values(
            id=made.id, confirmation_id=made.confirmation.id, signing_request_id=made.signing_request_id,
            credential_id=made.credential_id, key_id=made.key.id, document_digest=made.document_digest,
            tail_digest=line.tail_digest, to_sign=made.to_sign, algorithm=made.algorithm.value,
            policy_hash=policy_hash, signer_id=rt.id, created_at=now, deadline=made.deadline,
            local_day=local_day(now, rt.settings.timezone),
        ))
    except IntegrityError as error:  # unique per request, and per (confirmation, digest): spent is spent
        raise WrongState("This document was already signed, or is in the confirmation twice.", code="spent") from error
    record(tx, now, _fact(Event.INTENT, made, data={
        "intent": made.id, "confirmation": made.confirmation.id, "key": made.key.id,
        "tail_digest": line.tail_digest, "to_sign": made.to_sign.hex(), "algorithm": made.algorithm.value,
        "policy": policy_hash,
    }), mac=rt.entry_mac)


def _fact(event: Event, made: Intent, outcome: str = "ok", data: dict[str, Any] | None = None) -> Fact:
    return Fact(
        event, f"person:{made.confirmation.signatory_id}", outcome, client_id=made.client_id,
        signatory_id=made.confirmation.signatory_id, agency_code=made.agency_code,
        credential_id=made.credential_id, signing_request_id=made.signing_request_id,
        document_digest=made.document_digest, data=data or {},
    )


def perform(rt: Runtime, made: Intent) -> Performed:
    """Ask the device, once. The value is believed only when it verifies with the credential's public key, which is
    the certificate's since the import.

    Never raises: what went wrong is the outcome. Where the device did not answer it may have signed.
    """
    now = rt.now()
    if now >= made.deadline or now >= rt.lease.until:
        return Performed(made, Outcome.FAILED, None, "the deadline passed before the device was asked")
    try:
        value = rt.device.sign(made.key, made.algorithm, made.to_sign)
    except DeviceBusy:
        return Performed(made, Outcome.FAILED, None, "too many calls wait for the device")
    except DeviceUnavailable:
        return Performed(made, Outcome.UNKNOWN, None, "the device did not answer: it may have signed")
    except (DeviceError, ValueError) as error:
        log.exception("the device could not sign")
        return Performed(made, Outcome.FAILED, None, f"the device refused: {type(error).__name__}")
    except Exception as error:  # whatever it is must not cost the others of the batch their outcomes
        log.exception("nobody foresaw what the device raised")
        return Performed(made, Outcome.UNKNOWN, None, f"{type(error).__name__}: the device may have signed")
    if not holds(made.key.public_key, made.algorithm, made.to_sign, value):
        return Performed(made, Outcome.FAILED, None, "the device's value does not verify with the credential's key")
    return Performed(made, Outcome.DONE, value)


def conclude(rt: Runtime, tx: Connection, performed: Performed, now: datetime) -> LineOutcome:
    """W4 for one intent: first outcome wins. A late signer finds one already and discards its value.

    An outcome that is already there as we would write it is our own: a COMMIT whose acknowledgement was lost.
    """
    made = performed.intent
    closed = tx.execute(
        update(intent).where(intent.c.id == made.id, intent.c.outcome.is_(None))
        .values(outcome=performed.outcome.value, outcome_at=now)
    )
    if closed.rowcount != 1:
        written = tx.execute(select(intent.c.outcome).where(intent.c.id == made.id)).scalar_one_or_none()
        if written != performed.outcome:
            return LineOutcome(made.signing_request_id, "failed", "late", "The outcome was recorded by another.")
        return _told(performed)
    if performed.value is None:
        _fail(rt, tx, performed, now)
        return _told(performed)
    tx.execute(insert(signature).values(
        intent_id=made.id, signing_request_id=made.signing_request_id, value=performed.value, created_at=now))
    tx.execute(update(signing_request).where(signing_request.c.id == made.signing_request_id,
                                             signing_request.c.state == "signing").values(state="finishing"))
    record(tx, now, _fact(Event.DONE, made, data={
        "intent": made.id, "value_digest": _digest(performed.value)}), mac=rt.entry_mac)
    return _told(performed)


def _told(performed: Performed) -> LineOutcome:
    request_id = performed.intent.signing_request_id
    if performed.outcome is Outcome.DONE:
        return LineOutcome(request_id, "done")
    return LineOutcome(request_id, "failed", performed.outcome.value, performed.why)


def _fail(rt: Runtime, tx: Connection, performed: Performed, now: datetime) -> None:
    made, unknown = performed.intent, performed.outcome is Outcome.UNKNOWN
    tx.execute(
        update(signing_request)
        .where(signing_request.c.id == made.signing_request_id, signing_request.c.state == "signing")
        .values(state="failed", reason=performed.why, ended_at=now)
    )
    event = Event.UNKNOWN_OUTCOME if unknown else Event.FAILED
    record(tx, now, _fact(event, made, performed.outcome.value, {"intent": made.id, "why": performed.why}),
           mac=rt.entry_mac)


def _digest(value: bytes) -> str:
    return sha256(value).hexdigest()
