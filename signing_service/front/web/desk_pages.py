"""The operators' desk: people, what can be done with them, alarms, and how the server stands.

Every act has a page of its own that says what will happen and asks for the operator's code; nothing is done by a
link. What a page shows once (a link) answers the form itself: opening it again asks for another code.
"""

from __future__ import annotations

import segno
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from signing_service import desk
from signing_service.errors import Invalid, NotAuthorized, NotFound, SigningError, WrongState
from signing_service.front import health, problems
from signing_service.front.rest import Held
from signing_service.front.web.audience import Screen
from signing_service.front.web.mistakes import key_of
from signing_service.front.web.pages import fields, page
from signing_service.front.web.visitors import Operating
from signing_service.wire.messages import AddSignatory, IssueTicket

router = APIRouter(route_class=Screen)
OFFICES = ("chairman", "deputy", "head", "clerk")
HOURS = (2, 24, 72, 168)
ABOUT_A_PERSON = ("name", "agency", "office", "reference")
MOST_TEXT = 500
AGAIN = (Invalid, NotAuthorized, NotFound, WrongState)  # the form is shown again, with the reason


async def _text(request: Request, name: str) -> str:
    value = (await fields(request)).get(name, "")
    return value[:MOST_TEXT].strip() if isinstance(value, str) else ""


# --------------------------------------------------------------------------------------------------------- looking


@router.get("/desk", name="desk_home")
async def home(request: Request, rt: Held) -> Response:
    return page(request, "desk/home.html", alarms=await desk.alarms(rt), work=await desk.open_work(rt),
                health=await health.known(request, rt), days=desk.ALARM_DAYS)


@router.get("/desk/people", name="desk_people")
async def people(request: Request, rt: Held, q: str = "", agency: str = "") -> Response:
    wanted, code = q[:MOST_TEXT], agency[:MOST_TEXT]
    found = await desk.find_people(rt, wanted, code)
    return page(request, "desk/people.html", q=wanted, agency=code, found=found, agencies=await desk.agencies(rt),
                most=desk.MOST_FOUND)


@router.get("/desk/people/{person}", name="desk_person")
async def person(request: Request, person: str, rt: Held, done: str = "") -> Response:
    return page(request, "desk/person.html", desk=await desk.look_at(rt, person),
                done=done if done == "enrol" or done in set(desk.Word) else "")


# ------------------------------------------------------------------------------------------------------- enrolling


@router.get("/desk/enrol", name="desk_enrol_form")
async def enrol_form(request: Request, rt: Held) -> Response:
    return await _enrol_page(request, rt, dict.fromkeys(ABOUT_A_PERSON, ""), None)


@router.post("/desk/enrol", name="desk_enrol")
async def enrol(request: Request, rt: Held, staff: Operating) -> Response:
    said = {name: await _text(request, name) for name in ABOUT_A_PERSON}
    new = AddSignatory(said["name"], said["agency"], said["office"], said["reference"] or None)
    try:
        made = await desk.enrol(rt, staff, await _text(request, "code"), new)
    except SigningError as error:
        return await _enrol_page(request, rt, said, _shown_again(error))
    return RedirectResponse(f"/desk/people/{made}?done=enrol", 303)


async def _enrol_page(request: Request, rt: Held, said: dict[str, str], wrong: SigningError | None) -> Response:
    return page(request, "desk/enrol.html", _status(wrong), said=said, wrong=_told(wrong),
                agencies=await desk.agencies(rt), offices=OFFICES)


# ----------------------------------------------------------------------------------------------------------- links


@router.get("/desk/people/{person}/link", name="desk_link_form")
async def link_form(request: Request, person: str, rt: Held) -> Response:
    return page(request, "desk/link_form.html", desk=await desk.look_at(rt, person), hours=HOURS, wrong=None)


@router.post("/desk/people/{person}/link", name="desk_link")
async def link(request: Request, person: str, rt: Held, staff: Operating) -> Response:
    """The link, its QR code and a sheet to print: in this answer and never again."""
    found, hours = await desk.look_at(rt, person), await _text(request, "hours")
    try:
        asked = IssueTicket(person, int(hours) if hours.isascii() and hours.isdigit() else 0,
                            bool(await _text(request, "keeps_others")))
        made = await desk.issue_link(rt, staff, await _text(request, "code"), asked)
    except SigningError as error:
        wrong = _shown_again(error)
        return page(request, "desk/link_form.html", _status(wrong), desk=found, hours=HOURS, wrong=_told(wrong))
    picture = segno.make(made.address, error="m").svg_data_uri(scale=6, border=4, light="#fff")
    return page(request, "desk/link.html", desk=found, link=made, qr=picture)


# ------------------------------------------------------------------------------------------------------ other acts


@router.get("/desk/people/{person}/act/{word}", name="desk_act_form")
async def act_form(request: Request, person: str, word: str, rt: Held, target: str = "") -> Response:
    return page(request, "desk/act.html", chosen=await desk.choose(rt, person, word, target), reason="", wrong=None)


@router.post("/desk/people/{person}/act/{word}", name="desk_act")
async def act(request: Request, person: str, word: str, rt: Held, staff: Operating) -> Response:
    chosen = await desk.choose(rt, person, word, await _text(request, "target"))
    reason = await _text(request, "reason")
    try:
        await desk.carry_out(rt, staff, await _text(request, "code"), chosen, reason)
    except SigningError as error:
        wrong = _shown_again(error)
        return page(request, "desk/act.html", _status(wrong), chosen=chosen, reason=reason, wrong=_told(wrong))
    return RedirectResponse(f"/desk/people/{chosen.desk.person.id}?done={chosen.word.value}", 303)


def _shown_again(error: SigningError) -> SigningError:
    """A mistake that can be put right in the form; anything else is a page of its own."""
    if not isinstance(error, AGAIN):
        raise error
    return error


def _told(wrong: SigningError | None) -> dict[str, object] | None:
    """The sentence for a refusal, and the tries that are left."""
    if wrong is None:
        return None
    return {"key": key_of(wrong), "tries_left": getattr(wrong, "tries_left", None), "detail": wrong.message}


def _status(wrong: SigningError | None) -> int:
    return 200 if wrong is None else problems.status_of(wrong)
