"""A client with full rights and without a person's code can do what it likes: nothing is signed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from signing_service.db.migrate import upgrade
from tests.support import postgres
from tests.support.world import Client, Stage, World, plan, told

CALLS = 120
BODIES: tuple[Any, ...] = (
    {"code": "000000"}, {"code": "123456"}, {"code": ""}, {"reason": "r"}, {}, {"x": 1}, [], None,
)
GUESSES = ("pending", "sr_" + "0" * 32, "ba_" + "f" * 32, "..%2f..", "%00", "", "' OR 1=1 --")


@dataclass(frozen=True)
class PostgresTown:
    """SQLite takes zero bytes and PostgreSQL does not, so these are asked where it hurts."""

    world: World
    office: Client


@pytest.fixture(scope="module")
def postgres_town(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresTown]:
    url = postgres.fresh_database()
    upgrade(url)
    with World.open(stage, tmp_path_factory.mktemp("town"), url=url) as made:
        yield PostgresTown(made, made.client())


WEIRD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a zero byte in a path": ("GET", "/api/v1/signing-requests/%00", {}),
    "a zero byte in a query": ("GET", "/api/v1/signing-requests?external_id=a%00b", {}),
    "a zero byte in a cursor": ("GET", "/api/v1/signing-requests?after=%00", {}),
    "a zero byte in a reason": ("POST", "/api/v1/signing-requests/sr_1/withdraw", {"json": {"reason": "a\x00"}}),
    "a zero byte in an id of a batch": ("POST", "/api/v1/batches", {"json": {"signing_requests": ["\x00"]}}),
    "half a surrogate pair": ("POST", "/api/v1/signing-requests/sr_1/refuse", {"content": b'{"reason": "\\ud800"}'}),
    "a reason that turns the direction of writing": (
        "POST", "/api/v1/signing-requests/sr_1/refuse", {"json": {"reason": "no \u202e on"}}),
    "very deep JSON": ("POST", "/api/v1/batches", {"content": b"[" * 500_000}),
    "a number of half a million digits": ("POST", "/api/v1/batches", {"content": b'{"a": %s}' % (b"1" * 500_000)}),
    "bytes that are no text": ("POST", "/api/v1/batches", {"content": b"\xff\xfe{}"}),
    "a form where JSON is asked for": ("POST", "/api/v1/batches", {"data": {"signing_requests": "x"}}),
    "JSON where a form is asked for": ("POST", "/api/v1/signing-requests", {"json": {"subject": "s"}}),
    "a form without a boundary": ("POST", "/api/v1/signing-requests", {
        "content": b"x", "headers": {"Content-Type": "multipart/form-data"}}),
    "two files": ("POST", "/api/v1/signing-requests", {"files": [("file", b"a"), ("file", b"b")]}),
    "a hundred fields": ("POST", "/api/v1/signing-requests", {
        "files": {"file": b"a"}, "data": {f"f{each}": "x" for each in range(100)}}),
    "a field of a megabyte": ("POST", "/api/v1/signing-requests", {
        "files": {"file": b"a"}, "data": {"subject": "x" * 1_000_000}}),
}


@pytest.mark.parametrize(("method", "path", "more"), WEIRD.values(), ids=WEIRD)
def test_what_nobody_should_send_is_a_400_and_never_a_500(
    postgres_town: Any, method: str, path: str, more: dict[str, Any],
) -> None:
    json_type = {"Content-Type": "application/json"} if "content" in more and "headers" not in more else {}
    answer = postgres_town.office.asks(method, path, **{"headers": json_type} | more)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_client_that_calls_itself_by_a_zero_byte_is_unknown(postgres_town: Any) -> None:
    answer = postgres_town.world.asks("POST", "/oauth2/token", data={
        "grant_type": "client_credentials", "client_id": "a\x00", "client_secret": "b"})
    assert answer.status_code == 401


@pytest.mark.parametrize("seed", [1, 2])
def test_no_sequence_of_calls_without_a_code_makes_a_signature(world: World, office: Client, seed: int) -> None:
    chance = random.Random(seed)
    official = world.official()
    known = [office.submits(official, plan(str(each)))["id"] for each in range(4)]
    batch = told(office.asks("POST", "/api/v1/batches", json={"signing_requests": known[:2]}), 201)["id"]
    names = [*known, batch, *GUESSES]
    statuses = set[int]()

    for _ in range(CALLS):
        place = chance.choice(["signing-requests", "batches"])
        verb = chance.choice(["", "/confirm", "/confirm", "/withdraw", "/refuse", "/document", "/signed-document"])
        method = chance.choice(["GET", "POST", "POST", "PUT", "DELETE", "PATCH"])
        body = chance.choice(BODIES)
        answer = office.asks(method, f"/api/v1/{place}/{chance.choice(names)}{verb}", json=body)
        statuses.add(answer.status_code)

    assert statuses <= {200, 304, 307, 400, 403, 404, 405, 409, 429}
    assert {200, 404} <= statuses
    assert world.count("intent") == world.count("signature") == 0


def test_one_code_at_many_requests_at_once_confirms_exactly_one(world: World, office: Client) -> None:
    official = world.official()
    made = [office.submits(official, plan(str(each))) for each in range(8)]
    code = world.fresh_code(official)
    headers = {"Authorization": f"Bearer {office.token}"}

    answers = world.at_once(*(
        lambda path=f"/api/v1/signing-requests/{each['id']}/confirm": world.ask(
            "POST", path, json={"code": code}, headers=headers)
        for each in made
    ))

    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 7
    assert sorted(world.state_of(each) for each in made) == ["pending"] * 7 + ["signed"]
    assert world.count("signature") == 1


def test_a_suspended_client_cannot_confirm_what_it_submitted(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE client SET state = 'suspended' WHERE id = ?", (office.id,))
    assert office.tries_to_confirm(made, world.fresh_code(official)).status_code == 401
    assert world.count("intent") == 0
