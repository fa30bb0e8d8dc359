"""A client submits a document for a signatory.

A document is looked at and decided upon as a nameless draft. Only when the policy permits does it get its place
and its row (W1: the signing request and its entry, in one transaction). A denial is recorded in a transaction of
its own, and of a secret document nothing is kept: it is not even written to disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, BinaryIO

from sqlalchemy import Connection, insert, update

from policies.decision import Decision, Finding, Level, Secrecy, Urgency
from signing_service import credentials, facts, metrics
from signing_service.audit import Event, Fact, record
from signing_service.credentials import Credential
from signing_service.db.tables import document, signing_request
from signing_service.delivery import insert_absent
from signing_service.documents import Draft
from signing_service.errors import Denied, Invalid, Reason, TooLarge, Unavailable
from signing_service.ids import draw
from signing_service.pdf import Look
from signing_service.people import Signatory, find_signatory
from signing_service.signing_requests import SigningRequest, State, fact_of, names_in_form, row_of

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime


MARKS = {"MẬT": Secrecy.MAT, "TỐI MẬT": Secrecy.TOI_MAT, "TUYỆT MẬT": Secrecy.TUYET_MAT}  # as `pdf.marks` spells them
SECRECY_RULE = "secrecy"  # the finding that a mark of secrecy gives, whatever else is known


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a client says of a document. The words are checked (`front.forms`); whether they may is not yet."""

    document_type: str
    subject: str
    issuing_agency: str
    signatory: str  # an id or the city's own reference
    filename: str
    number: str | None = None
    symbol: str | None = None
    secrecy: Secrecy = Secrecy.NONE
    urgency: Urgency = Urgency.NORMAL
    credential: str | None = None
    level: Level | None = None
    external_id: str | None = None


@dataclass(frozen=True)
class Decided:
    """A decision, and the names in it resolved. `findings` leaves out what was asked of a file nobody looked at."""

    decision: Decision
    signatory: Signatory
    credential: Credential
    findings: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Reason, ...]:
        return tuple(Reason(finding.rule, finding.why) for finding in self.findings if not finding.permits)


Then = Callable[[Connection, SigningRequest], None]  # what must be durable together with W1


def nothing_more(_tx: Connection, _request: SigningRequest) -> None:
    """W1 alone."""


# ------------------------------------------------------------------------------------------------------ submitting


async def submit(
    rt: Runtime, caller: Caller, submission: Submission, file: BinaryIO, then: Then = nothing_more,
) -> SigningRequest:
    """A new signing request in `pending`; `then` runs in the transaction that makes it.

    Raises Invalid for a document or a name that cannot be, Denied (with the findings) when the policy does not
    permit it, both on record; TooMany or Unavailable. After an exception nothing of the document is kept.
    """
    if submission.secrecy is not Secrecy.NONE:
        decided = await rt.db.run(_decide, rt, caller, submission, None)
        await rt.db.run(_record_denied, rt, caller, submission, decided, None)
        raise _denied(decided)
    async with _draft(rt, file) as draft:
        look = await _looked(rt, caller, submission, draft)
        seen = as_seen(submission, look)
        decided = await rt.db.run(_decide, rt, caller, seen, look if seen is submission else None)
        if decided.decision.terms is None:
            await rt.db.run(_record_denied, rt, caller, seen, decided, look.digest if seen is submission else None)
            raise _denied(decided)
        # The file is durable before a row names it. If we die between the two, a file without a row is left and
        # a sweep removes it.
        await asyncio.to_thread(rt.documents.keep, draft)
        made = await rt.db.run(_write_request, rt, caller, submission, look, decided, then)
    metrics.REQUESTS.labels(State.PENDING).inc()
    return made


async def dry_run(rt: Runtime, caller: Caller, submission: Submission, file: BinaryIO) -> Decided:
    """Would this be signed, and how? Nothing is kept and nothing recorded. Raises Invalid as `submit` does."""
    if submission.secrecy is not Secrecy.NONE:
        return await rt.db.run(_decide, rt, caller, submission, None)
    async with _draft(rt, file) as draft:
        look = await _look(rt, caller, draft)
        seen = as_seen(submission, look)
        return await rt.db.run(_decide, rt, caller, seen, look if seen is submission else None)


def as_seen(submission: Submission, look: Look) -> Submission:
    """A mark of secrecy on the page counts as if it had been declared; declaring none does not make it none."""
    return submission if look.secret_mark is None else replace(submission, secrecy=MARKS[look.secret_mark])


@asynccontextmanager
async def _draft(rt: Runtime, file: BinaryIO) -> AsyncIterator[Draft]:
    """The file under no name, gone at the end of the block unless it was kept."""
    if await asyncio.to_thread(rt.documents.free_bytes) < rt.settings.reserve_bytes:
        raise Unavailable("There is no room for more documents.", code="disk-reserve", retry_after=60)
    draft = await asyncio.to_thread(rt.documents.receive, file)
    try:
        if draft.size > rt.settings.max_document_bytes:
            raise TooLarge(f"A document has at most {rt.settings.max_document_bytes} bytes.", code="document-too-large")
        yield draft
    finally:
        await asyncio.to_thread(rt.documents.drop, draft)


async def _look(rt: Runtime, caller: Caller, draft: Draft) -> Look:
    with metrics.stage("look"):
        look = await rt.pool.look(draft.path, client_id=caller.client_id)
    if look.digest != draft.digest:
        raise Unavailable("The document changed on its way to the disk.", code="storage")
    return look


