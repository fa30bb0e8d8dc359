"""REST's one table from a kind of refusal to an answer: problem+json (RFC 9457) with a stable `code`.

A kind without a line here is a hole that a test finds. What is not a refusal of ours is a 500 with an id and no
detail: the detail is in the log, under that id.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from signing_service import errors

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[errors.SigningError], HTTPStatus] = {
    errors.Invalid: HTTPStatus.BAD_REQUEST,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.Unsupported: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.NotAuthorized: HTTPStatus.FORBIDDEN,
    errors.Denied: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.WrongState: HTTPStatus.CONFLICT,
    errors.TooMany: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "unsupported"}  # of the router's own


class WrongField(BaseModel):
    """One wrong field of the request."""

    field: str
    message: str


class Finding(BaseModel):
    """One rule of the policy that did not permit, in words that may be shown."""

    rule: str
    why: str


class Problem(BaseModel):
    """RFC 9457. Programs look at `code`; people read `detail`."""

    model_config = ConfigDict(json_schema_extra={"example": {
        "type": "about:blank", "title": "Forbidden", "status": 403, "code": "denied",
        "detail": "The policy does not permit this document.", "request_id": "rq_0193f2a6c7d47aa08f3b6f6f1a2b3c4d",
        "findings": [{"rule": "hours", "why": "sat 23:10 local time; signing hours are mon, tue from 07:00 to 18:00"}],
    }})

    type: str = "about:blank"
    title: str
    status: int
    code: str = Field(description="A stable word for programs.")
    detail: str = Field(description="For people; may be shown to them.")
    request_id: str | None = Field(default=None, description="Names this request in the log; quote it to operators.")
    errors: list[WrongField] | None = Field(default=None, description="The wrong fields, on a 400.")
    findings: list[Finding] | None = Field(default=None, description="The rules that did not permit, on a 403.")
    tries_left: int | None = Field(default=None, description="Wrong codes left before a lock, where a code was wrong.")
    retry_after: int | None = Field(default=None, description="Seconds; also in the header Retry-After.")


def status_of(error: errors.SigningError) -> HTTPStatus:
    """KeyError for a kind that is not in the table."""
    return STATUS[type(error)]


def answer(error: errors.SigningError, request_id: str | None = None) -> Response:
    """A refusal of ours as an HTTP answer."""
    status = status_of(error)
    problem = Problem(
        title=status.phrase, status=status, code=error.code, detail=error.message, request_id=request_id,
        errors=[WrongField(field=each.field, message=each.message) for each in getattr(error, "errors", ())] or None,
        findings=[Finding(rule=each.rule, why=each.why) for each in getattr(error, "findings", ())] or None,
        tries_left=getattr(error, "tries_left", None), retry_after=getattr(error, "retry_after", None),
    )
    return rendered(problem, _headers(error))


def rendered(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(problem.model_dump(exclude_none=True), ensure_ascii=False).encode()
    return Response(body, problem.status, dict(headers or {}), media_type=MEDIA_TYPE)


def internal(request_id: str | None) -> Response:
    """Something went wrong that nobody foresaw: an id, and no detail."""
    return rendered(Problem(
        title="Internal Server Error", status=500, code="internal", request_id=request_id,
        detail="Something went wrong here. An operator finds it in the log under the request id.",
    ))


def _headers(error: errors.SigningError) -> dict[str, str]:
    if isinstance(error, errors.Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="signing-service"'}  # RFC 6750 3
    wait = getattr(error, "retry_after", None)
    return {} if wait is None else {"Retry-After": str(max(1, wait))}


def of_validation(found: Iterable[Any]) -> errors.Invalid:
    """What pydantic found wrong, without the values themselves: one of them may be a code."""
    wrong = [errors.FieldError(_field(each["loc"]), str(each["msg"])) for each in found]
    return errors.Invalid("The request is not as described: see `errors`.", errors=wrong)


def _field(location: Iterable[str | int]) -> str:
    names = [str(part) for part in location]
    return ".".join(names[1:] if names[:1] in (["body"], ["query"], ["path"], ["header"]) else names) or "body"


def install(app: FastAPI) -> None:
    """Answer every exception of this application by the table."""

    @app.exception_handler(errors.SigningError)
    async def refused(request: Request, error: errors.SigningError) -> Response:
        if isinstance(error, errors.Unavailable):
            log.warning("%s: %s", request_id_of(request), error.message, exc_info=error)
        return answer(error, request_id_of(request))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(of_validation(error.errors()), request_id_of(request))

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        return of_routing(request, error)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        return internal(request_id_of(request))  # logged by the outermost layer, which sees it next


def of_routing(request: Request, error: HTTPException) -> Response:
    """What no route takes, as a problem."""
    status = HTTPStatus(error.status_code)
    return rendered(Problem(
        title=status.phrase, status=status, code=CODES.get(status, "invalid"), detail=str(error.detail),
        request_id=request_id_of(request),
    ), error.headers)


def request_id_of(request: Request) -> str | None:
    value = request.scope.get("state", {}).get("request_id")
    return value if isinstance(value, str) else None
