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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, select, update

from hsm.algorithms import Algorithm
from signing_service import credentials, metrics, timestamp_check
from signing_service.audit import Event, Fact, record
from signing_service.credentials import Credential
from signing_service.db.compiled import Compiled, CompiledList
from signing_service.db.inserting import insert_absent, on_both, unless_there
from signing_service.db.tables import credential, document, intent, signature, signing_request, timestamp_token
from signing_service.documents import Draft, Stored
from signing_service.errors import NotFound, SigningError, Unavailable
from signing_service.notices import announce, enqueue, find_request
from signing_service.pdf import Completed, CompleteOrder, Level, Refused
from signing_service.receipts import receipt
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


_STATE = Compiled(select(signing_request.c.state).where(signing_request.c.id == bindparam("id")))
_FINISHING_ROWS = CompiledList(lambda ids: (
    select(signing_request.c.id, signing_request.c.credential_id, signing_request.c.document_digest,
           signing_request.c.level, intent.c.to_sign, intent.c.algorithm, intent.c.tail_digest, signature.c.value,
           timestamp_token.c.authority, timestamp_token.c.token)
    .outerjoin(intent, intent.c.signing_request_id == signing_request.c.id)
    .outerjoin(signature, signature.c.intent_id == intent.c.id)
    .outerjoin(timestamp_token, timestamp_token.c.signing_request_id == signing_request.c.id)
    .where(signing_request.c.id.in_(ids), signing_request.c.state == FINISHING)
))
_SIGN = Compiled(
    update(signing_request)
    .where(signing_request.c.id == bindparam("request"), signing_request.c.state == FINISHING)
    .values(state=SIGNED, signed_digest=bindparam("digest"), signed_size=bindparam("size"), ended_at=bindparam("now"),
            finish_error=None, finish_after=None)
    .returning(*signing_request.c)
)
_AUTHORITIES = select(credential.c.certificate).where(
    credential.c.kind == "timestamp", credential.c.state == credentials.State.ACTIVE)
_TOKENS = select(timestamp_token).where(timestamp_token.c.signing_request_id.in_(bindparam("ids", expanding=True)))
_NAMED = Compiled(
    on_both(document, lambda made: made.on_conflict_do_update(index_elements=["digest"], set_={"swept_at": None})))
_KEEP_TOKEN = unless_there(timestamp_token)


@dataclass(frozen=True)
class Token:
    """An RFC 3161 token (DER ContentInfo), and who issued it."""

    authority: str
    content: bytes


@dataclass(frozen=True)
class Received:
    """A fresh token for a request. One of an outside authority was checked when it came; our own was not yet."""

    request_id: str
    imprint: bytes
    token: Token


@dataclass(frozen=True)
class Unfinished:
    """A signing request whose signature exists, with all that its signed document follows from."""

    request_id: str
    order: CompleteOrder
    token: Token | None  # that is stored already


@dataclass(frozen=True)
class Made:
    """A signed document that a pdf worker made and validated: a draft until it is stored."""

    work: Unfinished
    completed: Completed
    draft: Path
    token: Token | None


async def finish(rt: Runtime, request_id: str) -> bool:
    """Make the signed document of a request in `finishing`. True when the request is signed, by whomever.

    False: not now; the reason is in the request (`finish_error`) and a job tries again. Raises NotFound for an
    unknown id, and Unavailable where not even the failure could be written down.
    """
    try:
        work = await rt.together.run(_unfinished, rt, request_id)
        if work is None:
            return await rt.db.run(_is_signed, rt, request_id)
        is_signed = await _complete(rt, work)
    except (SigningError, Refused) as error:
        log.warning("%s is not finished yet: %s", request_id, error)
        await rt.db.run(postpone, rt, request_id, str(error), rt.clock())
        return await rt.db.run(_is_signed, rt, request_id)
    rt.watch.told(request_id, SIGNED if is_signed else FINISHING)
    return is_signed


