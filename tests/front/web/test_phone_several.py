"""Several documents under one code: each can be opened, taken out, and has an outcome of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from signing_service.db.tables import client
from signing_service.errors import Invalid
from signing_service.pdf import Survey
from tests.support.handset import Handset, read, spaced
from tests.support.world import Client, World, plan, told


def test_documents_of_several_clients_are_confirmed_under_one_code(either: World) -> None:
    official = either.official()
    phone = either.phone(official)
    made = [either.client(name=name).submits(official, plan(name)) for name in ("QLVB", "Báo cáo", "Một cửa")]

    review = phone.opens("/review?" + "&".join(f"id={each['id']}" for each in made))
    results = read(phone.follows(phone.sends(review, "/review", code=phone.code())))

    assert {either.state_of(each) for each in made} == {"signed"}
    assert "Đã ký 3/3 văn bản" in results.text
    assert either.count("confirmation") == 1


def review_of(phone: Handset, made: list[dict[str, Any]]) -> Any:
    return phone.opens("/review?" + "&".join(f"id={each['id']}" for each in made))


def test_a_document_that_was_taken_out_of_a_batch_stays_pending_and_the_code_shown_is_of_the_others(
    world: World, office: Client,
) -> None:
    official = world.official()
    phone = world.phone(official)
    made = [office.submits(official, plan(str(at))) for at in range(3)]
    batch = told(office.asks("POST", "/api/v1/batches", json={"signing_requests": [each["id"] for each in made]}), 201)

    whole = phone.opens(f"/review?batch={batch['id']}")
    part = phone.opens(f"/review?batch={batch['id']}&without={made[1]['id']}")
    answer = phone.sends(part, "/review", code=phone.code())

    assert spaced(batch["matching_code"]) in read(whole).text
    assert spaced(batch["matching_code"]) not in read(part).text
    assert [world.state_of(each) for each in made] == ["signed", "pending", "signed"]
    assert "Đã ký 2/2 văn bản" in read(phone.follows(answer)).text


def test_partial_failure_is_told_document_by_document(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    other = world.client(name="Báo cáo")
    good, withdrawn = office.submits(official), office.submits(official, plan("withdrawn"))
    denied = other.submits(official, plan("denied"))
    page = review_of(phone, [good, withdrawn, denied])
    told(office.asks("POST", f"/api/v1/signing-requests/{withdrawn['id']}/withdraw", json={"reason": "a mistake"}), 200)
    with world.rt.db.write() as tx:
        tx.execute(update(client).where(client.c.id == other.id).values(agencies=[]))

    answer = phone.sends(page, "/review", code=phone.code())
    results = read(phone.follows(answer)).text

    assert [world.state_of(each) for each in (good, withdrawn, denied)] == ["signed", "withdrawn", "pending"]
    for said in ("Đã ký 1/3 văn bản", "Đã rút lại", "Chính sách ký số không cho phép"):
        assert said in results


def test_a_document_that_cannot_be_shown_is_not_signed_among_others_either(
    world: World, office: Client, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = world.official()
    phone = world.phone(official)
    good, hidden = office.submits(official), office.submits(official, plan("hidden"))
    surveyed = world.rt.pool.survey

    async def survey(path: Path, viewer: str = "") -> Survey:
        if path == world.rt.documents.path(hidden["document_digest"]):
            raise Invalid("This page cannot be drawn.", code="page-not-drawn")
        return await surveyed(path, viewer)

    monkeypatch.setattr(world.rt.pool, "survey", survey)
    phone.sends(review_of(phone, [good, hidden]), "/review", code=phone.code())
    assert [world.state_of(each) for each in (good, hidden)] == ["signed", "pending"]


def test_a_wrong_code_at_several_documents_is_told_on_their_page(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = [office.submits(official, plan(str(at))) for at in range(2)]
    right = phone.code()
    page = review_of(phone, made)
    again = phone.sends(page, "/review", code=f"{(int(right) + 1) % 1_000_000:06d}")
    assert again.status_code == 403
    assert "Còn 4 lần thử." in read(again).text
    phone.sends(again, "/review", code=right)
    assert {world.state_of(each) for each in made} == {"signed"}


def test_one_changed_digest_among_several_confirms_none_of_them(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = [office.submits(official, plan(str(at))) for at in range(2)]
    form = phone.form(review_of(phone, made), "/review")
    form.fields = [(name, f"{made[0]['id']}.{'0' * 64}" if value.startswith(made[0]["id"]) else value)
                   for name, value in form.fields]
    assert world.stage.run(phone.send(form, code=phone.code())).status_code == 409
    assert {world.state_of(each) for each in made} == {"pending"}
    assert world.codes_tried(official) == 0


def test_the_same_file_twice_under_one_code_is_refused_before_the_code_is_looked_at(
    world: World, office: Client,
) -> None:
    official = world.official()
    phone = world.phone(official)
    made = [office.submits(official), world.client().submits(official)]
    answer = phone.sends(review_of(phone, made), "/review", code=phone.code())
    assert answer.status_code == 400
    assert world.codes_tried(official) == 0
