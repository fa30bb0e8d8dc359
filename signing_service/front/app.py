"""The web application of the front: layers, routes, description. `create_app` fails rather than start with a hole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from signing_service.front import audit_routes, batch_routes, health, links, problems, rest, tokens, tsa
from signing_service.front.callers import Guarded, include, permission_of
from signing_service.front.limits import Bounds, Crowd, Envelope, ProbesOnly, Uploads
from signing_service.front.runtime import Runtime
from signing_service.front.threshold import Threshold
from signing_service.front.web import (
    asset_pages,
    audience,
    console_pages,
    desk_pages,
    enrolment_pages,
    figures_pages,
    phone_pages,
    session_pages,
    trust_pages,
)

VERSION = "1.0.0"  # of the description; /api/v1 only grows
ABOUT = """Sign documents with keys that never leave an HSM, each time with the signatory's own one-time code.

1. `POST /oauth2/token` with the client's id and secret gives an access token.
2. `POST /api/v1/signing-requests` submits a document for a signatory.
3. The signatory looks at the document, compares the matching code and tells the one-time code.
4. `POST /api/v1/signing-requests/{request_id}/confirm` signs it; `…/signed-document` is the result.

Every refusal is `application/problem+json`; programs look at its `code`."""

description = APIRouter(route_class=Guarded, tags=["description"])


@description.get("/api/v1/openapi.json", summary="This description")
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


ROUTERS = (
    tokens.router, rest.router, batch_routes.router, audit_routes.router, audit_routes.public, tsa.router,
    health.router, description,
)


SCREENS = (
    asset_pages.router, phone_pages.router, enrolment_pages.router, session_pages.router, console_pages.router,
    figures_pages.router, trust_pages.router, desk_pages.router,
)


def create_app(rt: Runtime, routers: Iterable[APIRouter] = ROUTERS) -> ASGIApp:
    """As `create_house`, for whoever knocks at nothing but the application."""
    return create_house(rt, routers)[0]


def create_house(rt: Runtime, routers: Iterable[APIRouter] = ROUTERS) -> tuple[ASGIApp, Threshold]:
    """The application over an open runtime, and its threshold.

    LookupError when a route has no permission, or a permission no route.
    """
    app = FastAPI(title="Signing service", version=VERSION, description=ABOUT, openapi_url=None, docs_url=None,
                  redoc_url=None, generate_unique_id_function=lambda route: route.name)
    app.state.rt = rt
    app.state.refusals = tokens.recording()
    include(app, routers)
    problems.install(app)
    audience.include(app, SCREENS)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]  # FastAPI's own way of extending it
    # From the inside to the outside: how much of one client, who it is, a size and a time, room, which door, a name.
    uploads = Uploads(app, rt.settings.most_uploads)
    crowd = Crowd(Bounds(tokens.Authenticate(uploads, rt), rt.settings), rt.settings.most_requests)
    return Envelope(ProbesOnly(crowd, rt.settings.probe_port)), Threshold(crowd, uploads, rt.recognised, rt.clock)


def _described(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        _complete(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _complete(schema: dict[str, Any]) -> None:
    """Add what FastAPI cannot know: how to authenticate, the problem, that our validation answers 400, what follows."""
    components = schema.setdefault("components", {})
    problem = problems.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    components.setdefault("schemas", {}).update(problem.pop("$defs", {}) | {"Problem": problem})
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "client": {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": "/oauth2/token", "scopes": {}}}},
    }
    schema["security"] = [{"token": []}]
    for operation in (each for path in schema["paths"].values() for each in path.values()):
        operation["responses"].pop("422", None)
        if permission_of(operation["operationId"]).public:
            operation["security"] = []
        links.complete(operation)
