"""What an auditor reads: the search, an entry, one signature's story and its evidence, a document that is dropped.

Nothing here changes anything. The only form that is sent is a document's, which is looked at and not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse

from policies.decision import DOCUMENT_TYPES
from signing_service import evidence, exports, histories, inspection, naming, provenance
from signing_service import search as searching
from signing_service.audit import Event
from signing_service.errors import Invalid
from signing_service.exports import Form
from signing_service.filters import Order
from signing_service.front.rest import Held
from signing_service.front.runtime import Runtime
from signing_service.front.web import evidence_file, questions
from signing_service.front.web.audience import Screen
from signing_service.front.web.pages import fields, page
from signing_service.front.web.visitors import Auditing
from signing_service.histories import BROKEN
from signing_service.inspection import EVERY_AGENCY, Entry
from signing_service.naming import DocumentName, Names

router = APIRouter(route_class=Screen)

MEDIA_TYPES = {Form.CSV: "text/csv; charset=utf-8", Form.JSONL: "application/jsonl"}
ZIP = "application/zip"


@dataclass(frozen=True)
class Row:
    """One entry in a list: what happened, to which document, who did it, where."""

    entry: Entry
    event: str
    at: datetime | None
    actor: tuple[str, str]
    signatory: str | None
    agency: tuple[str, str] | None
    request_id: str | None
    document: DocumentName | None
    outcome: str
    is_bad: bool


def rows_of(entries: Sequence[Entry], names: Names) -> tuple[Row, ...]:
    return tuple(_row(each, names) for each in entries)


def _row(each: Entry, names: Names) -> Row:
    said = {name: value for name, value in each.body.items() if isinstance(value, str)}
    event, outcome, code = said.get("event", ""), said.get("outcome", ""), said.get("agency_code")
    request_id, who = said.get("signing_request_id"), said.get("signatory_id")
    return Row(
        each, event, _moment(said.get("at", "")), names.of_actor(said.get("actor", "")),
        names.people.get(who, who) if who else None, (code, names.agencies.get(code, code)) if code else None,
        request_id, names.documents.get(request_id) if request_id else None, outcome,
        event in BROKEN or outcome != "ok" or bool(each.disagrees))


def _moment(text: str) -> datetime | None:
    """None for a damaged text, which says no time."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None


# ---------------------------------------------------------------------------------------------------------- search


@router.get("/console/search", name="console_search")
async def search(request: Request, staff: Auditing, rt: Held) -> Response:
    question = questions.read(request.query_params, rt.settings.zone)
    found, count = None, None
    rows: tuple[Row, ...] = ()
    if question.wanted is not None and question.is_asked:
        found, count = await rt.db.run(
            searching.search_and_count, rt.db, staff, rt.clock(), question.wanted)
        rows = rows_of(found.entries, await rt.db.run(naming.names_in, rt.db, found.entries))
    known = await rt.db.run(naming.choices, rt.db, staff)
    return page(
        request, "console/search.html", 400 if question.wrong else 200, question=question, said=question.said,
        found=found, rows=rows, count=count, known=known, events=tuple(Event), outcomes=questions.OUTCOMES,
        document_types=DOCUMENT_TYPES, order=question.wanted.order if question.wanted else Order.NEWEST,
        scope=None if EVERY_AGENCY in staff.agencies else ", ".join(sorted(staff.agencies)))


@router.get("/console/search/export", name="console_export")
async def export(request: Request, staff: Auditing, rt: Held, form: Form = Form.CSV) -> Response:
    question = questions.read(request.query_params, rt.settings.zone)
    if question.wanted is None:
        raise Invalid("Some conditions of this search are not right.", code="search")
    whole = replace(question.wanted, after=None, before=None)
    pieces = await rt.db.run(exports.export, rt.db, staff, rt.clock(), whole, form)
    return StreamingResponse(_streamed(rt, pieces), media_type=MEDIA_TYPES[form], headers={
        "Content-Disposition": f'attachment; filename="nhat-ky.{form.value}"'})


async def _streamed(rt: Runtime, pieces: Iterator[str]) -> AsyncIterator[bytes]:
    """Each piece is read in a transaction of its own, when it is wanted: a slow reader holds nothing."""
    while (piece := await rt.db.run(next, pieces, None)) is not None:
        yield piece.encode()


# ------------------------------------------------------------------------------------------------ entries, stories


@router.get("/console/entries/{entry_id}", name="console_entry")
async def entry(request: Request, entry_id: str, staff: Auditing, rt: Held) -> Response:
    found = await rt.db.run(inspection.get, rt.db, staff, rt.clock(), entry_id)
    names = await rt.db.run(naming.names_in, rt.db, (found,))
    data = found.body.get("data", {})
    return page(request, "console/entry.html", entry=found, row=_row(found, names),
                details=histories.details_of(data), findings=histories.findings_of(data), text=found.text)


@router.get("/console/signatures/{request_id}", name="console_story")
async def story(request: Request, request_id: str, staff: Auditing, rt: Held) -> Response:
    told = await rt.db.run(histories.story, rt.db, staff, rt.clock(), request_id)
    return page(request, "console/story.html", story=told, span=evidence_file.span, document_types=DOCUMENT_TYPES)


@router.get("/console/signatures/{request_id}/evidence", name="console_evidence")
async def take_evidence(request_id: str, staff: Auditing, rt: Held) -> Response:
    gathered = await evidence.gather(rt, staff, request_id)
    content = await asyncio.to_thread(evidence_file.made, gathered, rt.settings)
    return Response(content, media_type=ZIP, headers={
        "Content-Disposition": f'attachment; filename="{gathered.story.id}.zip"'})


# -------------------------------------------------------------------------------------------------------- document


@router.get("/console/document", name="console_document_form")
async def document_form(request: Request, staff: Auditing) -> Response:
    return page(request, "console/document.html", found=None, rows=(), is_missing=False, known=())


@router.post("/console/document", name="console_document")
async def document(request: Request, staff: Auditing, rt: Held) -> Response:
    file = (await fields(request)).get("file")
    if not isinstance(file, UploadFile) or not file.size:
        return page(request, "console/document.html", 400, found=None, rows=(), is_missing=True,
                    known=())
    draft = await asyncio.to_thread(rt.documents.receive, file.file)
    try:
        found = await provenance.find_document(rt, staff, draft.path, rt.authorities.roots, staff.id)
    finally:
        await asyncio.to_thread(rt.documents.drop, draft)
    names = await rt.db.run(naming.names_in, rt.db, found.entries)
    return page(request, "console/document.html", found=found, rows=rows_of(found.entries, names), is_missing=False,
                known=provenance.known_digests(found.entries))
