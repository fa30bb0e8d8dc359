"""Who may see which screen. One table; a screen that is not in it does not exist.

A screen finds out who is there before it reads a body, lets nothing change that another site sent here, and answers
every refusal with a page.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from signing_service.errors import Invalid, NotFound, SigningError, Unauthenticated
from signing_service.front import problems
from signing_service.front.web import forgery, mistakes, visitors
from signing_service.front.web.pages import fields

SAFE = frozenset({"GET", "HEAD"})
TAKES_A_FILE = frozenset({"console_document"})


class Audience(StrEnum):
    """Who may see a screen."""

    EVERYBODY = "everybody"
    OFFICIAL = "official"  # somebody whose phone is enrolled
    AUDITOR = "auditor"
    OPERATOR = "operator"
    STAFF = "staff"        # auditors and operators


SCREENS: Mapping[str, Audience] = MappingProxyType({
    "asset": Audience.EVERYBODY,

    "home": Audience.EVERYBODY,
    "waiting": Audience.OFFICIAL,
    "look": Audience.OFFICIAL,
    "picture": Audience.OFFICIAL,
    "confirm_shown": Audience.OFFICIAL,
    "refuse_shown": Audience.OFFICIAL,
    "ask_not_me": Audience.OFFICIAL,
    "not_me": Audience.OFFICIAL,
    "shown_document": Audience.OFFICIAL,
    "signed_document": Audience.OFFICIAL,
    "review": Audience.OFFICIAL,
    "confirm_review": Audience.OFFICIAL,
    "results": Audience.OFFICIAL,
    "me": Audience.OFFICIAL,
    "ask_suspend": Audience.OFFICIAL,
    "suspend": Audience.OFFICIAL,
    "ask_stop": Audience.EVERYBODY,
    "stop": Audience.EVERYBODY,                      # behind a stop code
    "offline": Audience.EVERYBODY,
    "worker": Audience.EVERYBODY,

    "ticket": Audience.EVERYBODY,                    # the link itself is the right
    "redeem_ticket": Audience.EVERYBODY,
    "complete_phone": Audience.EVERYBODY,            # behind the phone that was bound

    "sign_in_form": Audience.EVERYBODY,
    "sign_in": Audience.EVERYBODY,
    "open_staff_enrolment": Audience.EVERYBODY,      # behind a ticket
    "complete_staff_enrolment": Audience.EVERYBODY,  # behind a ticket, too, and a code
    "sign_out": Audience.STAFF,
    "console_home": Audience.STAFF,
    "password_form": Audience.STAFF,
    "password": Audience.STAFF,

    "figures": Audience.AUDITOR,
    "figures_print": Audience.AUDITOR,
    "figures_csv": Audience.AUDITOR,
    "figures_jsonl": Audience.AUDITOR,

    "trust": Audience.AUDITOR,
    "proof_newest": Audience.AUDITOR,
    "proof_checkpoint": Audience.AUDITOR,
    "proof_note": Audience.AUDITOR,
    "proof_consistency": Audience.AUDITOR,
    "proof_inclusion": Audience.AUDITOR,

    "desk_home": Audience.OPERATOR,
    "desk_people": Audience.OPERATOR,
    "desk_person": Audience.OPERATOR,
    "desk_enrol_form": Audience.OPERATOR,
    "desk_enrol": Audience.OPERATOR,
    "desk_link_form": Audience.OPERATOR,
    "desk_link": Audience.OPERATOR,
    "desk_act_form": Audience.OPERATOR,
    "desk_act": Audience.OPERATOR,

    "console_search": Audience.AUDITOR,
    "console_export": Audience.AUDITOR,
    "console_entry": Audience.AUDITOR,
    "console_story": Audience.AUDITOR,
    "console_evidence": Audience.AUDITOR,
    "console_document_form": Audience.AUDITOR,
    "console_document": Audience.AUDITOR,            # looked at and not kept
})


class Screen(APIRoute):
    """A route of the screens. LookupError while it is declared, if the table does not name it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        audience = audience_of(self.name)

        async def shown(request: Request) -> Response:
            try:
                await _admit(request, audience)
                if request.method not in SAFE:
                    forgery.check_site(request)
                    _check_kind(request, self.name)
                    forgery.check_token(request, await fields(request))
                return await handle(request)
            except visitors.SignInFirst as first:
                return RedirectResponse(first.location, 303)
            except RequestValidationError as error:
                return mistakes.page_of(request, problems.of_validation(error.errors()))
            except SigningError as error:
                return mistakes.page_of(request, error)
            finally:
                await request.close()  # files of a form that was read, whatever became of it

        return shown


def _check_kind(request: Request, screen: str) -> None:
    """A form with a file may be as large as a document, and its fields stand in memory: nobody sends one elsewhere."""
    if screen not in TAKES_A_FILE and request.headers.get("content-type", "").lower().startswith("multipart/"):
        raise Invalid("This form carries no file.", code="form")


def audience_of(screen: str) -> Audience:
    if screen not in SCREENS:
        raise LookupError(f"the screen {screen!r} declares no audience: name it in SCREENS")
    return SCREENS[screen]


async def _admit(request: Request, audience: Audience) -> None:
    """Find out who is there. Unauthenticated or SignInFirst where it must be known and is not."""
    match audience:
        case Audience.EVERYBODY:
            return
        case Audience.OFFICIAL:
            if await visitors.find_official(request) is None:
                raise Unauthenticated("This phone is not enrolled, or was replaced.", code="phone")
        case _:
            staff = await visitors.find_staff(request)
            if staff is None:
                raise visitors.SignInFirst.to(request)
            if audience is not Audience.STAFF and staff.role != audience.value:
                raise NotFound("There is no such page.")  # the other role's pages are not even there


def include(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Put the screens into the application, if routes and SCREENS name each other exactly."""
    routers = tuple(routers)
    names: list[str] = []
    for route in (route for router in routers for route in router.routes):
        if not isinstance(route, Screen):
            raise LookupError(f"{route!r} is not a Screen")  # noqa: TRY004 - one kind for every hole
        names.append(route.name)
    if len(names) != len(set(names)) or set(names) != set(SCREENS):
        raise LookupError(f"screens and their table differ: {', '.join(sorted(set(SCREENS) ^ set(names)))}")
    for router in routers:
        app.include_router(router, include_in_schema=False)
    _answer_lost_visitors(app)


def _answer_lost_visitors(app: FastAPI) -> None:
    """What no route takes: a page for people, a problem for programs."""
    @app.exception_handler(HTTPException)
    async def lost(request: Request, error: HTTPException) -> Response:
        if mistakes.is_for_people(request):
            return mistakes.page_of_status(request, error.status_code)
        return problems.of_routing(request, error)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        """Logged by the outermost layer, which sees it next."""
        if mistakes.is_for_people(request):
            return mistakes.page_of_the_unforeseen(request)
        return problems.internal(problems.request_id_of(request))
