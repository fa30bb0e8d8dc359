"""A refusal as a page: what happened, and what to do now, in the visitor's language."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import Request
from starlette.responses import Response

from signing_service.errors import Denied, NotAuthorized, NotFound, SigningError, TooMany, Unavailable
from signing_service.front import problems
from signing_service.front.web import words
from signing_service.front.web.pages import page

MACHINES = ("/api/", "/oauth2/", "/tsa", "/healthz", "/readyz", "/metrics", "/checkpoint")


def page_of(request: Request, error: SigningError) -> Response:
    """The page of one refusal, with the status of its kind."""
    status = problems.status_of(error)
    response = page(
        request, "mistake.html", status, key=key_of(error), detail=error.message,
        tries_left=getattr(error, "tries_left", None), wait=getattr(error, "retry_after", None),
        findings=error.findings if isinstance(error, Denied) else (),
    )
    if isinstance(error, (TooMany, Unavailable)):
        response.headers["Retry-After"] = str(max(1, error.retry_after))
    return response


def key_of(error: SigningError) -> str:
    """The sentence for a refusal: by its code, else by its kind. Every kind has one."""
    return next(key for key in (f"error.{error.code}", f"error.kind.{_kind(error)}") if words.has(key))


def _kind(error: SigningError) -> str:
    return next(kind.__name__ for kind in type(error).__mro__ if words.has(f"error.kind.{kind.__name__}"))


def page_of_status(request: Request, status: int) -> Response:
    """The page for an address or a method that nothing answers."""
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return page_of(request, NotFound("There is no such page."))
    return page_of(request, NotAuthorized("This cannot be done here."))


def page_of_the_unforeseen(request: Request) -> Response:
    """A reference, and no detail: that is in the log."""
    return page(request, "mistake.html", HTTPStatus.INTERNAL_SERVER_ERROR, key="error.internal",
                detail="Something went wrong here. An operator finds it in the log under the reference.",
                tries_left=None, wait=None, findings=())


def is_for_people(request: Request) -> bool:
    """Programs get problems. Who asks for a page, somewhere that is not a program's place, gets a page."""
    path = request.url.path
    return not path.startswith(MACHINES) and "text/html" in request.headers.get("accept", "")
