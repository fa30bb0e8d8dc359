"""Who may use which route: the whole matrix, and what belongs to others."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi import APIRouter

from signing_service.front import app
from signing_service.front.callers import PERMISSIONS, Guarded, Role, routes_of
from tests.support.world import Client, Stage, World, told

ROUTES = {route.name: route for route in routes_of(app.ROUTERS)}
NOBODY = "0" * 32
EXAMPLES = {"request_id": f"sr_{NOBODY}", "batch_id": f"ba_{NOBODY}", "entry_id": f"en_{NOBODY}"}
CLOSED = [name for name, permission in PERMISSIONS.items() if not permission.public]
OPEN_TO_EVERYBODY = {
    "issue_token", "openapi", "live", "ready", "show_metrics", "timestamp", "checkpoint", "checkpoint_key",
}
OWN_THINGS = ["get_request", "withdraw", "refuse", "confirm", "get_document", "get_signed_document", "get_receipt"]
FORMS = {"withdraw": {"reason": "r"}, "refuse": {"reason": "r"}, "confirm": {"code": "123456"},
         "confirm_batch": {"code": "123456"}}


@pytest.fixture(scope="module")
def clients(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with World.open(stage, tmp_path_factory.mktemp("callers")) as world:
        yield {role: world.client(role) for role in Role}


def path_of(name: str, **parts: str) -> tuple[str, str]:
    route = ROUTES[name]
    (method,) = route.methods
    path = re.sub(r"\{(\w+)\}", lambda found: (EXAMPLES | parts)[found[1]], route.path)
    return method, path


def test_routes_and_permissions_name_each_other_exactly() -> None:
    assert set(ROUTES) == set(PERMISSIONS)


def test_only_these_routes_are_open_to_everybody() -> None:
    assert {name for name, permission in PERMISSIONS.items() if permission.public} == OPEN_TO_EVERYBODY


@pytest.mark.parametrize("name", CLOSED)
def test_nobody_gets_in_without_a_token(clients: dict[Role, Client], name: str) -> None:
    method, path = path_of(name)
    answer = clients[Role.SUBMITTER].world.asks(method, path)
    assert told(answer, 401)["code"] == "token-missing"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", CLOSED)
def test_a_role_gets_exactly_what_the_table_gives_it(clients: dict[Role, Client], name: str, role: Role) -> None:
    answer = clients[role].asks(*path_of(name))
    if role in PERMISSIONS[name].roles:
        assert answer.status_code in (200, 400, 404, 409, 503), answer.text
    else:
        assert told(answer, 403)["code"] == "role"


@pytest.mark.parametrize("name", OWN_THINGS)
def test_what_belongs_to_another_client_is_not_there(town: Any, name: str) -> None:
    made = town.office.submits(town.official)
    stranger = town.world.client(name="another system")
    method, path = path_of(name, request_id=made["id"])
    more = {"json": FORMS[name]} if name in FORMS else {}

    theirs = told(stranger.asks(method, path, **more), 404)
    nobodys = told(stranger.asks(*path_of(name), **more), 404)

    same = ("type", "title", "status", "code")
    assert {key: theirs[key] for key in same} == {key: nobodys[key] for key in same}
    assert theirs["detail"].replace(made["id"], "") == nobodys["detail"].replace(EXAMPLES["request_id"], "")
    assert town.world.state_of(made) == "pending"


def test_another_clients_requests_are_in_nobody_elses_list_or_batch(world: World, office: Client) -> None:
    made = office.submits(world.official())
    stranger = world.client(name="another system")
    assert told(stranger.asks("GET", "/api/v1/signing-requests"), 200)["signing_requests"] == []
    assert stranger.asks("POST", "/api/v1/batches", json={"signing_requests": [made["id"]]}).status_code == 404
    mine = told(office.asks("POST", "/api/v1/batches", json={"signing_requests": [made["id"]]}), 201)
    assert stranger.asks("GET", f"/api/v1/batches/{mine['id']}").status_code == 404
    code = world.fresh_code(world.official("Trần Thị B"))
    assert stranger.asks("POST", f"/api/v1/batches/{mine['id']}/confirm", json={"code": code}).status_code == 404


def test_a_role_is_refused_before_the_body_is_read(clients: dict[Role, Client]) -> None:
    """The body never ends; only an answer that does not wait for it comes."""
    world, auditor = clients[Role.AUDITOR].world, clients[Role.AUDITOR]
    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body was asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/api/v1/signing-requests", "raw_path": b"", "query_string": b"",
        "headers": [(b"authorization", f"Bearer {auditor.token}".encode()), (b"content-type", b"multipart/form-data; "
                    b"boundary=x")], "http_version": "1.1", "scheme": "http", "server": ("signing.test", 80),
        "client": ("127.0.0.1", 1), "root_path": "",
    }
    world.stage.run(world.app(scope, receive, send))
    assert sent[0]["status"] == 403


def test_a_route_without_a_permission_cannot_be_declared() -> None:
    router = APIRouter(route_class=Guarded)
    with pytest.raises(LookupError, match="declares no permission"):
        @router.get("/secret")
        async def a_route_that_nobody_thought_about() -> None: ...


def test_an_unguarded_route_stops_the_start(world: World) -> None:
    router = APIRouter()

    @router.get("/secret")
    async def live() -> None: ...

    with pytest.raises(LookupError, match="not a Guarded route"):
        app.create_app(world.rt, [*app.ROUTERS, router])


def test_a_permission_without_a_route_stops_the_start(world: World) -> None:
    with pytest.raises(LookupError, match=r"permissions without a route: .*openapi"):
        app.create_app(world.rt, [router for router in app.ROUTERS if router is not app.description])


def test_two_routes_of_one_name_stop_the_start(world: World) -> None:
    twin = APIRouter(route_class=Guarded)

    @twin.get("/twin")
    async def live() -> None: ...

    with pytest.raises(LookupError, match="two routes are called 'live'"):
        app.create_app(world.rt, [*app.ROUTERS, twin])
