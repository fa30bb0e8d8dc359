"""A client submits a document for a signatory.

A document is looked at and decided upon as a nameless draft. Only when the policy permits does it get its place
and its row (W1: the signing request and its entry, in one transaction). A denial is recorded as durably, and of a
secret document nothing is kept: nobody looks at it. Submissions that come at the same moment share their
transaction and their fsyncs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert

from policies.decision import Decision, Finding, Level, Secrecy, Urgency
from signing_service import credentials, facts, metrics
from signing_service.audit import Event, Fact, record
from signing_service.credentials import Credential
from signing_service.db.compiled import Compiled
from signing_service.db.tables import signing_request
from signing_service.delivery import name_documents
from signing_service.documents import Draft, Incoming, Stored
from signing_service.errors import Denied, Invalid, Reason, SigningError, TooLarge, Unavailable
from signing_service.ids import draw
from signing_service.pdf import Look
from signing_service.people import Signatory, find_signatory
from signing_service.signing_requests import SigningRequest, State, fact_of, names_in_form

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime


MARKS = {"MẬT": Secrecy.MAT, "TỐI MẬT": Secrecy.TOI_MAT, "TUYỆT MẬT": Secrecy.TUYET_MAT}  # as `pdf.marks` spells them
NEW = Compiled(insert(signing_request).returning(*signing_request.c))
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


@dataclass(frozen=True)
class Arrived:
    """A submission whose document was looked at. It is not decided upon yet."""

    caller: Caller
    submission: Submission
    draft: Draft
    look: Look
    then: Then

    @property
    def seen(self) -> Submission:
        return as_seen(self.submission, self.look)


# ------------------------------------------------------------------------------------------------------ submitting


async def submit(
    rt: Runtime, caller: Caller, submission: Submission, file: Incoming, then: Then = nothing_more,
) -> SigningRequest:
    """A new signing request in `pending`; `then` runs in the transaction that makes it.

    Raises Invalid for a document or a name that cannot be, Denied (with the findings) when the policy does not
    permit it, both on record; TooMany or Unavailable. After an exception nothing of the document is kept.
    """
    if submission.secrecy is not Secrecy.NONE:
        raise await rt.db.run(_refused_unseen, rt, caller, submission)
    async with _draft(rt, file) as draft:
        look = await _looked(rt, caller, submission, draft)
        made = await rt.together.run(_settle, rt, Arrived(caller, submission, draft, look, then))
    metrics.REQUESTS.labels(State.PENDING).inc()
    return made


def _refused_unseen(rt: Runtime, caller: Caller, submission: Submission) -> Denied:
    """Of a secret document: nobody looks at it, and nothing of it is kept."""
    decided = _decided(rt, caller, submission, None)
    with rt.db.write() as tx:
        _record_denied(rt, tx, caller, submission, decided, None)
    return _denied(decided)


def _settle(rt: Runtime, arrived: Sequence[Arrived]) -> list[SigningRequest | SigningError]:
    """From looks to signing requests, or to refusals on record: one transaction to read and one to write."""
    with rt.db.read() as tx:
        known = Known(tx, rt.clock(), rt.settings.timezone)
        decided = [_decision(known, each) for each in arrived]
    # The files are durable before rows name them. If we die between the two, files without a row are left and
    # a sweep removes them.
    rt.documents.keep_all([each.draft for each, verdict in zip(arrived, decided, strict=True) if _is_yes(verdict)])
    with rt.db.write() as tx:
        return [verdict if isinstance(verdict, SigningError) else _write(rt, tx, each, verdict)
                for each, verdict in zip(arrived, decided, strict=True)]


def _decision(known: Known, arrived: Arrived) -> Decided | SigningError:
    look = arrived.look if arrived.seen is arrived.submission else None
    try:
        return _decide(known, arrived.caller, arrived.seen, look)
    except SigningError as error:
        return error


def _is_yes(verdict: Decided | SigningError) -> bool:
    return isinstance(verdict, Decided) and verdict.decision.terms is not None


def _write(rt: Runtime, tx: Connection, arrived: Arrived, decided: Decided) -> SigningRequest | Denied:
    if not _is_yes(decided):
        is_as_said = arrived.seen is arrived.submission
        _record_denied(rt, tx, arrived.caller, arrived.seen, decided, arrived.look.digest if is_as_said else None)
        return _denied(decided)
    return _write_request(rt, tx, arrived, decided)


async def dry_run(rt: Runtime, caller: Caller, submission: Submission, file: Incoming) -> Decided:
    """Would this be signed, and how? Nothing is kept and nothing recorded. Raises Invalid as `submit` does."""
    if submission.secrecy is not Secrecy.NONE:
        return await rt.db.run(_decided, rt, caller, submission, None)
    async with _draft(rt, file) as draft:
        look = await _look(rt, caller, draft)
        seen = as_seen(submission, look)
        return await rt.db.run(_decided, rt, caller, seen, look if seen is submission else None)


def as_seen(submission: Submission, look: Look) -> Submission:
    """A mark of secrecy on the page counts as if it had been declared; declaring none does not make it none."""
    return submission if look.secret_mark is None else replace(submission, secrecy=MARKS[look.secret_mark])


@asynccontextmanager
async def _draft(rt: Runtime, file: Incoming) -> AsyncIterator[Draft]:
    """The file under no name, gone at the end of the block unless it was kept."""
    draft = await file.draft()
    try:
        if draft.size > rt.settings.max_document_bytes:
            raise TooLarge(f"A document has at most {rt.settings.max_document_bytes} bytes.", code="document-too-large")
        yield draft
    finally:
        if draft.path.exists():  # else it was kept
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


def _decided(rt: Runtime, caller: Caller, submission: Submission, look: Look | None) -> Decided:
    with rt.db.read() as tx:
        return _decide(Known(tx, rt.clock(), rt.settings.timezone), caller, submission, look)


class Known:
    """What one transaction has read already: those who submit at the same moment name the same few."""

    def __init__(self, tx: Connection, now: datetime, timezone: str) -> None:
        self._tx, self.now, self._day = tx, now, facts.local_day(now, timezone)
        self.signatory = cache(partial(find_signatory, tx))
        self.credential = cache(partial(credentials.choose, tx))
        self.policy = cache(partial(facts.active_policy, tx))
        self.records = cache(self._records)

    def _records(self, agency: str, signatory: str, client: str, credential: str) -> facts.Records:
        return facts.records(self._tx, agencies={agency}, signatories={signatory}, clients={client},
                             credentials={credential}, day=self._day)


def _decide(known: Known, caller: Caller, submission: Submission, look: Look | None) -> Decided:
    """Facts as they are now, under the active policy. Without a look only the mark of secrecy is answered for."""
    with names_in_form():
        signatory = known.signatory(submission.signatory)
        credential = known.credential(signatory.id, submission.credential)
        policy = known.policy()
        records = known.records(submission.issuing_agency, signatory.id, caller.client_id, credential.id)
        asked = facts.facts_of(records, _paper(caller, submission, look), credential, known.now, confirm=None,
                               signatory_id=signatory.id)
    decision = policy.decide(asked)
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


def _write_request(rt: Runtime, tx: Connection, arrived: Arrived, decided: Decided) -> SigningRequest:
    """W1: the signing request, the document it names and the entry that says so."""
    now, look = rt.clock(), arrived.look
    name_documents(tx, [Stored(look.digest, look.size)], now)
    row = NEW.first(tx, _values(arrived.caller, arrived.submission, look, decided, now))
    record(tx, now, fact_of(Event.SUBMITTED, arrived.caller.actor, row, {
        "document_type": row.document_type, "number": row.number, "symbol": row.symbol, "level": row.level,
        "size": look.size, "pages": look.pages, "policy": row.policy_hash, "external_id": row.external_id,
    }))
    made = SigningRequest.of_row(row)
    arrived.then(tx, made)
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
        "findings": [{"rule": each.rule, "permits": each.permits, "why": each.why} for each in decision.findings],
        "terms": None if terms is None else {
            "level": terms.level, "confirm": terms.confirm, "lifetime_seconds": int(terms.lifetime.total_seconds()),
            "algorithms": sorted(terms.algorithms), "appearance": terms.appearance,
        },
    }


def _record_denied(
    rt: Runtime, tx: Connection, caller: Caller, submission: Submission, decided: Decided, digest: str | None,
) -> None:
    """Of a secret document: neither digest nor subject."""
    record(tx, rt.clock(), Fact(
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
