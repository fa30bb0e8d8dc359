"""An official looks at a document and confirms it on the phone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select, update

from signing_service import delivery
from signing_service.db.tables import client
from signing_service.db.tables import confirmation as confirmations
from signing_service.errors import Unavailable
from signing_service.front.app import create_app
from signing_service.front.turns import Turns
from tests.support.city import DEFAULT
from tests.support.handset import Handset, read, spaced
from tests.support.world import Client, World, plan


def test_an_official_signs_on_the_phone_what_a_client_submitted(either: World) -> None:
    official, office = either.official(), either.client()
    phone = either.phone(official)
    made = office.submits(official)

    assert f"/requests/{made['id']}" in read(phone.opens("/waiting")).links
    page = phone.looks_at(made)
    assert spaced(made["matching_code"]) in read(page).text
    results = phone.follows(phone.sends(page, "/confirm", code=phone.code()))

    assert results.status_code == 200
    assert either.state_of(made) == "signed"
    signed = phone.opens(f"/requests/{made['id']}/signed")
    assert signed.content.startswith(plan())
    with either.rt.db.read() as tx:
        row = tx.execute(select(confirmations)).one()
    assert (row.channel, row.client_id, row.phone_id) == ("phone", None, phone.phone and phone.phone.id)


def test_a_policy_that_wants_the_phone_is_content_with_it(world: World, office: Client) -> None:
    world.activates(DEFAULT)
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    assert made["confirm"] == "phone"
    phone.sends(phone.looks_at(made), "/confirm", code=phone.code())
    assert world.state_of(made) == "signed"


def test_every_page_is_drawn_from_exactly_the_bytes_that_are_confirmed(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)

    pictures = [each for each in read(phone.looks_at(made)).pictures if each.startswith("/requests/")]
    drawn = [phone.opens(each) for each in pictures]

    assert len(drawn) == made["pages"]
    assert {each.headers["content-type"] for each in drawn} <= {"image/png", "image/jpeg", "image/webp"}
    seen = world.entries("signing-request:look")
    assert [each["data"]["drawn"] for each in seen] == [made["document_digest"]]
    assert seen[0]["document_digest"] == made["document_digest"]


def test_the_file_itself_can_be_had_and_is_the_one_that_is_drawn(world: World, office: Client) -> None:
    phone = world.phone(official := world.official())
    made = office.submits(official)
    answer = phone.opens(f"/requests/{made['id']}/document")
    assert answer.content == plan()
    assert answer.headers["content-disposition"].startswith("attachment")


def test_pictures_have_few_widths_and_no_page_that_is_not_there(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    for path in ("0", str(made["pages"] + 1), "1?width=961", "1?width=1000000"):
        assert phone.opens(f"/requests/{made['id']}/pages/{path}").status_code == 404


def test_a_document_that_is_another_one_on_the_disk_is_neither_drawn_nor_confirmed(
    world: World, office: Client,
) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official, plan("nobody has looked at this one yet"))
    stored = world.rt.documents.path(made["document_digest"])
    original = stored.read_bytes()
    stored.chmod(0o600)
    stored.write_bytes(plan("another"))

    assert phone.opens(f"/requests/{made['id']}/pages/1").status_code == 409
    page = phone.looks_at(made)
    assert "Chưa thể ký" in page.text
    assert not [each for each in read(page).forms if each.action.endswith("/confirm")]
    assert world.events("signing-request:look") == 0
    stored.write_bytes(original)


def test_opening_is_on_record_once_for_each_phone(either: World) -> None:
    official, office = either.official(), either.client()
    one = either.phone(official)
    two = either.phone(official, keeps_others=True)
    made = office.submits(official)
    path = f"/requests/{made['id']}"

    either.at_once(*[lambda each=each: each.http.get(path) for each in (one, one, two, one)])
    one.opens(path)

    assert one.phone is not None
    assert two.phone is not None
    shown = either.entries("signing-request:show")
    assert sorted(each["data"]["phone"] for each in shown) == sorted([one.phone.id, two.phone.id])
    assert {each["actor"] for each in shown} == {f"person:{official.id}"}


def test_what_the_signature_will_say_and_where_is_what_it_then_says(world: World, office: Client) -> None:
    official = world.official("Nguyễn Văn An")
    phone = world.phone(official)
    made = office.submits(official)
    page = phone.looks_at(made)
    assert "Ký bởi: Nguyễn Văn An" in read(page).text
    assert '<rect x="325" y="' in page.text
    assert "chữ ký số cá nhân" in read(page).text.lower()


def test_an_earlier_signature_is_shown_with_whose_it_is(world: World, office: Client) -> None:
    first, second = world.official("Nguyễn Văn A"), world.official("Trần Thị B")
    made = office.submits(first)
    office.confirms(first, made)
    signed = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document").content
    phone = world.phone(second)

    page = read(phone.looks_at(office.submits(second, signed)))

    assert "Nguyễn Văn A" in page.text
    assert "Nguyên vẹn" in page.text


def test_blanks_in_a_code_are_forgiven_and_full_width_digits_are_not(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    code = phone.code()
    wide = "".join(chr(ord(each) + 0xFEE0) for each in code)

    refused = phone.sends(phone.looks_at(made), "/confirm", code=wide)
    assert (refused.status_code, world.codes_tried(official)) == (400, 0)
    assert "Mã OTP gồm đúng 6 chữ số" in read(refused).text

    phone.sends(phone.looks_at(made), "/confirm", code=f" {code[:3]}\u00a0{code[3:]} ")
    assert world.state_of(made) == "signed"


def test_a_wrong_code_says_how_many_tries_are_left_on_the_page_where_it_was_typed(
    world: World, office: Client,
) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    right = phone.code()

    page = phone.sends(phone.looks_at(made), "/confirm", code=f"{(int(right) + 1) % 1_000_000:06d}")

    assert page.status_code == 403
    assert "Còn 4 lần thử." in read(page).text
    assert phone.form(page, "/confirm")
    assert phone.sends(page, "/confirm", code=right).status_code == 303
    assert world.state_of(made) == "signed"


def test_a_page_that_showed_another_document_confirms_nothing_and_costs_no_try(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made, other = office.submits(official), office.submits(official, plan("another"))
    form = phone.form(phone.looks_at(made), "/confirm")
    form.fields = [(name, other["document_digest"] if name == "digest" else value) for name, value in form.fields]

    answer = world.stage.run(phone.send(form, code=phone.code()))

    assert answer.status_code == 409
    assert world.codes_tried(official) == 0
    assert world.state_of(made) == "pending"


def test_two_phones_that_press_at_once_make_one_signature_and_both_see_it(either: World) -> None:
    official, office = either.official(), either.client()
    one = either.phone(official)
    two = either.phone(official, keeps_others=True)
    made = office.submits(official)
    forms = [(each, each.form(each.looks_at(made), "/confirm")) for each in (one, two, one, two)]
    code = two.code()  # the newest seed is the one that counts

    answers = either.at_once(*[lambda phone=phone, form=form: phone.send(form, code=code) for phone, form in forms])

    assert [answer.status_code for answer in answers] == [303] * 4
    assert "Đã ký" in read(one.follows(answers[0])).text
    assert (either.count("intent"), either.count("signature")) == (1, 1)


def test_two_fronts_that_are_pressed_at_once_make_one_signature(either: World) -> None:
    official, office = either.official(), either.client()
    phone = either.phone(official)
    made = office.submits(official)
    fronts = [create_app(replace(either.rt, turns=Turns())) for _ in range(2)]
    handsets = [Handset(either, phone.phone, app) for app in fronts]
    forms = [each.form(each.looks_at(made), "/confirm") for each in handsets]
    code = phone.code()

    answers = either.at_once(*[
        lambda each=each, form=form: each.send(form, code=code) for each, form in zip(handsets, forms, strict=True)])

    assert [answer.status_code for answer in answers] == [303, 303]
    assert either.count("signature") == 1
    either.stage.run(delivery.finish(either.rt, made["id"]))


def test_an_answer_that_was_lost_never_leads_to_a_second_signature(
    world: World, office: Client, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    page, asks = phone.looks_at(made), world.rt.signer.ask

    async def loses_the_answer(*asked: Any, **more: Any) -> Any:
        await asks(*asked, **more)
        raise Unavailable("The signer does not answer.", code="signer-timeout")

    with monkeypatch.context() as patch:
        patch.setattr(world.rt.signer, "ask", loses_the_answer)
        results = phone.follows(phone.sends(page, "/confirm", code=phone.code()))
    assert "Đang hoàn tất" in read(results).text

    phone.sends(page, "/confirm", code="000000")
    assert world.codes_tried(official) == 1
    assert world.stage.run(delivery.finish(world.rt, made["id"]))
    assert world.count("signature") == 1


def test_a_signer_that_is_away_leads_to_the_states_as_they_are(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    page = phone.looks_at(made)
    with world.without_signer():
        answer = phone.sends(page, "/confirm", code=phone.code())
        results = read(phone.follows(answer))
    assert "Hệ thống chưa trả lời kịp" in results.text
    assert "Chưa ký" in results.text
    assert f"/requests/{made['id']}" in results.links


def test_what_the_policy_denies_at_the_last_moment_is_told_with_its_reasons_and_can_be_read_again(
    world: World, office: Client,
) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    page = phone.looks_at(made)
    with world.rt.db.write() as tx:  # the client loses its agencies between submission and confirmation
        tx.execute(update(client).where(client.c.id == office.id).values(agencies=[]))

    answer = phone.sends(page, "/confirm", code=phone.code())

    for _ in range(2):
        results = read(phone.follows(answer))
        assert "Hệ thống gửi" in results.text  # the rule's name
        assert world.state_of(made) == "pending"