async def _complete(rt: Runtime, work: Unfinished) -> bool:
    token = await _timestamp(rt, work) if work.order.level is Level.B_T else None
    draft = rt.documents.draft_path(".signed")
    try:
        order = replace(work.order, output=draft, timestamp_token=token.content if token else None)
        completed = await rt.pool.complete(order)
        return await rt.together.run(_signed, rt, Made(work, completed, draft, token))
    finally:
        draft.unlink(missing_ok=True)


def _unfinished(rt: Runtime, ids: Sequence[str]) -> list[Unfinished | SigningError | None]:
    """What is to be completed for each of these; None for what is not `finishing`."""
    with rt.db.read() as tx:
        rows = {row.id: row for row in _FINISHING_ROWS.all(tx, ids)}
        holders = {each: credentials.find(tx, each) for each in {row.credential_id for row in rows.values()}}
    return [_work_of(rt, rows[each], holders) if each in rows else None for each in ids]


def _work_of(rt: Runtime, row: Any, holders: Mapping[str, Credential]) -> Unfinished | SigningError:
    holder = holders[row.credential_id]
    if row.value is None or holder.certificate is None:
        return Unavailable("The signature value or the certificate of this request is missing.", code="no-signature")
    try:
        shown, tail = rt.documents.path(row.document_digest), rt.documents.path(row.tail_digest)
    except NotFound as error:
        return error
    return Unfinished(row.id, CompleteOrder(
        document=shown, tail=tail, output=shown, certificate=holder.certificate, chain=holder.chain,
        algorithm=Algorithm(row.algorithm), level=Level(row.level), to_sign=row.to_sign, signature_value=row.value,
    ), Token(row.authority, row.token) if row.token is not None else None)


def _is_signed(rt: Runtime, request_id: str) -> bool:
    with rt.db.read() as tx:
        is_signed = _is_signed_in(tx, request_id)
    if is_signed is None:
        raise NotFound(f"There is no signing request {request_id!r}.")
    return is_signed


def _is_signed_in(tx: Connection, request_id: str) -> bool | None:
    """None where there is no such request."""
    row = _STATE.first(tx, {"id": request_id})
    return None if row is None else bool(row.state == SIGNED)


def _signed(rt: Runtime, made: Sequence[Made]) -> list[bool | SigningError]:
    """W5, for everything that is ready. Which of them are signed now, by whomever.

    The files are durable under their digests before a row speaks of them. If we die between the two, files without
    a row are left; the next one to finish writes the same bytes under the same names, or a sweep removes them.
    """
    drafts = [_as_validated(rt, each) for each in made]
    rt.documents.keep_all([each for each in drafts if isinstance(each, Draft)])
    now = rt.clock()
    with rt.db.write() as tx:
        return [draft if isinstance(draft, SigningError) else _move(tx, each, draft, now)
                for each, draft in zip(made, drafts, strict=True)]


def _as_validated(rt: Runtime, made: Made) -> Draft | SigningError:
    """What is on the disk, if it is what the worker validated."""
    try:
        draft = rt.documents.examine(made.draft)
    except Unavailable as error:
        return error
    if draft.digest != made.completed.digest:
        return Unavailable("The signed document changed on its way to the disk.", code="storage")
    return draft


def _move(tx: Connection, made: Made, stored: Draft, now: datetime) -> bool:
    """The one whose UPDATE moves the state writes the entry and the notification; all others find it done."""
    row = _SIGN.first(tx, {
        "request": made.work.request_id, "digest": stored.digest, "size": stored.size, "now": now})
    if row is None:
        return _is_signed_in(tx, made.work.request_id) is True
    name_documents(tx, [stored], now)
    record(tx, now, _fact(Event.SIGNED, row, {
        "signed_digest": stored.digest, "size": stored.size, "level": made.work.order.level.value,
        "timestamp_authority": made.token.authority if made.token else None,
    }))
    announce(tx, row, now)
    metrics.REQUESTS.labels(SIGNED).inc()
    return True


