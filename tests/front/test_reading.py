"""A client looks at its signing requests, waits for them, ends them and fetches the files."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import event

from signing_service.front import downloads
from signing_service.front.callers import Caller, Role
from signing_service.front.watch import Watch
from signing_service.signing_requests import State, Wanted, listed
from tests.support.world import Client, World, plan, told

LIST = "/api/v1/signing-requests"


def ids(answer: dict[str, Any]) -> list[str]:
    return [each["id"] for each in answer["signing_requests"]]


def test_pages_follow_each_other_from_the_newest_to_the_oldest(world: World, office: Client) -> None:
    official = world.official()
    made = [office.submits(official)["id"] for _ in range(5)][::-1]

    first = told(office.asks("GET", LIST, params={"limit": 2}), 200)
    second = told(office.asks("GET", LIST, params={"limit": 2, "after": first["next"]}), 200)
    third = told(office.asks("GET", LIST, params={"limit": 2, "after": second["next"]}), 200)

    assert ids(first) + ids(second) + ids(third) == made
    assert "next" not in third
    assert "next" not in told(office.asks("GET", LIST, params={"limit": 5}), 200)


def test_a_list_can_be_narrowed(world: World, office: Client) -> None:
    one, two = world.official("Nguyễn Văn A"), world.official("Trần Thị B")
    first = office.submits(one, external_id="VB-1")["id"]
    moment = world.clock().isoformat()
    world.clock.forward(10)
    second = office.submits(two)["id"]
    told(office.asks("POST", f"{LIST}/{second}/withdraw", json={"reason": "no"}), 200)

    cases: dict[str, tuple[list[tuple[str, str]], list[str]]] = {
        "by state": ([("state", "withdrawn")], [second]),
        "by several states": ([("state", "withdrawn"), ("state", "pending")], [second, first]),
        "by signatory": ([("signatory", one.id)], [first]),
        "by what the client calls it": ([("external_id", "VB-1")], [first]),
        "from a moment, which counts": ([("created_from", moment)], [second, first]),
        "before a moment, which does not count": ([("created_before", moment)], []),
    }
    for name, (query, expected) in cases.items():
        assert ids(told(office.asks("GET", LIST, params=query), 200)) == expected, name


ALONG: dict[str, tuple[Wanted, str, int]] = {
    "of no state": (Wanted(), "ix_request_client ", 1),
    "of one state": (Wanted(states=frozenset({State.PENDING})), "ix_request_client_state", 1),
    "of several states": (Wanted(states=frozenset({State.PENDING, State.SIGNED})), "ix_request_client_state", 2),
    "of one name": (Wanted(external_id="VB-1"), "ix_request_external", 1),
    "of one name and state": (Wanted(external_id="VB-1", states=frozenset({State.SIGNED})), "ix_request_external", 1),
    "of one signatory": (Wanted(signatory="somebody"), "(signatory_id=?", 1),
    "of one signatory and state": (Wanted(signatory="somebody", states=frozenset({State.SIGNED})), "(signatory_id=?",
                                   1),
}


def test_a_list_goes_along_an_index_of_what_it_names_however_long_it_is(world: World, office: Client) -> None:
    official, caller = world.official(), Caller(office.id, "QLVB", Role.SUBMITTER, frozenset({"*"}))
    asked: list[tuple[str, Any]] = []
    event.listen(world.rt.db.engine, "before_cursor_execute",
                 lambda _c, _u, said, values, _x, _m: asked.append((said, values)))
    for case, (wanted, index, queries) in ALONG.items():
        asked.clear()
        named = replace(wanted, signatory=official.id) if wanted.signatory else wanted
        world.stage.run(listed(world.rt, caller, named))
        lists = [each for each in asked if "LIMIT" in each[0]]
        with world.rt.db.read() as tx:
            plans = [str(tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {said}", values).all()) for said, values in lists]
        assert len(plans) == queries, case
        assert all(index in plan for plan in plans), (case, plans)


WRONG_QUERIES = {
    "no limit at all": {"limit": "0"},
    "more than two hundred": {"limit": "201"},
    "a state that is none": {"state": "lost"},
    "a moment without a zone": {"created_from": "2026-01-01T00:00:00"},
    "a moment that is none": {"created_before": "yesterday"},
    "a cursor that is too long": {"after": "x" * 41},
}


@pytest.mark.parametrize("query", WRONG_QUERIES.values(), ids=WRONG_QUERIES)
def test_a_query_that_is_not_as_described_names_the_field(town: Any, query: dict[str, str]) -> None:
    problem = told(town.office.asks("GET", LIST, params=query), 400)
    assert set(query) == {each["field"].partition(".")[0] for each in problem["errors"]}


def test_waiting_ends_when_the_state_moves(world: World, office: Client) -> None:
    made = office.submits(world.official())
    headers = {"Authorization": f"Bearer {office.token}"}

    async def withdraws_later() -> Any:
        while not world.rt.watch.waiting:  # noqa: ASYNC110 - the other request is in, as soon as it gets its turn
            await asyncio.sleep(0)
        return await world.ask("POST", f"{LIST}/{made['id']}/withdraw", json={"reason": "no"}, headers=headers)

    waited, _ = world.at_once(
        lambda: world.ask("GET", f"{LIST}/{made['id']}", params={"wait": "60"}, headers=headers), withdraws_later)

    assert waited.json()["state"] == "withdrawn"
    assert world.rt.watch.waiting == 0


def test_waiting_ends_with_its_time_and_with_what_has_ended_there_is_no_waiting(world: World, office: Client) -> None:
    made = office.submits(world.official())
    assert told(office.asks("GET", f"{LIST}/{made['id']}", params={"wait": "0.05"}), 200)["state"] == "pending"
    told(office.asks("POST", f"{LIST}/{made['id']}/withdraw", json={"reason": "no"}), 200)
    assert told(office.asks("GET", f"{LIST}/{made['id']}", params={"wait": "60"}), 200)["state"] == "withdrawn"
    assert told(office.asks("GET", f"{LIST}/{made['id']}", params={"wait": "61"}), 400)["code"] == "invalid"


def test_many_who_wait_share_one_look_at_the_database(world: World, office: Client) -> None:
    made = [office.submits(world.official(name))["id"] for name in ("Nguyễn Văn A", "Trần Thị B")]
    looks: list[tuple[str, ...]] = []

    class Counting(Watch):
        def _states(self, ids: tuple[str, ...]) -> dict[str, str]:
            looks.append(ids)
            return super()._states(ids)

    async def story() -> list[bool]:
        watch = Counting(world.rt.db, period=0.01)
        waiting = [asyncio.create_task(watch.moved(each, "signing", 60)) for each in made * 50]
        answers = await asyncio.gather(*waiting)
        await watch.close()
        return answers

    assert world.stage.run(story()) == [True] * 100
    assert len(looks) <= 2
    assert sorted(looks[0]) == sorted(made)


@pytest.mark.parametrize(("verb", "state", "event"), [
    ("withdraw", "withdrawn", "signing-request:withdraw"), ("refuse", "refused", "signing-request:refuse"),
])
def test_a_pending_request_can_be_ended_once_and_repeating_it_changes_nothing(
    world: World, office: Client, verb: str, state: str, event: str,
) -> None:
    made = office.submits(world.official())
    path = f"{LIST}/{made['id']}/{verb}"

    ended = told(office.asks("POST", path, json={"reason": "Sai số liệu"}), 200)

    assert (ended["state"], ended["reason"]) == (state, "Sai số liệu")
    assert ended["ended_at"]
    assert told(office.asks("POST", path, json={"reason": "again"}), 200) == ended
    assert world.events(event) == 1


@pytest.mark.parametrize("verb", ["withdraw", "refuse"])
def test_what_is_signed_cannot_be_ended(world: World, office: Client, verb: str) -> None:
    official = world.official()
    made = office.submits(official)
    office.confirms(official, made)
    problem = told(office.asks("POST", f"{LIST}/{made['id']}/{verb}", json={"reason": "too late"}), 409)
    assert problem["code"] == "already-signed"


@pytest.mark.parametrize("reason", [None, "", "r" * 1001])
def test_ending_needs_a_reason(town: Any, reason: str | None) -> None:
    body = {} if reason is None else {"reason": reason}
    problem = told(town.office.asks("POST", f"{LIST}/sr_1/refuse", json=body), 400)
    assert [each["field"] for each in problem["errors"]] == ["reason"]


def test_the_document_comes_back_as_it_was_under_a_safe_name(world: World, office: Client) -> None:
    official = world.official()
    name = 'Kế hoạch "số 201"\r\nX-Evil: 1.pdf'
    made = told(office.tries_to_submit(official, filename=name), 201)
    answer = office.asks("GET", f"{LIST}/{made['id']}/document")
    assert answer.content == plan()
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["etag"] == f'"{made["document_digest"]}"'
    shown = answer.headers["content-disposition"]
    assert shown.startswith(f'attachment; filename="{made["id"]}.pdf"; filename*=UTF-8\'\'K%E1%BA%BF')
    assert shown.isascii()
    assert "x-evil" not in answer.headers


def test_who_has_the_bytes_already_is_not_sent_them_again(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    signed = office.confirms(official, made)
    for path, digest in (("document", made["document_digest"]), ("signed-document", signed["signed_digest"])):
        answer = office.asks("GET", f"{LIST}/{made['id']}/{path}", headers={"If-None-Match": f'"x", W/"{digest}"'})
        assert (answer.status_code, answer.content) == (304, b"")
    assert world.events("signing-request:deliver") == 0


def test_each_delivery_of_a_signed_document_is_on_record(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    office.confirms(official, made)
    for count in (1, 2):
        answer = office.asks("GET", f"{LIST}/{made['id']}/signed-document")
        assert f'filename="{made["id"]}.signed.pdf"' in answer.headers["content-disposition"]
        assert world.events("signing-request:deliver") == count


def test_a_file_that_is_no_longer_kept_is_not_found(world: World, office: Client) -> None:
    made = office.submits(world.official())
    world.rt.documents.remove(made["document_digest"])
    assert told(office.asks("GET", f"{LIST}/{made['id']}/document"), 404)["code"] == "file-gone"


def test_the_receipt_of_a_signed_request_is_there(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    office.confirms(official, made)
    assert told(office.asks("GET", f"{LIST}/{made['id']}/receipt"), 200)["signing_request"]["id"] == made["id"]


NAMES = {
    "an ordinary one": ("ke-hoach.pdf", "ke-hoach.signed.pdf"),
    "one without a suffix": ("ke-hoach", "ke-hoach.signed.pdf"),
    "several dots": ("a.b.pdf", "a.b.signed.pdf"),
}


@pytest.mark.parametrize(("name", "signed"), NAMES.values(), ids=NAMES)
def test_a_signed_document_is_named_after_the_document(name: str, signed: str) -> None:
    assert downloads.signed_name(name) == signed


@pytest.mark.parametrize("name", ['a"b.pdf', "a;b.pdf", "a\\b.pdf", "số.pdf", "a'b.pdf", "a%b.pdf"])
def test_no_name_breaks_out_of_its_header(name: str) -> None:
    header = downloads.attachment(name, "sr_1.pdf")
    assert header == f"attachment; filename=\"sr_1.pdf\"; filename*=UTF-8''{quote(name, safe='')}"
    assert header.count('"') == 2
