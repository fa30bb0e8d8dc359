"""Who is there: cookies in, people out.

Three cookies, all `__Host-` (RFC 6265bis 4.1.3.2: Secure, this host only), HttpOnly and SameSite=Lax: `phone` says
which phone this is, `session` who signed in at the console, `visit` is a random number that forms and enrolments
are bound to. Which language somebody reads is a fourth.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request
from starlette.responses import Response

from signing_service import accounts, phones
from signing_service.accounts import Staff
from signing_service.errors import Unauthenticated
from signing_service.front.doorkeeper import place_of
from signing_service.front.runtime import Runtime
from signing_service.people import Official

PHONE, SESSION, VISIT, LANGUAGE = "__Host-phone", "__Host-session", "__Host-visit", "__Host-lang"
PHONE_SECONDS = 400 * 86_400  # as long as browsers keep a cookie at all
LANGUAGES = ("vi", "en")


class SignInFirst(Exception):
    """Somebody must sign in, and then comes back."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.location = location

    @classmethod
    def to(cls, request: Request) -> SignInFirst:
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        wanted = f"?next={quote(here, safe='')}" if request.method == "GET" else ""
        return cls(f"/console/sign-in{wanted}")


async def find_official(request: Request) -> Official | None:
    """The official whose phone this is; None for a phone that is not, or no longer, known."""
    if not hasattr(request.state, "official"):
        request.state.official = await _official(request)
    found: Official | None = request.state.official
    return found


async def find_staff(request: Request) -> Staff | None:
    """The auditor or operator whose session this is; None where there is none, or it has ended."""
    if not hasattr(request.state, "staff"):
        request.state.staff = await _staff(request)
    found: Staff | None = request.state.staff
    return found


async def _official(request: Request) -> Official | None:
    shown = request.cookies.get(PHONE)
    try:
        return await phones.official_of(_runtime(request), shown) if shown else None
    except Unauthenticated:
        return None


async def _staff(request: Request) -> Staff | None:
    shown = request.cookies.get(SESSION)
    try:
        return await accounts.staff_of(_runtime(request), shown) if shown else None
    except Unauthenticated:
        return None


def _runtime(request: Request) -> Runtime:
    rt: Runtime = request.app.state.rt
    return rt


def address_of(request: Request) -> str:
    """Where the visitor is, for counting what one place tries: an IPv4 address, or the network of an IPv6 one.

    Of our own proxies, and of nobody else, we believe what they say: the last address they added (RFC 7239 7.4 warns
    of the others).
    """
    peer = request.client.host if request.client else "unknown"
    said = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return place_of(said if said and _is_ours(peer, _runtime(request).settings.proxies) else peer)


def _is_ours(peer: str, proxies: tuple[str, ...]) -> bool:
    with suppress(ValueError):
        return any(ip_address(peer) in ip_network(each) for each in proxies)
    return False


async def official(request: Request) -> Official:  # async: FastAPI sends others to a thread
    """The official of a screen that is for officials."""
    found: Official | None = getattr(request.state, "official", None)
    if found is None:
        raise Unauthenticated("This phone is not enrolled, or was replaced.", code="phone")
    return found


async def staff(request: Request) -> Staff:  # as above
    """Whoever is signed in, on a screen that is for them."""
    found: Staff | None = getattr(request.state, "staff", None)
    if found is None:
        raise SignInFirst.to(request)
    return found


Officially = Annotated[Official, Depends(official)]
Staffed = Annotated[Staff, Depends(staff)]
Auditing = Staffed   # the audience of the screen has seen to the role
Operating = Staffed


# --------------------------------------------------------------------------------------------------------- cookies


def identity(request: Request) -> tuple[str, str, str]:
    """What a form's token is bound to."""
    return visit(request), request.cookies.get(PHONE, ""), request.cookies.get(SESSION, "")


def has_visit(request: Request) -> bool:
    return bool(request.cookies.get(VISIT))


def visit(request: Request) -> str:
    """The visit's random number; a fresh one, which the answer sets, where the browser has none yet."""
    if not hasattr(request.state, "visit"):
        request.state.visit = request.cookies.get(VISIT) or secrets.token_hex(16)
    number: str = request.state.visit
    return number


def visit_hash(request: Request) -> str:
    """What the signer is told of the visit, so that a broken-off enrolment goes on in this browser only."""
    return sha256(visit(request).encode()).hexdigest()


def keep_visit(request: Request, response: Response) -> None:
    if not has_visit(request):
        _set(response, VISIT, visit(request), None)


def set_phone_cookie(response: Response, phone_id: str, secret: str) -> None:
    """From now on this browser is that phone. The secret is drawn by us, never taken from the browser."""
    _set(response, PHONE, f"{phone_id}.{secret}", PHONE_SECONDS)


def clear_phone_cookie(response: Response) -> None:
    _set(response, PHONE, "", 0)


def set_session_cookie(response: Response, secret: str) -> None:
    """Until the browser is closed, or the session ends on the server."""
    _set(response, SESSION, secret, None)


def clear_session_cookie(response: Response) -> None:
    _set(response, SESSION, "", 0)


def language(request: Request) -> str:
    """Asked for in the address, else remembered, else Vietnamese."""
    for said in (request.query_params.get("lang"), request.cookies.get(LANGUAGE)):
        if said in LANGUAGES:
            return said
    return LANGUAGES[0]


def keep_language(request: Request, response: Response) -> None:
    said = request.query_params.get("lang")
    if said in LANGUAGES and said != request.cookies.get(LANGUAGE):
        _set(response, LANGUAGE, said, PHONE_SECONDS)


def _set(response: Response, name: str, value: str, seconds: int | None) -> None:
    response.set_cookie(name, value, max_age=seconds, path="/", secure=True, httponly=True, samesite="lax")
