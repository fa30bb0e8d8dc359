"""The description keeps its word: examples can be sent, answers look as described, refusals are all named."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from signing_service.db.tables import agency
from signing_service.front import app
from signing_service.front.callers import PERMISSIONS, Role, routes_of
from signing_service.wire import messages as m
from tests.support.city import Person, secret_of
from tests.support.plain_schema import faults
from tests.support.world import Client, Stage, World, plan, told

NOBODY = "0" * 32
UNKNOWN = {"request_id": f"sr_{NOBODY}", "batch_id": f"ba_{NOBODY}", "entry_id": f"en_{NOBODY}"}
REQUESTS = "/api/v1/signing-requests"
PROBLEM = "application/problem+json"


class Told:
    """A world as the examples describe it, the description, and a client of each role."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._numbers = itertools.count()
        self.person = a_person_as_in_the_example(world)
        self.clients = {role: world.client(role) for role in Role}
        self.described: Any = told(world.asks("GET", "/api/v1/openapi.json"), 200)

    @property
    def office(self) -> Client:
        return self.clients[Role.SUBMITTER]

    def operation(self, method: str, path: str) -> Any:
        return self.described["paths"][path][method.lower()]

    def schema_of(self, method: str, path: str, media_type: str) -> Any:
        schema = self.operation(method, path)["requestBody"]["content"][media_type]["schema"]
        return self.described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]

    def check(self, answer: httpx.Response, method: str, path: str) -> Any:
        """The answer is one of those described, and looks like it."""
        described = self.operation(method, path)["responses"]
        assert str(answer.status_code) in described, f"{method} {path} answers {answer.status_code}: {answer.text}"
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        if media_type in ("application/json", PROBLEM):
            content = described[str(answer.status_code)]["content"]
            assert media_type in content, f"{method} {path}: {answer.status_code} as {media_type}"
            assert list(faults(content[media_type].get("schema", {}), answer.json(), self.described)) == []
            return answer.json()
        return None

    def submits_the_example(self) -> Any:
        fields = dict(self.schema_of("POST", REQUESTS, "multipart/form-data")["example"])
        assert fields.pop("file") == "(the PDF)"
        document = plan(f"number {next(self._numbers)}")  # no two documents of a batch may be the same
        answer = self.office.asks("POST", REQUESTS, data=fields,
                                  files={"file": ("ke-hoach.pdf", document, "application/pdf")})
        assert answer.status_code == 201, answer.text
        return self.check(answer, "POST", REQUESTS)


def a_person_as_in_the_example(world: World) -> Person:
    """The signatory CB-00017 of the agency H26.1.2."""
    city = world.city
    with city.rt.db.write() as tx:
        tx.execute(insert(agency).values(code="H26.1.2", name="Phường Hoa Sữa", level="commune", parent_code="H26.1",
                                         valid_from=city.clock.at))
    person_id = city.acts(m.AddSignatory("Nguyễn Văn Mẫu", "H26.1.2", "chairman", "CB-00017"))[0].id
    enrolled, added = city.acts(
        m.EnrolCode(person_id), m.AddCredential("personal", "H26.1.2", "p-256", None, person_id))
    assert enrolled.uri is not None
    person = Person(person_id, secret_of(enrolled.uri), added.id)
    city.desk.complete(m.CompleteEnrolment(person_id, person.code(city.clock.at)))
    city.certify(added.id, "Nguyễn Văn Mẫu")
    city.timestamp_authority()
    return person


@pytest.fixture(scope="module")
def told_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    with World.open(stage, tmp_path_factory.mktemp("described")) as world:
        yield Told(world)
        world.check()
    stage.close()


# ---------------------------------------------------------------------------------- the examples can be sent


def test_the_example_of_a_submission_is_accepted_as_it_stands(told_of: Told) -> None:
    made = told_of.submits_the_example()
    assert made["state"] == "pending"
    assert made["subject"] == "Kế hoạch chuyển đổi số năm 2026"


