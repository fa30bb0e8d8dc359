"""Who is asking, and may they? One table; a route that is not in it does not exist.

Everything a route gives is further narrowed by the queries of its use case: what belongs to another client is
NotFound, so that nobody learns what others have.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from signing_service.errors import NotAuthorized, Unauthenticated
from signing_service.front.uploads import StreamedRequest


class Role(StrEnum):
    """What a client was registered as."""

    SUBMITTER = "submitter"
    AUDITOR = "auditor"
    OPERATOR = "operator"


@dataclass(frozen=True)
class Caller:
    """An authenticated client. A client alone can never cause a signature: that takes a person's code."""

    client_id: str
    name: str
    role: Role
    agencies: frozenset[str]  # codes it may submit for; "*": every agency

    @property
    def actor(self) -> str:
        """As entries name it."""
        return f"client:{self.client_id}"


@dataclass(frozen=True)
class Permission:
    """The roles that may use a route; `public` routes are open to everybody."""

    roles: frozenset[Role] = frozenset()
    public: bool = False

    def check(self, caller: Caller | None) -> None:
        """Raise Unauthenticated or NotAuthorized."""
        if self.public:
            return
        if caller is None:
            raise Unauthenticated("This needs an access token: Authorization: Bearer …", code="token-missing")
        if caller.role not in self.roles:
            raise NotAuthorized(f"This is not for a client that is {caller.role}.", code="role")


PUBLIC = Permission(public=True)
SUBMITTERS = Permission(frozenset({Role.SUBMITTER}))
AUDITORS = Permission(frozenset({Role.AUDITOR}))
WATCHERS = Permission(frozenset({Role.AUDITOR, Role.OPERATOR}))

PERMISSIONS: Mapping[str, Permission] = MappingProxyType({
    "issue_token": PUBLIC,  # it authenticates by the client's secret
    "openapi": PUBLIC,

    "submit": SUBMITTERS,
    "dry_run": SUBMITTERS,
    "list_requests": SUBMITTERS,
    "get_request": SUBMITTERS,
    "withdraw": SUBMITTERS,
    "refuse": SUBMITTERS,
    "confirm": SUBMITTERS,
    "get_document": SUBMITTERS,
    "get_signed_document": SUBMITTERS,
    "get_receipt": SUBMITTERS,
    "create_batch": SUBMITTERS,
    "get_batch": SUBMITTERS,
    "confirm_batch": SUBMITTERS,

    "list_entries": AUDITORS,
    "get_entry": AUDITORS,
    "export_entries": AUDITORS,
    "find_document": AUDITORS,
    "prove_inclusion": AUDITORS,
    "prove_consistency": AUDITORS,
    "monthly_report": WATCHERS,
    "checkpoint": PUBLIC,      # what an auditor keeps elsewhere says nothing about anybody
    "checkpoint_key": PUBLIC,

    "timestamp": PUBLIC,       # without a token only where the settings say so: RFC 3161 clients have none
    "live": PUBLIC,
    "ready": PUBLIC,
    "show_metrics": PUBLIC,    # numbers without names; who may reach it is for the network to say
})


class Guarded(APIRoute):
    """A route that asks its permission before it reads the body. LookupError while it is declared, if it has none."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        permission = permission_of(self.name)

        async def guarded(request: Request) -> Response:
            permission.check(request.scope.get("state", {}).get("caller"))
            return await handle(StreamedRequest(request.scope, request.receive))

        return guarded


def permission_of(route: str) -> Permission:
    if route not in PERMISSIONS:
        raise LookupError(f"the route {route!r} declares no permission: name it in PERMISSIONS")
    return PERMISSIONS[route]


async def current(request: Request) -> Caller:  # async: FastAPI sends others to a thread
    """The caller of a route that is not public."""
    caller: Caller | None = request.scope.get("state", {}).get("caller")
    if caller is None:
        raise Unauthenticated("This needs an access token: Authorization: Bearer …", code="token-missing")
    return caller


Known = Annotated[Caller, Depends(current)]


def routes_of(routers: Iterable[APIRouter]) -> list[APIRoute]:
    """Every route of these routers. LookupError for one that is not guarded, or whose name is taken."""
    routes: list[APIRoute] = []
    for route in (route for router in routers for route in router.routes):
        if not isinstance(route, Guarded):
            raise LookupError(f"{route!r} is not a Guarded route")  # noqa: TRY004 - one kind for every hole
        if route.name in {other.name for other in routes}:
            raise LookupError(f"two routes are called {route.name!r}, so one permission stands for both")
        routes.append(route)
    return routes


def include(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Put the routers into the application, if routes and permissions name each other exactly."""
    routers = tuple(routers)
    names = {route.name for route in routes_of(routers)}
    if names != set(PERMISSIONS):
        raise LookupError(f"permissions without a route: {', '.join(sorted(set(PERMISSIONS) - names))}")
    for router in routers:
        app.include_router(router)
