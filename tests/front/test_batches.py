"""Several documents of one person under one code."""

from __future__ import annotations

from typing import Any

import pytest

from signing_service.ids import matching_code
from tests.support.city import Person
from tests.support.world import Client, World, plan, told

BATCHES = "/api/v1/batches"


def together(office: Client, *made: dict[str, Any], key: str | None = None) -> Any:
    return office.asks("POST", BATCHES, json={"signing_requests": [each["id"] for each in made]},
                       headers={"Idempotency-Key": key} if key else {})


def confirms(office: Client, batch: dict[str, Any], code: str) -> Any:
    return office.asks("POST", f"{BATCHES}/{batch['id']}/confirm", json={"code": code})


def papers(office: Client, official: Person, count: int) -> list[dict[str, Any]]:
    return [office.submits(official, plan(str(each))) for each in range(count)]


def outcomes(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(line["outcome"], line["state"]) for line in answer["lines"]]


def test_one_code_signs_everything_in_a_batch(world: World, office: Client) -> None:
    official = world.official()
    made = papers(office, official, 5)
    batch = told(together(office, *made), 201)
    assert batch["matching_code"] == matching_code((each["id"], each["document_digest"]) for each in made)

    answer = told(confirms(office, batch, world.fresh_code(official)), 200)

    assert outcomes(answer) == [("done", "signed")] * 5
    assert world.codes_tried(official) == 1
    assert world.events("batch:create") == 1


def test_confirming_a_batch_again_answers_its_lines_and_looks_at_no_code(world: World, office: Client) -> None:
    official = world.official()
    batch = told(together(office, *papers(office, official, 2)), 201)
    first = told(confirms(office, batch, world.fresh_code(official)), 200)
    assert told(confirms(office, batch, "000000"), 200) == first
    assert world.codes_tried(official) == 1


def test_what_was_withdrawn_is_left_out_and_the_matching_code_says_so(world: World, office: Client) -> None:
    official = world.official()
    one, other = papers(office, official, 2)
    batch = told(together(office, one, other), 201)
    told(office.asks("POST", f"/api/v1/signing-requests/{one['id']}/withdraw", json={"reason": "no"}), 200)

    seen = told(office.asks("GET", f"{BATCHES}/{batch['id']}"), 200)
    assert seen["matching_code"] == other["matching_code"] != batch["matching_code"]

    answer = told(confirms(office, batch, world.fresh_code(official)), 200)
    assert outcomes(answer) == [("not-asked", "withdrawn"), ("done", "signed")]


def test_a_line_that_is_denied_does_not_stop_the_others(world: World, office: Client) -> None:
    official = world.official()
    made = papers(office, official, 3)
    batch = told(together(office, *made), 201)
    with world.rt.db.write() as tx:  # one agency more, which ends before the confirmation
        tx.exec_driver_sql("INSERT INTO agency (code, name, level, valid_from, valid_to) VALUES "
                           "('H26.9', 'ended', 'commune', '2020-01-01 00:00:00.000000', '2021-01-01 00:00:00.000000')")
        tx.exec_driver_sql("UPDATE signing_request SET agency_code = 'H26.9' WHERE id = ?", (made[1]["id"],))

    answer = told(confirms(office, batch, world.fresh_code(official)), 200)

    assert outcomes(answer) == [("done", "signed"), ("denied", "pending"), ("done", "signed")]
    assert "agency" in answer["lines"][1]["message"]


def test_a_line_whose_file_is_gone_is_not_asked_for(world: World, office: Client) -> None:
    official = world.official()
    made = papers(office, official, 2)
    batch = told(together(office, *made), 201)
    world.rt.documents.remove(made[0]["document_digest"])
    answer = told(confirms(office, batch, world.fresh_code(official)), 200)
    assert outcomes(answer) == [("not-asked", "pending"), ("done", "signed")]
    assert answer["lines"][0]["code"] == "file-gone"


def test_a_wrong_code_signs_nothing_of_a_batch(world: World, office: Client) -> None:
    official = world.official()
    batch = told(together(office, *papers(office, official, 2)), 201)
    wrong = f"{(int(world.fresh_code(official)) + 1) % 1_000_000:06d}"
    problem = told(confirms(office, batch, wrong), 403)
    assert (problem["code"], problem["tries_left"]) == ("code-not-accepted", 4)
    assert world.count("intent") == 0


def test_a_batch_is_all_or_nothing_when_it_is_made(world: World, office: Client) -> None:
    one, two = world.official("Nguyễn Văn A"), world.official("Trần Thị B")
    first, second = papers(office, one, 2)
    others = office.submits(two)
    twin = office.submits(one, plan("0"))
    withdrawn = office.submits(one, plan("withdrawn"))
    told(office.asks("POST", f"/api/v1/signing-requests/{withdrawn['id']}/withdraw", json={"reason": "no"}), 200)

    cases: dict[str, tuple[list[dict[str, Any]], int, str]] = {
        "two signatories": ([first, others], 400, "several-signatories"),
        "one request twice": ([first, first], 400, "line-twice"),
        "one document twice": ([first, twin], 400, "document-twice"),
        "one that has ended": ([first, withdrawn], 409, "not-pending"),
        "one that is not there": ([first, {"id": "sr_" + "0" * 32}], 404, "not-found"),
    }
    for name, (made, status, code) in cases.items():
        assert told(together(office, *made), status)["code"] == code, name
    assert world.count("batch") == 0

    told(together(office, first), 201)
    assert told(together(office, first, second), 409)["code"] == "not-pending"
    assert told(together(office, second), 201)["lines"][0]["signing_request_id"] == second["id"]


@pytest.mark.parametrize("count", [0, 201])
def test_a_batch_has_one_to_two_hundred_lines(town: Any, count: int) -> None:
    answer = town.office.asks("POST", BATCHES, json={"signing_requests": [f"sr_{each:032x}" for each in range(count)]})
    assert [each["field"] for each in told(answer, 400)["errors"]] == ["signing_requests"]


def test_the_same_key_makes_one_batch(world: World, office: Client) -> None:
    made = papers(office, world.official(), 2)
    first, again = together(office, *made, key="b1"), together(office, *made, key="b1")
    assert told(again, 201) == told(first, 201)
    assert world.count("batch") == 1
    assert told(together(office, made[0], key="b1"), 409)["code"] == "idempotency-key-reused"