def name_documents(tx: Connection, stored: Sequence[Draft | Stored], now: datetime) -> None:
    """The rows of files that are durable. What was swept and came again is no longer swept."""
    for each in stored:
        _NAMED.run(tx, {"digest": each.digest, "size": each.size, "created_at": now, "swept_at": None})


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
    if work.token is not None:
        return work.token
    with metrics.stage("timestamp"):
        received = await _fresh_token(rt, work)
    return await rt.together.run(_keep_first, rt, received)


async def _fresh_token(rt: Runtime, work: Unfinished) -> Received:
    imprint = hashlib.sha256(work.order.signature_value).digest()
    if rt.authorities.configured:
        outside = await rt.authorities.timestamp(imprint, IMPRINT)
        return Received(work.request_id, imprint, Token(outside.authority, outside.token))
    question = IssueTimestamp(imprint=imprint, digest=IMPRINT, signing_request_id=work.request_id)
    issued = await rt.signer.ask(question, TimestampIssued)
    return Received(work.request_id, imprint, Token(OWN_AUTHORITY, issued.token))


def own_certificates(rt: Runtime) -> tuple[bytes, ...]:
    """The certificates of our own authority: its tokens are signed by one of these or are not ours."""
    with rt.db.read() as tx:
        rows = tx.execute(_AUTHORITIES).all()
    return tuple(row.certificate for row in rows if row.certificate is not None)


def _keep_first(rt: Runtime, received: Sequence[Received]) -> list[Token | SigningError]:
    """Of each request the token that was stored first. One of our own that does not hold is refused, not stored."""
    refused = _refused(rt, [each for each in received if each.token.authority == OWN_AUTHORITY])
    now = rt.clock()
    with rt.db.write() as tx:
        for each in received:
            if each.request_id not in refused:
                _keep(tx, each, now)
        rows = tx.execute(_TOKENS, {"ids": [each.request_id for each in received]}).all()
    stored = {row.signing_request_id: Token(row.authority, row.token) for row in rows}
    away = Unavailable("The timestamp was not kept.", code="database-away")
    return [refused[each.request_id] if each.request_id in refused else stored.get(each.request_id, away)
            for each in received]


def _refused(rt: Runtime, received: Sequence[Received]) -> dict[str, SigningError]:
    own = own_certificates(rt) if received else ()
    refused: dict[str, SigningError] = {}
    for each in received:
        demand = timestamp_check.Demand(imprint=each.imprint, digest=IMPRINT, roots=(), pinned=own)
        try:
            timestamp_check.check(each.token.content, demand, rt.clock())
        except timestamp_check.TokenRejected as error:
            refused[each.request_id] = error
    return refused


def _keep(tx: Connection, received: Received, now: datetime) -> None:
    token = received.token
    inserted = tx.execute(_KEEP_TOKEN[tx.dialect.name], {
        "signing_request_id": received.request_id, "authority": token.authority, "token": token.content,
        "created_at": now,
    }).first()
    if inserted is not None and token.authority != OWN_AUTHORITY:  # our own authority records its tokens itself
        row = find_request(tx, received.request_id)
        record(tx, now, _fact(Event.OUTSIDE_TIMESTAMP, row, {
            "authority": token.authority, "token_digest": hashlib.sha256(token.content).hexdigest(),
        }))


def _fact(event: Event, row: Any, data: dict[str, Any], outcome: str = "ok") -> Fact:
    return Fact(
        event, actor="front:finish", outcome=outcome, client_id=row.client_id, signatory_id=row.signatory_id,
        agency_code=row.agency_code, credential_id=row.credential_id, signing_request_id=row.id,
        document_digest=row.document_digest, data={name: value for name, value in data.items() if value is not None},
    )
