"""An official says no, stops everything, and looks at their own things; and wrong codes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from signing_service import confirmation, holdings
from signing_service.confirmation import Shown
from signing_service.credentials import find
from signing_service.db.tables import credential, signing_request
from signing_service.errors import NotAuthorized, TooMany
from signing_service.front.app import create_app
from signing_service.front.runtime import WRONG_CODES, WRONG_CODES_SECONDS, Runtime
from signing_service.front.tally import Tally
from signing_service.front.turns import Turns
from signing_service.people import Official
from signing_service.wire.messages import RetirePhone
from tests.support.handset import Handset, read
from tests.support.world import Client, World, plan

# ---------------------------------------------------------------------------------------------------- saying no


def test_a_refusal_needs_a_reason_and_names_the_person_in_the_log(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)

    empty = phone.sends(phone.looks_at(made), "/refuse", reason="  ")
    assert (empty.status_code, world.state_of(made)) == (400, "pending")
    phone.follows(phone.sends(empty, "/refuse", reason="Sai số tiền"))

    assert office.sees(made)["reason"] == "Sai số tiền"
    assert [each["actor"] for each in world.entries("signing-request:refuse")] == [f"person:{official.id}"]


def test_this_was_not_me_asks_once_more_then_suspends_alarms_and_refuses(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made, other = office.submits(official), office.submits(official, plan("other"))

    asked = phone.opens(f"/requests/{made['id']}/not-me")
    assert world.events("signatory:suspend-oneself") == 0
    stopped = phone.sends(asked, "/not-me")

    assert stopped.status_code == 200
    assert (world.state_of(made), office.sees(made)["reason"]) == ("refused", "not-me")
    alarm = world.entries("signatory:suspend-oneself")[0]
    assert (alarm["outcome"], alarm["signing_request_id"]) == ("alarm", made["id"])
    page = phone.looks_at(other)
    assert "Chưa thể ký" in page.text
    assert not [each for each in read(page).forms if each.action.endswith("/confirm")]


def test_this_was_not_me_about_what_is_signed_already_suspends_and_says_so(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    asked = phone.opens(f"/requests/{made['id']}/not-me")
    phone.sends(phone.looks_at(made), "/confirm", code=phone.code())
    stopped = phone.sends(asked, "/not-me")
    assert "đã được xác nhận trước khi bạn dừng" in read(stopped).text
    assert world.events("signatory:suspend-oneself") == 1


def test_a_lost_phone_that_is_reported_stops_every_phone(world: World, office: Client) -> None:
    official = world.official()
    old = world.phone(official)
    phone = world.phone(official, keeps_others=True)
    phone.sends(phone.opens("/me/suspend?why=lost-phone"), "/me/suspend")
    assert [each.opens("/waiting").status_code for each in (old, phone)] == [401, 401]


def test_suspending_oneself_keeps_the_phone(world: World) -> None:
    official = world.official()
    phone = world.phone(official)
    phone.sends(phone.opens("/me/suspend?why=own-wish"), "/me/suspend")
    assert "Tạm dừng" in read(phone.opens("/me")).text
    assert phone.asks("GET", "/me/suspend?why=because").status_code == 400


def test_the_stop_code_stops_from_a_browser_that_nobody_knows(world: World) -> None:
    official = world.official()
    phone = world.phone(official)
    assert phone.phone is not None
    stranger = world.browser()
    typed = phone.phone.stop_code.lower().replace("-", " ")
    stopped = stranger.sends(stranger.opens("/stop"), "/stop", **{"stop-code": typed})
    assert "Đã dừng" in read(stopped).text
    assert phone.opens("/waiting").status_code == 401


def test_guessing_stop_codes_is_slowed_down_and_on_record_before_the_signer_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch,
) -> None:
    stranger = world.browser()
    page = stranger.opens("/stop")
    asks, asked = world.rt.signer.ask, []

    async def counting(message: Any, *more: Any, **named: Any) -> Any:
        asked.append(message)
        return await asks(message, *more, **named)

    monkeypatch.setattr(world.rt.signer, "ask", counting)
    answers = [stranger.sends(page, "/stop", **{"stop-code": "ABCDE-FGHIJ-KLMNO-PQRST"}).status_code
               for _ in range(WRONG_CODES + 5)]
    assert answers == [403] * WRONG_CODES + [429] * 5
    assert len(asked) == WRONG_CODES
    assert world.events("stop-code:limited") == 1


# --------------------------------------------------------------------------------------------------- one's own


def test_what_was_signed_in_my_name_is_listed_for_ninety_days(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official, subject="Kế hoạch trồng cây")
    phone.sends(phone.looks_at(made), "/confirm", code=phone.code())
    assert "Kế hoạch trồng cây" in read(phone.opens("/me")).text
    with world.rt.db.write() as tx:
        tx.execute(update(signing_request).values(ended_at=world.clock.at.replace(year=world.clock.at.year - 1)))
    assert "Kế hoạch trồng cây" not in read(phone.opens("/me")).text


ENDINGS = {200: None, 60: None, 59: 60, 30: 60, 29: 30, 7: 30, 6: 7, 0: 7, -1: 0}  # days left: the warning


@pytest.mark.parametrize(("days", "warned"), ENDINGS.items())
def test_a_certificate_that_ends_is_warned_of_at_sixty_thirty_and_seven_days(
    town: Any, days: int, warned: int | None,
) -> None:
    with town.world.rt.db.read() as tx:
        held = find(tx, town.official.credential)
    now = town.world.clock.at
    holding = holdings.holding_of(replace(held, not_after=now + timedelta(days=days, hours=1)))
    assert (holding.warning(now), holding.days_left(now)) == (warned, max(0, days))


# ------------------------------------------------------------------------------------------------- wrong codes


def test_guessing_codes_over_two_fronts_stops_at_the_signers_limit(either: World) -> None:
    official, office = either.official(), either.client()
    phone = either.phone(official)
    made = office.submits(official)
    fronts = [create_app(replace(either.rt, turns=Turns(), wrong_codes=Tally(WRONG_CODES, WRONG_CODES_SECONDS)))
              for _ in range(2)]
    handsets = [Handset(either, phone.phone, app) for app in fronts]
    right = phone.code()
    wrong = [f"{(int(right) + 1 + at) % 1_000_000:06d}" for at in range(12)]
    forms = [each.form(each.looks_at(made), "/confirm") for each in handsets]

    answers = either.at_once(*[
        lambda at=at, guess=guess: handsets[at % 2].send(forms[at % 2], code=guess) for at, guess in enumerate(wrong)])

    assert {answer.status_code for answer in answers} == {403}
    assert either.codes_tried(official) <= 5
    locked = handsets[0].sends(handsets[0].looks_at(made), "/confirm", code=right)
    assert (locked.status_code, either.state_of(made)) == (403, "pending")
    assert "Tạm khóa" in read(locked).text


def test_one_phones_wrong_codes_do_not_slow_another_one_down(world: World, office: Client) -> None:
    official, other = world.official(), world.official("Trần Thị B")
    phone, theirs = world.phone(official), world.phone(other)
    assert phone.phone is not None
    for _ in range(WRONG_CODES):
        world.rt.wrong_codes.add(phone.phone.id)
    mine, made = office.submits(official), office.submits(other, plan("b"))
    assert phone.sends(phone.looks_at(mine), "/confirm", code=phone.code()).status_code == 429
    assert theirs.sends(theirs.looks_at(made), "/confirm", code=theirs.code()).status_code == 303


def test_a_certificate_that_ends_soon_is_said_to_on_the_document_and_on_ones_own_page(
    world: World, office: Client,
) -> None:
    official = world.official()
    phone = world.phone(official)
    made = office.submits(official)
    with world.rt.db.write() as tx:
        tx.execute(update(credential).values(not_after=world.clock.at + timedelta(days=6, hours=1)))
    for page in (phone.looks_at(made), phone.opens("/me")):
        assert "hết hạn sau 6 ngày" in read(page).text


def test_a_phone_that_was_retired_between_page_and_press_confirms_nothing(either: World) -> None:
    official, office = either.official(), either.client()
    phone = either.phone(official)
    assert phone.phone is not None
    made = office.submits(official)
    page = phone.looks_at(made)
    code = phone.code()
    either.city.acts(RetirePhone(phone.phone.id))

    assert phone.sends(page, "/confirm", code=code).status_code == 401
    known = Official(official.id, "Nguyễn Văn A", "H26.1", phone.phone.id, phone.phone.secret)
    with pytest.raises(NotAuthorized):  # and a front that had not noticed is told so by the signer
        either.stage.run(confirmation.confirm_shown(
            either.rt, known, [Shown(made["id"], made["document_digest"])], phone.code()))
    assert either.state_of(made) == "pending"
    assert either.codes_tried(official) == 0


def test_the_story_itself_is_held_back_like_the_page(world: World, office: Client) -> None:
    official = world.official()
    phone = world.phone(official)
    assert phone.phone is not None
    made = office.submits(official)
    for _ in range(WRONG_CODES):
        world.rt.wrong_codes.add(phone.phone.id)
    known = Official(official.id, "", "H26.1", phone.phone.id, phone.phone.secret)

    async def story(rt: Runtime) -> None:
        await confirmation.confirm_shown(rt, known, [Shown(made["id"], made["document_digest"])], "123456")

    with pytest.raises(TooMany):
        world.stage.run(story(world.rt))
