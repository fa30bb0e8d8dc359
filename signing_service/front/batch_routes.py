"""REST: batches, confirmed together under one code with an outcome for each line."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from signing_service import batches, confirmation
from signing_service.batches import Batch
from signing_service.front.callers import Guarded, Known
from signing_service.front.idempotency import Note, once
from signing_service.front.rest import Held, IdempotencyKey
from signing_service.front.schemas import BatchAnswer, BatchForm, BatchLine, ConfirmationForm, problems

router = APIRouter(prefix="/api/v1/batches", route_class=Guarded, tags=["batches"])


@router.post(
    "", status_code=201, response_model=BatchAnswer, response_model_exclude_none=True,
    responses=problems(400, 404, 409), summary="Put pending signing requests of one signatory together",
    description="All of them, or none. What is in a batch is fixed from here on.",
)
async def create_batch(
    request: Request, form: BatchForm, caller: Known, rt: Held, _key: IdempotencyKey = None,
) -> Response:
    async def act(note: Note) -> BatchAnswer:
        def then(tx: Any, made: Batch) -> None:
            note(tx, BatchAnswer.of(made))
        return BatchAnswer.of(await batches.create(rt, caller, form.signing_requests, then))

    return await once(rt, request, caller, (form.signing_requests,), act, status=201)


@router.get("/{batch_id}", response_model=BatchAnswer, response_model_exclude_none=True, responses=problems(404),
            summary="One batch and the states of its lines")
async def get_batch(batch_id: str, caller: Known, rt: Held) -> BatchAnswer:
    return BatchAnswer.of(await batches.get(rt, caller, batch_id))


@router.post(
    "/{batch_id}/confirm", response_model=BatchAnswer, response_model_exclude_none=True,
    responses=problems(400, 404, 409), summary="Confirm what is still pending, under one code",
    description="Each line has its own outcome: `done`, `denied` (the policy, asked again), `failed`, or `not-asked` "
    "(it was not pending any more, or its file could not be prepared). Repeating is safe: when nothing is pending "
    "the code is neither looked at nor spent.",
)
async def confirm_batch(
    request: Request, batch_id: str, form: ConfirmationForm, caller: Known, rt: Held, _key: IdempotencyKey = None,
) -> Response:
    async def act(_note: Note) -> BatchAnswer:
        batch, outcomes = await confirmation.confirm_batch(rt, caller, batch_id, form.code)
        return BatchAnswer.of(batch, [BatchLine.told(each) for each in outcomes])

    confirmation.check_code(form.code)
    return await once(rt, request, caller, (form.code,), act)
