"""Sign-in, sign-out, passwords and the first enrolment of auditors and operators."""

from __future__ import annotations

import re

import segno
from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from signing_service import accounts
from signing_service.accounts import Enrolling, Role
from signing_service.errors import Invalid, NotAuthorized
from signing_service.front.runtime import Runtime
from signing_service.front.web import visitors
from signing_service.front.web.audience import Screen
from signing_service.front.web.pages import fields, page
from signing_service.front.web.visitors import Staffed

router = APIRouter(route_class=Screen)

HOMES: dict[Role, str] = {"auditor": "/console", "operator": "/desk"}
FOR_BOTH = frozenset({"/console/password"})
DOORS = ("/console/sign-in", "/console/sign-out", "/console/enrolment")  # nobody wants to come back to these
# One slash, then words: no scheme, no host, no backslash, no control character, and no way up.
INSIDE = re.compile(r"/(console|desk)(/[A-Za-z0-9_~-][A-Za-z0-9._~%-]*)*(\?[!-\[\]-~]*)?", re.ASCII)
MOST_TEXT = 1000  # characters of any field; a password has at most 200


def destination(wanted: str, role: Role) -> str:
    """Where to go after a sign-in: the page that was asked for, if it is one of ours and this role's; else home."""
    home = HOMES[role]
    path = wanted.partition("?")[0]
    if INSIDE.fullmatch(wanted) is None or path.startswith(DOORS):
        return home
    return wanted if path == home or path.startswith(f"{home}/") or path in FOR_BOTH else home


async def _text(request: Request, name: str) -> str:
    value = (await fields(request)).get(name, "")
    return value[:MOST_TEXT] if isinstance(value, str) else ""


def _runtime(request: Request) -> Runtime:
    rt: Runtime = request.app.state.rt
    return rt


# ------------------------------------------------------------------------------------------------ in, home and out


@router.get("/console/sign-in", name="sign_in_form")
async def sign_in_form(request: Request, next: str = "", out: str = "") -> Response:  # noqa: A002 - its public name
    staff = await visitors.find_staff(request)
    if staff is not None:
        return RedirectResponse(destination(next, staff.role), 303)
    return page(request, "session/sign_in.html", next=next[:MOST_TEXT], name="", refused=False, is_out=bool(out))


@router.post("/console/sign-in", name="sign_in")
async def sign_in(request: Request) -> Response:
    rt, wanted, name = _runtime(request), await _text(request, "next"), await _text(request, "name")
    password, code = await _text(request, "password"), await _text(request, "code")
    try:
        secret = await accounts.sign_in(rt, name, password, code, visitors.address_of(request))
    except NotAuthorized:
        return page(request, "session/sign_in.html", 403, next=wanted, name=name, refused=True, is_out=False)
    staff = await accounts.staff_of(rt, secret)
    await accounts.sign_out(rt, request.cookies.get(visitors.SESSION, ""))  # whoever was signed in here before
    return _signed_in(RedirectResponse(destination(wanted, staff.role), 303), secret)


def _signed_in(response: Response, secret: str) -> Response:
    visitors.set_session_cookie(response, secret)
    return response


@router.post("/console/sign-out", name="sign_out")
async def sign_out(request: Request, staff: Staffed) -> Response:
    rt = _runtime(request)
    if await _text(request, "everywhere"):
        await accounts.end_all(rt, staff, "signed out everywhere")
    else:
        await accounts.sign_out(rt, request.cookies.get(visitors.SESSION, ""))
    response = RedirectResponse("/console/sign-in?out=1", 303)
    visitors.clear_session_cookie(response)
    return response


@router.get("/console", name="console_home")
async def console_home(request: Request, staff: Staffed) -> Response:
    if staff.role != "auditor":
        return RedirectResponse(HOMES[staff.role], 303)
    return page(request, "session/home.html")


# ------------------------------------------------------------------------------------------------------- passwords


@router.get("/console/password", name="password_form")
async def password_form(request: Request, done: str = "") -> Response:
    return page(request, "session/password.html", wrong=None, is_done=bool(done))


@router.post("/console/password", name="password")
async def password(request: Request, staff: Staffed) -> Response:
    old, code = await _text(request, "old"), await _text(request, "code")
    try:
        new = await _new_password(request)
        secret = await accounts.change_password(_runtime(request), staff, old, new, code)
    except (Invalid, NotAuthorized) as error:
        return page(request, "session/password.html", _status(error), wrong=error.code, is_done=False)
    return _signed_in(RedirectResponse("/console/password?done=1", 303), secret)


async def _new_password(request: Request) -> str:
    new = await _text(request, "new")
    if new != await _text(request, "again"):
        raise Invalid("The two passwords differ.", code="password-differs")
    return new


def _status(error: Invalid | NotAuthorized) -> int:
    return 400 if isinstance(error, Invalid) else 403


# ------------------------------------------------------------------------------------------------------- enrolment


def staff_ticket(request: Request, ticket: str, name: str, owner: str) -> Response:
    """The first page behind the link of an auditor or operator. Nothing is used up before they press the button."""
    return page(request, "session/ticket.html", ticket=ticket, name=name, is_operator=_is_operator(owner))


@router.post("/console/enrolment", name="open_staff_enrolment")
async def open_staff_enrolment(request: Request) -> Response:
    ticket, place = await _text(request, "ticket"), visitors.address_of(request)
    found = await accounts.open_enrolment(_runtime(request), ticket, visitors.visit_hash(request), place)
    return _enrolling(request, ticket, found, None)


@router.post("/console/enrolment/complete", name="complete_staff_enrolment")
async def complete_staff_enrolment(request: Request) -> Response:
    ticket, owner, name = [await _text(request, each) for each in ("ticket", "owner", "name")]
    code = await _text(request, "code")
    try:
        staff, secret = await accounts.complete_enrolment(
            _runtime(request), ticket, visitors.visit_hash(request), owner, await _new_password(request), code,
            visitors.address_of(request))
    except (Invalid, NotAuthorized) as error:
        if error.code == "ticket":
            raise
        return _enrolling(request, ticket, Enrolling(owner, name, None), error)
    return _signed_in(RedirectResponse(HOMES[staff.role], 303), secret)


def _enrolling(
    request: Request, ticket: str, found: Enrolling, error: Invalid | NotAuthorized | None
) -> Response:
    """The code of the new seed and the first password. After a mistake the seed is not shown again."""
    code = segno.make(found.uri, error="m").svg_data_uri(scale=5, border=4, light="#fff") if found.uri else None
    return page(
        request, "session/enrolment.html", 200 if error is None else _status(error), ticket=ticket, found=found,
        qr=code, seed=_spaced(found.uri) if found.uri else None, wrong=error.code if error else None,
        is_operator=_is_operator(found.owner))


def _spaced(uri: str) -> str:
    """The seed for who types it: base32, in groups of four."""
    seed = re.search(r"[?&]secret=([A-Z2-7]+)", uri)
    return " ".join(re.findall(".{1,4}", seed[1])) if seed else ""


def _is_operator(owner: str) -> bool:
    return owner.startswith("op_")
