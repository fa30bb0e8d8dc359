"""A link becomes a phone: looked at, opened once, and complete with the first right code."""

from __future__ import annotations

import re

import segno
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from signing_service import phones
from signing_service.errors import Invalid, NotAuthorized, SigningError, TooMany, Unauthenticated, WrongState
from signing_service.front import problems
from signing_service.front.rest import Held
from signing_service.front.web import session_pages, visitors
from signing_service.front.web.audience import Screen
from signing_service.front.web.mistakes import key_of
from signing_service.front.web.pages import page
from signing_service.front.web.phone_pages import code_of
from signing_service.phones import Redeemed

ENROLLING = "__Host-enrolling"  # the phone that waits for its first code; one that is in use stays so until then
ENROLLING_SECONDS = 3600
SYSTEMS = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Macintosh": "Mac",
           "Linux": "Linux"}
BROWSERS = {"Edg": "Edge", "OPR": "Opera", "SamsungBrowser": "Samsung", "coc_coc_browser": "Cốc Cốc",
            "Firefox": "Firefox", "FxiOS": "Firefox", "CriOS": "Chrome", "Chrome": "Chrome", "Safari": "Safari"}

router = APIRouter(route_class=Screen)


@router.get("/enrol/{ticket}", name="ticket")
async def ticket(request: Request, ticket: str, rt: Held) -> Response:
    """Opening the link uses nothing up: messengers and mail programs look at links before people do."""
    found = await phones.open_ticket(rt, ticket, visitors.visit_hash(request))
    name = masked(found.name)
    if not found.is_officials:
        return session_pages.staff_ticket(request, ticket, name, found.owner)
    return page(request, "enrolment/ticket.html", ticket=ticket, name=name, found=found)


@router.post("/enrol/{ticket}", name="redeem_ticket")
async def redeem_ticket(request: Request, ticket: str, rt: Held) -> Response:
    made = await phones.redeem(rt, ticket, visitors.visit_hash(request),
                               label_of(request.headers.get("user-agent", "")), visitors.address_of(request))
    response = _seed(request, ticket, made, None)
    response.set_cookie(ENROLLING, made.cookie, max_age=ENROLLING_SECONDS, path="/", secure=True, httponly=True,
                        samesite="lax")
    return response


@router.post("/enrol/{ticket}/complete", name="complete_phone")
async def complete_phone(request: Request, ticket: str, rt: Held) -> Response:
    enrolling = request.cookies.get(ENROLLING, "")
    try:
        stop_code = await phones.complete(rt, enrolling, await code_of(request))
    except (Invalid, TooMany) as error:
        return _seed(request, ticket, None, error)
    except NotAuthorized as error:
        if error.code == "phone":
            raise Unauthenticated(error.message, code="phone") from error
        return _seed(request, ticket, None, error)
    except WrongState as error:
        if error.code != "phone-ready":
            raise
        return _ready(RedirectResponse("/waiting", 303), enrolling)  # the answer of the first time was lost
    return _ready(page(request, "enrolment/done.html", stop_code=stop_code), enrolling)


def _seed(request: Request, ticket: str, made: Redeemed | None, wrong: SigningError | None) -> Response:
    """The new seed, this once, and the field for its first code. After a mistake the seed is not shown again."""
    return page(
        request, "enrolment/seed.html", problems.status_of(wrong) if wrong else 200, ticket=ticket,
        uri=made.uri if made else None, seed=made.seed if made else None,
        qr=segno.make(made.uri, error="m").svg_data_uri(scale=5, border=4, light="#fff") if made else None,
        wrong=key_of(wrong) if wrong else None, tries_left=getattr(wrong, "tries_left", None))


def _ready(response: Response, enrolling: str) -> Response:
    phone_id, _, secret = enrolling.partition(".")
    visitors.set_phone_cookie(response, phone_id, secret)
    response.delete_cookie(ENROLLING, path="/", secure=True, httponly=True, samesite="lax")
    return response


def masked(name: str) -> str:
    """Enough to know oneself by, too little for a stranger who found the link: N. V. An."""
    *family, given = name.split() or [""]
    return " ".join([*(f"{each[0]}." for each in family), given if family else f"{given[:1]}."])


def label_of(agent: str) -> str:
    """`Android, Chrome`: what the person will know the phone by. Nothing rests on it."""
    system = next((name for mark, name in SYSTEMS.items() if mark in agent), None)
    browser = next((name for mark, name in BROWSERS.items() if re.search(rf"\b{mark}\b", agent)), None)
    return ", ".join(each for each in (system, browser) if each)
