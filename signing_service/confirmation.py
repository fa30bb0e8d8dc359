"""A person confirms: a one-time code, together with exactly the documents that it confirms.

The code is typed on the person's own phone (`confirm_shown`), or, where the policy permits that weaker way, in the
screens of a client (`confirm`, `confirm_batch`). The front prepares and the signer decides: the tails are written
and durable, one `Confirm` names every digest, and only the signer knows whether the code is right, spends it and
signs. What it signed is finished here at once; where that fails, a job goes on with it.

Repeating a confirmation is safe. A signing request that was confirmed already answers with its state, whatever
code comes with the call: that code is neither looked at nor spent. Two calls at the same moment take turns, so the
second finds the first one's work.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select

from policies.decision import Confirm
from signing_service import batches, delivery, metrics, showing, signing_requests, tails
from signing_service.audit import Event
from signing_service.batches import Batch
from signing_service.db.tables import entry
from signing_service.errors import (
    Denied,
    FieldError,
    Invalid,
    NotAuthorized,
    Reason,
    SigningError,
    TooMany,
    Unavailable,
    WrongState,
)
from signing_service.people import Official
from signing_service.signing_requests import CONFIRMED, SigningRequest, State
from signing_service.wire import messages
from signing_service.wire.messages import MAX_LINES

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime

log = logging.getLogger(__name__)

CODE = re.compile("[0-9]{6}")  # ASCII only: `\d` takes full-width digits, which would make one code several
FORGIVEN = 5  # wrong codes that one right code pays for: a whole city signs through one client
DONE, DENIED, FAILED, NOT_ASKED = "done", "denied", "failed", "not-asked"
AT_ONCE = 8  # documents of one batch under work: a large batch must not fill the workers' queue


@dataclass(frozen=True)
class Shown:
    """A document as a page on a phone showed it: these bytes were looked at, and nothing else is confirmed."""

    request_id: str
    document_digest: str


@dataclass(frozen=True)
class Outcome:
    """What became of one signing request: `done`, `denied`, `failed`, or `not-asked` (it was not pending, or its
    tail could not be made; the code confirmed nothing about it). `reasons` are the policy's, read afterwards.
    """

    request: SigningRequest
    outcome: str
    code: str | None = None
    message: str | None = None
    reasons: tuple[Reason, ...] = ()


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
        _check_pending(rt, caller, found)
        line = await tails.line_of(rt, found)
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
    async with rt.turns.of(each.id for each in shown.requests) as waited:
        before = await batches.get(rt, caller, batch_id) if waited else shown
        told: dict[str, messages.LineOutcome] = {}
        try:
            if before.pending:
                told = await _confirm_pending(rt, caller, before.pending, code)
        except (NotAuthorized, Unavailable):  # as above
            if (await batches.get(rt, caller, batch_id)).pending:
                raise
        after = await batches.get(rt, caller, batch_id)
    return after, tuple(_outcome(each, told.get(each.id)) for each in after.requests)


async def confirm_shown(rt: Runtime, official: Official, shown: Sequence[Shown], code: str) -> tuple[Outcome, ...]:
    """Confirm documents of any clients under one code, as this official's phone showed them; in the same order.

    Repeating is safe, as above. Raises Invalid, NotFound and WrongState (`digest-changed`) before the code is
    looked at: then nothing of it all was confirmed. Raises as `confirm` does for the code itself.
    """
    check_code(code)
    _check_shown(shown)
    async with rt.turns.of(each.request_id for each in shown):
        before = await _as_shown(rt, official, shown)
        pending = [each for each in before if each.state is State.PENDING]
        told: dict[str, messages.LineOutcome] = {}
        try:
            if pending:
                told = await _confirm_pending(rt, official, pending, code)
        except (NotAuthorized, Unavailable):  # as above
            if any(each.state is State.PENDING for each in await _as_shown(rt, official, shown)):
                raise
        after = await _as_shown(rt, official, shown)
    return tuple(_outcome(each, told.get(each.id)) for each in after)


async def outcomes(rt: Runtime, official: Official, ids: Sequence[str]) -> tuple[Outcome, ...]:
    """What became of these, as it can be read at any time afterwards: from their states, and from the log what the
    policy denied. NotFound for what is not the official's.
    """
    return await rt.db.run(_outcomes, rt, official, tuple(dict.fromkeys(ids)))


def check_code(code: str) -> None:
    """Before anything else: what is no code is never tried, and costs nobody one of their tries."""
    if not CODE.fullmatch(code):
        wrong = [FieldError("code", "six ASCII digits")]
        raise Invalid("A code has six digits, and nothing else.", code="code-format", errors=wrong)


def _check_shown(shown: Sequence[Shown]) -> None:
    if not 1 <= len(shown) <= MAX_LINES:
        raise Invalid(f"One code confirms 1 to {MAX_LINES} documents.", code="batch-size")
    if len({each.request_id for each in shown}) != len(shown):
        raise Invalid("A signing request is named twice.", code="line-twice")
    if len({each.document_digest for each in shown}) != len(shown):
        raise Invalid("One document is confirmed twice.", code="document-twice")


async def _as_shown(rt: Runtime, official: Official, shown: Sequence[Shown]) -> tuple[SigningRequest, ...]:
    found = await rt.db.run(_all_of, rt, official, [each.request_id for each in shown])
    for request, each in zip(found, shown, strict=True):
        if request.document_digest != each.document_digest:
            raise WrongState("The page showed another document. Open it again.", code="digest-changed")
    return found


def _all_of(rt: Runtime, official: Official, ids: Sequence[str]) -> tuple[SigningRequest, ...]:
    with rt.db.read() as tx:
        return tuple(SigningRequest.of_row(signing_requests.row_of(tx, official, each)) for each in ids)


def _check_pending(rt: Runtime, who: Caller | Official, request: SigningRequest) -> None:
    if request.state is not State.PENDING:
        raise WrongState(f"The signing request is {request.state}.", code=f"already-{request.state}")
    if request.expires_at <= rt.clock():
        raise WrongState("The signing request has expired.", code="already-expired")
    if request.confirm == Confirm.PHONE and not isinstance(who, Official):
        raise NotAuthorized("The policy asks the person to confirm on the phone.", code="confirm-on-phone")


async def _confirm_pending(
    rt: Runtime, who: Caller | Official, pending: Sequence[SigningRequest], code: str,
) -> dict[str, messages.LineOutcome]:
    """Ask for every line that can be asked for. The first reason is raised when there is none."""
    room = asyncio.Semaphore(AT_ONCE)

    async def prepared(request: SigningRequest) -> messages.Line | SigningError:
        try:
            _check_pending(rt, who, request)
            async with room:
                if isinstance(who, Official):
                    await showing.check_can_be_shown(rt, who, request)
                return await tails.line_of(rt, request)
        except SigningError as error:
            return error

    tried = await asyncio.gather(*(prepared(each) for each in pending))
    lines = [each for each in tried if isinstance(each, messages.Line)]
    reasons = [each for each in tried if isinstance(each, SigningError)]
    if not lines:
        raise reasons[0]
    return await _ask(rt, who, pending[0].signatory_id, code, lines) | {
        request.id: messages.LineOutcome(request.id, NOT_ASKED, each.code, each.message)
        for request, each in zip(pending, tried, strict=True) if isinstance(each, SigningError)
    }


# ---------------------------------------------------------------------------------------------------- the signer


async def _ask(
    rt: Runtime, who: Caller | Official, signatory_id: str, code: str, lines: Sequence[messages.Line],
) -> dict[str, messages.LineOutcome]:
    """One question to the signer. Where no answer comes nothing is repeated: the state says what happened."""
    tallied = who.phone_id if isinstance(who, Official) else who.client_id
    wait = rt.wrong_codes.wait(tallied)
    if wait > 0:
        raise TooMany("Too many wrong codes came from here.", code="wrong-codes", retry_after=math.ceil(wait))
    try:
        confirmed = await rt.signer.ask(_question(who, signatory_id, code, lines), messages.Confirmed)
    except NotAuthorized:
        rt.wrong_codes.add(tallied)
        raise
    rt.wrong_codes.forgive(tallied, FORGIVEN)
    outcomes = {each.signing_request_id: each for each in confirmed.lines}
    await _finish(rt, [name for name, each in outcomes.items() if each.outcome == DONE])
    return outcomes


def _question(
    who: Caller | Official, signatory_id: str, code: str, lines: Sequence[messages.Line],
) -> messages.Confirm:
    if isinstance(who, Official):
        return messages.Confirm(
            client_id=None, signatory_id=who.signatory_id, code=code, channel=Confirm.PHONE, lines=tuple(lines),
            phone=messages.PhoneProof(who.phone_id, who.phone_secret))
    return messages.Confirm(client_id=who.client_id, signatory_id=signatory_id, code=code, channel=Confirm.CLIENT,
                            lines=tuple(lines))


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


# ------------------------------------------------------------------------------------------------------ afterwards


def _outcomes(rt: Runtime, official: Official, ids: Sequence[str]) -> tuple[Outcome, ...]:
    with rt.db.read() as tx:
        found = [SigningRequest.of_row(signing_requests.row_of(tx, official, each)) for each in ids]
        denials = _denials(tx, [each.id for each in found if each.state is State.PENDING])
    return tuple(_afterwards(each, denials.get(each.id)) for each in found)


def _denials(tx: Connection, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The last denial of each, out of the signer's own entries."""
    rows = tx.execute(
        select(entry.c.signing_request_id, entry.c.body)
        .where(entry.c.signing_request_id.in_(ids), entry.c.event == Event.CONFIRM_DENIED).order_by(entry.c.id))
    return {row.signing_request_id: json.loads(row.body)["data"] for row in rows}


def _afterwards(request: SigningRequest, denied: dict[str, Any] | None) -> Outcome:
    if request.state is State.FAILED:
        return Outcome(request, FAILED, "failed", request.reason)
    if denied is None:
        return _outcome(request, None)
    reasons = [each.partition(": ") for each in denied["reasons"]]
    return Outcome(request, DENIED, denied["code"],
                   reasons=tuple(Reason(rule, why) for rule, _, why in reasons))
