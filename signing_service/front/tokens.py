"""OAuth 2.0 client credentials (RFC 6749 4.4) and bearer tokens (RFC 6750)."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from signing_service import access
from signing_service.errors import SigningError, Unauthenticated
from signing_service.front import problems, schemas
from signing_service.front.callers import Caller, Guarded, Role
from signing_service.front.runtime import Runtime
from signing_service.front.tally import Tally

RECORDED_REFUSALS = 60  # a minute; more are counted and not put on record
FORM = "application/x-www-form-urlencoded"
NO_STORE = {"Cache-Control": "no-store"}  # RFC 6749 5.1

router = APIRouter(route_class=Guarded, tags=["access"])


class OAuthError(Exception):
    """A refusal in OAuth's own words (RFC 6749 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error, self.description, self.status = error, description, status

    def answer(self) -> Response:
        headers = dict(NO_STORE)
        if self.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="signing-service", charset="UTF-8"'
        return JSONResponse({"error": self.error, "error_description": self.description}, self.status, headers)


# ------------------------------------------------------------------------------------------------ getting a token

OAUTH_ERROR = {"application/json": {"schema": {
    "type": "object", "required": ["error", "error_description"],
    "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}}}}}
REFUSED: dict[str, Any] = {"description": "Refused, as RFC 6749 5.2 has it.", "content": OAUTH_ERROR}
# Who shows an access token that is none is refused before anybody asks what for.
REFUSED_OR_TOKEN = REFUSED | {"content": OAUTH_ERROR | schemas.problems()[401]["content"]}


@router.post(
    "/oauth2/token", name="issue_token", summary="An access token for a client",
    description="Client credentials grant. The client authenticates with HTTP Basic (id and secret each "
    "form-urlencoded first, RFC 6749 2.3.1) or with `client_id` and `client_secret` in the form.",
    response_class=JSONResponse,
    responses={200: {"description": "The token", "content": {"application/json": {"example": {
        "access_token": "st_…", "token_type": "Bearer", "expires_in": 3600}}}}, 400: REFUSED, 401: REFUSED_OR_TOKEN,
        **{status: described for status, described in schemas.problems(413).items() if status != 401}},
    openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": {
        "type": "object", "required": ["grant_type"], "properties": {
            "grant_type": {"type": "string", "enum": ["client_credentials"]},
            "client_id": {"type": "string"}, "client_secret": {"type": "string"},
        }}}}}},
)
async def issue_token(request: Request) -> Response:
    rt: Runtime = request.app.state.rt
    refusals: Tally = request.app.state.refusals
    try:
        form = _form(request.headers.get("content-type", ""), await request.body())
        client_id, secret = _credentials(request.headers.get("authorization"), form)
        if form.get("grant_type") != "client_credentials":
            raise OAuthError("unsupported_grant_type", "Only client_credentials is offered.")
        if form.get("scope"):
            raise OAuthError("invalid_scope", "There are no scopes: what a client may do follows from its role.")
        token = await access.issue(rt, client_id, secret, refusals)
    except OAuthError as error:
        return error.answer()
    except Unauthenticated as error:
        return OAuthError("invalid_client", error.message, 401).answer()
    return JSONResponse(
        {"access_token": token, "token_type": "Bearer", "expires_in": rt.settings.token_seconds}, headers=NO_STORE)


def _form(media_type: str, body: bytes) -> dict[str, str]:
    if media_type.partition(";")[0].strip().lower() != FORM:
        raise OAuthError("invalid_request", f"The body must be {FORM}.")
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body), max_num_fields=20)
    except ValueError as error:
        raise OAuthError("invalid_request", "The form cannot be read.") from error
    if len({name for name, _ in pairs}) != len(pairs):
        raise OAuthError("invalid_request", "A parameter occurs twice.")  # RFC 6749 3.2
    return dict(pairs)


def _credentials(header: str | None, form: dict[str, str]) -> tuple[str, str]:
    """Exactly one way of authenticating (RFC 6749 2.3)."""
    in_form = "client_secret" in form
    if header is not None and in_form:
        raise OAuthError("invalid_request", "Authenticate in one way only.")
    if header is not None:
        return _basic(header)
    if in_form and "client_id" in form:
        return form["client_id"], form["client_secret"]
    raise OAuthError("invalid_client", "The client does not authenticate itself.", 401)


def _basic(header: str) -> tuple[str, str]:
    """RFC 7617, with id and secret form-urlencoded before (RFC 6749 2.3.1)."""
    scheme, _, value = header.partition(" ")
    try:
        text = base64.b64decode(value.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise OAuthError("invalid_client", "The Authorization header cannot be read.", 401) from error
    name, colon, secret = text.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "The Authorization header is not HTTP Basic.", 401)
    return unquote_plus(name), unquote_plus(secret)


# ----------------------------------------------------------------------------------------------- showing a token


class Authenticate:
    """ASGI: who is asking is known before a body is read. A wrong token ends here; without one, nobody is asking."""

    def __init__(self, app: ASGIApp, rt: Runtime) -> None:
        self._app, self._rt = app, rt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            state = scope.setdefault("state", {})
            try:
                state["caller"] = await self._caller(scope)
            except SigningError as error:
                await problems.answer(error, state.get("request_id"))(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller | None:
        shown = [value for name, value in scope["headers"] if name == b"authorization"]
        if not shown:
            return None
        scheme, _, value = shown[0].decode("latin-1").partition(" ")
        if scheme.lower() == "basic" and len(shown) == 1:
            return None  # a client's own secret: the token endpoint looks at it
        if scheme.lower() != "bearer" or len(shown) > 1:
            raise Unauthenticated("Show one access token: Authorization: Bearer …", code="token")
        holder = await access.holder_of(self._rt, value.strip())
        return Caller(holder.client_id, holder.name, Role(holder.role), holder.agencies)


def recording() -> Tally:
    """How many refusals of one client are put on record: anybody can cause them."""
    return Tally(RECORDED_REFUSALS, 60.0)
