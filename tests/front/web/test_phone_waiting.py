"""What waits for an official, in which order, and what a page of it costs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from signing_service import waiting
from signing_service.people import Official
from tests.support.city import Person
from tests.support.handset import Handset, read
from tests.support.world import Client, World, plan, told

TERMS = {"terms": {"confirm": "phone", "appearance": "text"}}


def put(world: World, person: Person, mark: str = "", **more: Any) -> str:
    """The row of a signing request, without its file: for lists, where nobody opens it."""
    return world.city.submitted(person, mark.encode() or b"%PDF", decision=TERMS, subject=f"subject {mark}", **more)


def official_of(person: Person, phone: Handset) -> Official:
    assert phone.phone is not None
    return Official(person.id, "Nguyễn Văn A", "H26.1", phone.phone.id, phone.phone.secret)


def listed(phone: Handset, path: str = "/waiting") -> list[str]:
    """The documents of a page of the list, in its order."""
    return [link.rpartition("/")[2] for link in read(phone.opens(path)).links if link.startswith("/requests/")]


def test_the_most_urgent_stands_first_and_the_newest_first_among_equals(either: World) -> None:
    official = either.official()
    phone = either.phone(official)
    urgencies = ["normal", "khan", "hoa-toc", "normal", "thuong-khan", "hoa-toc", "khan"]
    made = [put(either, official, str(at), urgency=urgency) for at, urgency in enumerate(urgencies)]

    assert listed(phone) == [made[at] for at in (5, 2, 4, 6, 1, 3, 0)]


def test_turning_pages_meets_every_document_once(either: World) -> None:
    official = either.official()
    phone = either.phone(official)
    classes = ["hoa-toc"] * 3 + ["khan"] * 25 + ["normal"] * 17
    made = [put(either, official, str(at), urgency=urgency) for at, urgency in enumerate(classes)]
    met: list[str] = []
    path: str | None = "/waiting"
    while path is not None:
        page = read(phone.opens(path))
        met += [link.rpartition("/")[2] for link in page.links if link.startswith("/requests/")]
        path = next((link for link in page.links if link.startswith("/waiting?after=") and "lang" not in link), None)

    assert met == [*reversed(made[:3]), *reversed(made[3:28]), *reversed(made[28:])]


def test_what_has_ended_or_is_somebody_elses_is_not_in_the_list(world: World) -> None:
    official, other = world.official(), world.official("Trần Thị B")
    phone = world.phone(official)
    put(world, other, "theirs")
    put(world, official, "over", expires_at=world.clock.at)
    put(world, official, "withdrawn", state="withdrawn")
    assert listed(phone) == []
    assert "Không có văn bản nào chờ bạn ký" in phone.opens("/waiting").text


def test_a_batch_is_one_line_where_its_most_urgent_document_stands(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    single = office.submits(official, plan("single"), urgency="khan")
    bundle = [office.submits(official, plan(str(at)), urgency=urgency, subject=f"bundled {at}")
              for at, urgency in enumerate(["normal", "hoa-toc", "normal"])]
    ids = [each["id"] for each in bundle]
    batch = told(office.asks("POST", "/api/v1/batches", json={"signing_requests": ids}), 201)

    page = read(phone.opens("/waiting"))

    links = [link for link in page.links if link.startswith(("/requests/", "/review"))]
    assert links == [f"/review?batch={batch['id']}", f"/requests/{single['id']}"]
    assert "Lô 3 văn bản" in page.text
    review = read(phone.opens(links[0]))
    assert f"{batch['matching_code'][:3]} {batch['matching_code'][3:]}" in review.text
    assert [link for link in review.links if link.startswith("/requests/")] == [
        f"/requests/{bundle[at]['id']}" for at in (1, 2, 0)]


def test_a_batch_does_not_come_again_on_the_next_page(world: World) -> None:
    official = world.official()
    phone = world.phone(official)
    for at in range(45):
        put(world, official, str(at), batch_id="ba_" + "0" * 32 if at % 2 else None)
    first = read(phone.opens("/waiting"))
    after = next(link for link in first.links if link.startswith("/waiting?after=") and "lang" not in link)
    found = [link for page in (first, read(phone.opens(after))) for link in page.links if link.startswith("/review?b")]
    assert len(found) == 1


CURSORS = ["", "normal", "normal.sr_1", "normal.sr_" + "0" * 31 + "'", "now.sr_" + "0" * 32, "x" * 5000]


@pytest.mark.parametrize("cursor", CURSORS)
def test_a_page_that_the_list_never_had_is_a_400(town: Any, cursor: str) -> None:
    phone = town.world.phone(town.official)
    assert phone.asks("GET", "/waiting", params={"after": cursor}).status_code == 400


def test_a_page_reads_one_range_of_the_index_for_each_class_and_sorts_nothing(world: World) -> None:
    official = world.official()
    phone = world.phone(official)
    for at in range(30):
        put(world, official, str(at))
    asked: list[tuple[str, Any]] = []
    with world.rt.db.engine.connect() as connection:
        @event.listens_for(world.rt.db.engine, "before_cursor_execute")
        def heard(_c: object, _k: object, statement: str, values: Any, *_rest: object) -> None:
            asked.append((statement, values))
        try:
            world.stage.run(waiting.page(world.rt, official_of(official, phone)))
        finally:
            event.remove(world.rt.db.engine, "before_cursor_execute", heard)
        listing = [each for each in asked if "ORDER BY" in each[0]]
        plans = ["\n".join(str(row[3]) for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values))
                 for sql, values in listing]
    assert len(plans) == len(waiting.ORDER)
    for each in plans:
        assert "ix_request_waiting (signatory_id=? AND state=? AND urgency=?)" in each, each
        assert "SEARCH other USING INDEX ix_request_batch (batch_id=? AND id>?)" in each, each
        assert "TEMP B-TREE" not in each, each
        assert "SCAN signing_request" not in each, each


def test_many_are_counted_up_to_a_number_and_said_to_be_more(world: World) -> None:
    official = world.official()
    phone = world.phone(official)
    for at in range(waiting.MOST_COUNTED + 1):
        put(world, official, str(at))
    assert re.search(r"Hơn 99 văn bản đang chờ", phone.opens("/waiting").text)


def test_how_long_there_is_left_is_said(world: World) -> None:
    official = world.official()
    phone = world.phone(official)
    put(world, official, expires_at=world.clock.at + timedelta(minutes=12, seconds=30))
    assert "còn 12 phút" in phone.opens("/waiting").text
