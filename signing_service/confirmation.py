"""A person confirms: a one-time code, together with exactly the documents that it confirms.

The front prepares and the signer decides: the tails are written and durable, one `Confirm` names every digest,
and only the signer knows whether the code is right, spends it and signs. What it signed is finished here at
once; where that fails, a job goes on with it.

Repeating a confirmation is safe. A signing request that was confirmed already answers with its state, whatever
code comes with the call: that code is neither looked at nor spent. Two calls at the same moment take turns, so the
second finds the first one's work.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hsm.algorithms import Algorithm
from policies.decision import Appearance, Confirm
from signing_service import appearance, batches, credentials, delivery, metrics, signing_requests
from signing_service.batches import Batch
from signing_service.credentials import Credential
from signing_service.db.tables import signing_request
from signing_service.errors import (
    Denied,
    FieldError,
    Invalid,
    NotAuthorized,
    SigningError,
    TooMany,
    Unavailable,
    WrongState,
)
from signing_service.pdf import Appearance as Stamp
from signing_service.pdf import Level, Prepared, PrepareOrder
from signing_service.people import find_agency, find_signatory
from signing_service.signing_requests import CONFIRMED, SigningRequest, State
from signing_service.wire import messages

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime

log = logging.getLogger(__name__)

CODE = re.compile("[0-9]{6}")  # ASCII only: `\d` takes full-width digits, which would make one code several
FORGIVEN = 5  # wrong codes that one right code pays for: a whole city signs through one client
DONE, DENIED, FAILED, NOT_ASKED = "done", "denied", "failed", "not-asked"
AT_ONCE = 4  # documents of one batch under work: a large batch must not fill the workers' queue


@dataclass(frozen=True)
class Material:
    """What a tail is made from: the request, its credential, and the names its stamp shows."""

    request: SigningRequest
    credential: Credential
    signatory: str
    agency: str
    is_stamped: bool


@dataclass(frozen=True)
class Outcome:
    """What became of one signing request: `done`, `denied`, `failed`, or `not-asked` (it was not pending, or its
    tail could not be made; the code confirmed nothing about it).
    """

    request: SigningRequest
    outcome: str
    code: str | None = None
    message: str | None = None


async def confirm(rt: Runtime, caller: Caller, request_id: str, code: str) -> SigningRequest:
    """Confirm one signing request; the answer is its state afterwards: `signed`, `finishing` or `failed`.

    Raises Invalid (a code is six ASCII digits), NotFound, WrongState (ended), NotAuthorized (`tries_left` where
    the code was wrong), Denied (the policy, asked again: the code is spent), TooMany, Unavailable.
    """
    check_code(code)
    async with rt.turns.of([request_id]):
        found = await signing_requests.get(rt, caller, request_id)
        if found.state in CONFIRMED:
            return found
        _check_pending(rt, found)
        line = await _prepared(rt, await rt.db.run(_material, rt, found))
        try:
            told = await _ask(rt, caller, found.signatory_id, code, [line])
        except (NotAuthorized, Unavailable):
            # Another front may have been asked the same at the same moment, or the answer was lost on its way.
            after = await signing_requests.get(rt, caller, request_id)
            if after.state in CONFIRMED:
                return after
            raise
        return await _answer(rt, caller, told[request_id])


async def confirm_batch(rt: Runtime, caller: Caller, batch_id: str, code: str) -> tuple[Batch, tuple[Outcome, ...]]:
    """Confirm everything of a batch that is still pending under one code; an outcome for each line.

    When nothing is pending the answer is what became of the lines, and the code is not looked at. Raises as
    `confirm` does for the code itself; a line that is denied or fails does not stop the others.
    """
    check_code(code)
    shown = await batches.get(rt, caller, batch_id)
    async with rt.turns.of(each.id for each in shown.requests):
        before = await batches.get(rt, caller, batch_id)
        told: dict[str, messages.LineOutcome] = {}
        try:
            if before.pending:
                told = await _confirm_pending(rt, caller, before, code)
        except (NotAuthorized, Unavailable):  # as above
            if (await batches.get(rt, caller, batch_id)).pending:
                raise
        after = await batches.get(rt, caller, batch_id)
    return after, tuple(_outcome(each, told.get(each.id)) for each in after.requests)


def check_code(code: str) -> None:
    """Before anything else: what is no code is never tried, and costs nobody one of their tries."""
    if not CODE.fullmatch(code):
        wrong = [FieldError("code", "six ASCII digits")]
        raise Invalid("A code has six digits, and nothing else.", code="code-format", errors=wrong)


def _check_pending(rt: Runtime, request: SigningRequest) -> None:
    if request.state is not State.PENDING:
        raise WrongState(f"The signing request is {request.state}.", code=f"already-{request.state}")
    if request.expires_at <= rt.clock():
        raise WrongState("The signing request has expired.", code="already-expired")
    if request.confirm == Confirm.PHONE:
        raise NotAuthorized("The policy asks the person to confirm on the phone.", code="confirm-on-phone")


async def _confirm_pending(
    rt: Runtime, caller: Caller, before: Batch, code: str,
) -> dict[str, messages.LineOutcome]:
    """Ask for every line that can be asked for. The first reason is raised when there is none."""
    room = asyncio.Semaphore(AT_ONCE)

    async def prepared(request: SigningRequest) -> messages.Line | SigningError:
        try:
            _check_pending(rt, request)
            async with room:
                return await _prepared(rt, await rt.db.run(_material, rt, request))
        except SigningError as error:
            return error

    tried = await asyncio.gather(*(prepared(each) for each in before.pending))
    lines = [each for each in tried if isinstance(each, messages.Line)]
    reasons = [each for each in tried if isinstance(each, SigningError)]
    if not lines:
        raise reasons[0]
    return await _ask(rt, caller, before.signatory_id, code, lines) | {
        request.id: messages.LineOutcome(request.id, NOT_ASKED, each.code, each.message)
        for request, each in zip(before.pending, tried, strict=True) if isinstance(each, SigningError)
    }


# ---------------------------------------------------------------------------------------------------- the tail


def _material(rt: Runtime, request: SigningRequest) -> Material:
    with rt.db.read() as tx:
        holder = credentials.find(tx, request.credential_id)
        row: Any = tx.execute(select(signing_request.c.decision).where(signing_request.c.id == request.id)).one()
        return Material(
            request=request, credential=holder, signatory=find_signatory(tx, request.signatory_id).name,
            agency=find_agency(tx, request.agency_code).name,
            is_stamped=row.decision["terms"]["appearance"] == Appearance.TEXT,
        )


async def _prepared(rt: Runtime, material: Material) -> messages.Line:
    """Make the tail, durable under its digest, and the line that names it.

    If we die after this, a tail without a row is left, which a sweep removes; the next confirmation makes its own.
    """
    tail = await asyncio.to_thread(rt.documents.draft_path, ".tail")
    try:
        with metrics.stage("prepare"):
            prepared = await rt.pool.prepare(_order(rt, material, tail))
        stored = await asyncio.to_thread(rt.documents.store, tail)
    finally:
        tail.unlink(missing_ok=True)
    if (stored.digest, prepared.document_digest) != (prepared.tail_digest, material.request.document_digest):
        raise Unavailable("A file changed on its way to the disk.", code="storage")
    return _line(material.request, prepared)


def _order(rt: Runtime, material: Material, tail: Any) -> PrepareOrder:
    request, holder = material.request, material.credential
    if holder.certificate is None:
        raise WrongState("The credential has no certificate.", code="credential-not-usable")
    return PrepareOrder(
        document=rt.documents.path(request.document_digest), tail=tail, certificate=holder.certificate,
        chain=holder.chain, algorithm=Algorithm(request.algorithm), level=Level(request.level),
        signing_time=rt.clock(), appearance=_stamp(rt, material),
    )


def _stamp(rt: Runtime, material: Material) -> Stamp | None:
    if not material.is_stamped:
        return None
    request = material.request
    return appearance.stamp(
        document_type=request.document_type, number=request.number, symbol=request.symbol,
        is_seal=material.credential.kind == "agency", signatory=material.signatory, agency=material.agency,
        earlier=request.earlier_signatures, moment=rt.clock(), zone=rt.settings.zone, font=rt.settings.stamp_font,
    )


def _line(request: SigningRequest, prepared: Prepared) -> messages.Line:
    return messages.Line(
        signing_request_id=request.id, credential_id=request.credential_id,
        document_digest=prepared.document_digest, tail_digest=prepared.tail_digest, to_sign=prepared.to_sign,
        algorithm=request.algorithm,
    )


# ---------------------------------------------------------------------------------------------------- the signer


async def _ask(
    rt: Runtime, caller: Caller, signatory_id: str, code: str, lines: Sequence[messages.Line],
) -> dict[str, messages.LineOutcome]:
    """One question to the signer. Where no answer comes nothing is repeated: the state says what happened."""
    wait = rt.wrong_codes.wait(caller.client_id)
    if wait > 0:
        raise TooMany("Too many wrong codes came from this client.", code="wrong-codes", retry_after=math.ceil(wait))
    question = messages.Confirm(
        client_id=caller.client_id, signatory_id=signatory_id, code=code, channel="client", lines=tuple(lines))
    try:
        confirmed = await rt.signer.ask(question, messages.Confirmed)
    except NotAuthorized:
        rt.wrong_codes.add(caller.client_id)
        raise
    rt.wrong_codes.forgive(caller.client_id, FORGIVEN)
    outcomes = {each.signing_request_id: each for each in confirmed.lines}
    await _finish(rt, [name for name, each in outcomes.items() if each.outcome == DONE])
    return outcomes


async def _finish(rt: Runtime, ids: Sequence[str]) -> None:
    """Make the signed documents now. What does not work now is done by a job: it stays `finishing`, visible."""
    room = asyncio.Semaphore(AT_ONCE)

    async def finish(request_id: str) -> None:
        async with room:
            try:
                with metrics.stage("finish"):
                    await delivery.finish(rt, request_id)
            except Exception:  # whatever it is, the signature exists and the person must be told so
                log.exception("%s could not be finished now", request_id)

    await asyncio.gather(*(finish(each) for each in ids))


async def _answer(rt: Runtime, caller: Caller, told: messages.LineOutcome) -> SigningRequest:
    found = await signing_requests.get(rt, caller, told.signing_request_id)
    if told.outcome != DENIED or found.state in CONFIRMED:  # another front was faster with the same request
        return found
    message = told.message or "The signing request was not signed."
    if told.code == Denied.code:
        raise Denied(message)
    raise WrongState(message, code=told.code)


def _outcome(request: SigningRequest, told: messages.LineOutcome | None) -> Outcome:
    if told is not None:
        return Outcome(request, told.outcome, told.code, told.message)
    if request.state in CONFIRMED:
        return Outcome(request, DONE)
    return Outcome(request, NOT_ASKED, f"already-{request.state}", f"The signing request is {request.state}.")
