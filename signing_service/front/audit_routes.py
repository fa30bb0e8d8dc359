"""REST for auditors: entries, exports, documents, proofs, reports; and the checkpoint, which is for everybody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Query
from fastapi.encoders import jsonable_encoder
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from signing_service import exports, inspection, provenance, receipts, reports, search, verification
from signing_service.exports import Form
from signing_service.filters import Order, Wanted
from signing_service.front.callers import Guarded, Known
from signing_service.front.forms import FORM_LIMITS
from signing_service.front.rest import Held, check_moments
from signing_service.front.runtime import Runtime
from signing_service.front.schemas import problems
from signing_service.front.uploads import Upload
from signing_service.inspection import LONGEST_PAGE, PAGE, Entry
from signing_service.provenance import FoundDocument

router = APIRouter(prefix="/api/v1", route_class=Guarded, tags=["audit"])
public = APIRouter(route_class=Guarded, tags=["audit"])

JSONL, CSV = "application/jsonl", "text/csv; charset=utf-8"
Id = Annotated[str | None, Query(max_length=40)]
Digest = Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="SHA-256, submitted or signed.")]
Moment = Annotated[datetime | None, Query(description="RFC 3339, with a zone.")]


async def wanted(  # async: FastAPI sends others to a thread
    begins: Moment = None, ends: Moment = None,
    event: Annotated[str | None, Query(max_length=60, description="Such as `signing-request:signed`.")] = None,
    outcome: Annotated[str | None, Query(max_length=20)] = None,
    agency: Annotated[str | None, Query(max_length=35, description="With those below it.")] = None,
    signatory: Id = None, client: Id = None, signing_request: Id = None, digest: Digest = None,
    document_type: Annotated[str | None, Query(max_length=10)] = None,
    number: Annotated[str | None, Query(max_length=11)] = None,
    symbol: Annotated[str | None, Query(max_length=30)] = None,
    certificate: Annotated[str | None, Query(
        max_length=200, description="Serial number in hexadecimal, or SHA-256 fingerprint.")] = None,
    order: Annotated[Order, Query(description="As the log has them, or the newest first.")] = Order.OLDEST,
) -> Wanted:
    check_moments(begins=begins, ends=ends)
    return Wanted(begins=begins, ends=ends, event=event, outcome=outcome, agency=agency, signatory=signatory,
                  client=client, signing_request=signing_request, digest=digest, document_type=document_type,
                  number=number, symbol=symbol, certificate=certificate, order=order)


Filters = Annotated[Wanted, Depends(wanted)]


@router.get("/audit/entries", responses=problems(400, 404), summary="Entries, in the order of the log")
async def list_entries(
    caller: Known, rt: Held, filters: Filters,
    after: Annotated[str | None, Query(max_length=40, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = PAGE,
) -> JSONResponse:
    asked = Wanted(**{**asdict(filters), "after": after, "limit": limit})
    page = await rt.db.run(search.search, rt.db, caller, rt.clock(), asked)
    shown = {"entries": [_entry(each) for each in page.entries], "next": page.after}
    return JSONResponse({name: value for name, value in shown.items() if value is not None})


@router.get("/audit/export", response_class=StreamingResponse, responses={
    200: {"content": {"application/jsonl": {"schema": {"type": "string"}}, "text/csv": {"schema": {"type": "string"}}}},
    **problems(400)}, summary="Everything that the filters take, as a file",
    description="`jsonl` can be verified: one entry a line with its index and leaf hash. `csv` is for spreadsheets.")
async def export_entries(caller: Known, rt: Held, filters: Filters, form: Form = Form.JSONL) -> Response:
    pieces = await rt.db.run(exports.export, rt.db, caller, rt.clock(), filters, form)
    media_type, suffix = (JSONL, "jsonl") if form is Form.JSONL else (CSV, "csv")
    return StreamingResponse(_streamed(rt, pieces), media_type=media_type, headers={
        "Content-Disposition": f'attachment; filename="audit.{suffix}"'})


@router.get("/audit/entries/{entry_id}", responses=problems(404), summary="One entry")
async def get_entry(entry_id: str, caller: Known, rt: Held) -> JSONResponse:
    return JSONResponse(_entry(await rt.db.run(inspection.get, rt.db, caller, rt.clock(), entry_id)))


@router.post("/audit/documents", responses=problems(400, 413, 415), form_limits=FORM_LIMITS,
             summary="What is known of a document, and what its signatures are worth",
             description="The file is looked at and not kept; its digest is on record with the question.")
async def find_document(caller: Known, rt: Held, file: Annotated[Upload, File()]) -> JSONResponse:
    draft = await file.draft()  # gone when the form is closed
    found = await provenance.find_document(rt, caller, draft.path, rt.authorities.roots, caller.client_id)
    return JSONResponse(_found(found))


@router.get("/audit/proofs/inclusion", responses=problems(400, 404), summary="Proof that an entry is in the log")
async def prove_inclusion(
    caller: Known, rt: Held, entry: Annotated[str, Query(max_length=40)],
    size: Annotated[int | None, Query(ge=1, description="The newest checkpoint's, unless given.")] = None,
) -> JSONResponse:
    proof = await rt.db.run(verification.prove_inclusion, rt.db, caller, rt.clock(), entry, size)
    return JSONResponse(asdict(proof))


@router.get("/audit/proofs/consistency", responses=problems(400), summary="Proof that the log only grew",
            description="Between the log of `old` entries and that of `new`, or the newest checkpoint's.")
async def prove_consistency(
    caller: Known, rt: Held, old: Annotated[int, Query(ge=0)], new: Annotated[int | None, Query(ge=0)] = None,
) -> JSONResponse:
    return JSONResponse(asdict(await rt.db.run(verification.prove_consistency, rt.db, old, new)))


@router.get("/signing-requests/{request_id}/receipt", responses=problems(404), tags=["signing requests"],
            summary="What shows a third party, offline, how this was signed",
            description="The request's entries, the proof that each is in the log, and the signed checkpoint they "
            "lead to. It waits a moment for the latest entry to get its place.")
async def get_receipt(request_id: str, caller: Known, rt: Held) -> JSONResponse:
    return JSONResponse(await receipts.receipt(rt, caller, request_id))


@router.get("/reports/monthly", responses=problems(400), summary="The figures of a month")
async def monthly_report(
    caller: Known, rt: Held, month: Annotated[str, Query(description="YYYY-MM, in the server's time zone.")],
    csv: Annotated[bool, Query(description="The lines for a spreadsheet.")] = False,
) -> Response:
    report = await rt.db.run(reports.monthly, rt.db, caller, rt.clock(), month, rt.settings.timezone)
    if csv:
        return Response(reports.as_csv(report), media_type=CSV, headers={
            "Content-Disposition": f'attachment; filename="report-{report.month}.csv"'})
    return JSONResponse(jsonable_encoder(asdict(report)))


@public.get("/checkpoint", response_class=PlainTextResponse, responses=problems(503),
            summary="The newest checkpoint, a signed note", description="Keep it somewhere else: it is what later "
            "shows that nothing below it was changed. C2SP tlog-checkpoint.")
async def checkpoint(rt: Held) -> PlainTextResponse:
    return PlainTextResponse(await rt.db.run(verification.checkpoint_note, rt.db))


@public.get("/checkpoint/key", response_class=PlainTextResponse, summary="The log's verifier keys, the newest first",
            description="Compare them with what was published another way before you believe them.")
async def checkpoint_key(rt: Held) -> PlainTextResponse:
    return PlainTextResponse("".join(f"{key}\n" for key in await rt.db.run(verification.verifier_keys, rt.db)))


async def _streamed(rt: Runtime, pieces: Iterator[str]) -> AsyncIterator[bytes]:
    """A reader that is slow holds nothing: each piece is read in a transaction of its own, when it is wanted."""
    while (piece := await rt.db.run(next, pieces, None)) is not None:
        yield piece.encode()


def _entry(each: Entry) -> dict[str, Any]:
    shown = {"id": each.id, "index": each.index, "leaf_hash": each.leaf_hash, "body": each.body}
    return shown | ({"disagrees": list(each.disagrees)} if each.disagrees else {})


def _found(found: FoundDocument) -> dict[str, Any]:
    judged = [{name: value for name, value in asdict(each).items() if name != "certificate"}
              for each in found.judgements]
    shown = {
        "sha256": found.digests[-1], "revisions": list(found.digests), "problem": found.problem,
        "entries": [_entry(each) for each in found.entries], "signatures": judged,
    }
    told: dict[str, Any] = jsonable_encoder({name: value for name, value in shown.items() if value is not None})
    return told
