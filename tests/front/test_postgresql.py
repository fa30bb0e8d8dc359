"""The same story on PostgreSQL, where statements of several connections really run side by side."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.world import Stage, World, plan, told


@pytest.fixture
def world(stage: Stage, tmp_path: Path) -> Iterator[World]:
    with World.open(stage, tmp_path, url=databases.postgresql()) as made:
        yield made
        made.check()


def test_from_submission_to_delivery(world: World) -> None:
    official, office = world.official(), world.client()
    first, again = (told(office.tries_to_submit(official, key="k1"), 201) for _ in range(2))
    assert first == again

    assert office.confirms(official, first)["state"] == "signed"

    answer = office.asks("GET", f"/api/v1/signing-requests/{first['id']}/signed-document")
    assert answer.content.startswith(plan())
    assert told(office.asks("GET", "/api/v1/signing-requests", params={"state": "signed"}), 200)["signing_requests"]


def test_one_code_at_many_requests_at_once_confirms_exactly_one(world: World) -> None:
    official, office = world.official(), world.client()
    made = [office.submits(official, plan(str(each))) for each in range(6)]
    code = world.fresh_code(official)
    headers = {"Authorization": f"Bearer {office.token}"}
    answers = world.at_once(*(
        lambda path=f"/api/v1/signing-requests/{each['id']}/confirm": world.ask(
            "POST", path, json={"code": code}, headers=headers)
        for each in made
    ))
    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 5


def test_the_same_submission_at_once_under_one_key_is_one_request(world: World) -> None:
    official, office = world.official(), world.client()
    headers = {"Authorization": f"Bearer {office.token}", "Idempotency-Key": "k1"}
    form = {"document_type": "KH", "subject": "s", "issuing_agency": "H26.1", "signatory": official.id, "level": "B-B"}

    answers = world.at_once(*[lambda: world.ask(
        "POST", "/api/v1/signing-requests", data=form, files={"file": ("a.pdf", plan())}, headers=headers)] * 5)

    assert {answer.status_code for answer in answers} <= {201, 409}
    assert 201 in {answer.status_code for answer in answers}
    assert world.count("signing_request") == 1


def test_two_batches_cannot_take_the_same_request(world: World) -> None:
    official, office = world.official(), world.client()
    made = [office.submits(official, plan(str(each)))["id"] for each in range(3)]
    headers = {"Authorization": f"Bearer {office.token}"}
    answers = world.at_once(*(
        lambda ids=ids: world.ask("POST", "/api/v1/batches", json={"signing_requests": ids}, headers=headers)
        for ids in (made[:2], made[1:], made[::-1])
    ))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409]
    assert world.count("batch") == 1