def test_the_example_of_a_submission_is_a_dry_run_as_well(told_of: Told) -> None:
    path = f"{REQUESTS}/dry-run"
    fields = dict(told_of.schema_of("POST", path, "multipart/form-data")["example"])
    del fields["file"]
    answer = told_of.office.asks("POST", path, data=fields,
                                 files={"file": ("a.pdf", plan("dry"), "application/pdf")})
    assert told_of.check(answer, "POST", path)["permitted"] is True


def test_the_example_of_a_confirmation_is_a_code_that_is_looked_at(told_of: Told) -> None:
    """Well-formed, and not this person's: refused as a wrong code, not as a wrong form."""
    path = f"{REQUESTS}/{{request_id}}/confirm"
    made = told_of.submits_the_example()
    example = told_of.schema_of("POST", path, "application/json")["example"]
    told_of.world.city.next_code()
    answer = told_of.office.asks("POST", path.format(request_id=made["id"]), json=example)
    problem = told_of.check(answer, "POST", path)
    assert (answer.status_code, problem["code"], problem["tries_left"]) == (403, "code-not-accepted", 4)


def test_the_story_of_the_description_can_be_told(told_of: Told) -> None:
    """Submit, confirm, ask, fetch, receipt: each answer as described."""
    made = told_of.submits_the_example()
    one = f"{REQUESTS}/{{request_id}}"
    code = told_of.world.fresh_code(told_of.person)
    answer = told_of.office.asks("POST", f"{REQUESTS}/{made['id']}/confirm", json={"code": code})
    assert told_of.check(answer, "POST", f"{one}/confirm")["state"] == "signed"
    assert told_of.check(told_of.office.asks("GET", REQUESTS), "GET", REQUESTS)["signing_requests"]
    for part in ("", "/receipt", "/document", "/signed-document"):
        answer = told_of.office.asks("GET", f"{REQUESTS}/{made['id']}{part}")
        assert answer.status_code == 200, answer.text
        told_of.check(answer, "GET", one + part)


def test_a_batch_is_told_as_described(told_of: Told) -> None:
    example = told_of.schema_of("POST", "/api/v1/batches", "application/json")["example"]
    unknown = told_of.office.asks("POST", "/api/v1/batches", json=example)
    assert told_of.check(unknown, "POST", "/api/v1/batches")["code"] == "not-found"  # well-formed, and nobody's

    ids = [told_of.submits_the_example()["id"] for _ in range(2)]
    batch = told_of.check(told_of.office.asks("POST", "/api/v1/batches", json={"signing_requests": ids}),
                          "POST", "/api/v1/batches")
    path = "/api/v1/batches/{batch_id}"
    code = told_of.world.fresh_code(told_of.person)
    answer = told_of.office.asks("POST", f"/api/v1/batches/{batch['id']}/confirm", json={"code": code})
    assert [line["outcome"] for line in told_of.check(answer, "POST", f"{path}/confirm")["lines"]] == ["done"] * 2
    told_of.check(told_of.office.asks("GET", f"/api/v1/batches/{batch['id']}"), "GET", path)


@pytest.mark.parametrize("verb", ["refuse", "withdraw"])
def test_the_example_of_a_reason_is_taken(told_of: Told, verb: str) -> None:
    path = f"{REQUESTS}/{{request_id}}/{verb}"
    made = told_of.submits_the_example()
    answer = told_of.office.asks("POST", f"{REQUESTS}/{made['id']}/{verb}",
                                 json=told_of.schema_of("POST", path, "application/json")["example"])
    assert answer.status_code == 200
    told_of.check(answer, "POST", path)


def test_the_ids_of_the_examples_look_like_ours(told_of: Told) -> None:
    """A client that learns from an example what an id looks like must not be wrong about the next one."""
    made = told_of.submits_the_example()
    example = told_of.described["components"]["schemas"]["SigningRequestAnswer"]["example"]
    for name in ("id", "signatory_id", "credential_id"):
        assert re.sub("[0-9a-f]{32}", "x", example[name]) == re.sub("[0-9a-f]{32}", "x", made[name])
    assert set(made) <= set(example)


