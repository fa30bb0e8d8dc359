"""What an official sees on the phone: what waits, each document, the results, and their own things."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from policies.decision import DOCUMENT_TYPES
from signing_service import batches, confirmation, holdings, phones, showing, signing_requests, waiting
from signing_service.confirmation import Shown
from signing_service.errors import Invalid, NotAuthorized, SigningError, TooMany, Unavailable
from signing_service.front import downloads, problems
from signing_service.front.rest import Held
from signing_service.front.web import assets, visitors
from signing_service.front.web.audience import Screen
from signing_service.front.web.mistakes import key_of
from signing_service.front.web.pages import fields, page
from signing_service.front.web.visitors import Officially
from signing_service.people import Official
from signing_service.waiting import Review
from signing_service.wire.messages import MAX_LINES

PAGES_AT_ONCE = 50   # pictures on one page; a longer document goes on behind a link
MOST_CHOSEN = 40     # documents that are named one by one in an address; a batch names itself
REASON = 500         # characters of a refusal
SUSPENSIONS = frozenset({"own-wish", "lost-phone"})
WORKER_SECURITY = "default-src 'none'; connect-src 'self'"
INLINE = (Invalid, NotAuthorized, TooMany)  # what is said beside the field it is about

router = APIRouter(route_class=Screen)
Ids = Annotated[list[str], Query(alias="id", max_length=MAX_LINES, default_factory=list)]
Without = Annotated[list[str], Query(max_length=MAX_LINES, default_factory=list)]


async def text(request: Request, name: str) -> str:
    """A field of the form; empty when it is not there."""
    value = (await fields(request)).get(name, "")
    return value if isinstance(value, str) else ""


async def code_of(request: Request) -> str:
    """What was typed as the code, without the blanks that apps and fingers put into it. Nothing else is forgiven."""
    return re.sub(r"\s", "", await text(request, "code"))


# ------------------------------------------------------------------------------------------------ first page, list


@router.get("/", name="home")
async def home(request: Request) -> Response:
    if await visitors.find_official(request) is not None:
        return RedirectResponse("/waiting", 303)
    return page(request, "phone/unknown.html")


@router.get("/waiting", name="waiting")
async def waiting_list(request: Request, official: Officially, rt: Held, after: str | None = None) -> Response:
    found = await waiting.page(rt, official, after)
    return page(request, "phone/waiting.html", found=found, first=after is None, most=waiting.MOST_COUNTED,
                types=DOCUMENT_TYPES)


# ---------------------------------------------------------------------------------------------------- one document


@router.get("/requests/{request_id}", name="look")
async def look(
    request: Request, request_id: str, official: Officially, rt: Held,
    start: Annotated[int, Query(alias="from", ge=1)] = 1,
) -> Response:
    return await _look(request, official, rt, request_id, start=start)


async def _look(
    request: Request, official: Official, rt: Held, request_id: str, *, start: int = 1,
    wrong: SigningError | None = None, no_reason: bool = False,
) -> Response:
    seen = await showing.show(rt, official, request_id)
    status = problems.status_of(wrong) if wrong else 400 if no_reason else 200
    pages = [(number, *size) for number, size in enumerate(seen.paper.pages, 1)]
    return page(
        request, "phone/look.html", status, seen=seen, document=seen.request, types=DOCUMENT_TYPES,
        pages=pages[start - 1:start - 1 + PAGES_AT_ONCE], start=start, at_once=PAGES_AT_ONCE,
        warning=seen.holding.warning(rt.clock()), days=seen.holding.days_left(rt.clock()),
        wrong=_words_of(wrong), tries_left=getattr(wrong, "tries_left", None), no_reason=no_reason,
    )


def _words_of(error: SigningError | None) -> str | None:
    return key_of(error) if error is not None else None


@router.get("/requests/{request_id}/pages/{number}", name="picture")
async def picture(
    request_id: str, number: int, official: Officially, rt: Held, width: int = showing.WIDTHS[1],
) -> Response:
    drawn = await showing.picture(rt, official, request_id, number, width)
    return Response(drawn.content, media_type=drawn.media_type)


@router.post("/requests/{request_id}/confirm", name="confirm_shown")
async def confirm_shown(request: Request, request_id: str, official: Officially, rt: Held) -> Response:
    shown = Shown(request_id, await text(request, "digest"))
    try:
        await confirmation.confirm_shown(rt, official, [shown], await code_of(request))
    except INLINE as error:
        return await _look(request, official, rt, request_id, wrong=error)
    except Unavailable:
        return _results([("id", request_id), ("unsure", "1")])
    return _results([("id", request_id)])


@router.post("/requests/{request_id}/refuse", name="refuse_shown")
async def refuse_shown(request: Request, request_id: str, official: Officially, rt: Held) -> Response:
    reason = " ".join((await text(request, "reason")).split())[:REASON]
    if not reason:
        return await _look(request, official, rt, request_id, no_reason=True)
    await signing_requests.refuse(rt, official, request_id, reason)
    return _results([("id", request_id)])


@router.get("/requests/{request_id}/not-me", name="ask_not_me")
async def ask_not_me(request: Request, request_id: str, official: Officially, rt: Held) -> Response:
    seen = await showing.show(rt, official, request_id)
    return page(request, "phone/not_me.html", seen=seen, document=seen.request, types=DOCUMENT_TYPES)


@router.post("/requests/{request_id}/not-me", name="not_me")
async def not_me(request: Request, request_id: str, official: Officially, rt: Held) -> Response:
    ended = await phones.not_me(rt, official, request_id)
    return page(request, "phone/stopped.html", why="not-me", document=ended)


@router.get("/requests/{request_id}/document", name="shown_document")
async def shown_document(request_id: str, official: Officially, rt: Held) -> Response:
    found = await signing_requests.get(rt, official, request_id)
    return downloads.file_answer(rt, found.document_digest, filename=found.filename, fallback=f"{found.id}.pdf")


@router.get("/requests/{request_id}/signed", name="signed_document")
async def signed_document(request_id: str, official: Officially, rt: Held) -> Response:
    found = await signing_requests.hand_over(rt, official, request_id)
    return downloads.file_answer(rt, str(found.signed_digest), filename=downloads.signed_name(found.filename),
                                 fallback=f"{found.id}.signed.pdf")


# ----------------------------------------------------------------------------------------------- several documents


@dataclass(frozen=True)
class Choice:
    """Which documents are looked at together: a batch, or some that were chosen; without those taken out again."""

    batch: str | None
    ids: tuple[str, ...]
    without: frozenset[str]

    def query(self) -> list[tuple[str, str]]:
        """The same choice in an address, as short as it can be said."""
        if self.batch is None:
            return [("id", each) for each in self.ids if each not in self.without]
        return [("batch", self.batch), *(("without", each) for each in sorted(self.without))]

    async def review(self, rt: Held, official: Official) -> Review:
        ids: Sequence[str] = self.ids
        if self.batch is not None:
            ids = [each.id for each in (await batches.get(rt, official, self.batch)).requests]
        elif len(self.ids) > MOST_CHOSEN:
            raise Invalid(f"At most {MOST_CHOSEN} documents can be chosen at once.", code="too-many-chosen")
        return await waiting.review(rt, official, [each for each in ids if each not in self.without])


@router.get("/review", name="review")
async def review(
    request: Request, official: Officially, rt: Held, ids: Ids, without: Without, batch: str | None = None,
) -> Response:
    choice = Choice(batch, tuple(ids), frozenset(without))
    if not choice.query():
        return RedirectResponse("/waiting", 303)
    return await _review(request, official, rt, choice)


async def _review(
    request: Request, official: Official, rt: Held, choice: Choice, wrong: SigningError | None = None,
) -> Response:
    found = await choice.review(rt, official)
    return page(request, "phone/review.html", problems.status_of(wrong) if wrong else 200, found=found, choice=choice,
                types=DOCUMENT_TYPES, wrong=_words_of(wrong), tries_left=getattr(wrong, "tries_left", None))


@router.post("/review", name="confirm_review")
async def confirm_review(request: Request, official: Officially, rt: Held) -> Response:
    form = await fields(request)
    shown = [_shown(str(each)) for each in form.getlist("shown")]
    choice = Choice(str(form["batch"]) if "batch" in form else None, tuple(each.request_id for each in shown),
                    frozenset(str(each) for each in form.getlist("without")))
    try:
        await confirmation.confirm_shown(rt, official, shown, await code_of(request))
    except INLINE as error:
        return await _review(request, official, rt, choice, error)
    except Unavailable:
        return _results([*choice.query(), ("unsure", "1")])
    return _results(choice.query())


def _shown(value: str) -> Shown:
    request_id, _, digest = value.partition(".")
    return Shown(request_id, digest)


def _results(query: Sequence[tuple[str, str]]) -> Response:
    """A page of its own that can be opened again: sending a form twice is never needed to see what became of it."""
    return RedirectResponse(f"/results?{urlencode(query)}", 303)


@router.get("/results", name="results")
async def results(
    request: Request, official: Officially, rt: Held, ids: Ids, without: Without, batch: str | None = None,
    unsure: bool = False,
) -> Response:
    choice = Choice(batch, tuple(ids), frozenset(without))
    if not choice.query():
        return RedirectResponse("/waiting", 303)
    lines = (await choice.review(rt, official)).lines
    outcomes = await confirmation.outcomes(rt, official, [each.request.id for each in lines])
    return page(request, "phone/results.html", outcomes=outcomes, unsure=unsure, types=DOCUMENT_TYPES,
                unfinished=any(each.request.state in ("signing", "finishing") for each in outcomes),
                count=sum(each.request.state in ("signing", "finishing", "signed") for each in outcomes))


# ------------------------------------------------------------------------------------------------------ one's own


@router.get("/me", name="me")
async def me(request: Request, official: Officially, rt: Held, after: str | None = None) -> Response:
    held, signed = await holdings.of_official(rt, official), await holdings.signed(rt, official, after)
    now = rt.clock()
    shown = [(each, each.warning(now), each.days_left(now)) for each in held.credentials]
    return page(request, "phone/me.html", held=shown, phones=held.phones, signed=signed, first=after is None,
                types=DOCUMENT_TYPES)


@router.get("/me/suspend", name="ask_suspend")
async def ask_suspend(request: Request, why: str = "own-wish") -> Response:
    return page(request, "phone/suspend.html", why=_why(why))


@router.post("/me/suspend", name="suspend")
async def suspend(request: Request, official: Officially, rt: Held) -> Response:
    why = _why(await text(request, "why"))
    await phones.suspend_oneself(rt, official, why)
    response = page(request, "phone/stopped.html", why=why, document=None)
    if why == "lost-phone":
        visitors.clear_phone_cookie(response)
    return response


def _why(said: str) -> str:
    if said not in SUSPENSIONS:
        raise Invalid("There is no such reason to suspend.", code="reason")
    return said


@router.get("/stop", name="ask_stop")
async def ask_stop(request: Request) -> Response:
    return page(request, "phone/stop.html", wrong=None)


@router.post("/stop", name="stop")
async def stop(request: Request, rt: Held) -> Response:
    try:
        await phones.stop(rt, await text(request, "stop-code"), visitors.address_of(request))
    except NotAuthorized as error:
        return page(request, "phone/stop.html", problems.status_of(error), wrong=_words_of(error))
    return page(request, "phone/stopped.html", why="stop-code", document=None)


# -------------------------------------------------------------------------------------------------------- offline


@router.get("/offline", name="offline")
async def offline(request: Request) -> Response:
    """What the worker keeps for when there is no network: nothing about anybody."""
    return page(request, "phone/offline.html")


@router.get("/worker.js", name="worker")
async def worker() -> Response:
    """At the root, because a worker sees to what lies below its own address."""
    return Response(assets.assets()["offline.js"].content, media_type="text/javascript; charset=utf-8",
                    headers={"Content-Security-Policy": WORKER_SECURITY, "Cache-Control": "no-cache"})