async def _looked(rt: Runtime, caller: Caller, submission: Submission, draft: Draft) -> Look:
    try:
        return await _look(rt, caller, draft)
    except Invalid as error:
        await rt.db.run(_record_unreadable, rt, caller, submission, draft, error.code)
        raise


def _decide(rt: Runtime, caller: Caller, submission: Submission, look: Look | None) -> Decided:
    """Facts as they are now, under the active policy. Without a look only the mark of secrecy is answered for."""
    with rt.db.read() as tx, names_in_form():
        signatory = find_signatory(tx, submission.signatory)
        credential = credentials.choose(tx, signatory.id, submission.credential)
        policy = facts.active_policy(tx)
        known = facts.gather(
            tx, _paper(caller, submission, look), credential, rt.clock(), timezone=rt.settings.timezone,
            confirm=None, signatory_id=signatory.id,
        )
    decision = policy.decide(known)
    findings = decision.findings if look else tuple(each for each in decision.findings if each.rule == SECRECY_RULE)
    return Decided(decision, signatory, credential, findings)


def _paper(caller: Caller, submission: Submission, look: Look | None) -> facts.Paper:
    return facts.Paper(
        client_id=caller.client_id, issuing_agency=submission.issuing_agency,
        document_type=submission.document_type, secrecy=submission.secrecy, urgency=submission.urgency,
        size=look.size if look else 0, pages=look.pages if look else 0,
        earlier_signatures=len(look.signatures) if look else 0,
        warnings=frozenset(look.warnings) if look else frozenset(), level=submission.level,
    )


def _denied(decided: Decided) -> Denied:
    return Denied("The policy does not permit this document to be signed.", findings=decided.refusals)


def _write_request(
    rt: Runtime, caller: Caller, submission: Submission, look: Look, decided: Decided, then: Then,
) -> SigningRequest:
    """W1: the signing request, the document it names and the entry that says so."""
    now = rt.clock()
    values = _values(caller, submission, look, decided, now)
    with rt.db.write() as tx:
        insert_absent(tx, document, {"digest": look.digest, "size": look.size, "created_at": now})
        tx.execute(update(document).where(document.c.digest == look.digest).values(swept_at=None))
        tx.execute(insert(signing_request).values(**values))
        row = row_of(tx, caller, values["id"])
        record(tx, now, fact_of(Event.SUBMITTED, caller.actor, row, {
            "document_type": row.document_type, "number": row.number, "symbol": row.symbol, "level": row.level,
            "size": look.size, "pages": look.pages, "policy": row.policy_hash, "external_id": row.external_id,
        }))
        made = SigningRequest.of_row(row)
        then(tx, made)
    return made


def _values(
    caller: Caller, submission: Submission, look: Look, decided: Decided, now: datetime,
) -> dict[str, Any]:
    terms = decided.decision.terms
    assert terms is not None
    return {
        "id": draw("sr"), "client_id": caller.client_id, "agency_code": submission.issuing_agency,
        "signatory_id": decided.signatory.id, "credential_id": decided.credential.id, "state": State.PENDING,
        "external_id": submission.external_id, "document_type": submission.document_type,
        "number": submission.number, "symbol": submission.symbol, "subject": submission.subject,
        "secrecy": submission.secrecy, "urgency": submission.urgency, "filename": submission.filename,
        "document_digest": look.digest, "document_size": look.size, "pages": look.pages,
        "earlier_signatures": len(look.signatures), "warnings": list(look.warnings), "level": terms.level,
        "asked_level": submission.level, "algorithm": decided.credential.algorithm,
        "policy_hash": decided.decision.policy_hash, "decision": as_json(decided.decision),
        "created_at": now, "expires_at": now + terms.lifetime,
    }


def as_json(decision: Decision) -> dict[str, Any]:
    """A decision as it is kept with the signing request."""
    terms = decision.terms
    return {
        "policy": decision.policy_name, "hash": decision.policy_hash,
        "findings": [asdict(finding) for finding in decision.findings],
        "terms": None if terms is None else {
            "level": terms.level, "confirm": terms.confirm, "lifetime_seconds": int(terms.lifetime.total_seconds()),
            "algorithms": sorted(terms.algorithms), "appearance": terms.appearance,
        },
    }


def _record_denied(
    rt: Runtime, caller: Caller, submission: Submission, decided: Decided, digest: str | None,
) -> None:
    """On its own, because there is nothing else to commit. Of a secret document: neither digest nor subject."""
    now = rt.clock()
    with rt.db.write() as tx:
        record(tx, now, Fact(
            Event.SUBMIT_DENIED, caller.actor, "denied", client_id=caller.client_id,
            signatory_id=decided.signatory.id, agency_code=submission.issuing_agency,
            credential_id=decided.credential.id, document_digest=digest, data={
                "document_type": submission.document_type, "policy": decided.decision.policy_hash,
                "findings": [asdict(reason) for reason in decided.refusals],
            },
        ))


def _record_unreadable(rt: Runtime, caller: Caller, submission: Submission, draft: Draft, code: str) -> None:
    now = rt.clock()
    with rt.db.write() as tx:
        record(tx, now, Fact(
            Event.SUBMIT_REFUSED, caller.actor, "refused", client_id=caller.client_id,
            document_digest=draft.digest, data={"code": code, "size": draft.size,
                                                "document_type": submission.document_type},
        ))
