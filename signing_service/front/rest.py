"""REST: signing requests. Each route parses, calls one use case and renders what it gives."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Header, Query, Request
from starlette.responses import Response

from signing_service import confirmation, signing_requests, submission
from signing_service.errors import FieldError, Invalid
from signing_service.front import downloads
from signing_service.front.callers import Guarded, Known
from signing_service.front.forms import FORM_LIMITS, SubmissionForm
from signing_service.front.idempotency import Note, once
from signing_service.front.runtime import Runtime
from signing_service.front.schemas import (
    ConfirmationForm,
    DecisionAnswer,
    ReasonForm,
    SigningRequestAnswer,
    SigningRequestList,
    problems,
)
from signing_service.signing_requests import LONGEST_PAGE, PAGE, SigningRequest, State, Wanted

LONGEST_WAIT = 60  # seconds; proxies between us and a client often end an idle answer at that

router = APIRouter(prefix="/api/v1", route_class=Guarded, tags=["signing requests"])


async def held(request: Request) -> Runtime:  # async: FastAPI sends others to a thread
    rt: Runtime = request.app.state.rt
    return rt


Held = Annotated[Runtime, Depends(held)]
Submitted = Annotated[SubmissionForm, Form(media_type="multipart/form-data")]
IdempotencyKey = Annotated[str | None, Header(
    alias="Idempotency-Key", description="Names this call: repeated within 24 hours it is not carried out again.")]
PDF_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file", "content": {
        downloads.PDF: {"schema": {"type": "string", "format": "binary"}}}},
    304: {"description": "You have these bytes already (If-None-Match)."},
}


@router.post(
    "/signing-requests", status_code=201, response_model=SigningRequestAnswer, response_model_exclude_none=True,
    responses=problems(400, 409, 413, 415), summary="Submit a document for a signatory",
    form_limits=FORM_LIMITS,
    description="The document is looked at and the policy is asked. What is not permitted is refused with the "
    "findings, and nothing of it is kept. The answer has the matching code that the signatory's phone shows, too.",
)
async def submit(request: Request, form: Submitted, caller: Known, rt: Held, key: IdempotencyKey = None) -> Response:
    said = form.submission()

    async def act(note: Note) -> SigningRequestAnswer:
        def then(tx: Any, made: SigningRequest) -> None:
            note(tx, SigningRequestAnswer.of(made))
        noted = then if key else submission.nothing_more
        return SigningRequestAnswer.of(await submission.submit(rt, caller, said, form.file, noted))

    return await once(rt, request, caller, await form.content() if key else (), act, status=201)


@router.post(
    "/signing-requests/dry-run", response_model=DecisionAnswer, response_model_exclude_none=True,
    responses=problems(400, 409, 413, 415), summary="Would this be signed, and how?", form_limits=FORM_LIMITS,
    description="The same form as a submission. Nothing is kept and nothing recorded.",
)
async def dry_run(form: Submitted, caller: Known, rt: Held) -> DecisionAnswer:
    return DecisionAnswer.of(await submission.dry_run(rt, caller, form.submission(), form.file))


@router.get(
    "/signing-requests", response_model=SigningRequestList, response_model_exclude_none=True,
    responses=problems(400), summary="Your signing requests, the newest first",
)
async def list_requests(
    caller: Known, rt: Held,
    state: Annotated[list[State] | None, Query(description="One or several.")] = None,
    signatory: Annotated[str | None, Query(max_length=100, description="An id, or your own reference.")] = None,
    created_from: Annotated[datetime | None, Query(description="RFC 3339, with a zone.")] = None,
    created_before: Annotated[datetime | None, Query(description="RFC 3339, with a zone.")] = None,
    external_id: Annotated[str | None, Query(max_length=200)] = None,
    after: Annotated[str | None, Query(max_length=40, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE,
) -> SigningRequestList:
    check_moments(created_from=created_from, created_before=created_before)
    found = await signing_requests.listed(rt, caller, Wanted(
        states=frozenset(state or ()), signatory=signatory, created_from=created_from,
        created_before=created_before, external_id=external_id, after=after, limit=limit + 1))
    return SigningRequestList(
        signing_requests=[SigningRequestAnswer.of(each) for each in found[:limit]],
        next=found[limit - 1].id if len(found) > limit else None,
    )


@router.get(
    "/signing-requests/{request_id}", response_model=SigningRequestAnswer, response_model_exclude_none=True,
    responses=problems(400, 404), summary="One signing request",
    description="With `wait` the answer comes when the state moves, or after that many seconds.",
)
async def get_request(
    request_id: str, caller: Known, rt: Held, wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT)] = 0,
) -> SigningRequestAnswer:
    return SigningRequestAnswer.of(await signing_requests.get(rt, caller, request_id, wait=wait))


@router.post(
    "/signing-requests/{request_id}/withdraw", response_model=SigningRequestAnswer, response_model_exclude_none=True,
    responses=problems(400, 404, 409), summary="Take it back, while nobody has confirmed it",
    description="Repeated, it gives the same answer.",
)
async def withdraw(
    request: Request, request_id: str, form: ReasonForm, caller: Known, rt: Held, key: IdempotencyKey = None,
) -> Response:
    async def act(_note: Note) -> SigningRequestAnswer:
        return SigningRequestAnswer.of(await signing_requests.withdraw(rt, caller, request_id, form.reason))

    return await once(rt, request, caller, (form.reason,), act)


@router.post(
    "/signing-requests/{request_id}/refuse", response_model=SigningRequestAnswer, response_model_exclude_none=True,
    responses=problems(400, 404, 409), summary="The signatory does not sign it",
    description="It takes no code: a no cannot do harm. Repeated, it gives the same answer.",
)
async def refuse(
    request: Request, request_id: str, form: ReasonForm, caller: Known, rt: Held, key: IdempotencyKey = None,
) -> Response:
    async def act(_note: Note) -> SigningRequestAnswer:
        return SigningRequestAnswer.of(await signing_requests.refuse(rt, caller, request_id, form.reason))

    return await once(rt, request, caller, (form.reason,), act)


@router.post(
    "/signing-requests/{request_id}/confirm", response_model=SigningRequestAnswer, response_model_exclude_none=True,
    responses=problems(400, 404, 409), summary="Confirm it with the signatory's one-time code",
    description="The answer is the state afterwards: `signed`; `finishing` (signed in the device, the file follows: "
    "ask with `wait`); or `failed`. Repeating is safe: a signing request that was confirmed already answers with its "
    "state, and the code that comes with the call is neither looked at nor spent. A wrong code is 403 with "
    "`tries_left`. After a 503 ask for the state before anything else: it may have been carried out.",
)
async def confirm(
    request: Request, request_id: str, form: ConfirmationForm, caller: Known, rt: Held, key: IdempotencyKey = None,
) -> Response:
    async def act(_note: Note) -> SigningRequestAnswer:
        return SigningRequestAnswer.of(await confirmation.confirm(rt, caller, request_id, form.code))

    confirmation.check_code(form.code)
    return await once(rt, request, caller, (form.code,), act)


@router.get("/signing-requests/{request_id}/document", response_class=Response,
            responses=PDF_ANSWER | problems(404), summary="The document as it was submitted")
async def get_document(request: Request, request_id: str, caller: Known, rt: Held) -> Response:
    found = await signing_requests.get(rt, caller, request_id)
    if downloads.is_current(request, found.document_digest):
        return downloads.unchanged(found.document_digest)
    return downloads.file_answer(rt, found.document_digest, filename=found.filename, fallback=f"{found.id}.pdf")


@router.get("/signing-requests/{request_id}/signed-document", response_class=Response,
            responses=PDF_ANSWER | problems(404, 409), summary="The signed document",
            description="Each delivery is on record. It begins with exactly the bytes that were submitted.")
async def get_signed_document(request: Request, request_id: str, caller: Known, rt: Held) -> Response:
    if "if-none-match" in request.headers:
        known = (await signing_requests.get(rt, caller, request_id)).signed_digest
        if known is not None and downloads.is_current(request, known):
            return downloads.unchanged(known)
    found = await signing_requests.hand_over(rt, caller, request_id)
    return downloads.file_answer(rt, str(found.signed_digest), filename=downloads.signed_name(found.filename),
                                 fallback=f"{found.id}.signed.pdf")


def check_moments(**moments: datetime | None) -> None:
    """Invalid for a moment without a zone, or so far away that it has none in UTC (the year 1, east of Greenwich)."""
    given = {name: moment for name, moment in moments.items() if moment is not None}
    wrong = [name for name, moment in given.items() if moment.tzinfo is None or not 1900 <= moment.year <= 9000]
    if wrong:
        raise Invalid("A moment needs its time zone, such as Z or +07:00, and a year of our time.",
                      errors=[FieldError(name, "without a time zone, or too far away") for name in wrong])
