"""From a signature value to a signed document in the client's hands.

What has a signature value is finished: by the front that confirmed it, by a job, by both at once, any number of
times, to the same bytes. Everything the result follows from is stored before it is needed (document, tail, value,
and, once received, the timestamp token), so dying anywhere here costs a repetition and nothing else.

A level is never lowered: no timestamp, no signed document. Such a request stays `finishing`, visible, with its
error, until its lifetime ends.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hsm.algorithms import Algorithm
from signing_service import credentials, metrics, timestamp_check
from signing_service.audit import Event, Fact, instant, record
from signing_service.db.tables import (
    client,
    credential,
    document,
    intent,
    outbox,
    signature,
    signing_request,
    timestamp_token,
)
from signing_service.errors import NotFound, SigningError, Unavailable
from signing_service.pdf import Completed, CompleteOrder, Level, Refused
from signing_service.receipts import receipt
from signing_service.tlog.entries import canonical
from signing_service.wire.messages import IssueTimestamp, TimestampIssued

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

__all__ = ["enqueue", "find_request", "finish", "insert_absent", "own_certificates", "pause",
           "postpone", "receipt"]

log = logging.getLogger(__name__)

FINISHING, SIGNED, FAILED = "finishing", "signed", "failed"  # of submission.State, which stands above this module
OWN_AUTHORITY = "own"
IMPRINT = "sha256"  # of the signature value: what a timestamp in a CMS covers (RFC 3161 appendix A)

FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=15)  # an authority that was away all night is found again soon after it is back
FINISH_LIFETIME = timedelta(days=7)    # after the request's own expiry; a long holiday's outage must not end it


@dataclass(frozen=True)
class Unfinished:
    """A signing request whose signature exists, with all that its signed document follows from."""

    request_id: str
    order: CompleteOrder


@dataclass(frozen=True)
class Token:
    """An RFC 3161 token (DER ContentInfo) that was checked, and who issued it."""

    authority: str
    content: bytes


async def finish(rt: Runtime, request_id: str) -> bool:
    """Make the signed document of a request in `finishing`. True when the request is signed, by whomever.

    False: not now; the reason is in the request (`finish_error`) and a job tries again. Raises NotFound for an
    unknown id, and Unavailable where not even the failure could be written down.
    """
    try:
        work = await rt.db.run(_unfinished, rt, request_id)
        if work is not None:
            await _complete(rt, work)
    except (SigningError, Refused) as error:
        log.warning("%s is not finished yet: %s", request_id, error)
        await rt.db.run(postpone, rt, request_id, str(error), rt.clock())
    return await rt.db.run(_is_signed, rt, request_id)


async def _complete(rt: Runtime, work: Unfinished) -> None:
    token = await _timestamp(rt, work) if work.order.level is Level.B_T else None
    output = await rt.db.run(rt.documents.draft_path, ".signed")
    try:
        order = replace(work.order, output=output, timestamp_token=token.content if token else None)
        completed = await rt.pool.complete(order)
        # Durable under its digest before a row speaks of it. If we die between the two, a file without a row is
        # left; the next one to finish writes the same bytes under the same name, or a sweep removes it.
        stored = await rt.db.run(rt.documents.store, output)
    finally:
        output.unlink(missing_ok=True)
    if stored.digest != completed.digest:
        raise Unavailable("The signed document changed on its way to the disk.", code="storage")
    await rt.db.run(_signed, rt, work, completed, token, rt.clock())


def _unfinished(rt: Runtime, request_id: str) -> Unfinished | None:
    with rt.db.read() as tx:
        row = tx.execute(select(signing_request).where(
            signing_request.c.id == request_id, signing_request.c.state == FINISHING)).first()
        if row is None:
            return None
        made = tx.execute(
            select(intent.c.to_sign, intent.c.algorithm, intent.c.tail_digest, signature.c.value)
            .join(signature, signature.c.intent_id == intent.c.id)
            .where(intent.c.signing_request_id == request_id)
        ).first()
        holder = credentials.find(tx, row.credential_id)
    if made is None or holder.certificate is None:
        raise Unavailable("The signature value or the certificate of this request is missing.", code="no-signature")
    shown = rt.documents.path(row.document_digest)
    order = CompleteOrder(
        document=shown, tail=rt.documents.path(made.tail_digest), output=shown, certificate=holder.certificate,
        chain=holder.chain, algorithm=Algorithm(made.algorithm), level=Level(row.level), to_sign=made.to_sign,
        signature_value=made.value,
    )
    return Unfinished(request_id, order)


def _is_signed(rt: Runtime, request_id: str) -> bool:
    with rt.db.read() as tx:
        state = tx.execute(select(signing_request.c.state).where(signing_request.c.id == request_id)).scalar()
    if state is None:
        raise NotFound(f"There is no signing request {request_id!r}.")
    return bool(state == SIGNED)


def _signed(rt: Runtime, work: Unfinished, made: Completed, token: Token | None, now: datetime) -> None:
    """W5. The one whose UPDATE moves the state writes the entry and the notification; all others find it done."""
    with rt.db.write() as tx:
        moved = tx.execute(
            update(signing_request)
            .where(signing_request.c.id == work.request_id, signing_request.c.state == FINISHING)
            .values(state=SIGNED, signed_digest=made.digest, signed_size=made.size, ended_at=now,
                    finish_error=None, finish_after=None)
        )
        if moved.rowcount == 1:
            _remember_document(tx, made, now)
            row = find_request(tx, work.request_id)
            record(tx, now, _fact(Event.SIGNED, row, {
                "signed_digest": made.digest, "size": made.size, "level": work.order.level.value,
                "timestamp_authority": token.authority if token else None,
            }))
            enqueue(tx, row.id, now)
    metrics.REQUESTS.labels(SIGNED).inc(moved.rowcount)


def _remember_document(tx: Connection, made: Completed, now: datetime) -> None:
    insert_absent(tx, document, {"digest": made.digest, "size": made.size, "created_at": now})
    tx.execute(update(document).where(document.c.digest == made.digest).values(swept_at=None))


def postpone(rt: Runtime, request_id: str, error: str, now: datetime) -> None:
    """Write down why, and when to try again; past its lifetime the request ends as `failed`, on record."""
    with rt.db.write() as tx:
        row = find_request(tx, request_id)
        if row.state != FINISHING:
            return
        if now >= row.expires_at + FINISH_LIFETIME:
            _fail(tx, row, error, now)
            return
        tx.execute(
            update(signing_request)
            .where(signing_request.c.id == row.id, signing_request.c.state == FINISHING)
            .values(finish_attempts=row.finish_attempts + 1, finish_error=error[:1000],
                    finish_after=now + pause(row.finish_attempts))
        )


def _fail(tx: Connection, row: Any, error: str, now: datetime) -> None:
    ended = tx.execute(
        update(signing_request)
        .where(signing_request.c.id == row.id, signing_request.c.state == FINISHING)
        .values(state=FAILED, reason=error[:1000], ended_at=now)
    )
    if ended.rowcount == 1:
        record(tx, now, _fact(Event.FINISH_FAILED, row, {"why": error[:1000]}, outcome="failed"))
        enqueue(tx, row.id, now)
        metrics.REQUESTS.labels(FAILED).inc()


def pause(attempts: int) -> timedelta:
    """How long to wait after so many failures: 5 s, 10 s, 20 s … 15 min."""
    doubled: int = 2 ** min(attempts, 10)
    return min(FIRST_PAUSE * doubled, LONGEST_PAUSE)


# ------------------------------------------------------------------------------------------------- the timestamp


async def _timestamp(rt: Runtime, work: Unfinished) -> Token:
    """The one token of this request: the first that was stored, whoever asked for it.

    Asking twice is harmless (a token proves a time, and two prove it twice); storing twice would make the signed
    document depend on who finished it, so the row's key decides.
    """
    stored = await rt.db.run(_stored_token, rt, work.request_id)
    if stored is not None:
        return stored
    with metrics.stage("timestamp"):
        received = await _fresh_token(rt, work)
    return await rt.db.run(_keep_first, rt, work, received, rt.clock())


async def _fresh_token(rt: Runtime, work: Unfinished) -> Token:
    imprint = hashlib.sha256(work.order.signature_value).digest()
    if rt.authorities.configured:
        outside = await rt.authorities.timestamp(imprint, IMPRINT)
        return Token(outside.authority, outside.token)
    question = IssueTimestamp(imprint=imprint, digest=IMPRINT, signing_request_id=work.request_id)
    issued = await rt.signer.ask(question, TimestampIssued)
    own = await rt.db.run(own_certificates, rt)
    demand = timestamp_check.Demand(imprint=imprint, digest=IMPRINT, roots=(), pinned=own)
    timestamp_check.check(issued.token, demand, rt.clock())
    return Token(OWN_AUTHORITY, issued.token)


def own_certificates(rt: Runtime) -> tuple[bytes, ...]:
    """The certificates of our own authority: its tokens are signed by one of these or are not ours."""
    with rt.db.read() as tx:
        rows = tx.execute(select(credential.c.certificate).where(
            credential.c.kind == "timestamp", credential.c.state == credentials.State.ACTIVE)).all()
    return tuple(row.certificate for row in rows if row.certificate is not None)


def _stored_token(rt: Runtime, request_id: str) -> Token | None:
    with rt.db.read() as tx:
        row = tx.execute(
            select(timestamp_token).where(timestamp_token.c.signing_request_id == request_id)).first()
    return Token(row.authority, row.token) if row else None


def _keep_first(rt: Runtime, work: Unfinished, token: Token, now: datetime) -> Token:
    with rt.db.write() as tx:
        inserted = insert_absent(tx, timestamp_token, {
            "signing_request_id": work.request_id, "authority": token.authority, "token": token.content,
            "created_at": now,
        })
        if inserted and token.authority != OWN_AUTHORITY:  # our own authority records its tokens itself
            row = find_request(tx, work.request_id)
            record(tx, now, _fact(Event.OUTSIDE_TIMESTAMP, row, {
                "authority": token.authority, "token_digest": hashlib.sha256(token.content).hexdigest(),
            }))
    stored = _stored_token(rt, work.request_id)
    if stored is None:
        raise Unavailable("The timestamp was not kept.", code="database-away")
    return stored


# -------------------------------------------------------------------------------------------------- notifications


def enqueue(tx: Connection, request_id: str, now: datetime) -> None:
    """Tell the client, if it wants to be told, that this request ended: in the transaction that ended it.

    Done again, it does nothing. The message says what the row says inside this transaction.
    """
    row = find_request(tx, request_id)
    listener = tx.execute(
        select(client.c.webhook_url).where(client.c.id == row.client_id, client.c.state == "active")).first()
    if listener is None or not listener.webhook_url:
        return
    event_id = _event_id(row)
    insert_absent(tx, outbox, {
        "id": event_id, "client_id": row.client_id, "signing_request_id": row.id, "url": listener.webhook_url,
        "body": canonical(_notice(event_id, row, now)).decode(), "next_at": now, "created_at": now,
    })


def _event_id(row: Any) -> str:
    """One end of one request is one event, however often and by whomever it is announced."""
    return "ev_" + hashlib.sha256(f"{row.id} {row.state}".encode()).hexdigest()[:32]


def _notice(event_id: str, row: Any, now: datetime) -> dict[str, Any]:
    about = {
        "id": row.id, "state": row.state, "external_id": row.external_id, "batch_id": row.batch_id,
        "document_digest": row.document_digest, "signed_digest": row.signed_digest, "reason": row.reason,
    }
    return {
        "id": event_id, "type": f"signing-request.{row.state}", "at": instant(now),
        "signing_request": {name: value for name, value in about.items() if value is not None},
    }


# ------------------------------------------------------------------------------------------------------- shared


def find_request(tx: Connection, request_id: str) -> Any:
    row = tx.execute(select(signing_request).where(signing_request.c.id == request_id)).first()
    if row is None:
        raise NotFound(f"There is no signing request {request_id!r}.")
    return row


def insert_absent(tx: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert unless the primary key is taken already. True for the one who inserted."""
    dialect = postgresql if tx.dialect.name == "postgresql" else sqlite
    # Asked for by RETURNING: psycopg gives no row count for such an INSERT, and -1 would read as "somebody else".
    inserted = dialect.insert(table).values(**values).on_conflict_do_nothing().returning(*table.primary_key)
    return tx.execute(inserted).first() is not None


def _fact(event: Event, row: Any, data: dict[str, Any], outcome: str = "ok") -> Fact:
    return Fact(
        event, actor="front:finish", outcome=outcome, client_id=row.client_id, signatory_id=row.signatory_id,
        agency_code=row.agency_code, credential_id=row.credential_id, signing_request_id=row.id,
        document_digest=row.document_digest, data={name: value for name, value in data.items() if value is not None},
    )