def test_every_form_has_an_example(told_of: Told) -> None:
    for path, methods in told_of.described["paths"].items():
        for method, operation in methods.items():
            for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
                if "$ref" in content.get("schema", {}) and media_type == "application/json":
                    assert "example" in told_of.schema_of(method, path, media_type), (method, path)


# ------------------------------------------------------------------------------------- refusals are all named

ROUTES = {route.name: route for route in routes_of(app.ROUTERS)}
CLOSED = sorted(name for name, permission in PERMISSIONS.items() if not permission.public)


def of(told_of: Told, name: str) -> tuple[str, str, Any]:
    route = ROUTES[name]
    (method,) = route.methods or ()
    return method, route.path, told_of.operation(method, route.path)


@pytest.mark.parametrize("name", CLOSED)
def test_a_route_that_needs_a_token_names_what_can_always_happen(told_of: Told, name: str) -> None:
    method, path, operation = of(told_of, name)
    wanted = {"401", "403", "429", "503"} | ({"404"} if "{" in path else set())
    wanted |= {"400"} if "requestBody" in operation else set()
    assert wanted <= set(operation["responses"]), (method, path)


OWN_WORDS = {"issue_token"}  # it refuses as its protocol says: RFC 6749 5.2


@pytest.mark.parametrize("name", sorted(set(ROUTES) - OWN_WORDS))
def test_every_refusal_of_a_route_is_described_as_a_problem(told_of: Told, name: str) -> None:
    _, path, operation = of(told_of, name)
    for status, answer in operation["responses"].items():
        if status >= "400":
            assert PROBLEM in answer.get("content", {}) or path in ("/readyz", "/livez"), (path, status)


@pytest.mark.parametrize("name", CLOSED)
@pytest.mark.parametrize("who", ["nobody", *Role])
def test_what_a_route_answers_to_anybody_is_described(told_of: Told, name: str, who: str) -> None:
    """With ids that nobody has and without a body: whatever comes, it is in the description and looks like it."""
    method, path, _ = of(told_of, name)
    address = re.sub(r"\{(\w+)\}", lambda found: UNKNOWN[found[1]], path)
    answer = (told_of.world.asks(method, address) if who == "nobody"
              else told_of.clients[Role(who)].asks(method, address))
    told_of.check(answer, method, path)


@pytest.mark.parametrize("name", [name for name in CLOSED if "POST" in (ROUTES[name].methods or ())])
@pytest.mark.parametrize(("content", "media_type"), [
    (b"{", "application/json"), (b'{"code": 5}', "application/json"), (b"[]", "application/json"),
    (b"\xff\xfe", "text/plain"), (b"--x\r\n\r\n", "multipart/form-data; boundary=x"), (b"", "multipart/form-data"),
], ids=["broken JSON", "a number", "a list", "text", "a broken form", "a form without a border"])
def test_a_body_that_is_none_is_refused_as_described(
    told_of: Told, name: str, content: bytes, media_type: str,
) -> None:
    method, path, _ = of(told_of, name)
    address = re.sub(r"\{(\w+)\}", lambda found: UNKNOWN[found[1]], path)
    role = next(iter(PERMISSIONS[name].roles))
    answer = told_of.clients[role].asks(method, address, content=content, headers={"Content-Type": media_type})
    assert 400 <= answer.status_code < 500
    told_of.check(answer, method, path)


def test_the_description_is_a_document_of_openapi_3_1(told_of: Told) -> None:
    described = told_of.described
    assert described["openapi"].startswith("3.1")
    names = [operation["operationId"] for methods in described["paths"].values() for operation in methods.values()]
    assert len(names) == len(set(names))
    for path, methods in described["paths"].items():
        for operation in methods.values():
            declared = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path)), path


def test_the_readme_of_the_api_is_served_to_everybody(told_of: Told) -> None:
    answer = told_of.world.asks("GET", "/api/v1/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert "one-time code" in answer.json()["info"]["description"]


def test_this_file_knows_every_kind_of_id(told_of: Told) -> None:
    named = {part for route in ROUTES.values() for part in re.findall(r"\{(\w+)\}", route.path)}
    assert named == set(UNKNOWN)
