"""A link becomes a phone, once, in one browser, with the first right code."""

from __future__ import annotations

from typing import Any

import httpx
import pyotp
import pytest

from signing_service.front.runtime import WRONG_CODES
from signing_service.front.web import visitors
from signing_service.front.web.enrolment_pages import ENROLLING, label_of, masked
from signing_service.wire.messages import AddAuditor
from tests.support.city import Person, secret_of
from tests.support.handset import Handset, read
from tests.support.world import Client, World


def link(world: World, person: Person, **more: Any) -> str:
    return f"/enrol/{world.city.ticket(person.id, **more)}"


def uri_of(page: httpx.Response) -> str:
    return next(each for each in read(page).links if each.startswith("otpauth:"))


def first_code(world: World, page: httpx.Response) -> str:
    """What the authenticator shows after a tap on the link."""
    world.city.next_code()
    return pyotp.TOTP(secret_of(uri_of(page))).at(world.clock.at)


def enrolled(world: World, person: Person, **more: Any) -> tuple[Handset, httpx.Response, str]:
    """The whole way in a fresh browser; the phone, the last page and the seed."""
    phone, path = world.browser(), link(world, person, **more)
    seed = phone.sends(phone.opens(path), path)
    done = phone.sends(seed, "/complete", code=first_code(world, seed))
    return phone, done, secret_of(uri_of(seed))


def test_from_a_link_to_a_signature(either: World) -> None:
    official, office = either.official("Nguyễn Văn An"), either.client()

    phone, done, seed = enrolled(either, official)

    assert done.status_code == 200
    assert "Mã dừng khẩn cấp của bạn" in read(done).text
    assert ENROLLING not in phone.http.cookies
    made = office.submits(official)
    either.city.next_code()
    code = pyotp.TOTP(seed).at(either.clock.at)
    phone.sends(phone.looks_at(made), "/confirm", code=code)
    assert either.state_of(made) == "signed"


def test_looking_at_a_link_uses_nothing_up_and_names_nobody_in_full(world: World) -> None:
    path = link(world, world.official("Nguyễn Văn An"))
    for _ in range(3):
        seen = world.browser().opens(path)  # a messenger's preview, and a mail scanner's
        assert seen.status_code == 200
        assert "N. V. An" in read(seen).text
        assert "Nguyễn" not in read(seen).text
    assert world.events("ticket:redeem") == 0
    assert world.count("phone") == 0


def test_a_link_that_another_browser_has_opened_is_refused(either: World) -> None:
    path = link(either, either.official())
    thief, official = either.browser(), either.browser()
    page = official.opens(path)
    stolen = thief.sends(thief.opens(path), path)
    assert "otpauth:" in stolen.text

    refused = official.sends(page, path)

    assert refused.status_code in (403, 404, 409)
    assert "otpauth:" not in refused.text
    again = official.opens(path)
    assert again.status_code == 403
    assert "báo quản trị viên ngay" in read(again).text


def test_a_link_that_did_its_work_opens_nothing_any_more(world: World) -> None:
    official = world.official()
    path = link(world, official)
    phone = world.browser()
    seed = phone.sends(phone.opens(path), path)
    phone.sends(seed, "/complete", code=first_code(world, seed))
    for each in (phone, world.browser()):
        seen = each.opens(path)
        assert seen.status_code == 409
        assert "otpauth:" not in seen.text


def test_one_link_pressed_in_many_browsers_at_once_opens_in_one(either: World) -> None:
    path = link(either, either.official())
    browsers = [either.browser() for _ in range(4)]
    forms = [each.form(each.opens(path), path) for each in browsers]

    answers = either.at_once(*[lambda each=each, form=form: each.send(form)
                               for each, form in zip(browsers, forms, strict=True)])

    assert sorted("otpauth:" in answer.text for answer in answers) == [False, False, False, True]


def test_a_page_that_was_lost_can_be_asked_for_again_and_only_its_last_seed_counts(world: World) -> None:
    official = world.official()
    path, phone = link(world, official), world.browser()
    page = phone.opens(path)
    lost, shown = phone.sends(page, path), phone.sends(page, path)
    assert uri_of(lost) != uri_of(shown)

    assert phone.sends(shown, "/complete", code=first_code(world, lost)).status_code == 403
    assert phone.sends(shown, "/complete", code=first_code(world, shown)).status_code == 200


def test_after_a_wrong_code_the_seed_is_not_shown_again_but_the_field_is(world: World) -> None:
    path, phone = link(world, world.official()), world.browser()
    seed = phone.sends(phone.opens(path), path)
    right = first_code(world, seed)
    wrong = phone.sends(seed, "/complete", code=f"{(int(right) + 1) % 1_000_000:06d}")
    assert wrong.status_code == 403
    assert "Còn" in read(wrong).text
    assert "otpauth:" not in wrong.text
    assert phone.sends(wrong, "/complete", code=right).status_code == 200


def test_a_phone_in_use_stays_so_until_the_new_one_is_complete(world: World) -> None:
    official = world.official()
    phone = world.phone(official)
    path = link(world, official)
    phone.sends(phone.opens(path), path)
    assert phone.opens("/waiting").status_code == 200  # the old cookie is still there, and good


def test_a_new_phone_retires_the_old_one_unless_an_operator_allowed_both(world: World) -> None:
    official = world.official()
    old = world.phone(official)
    both, _, _ = enrolled(world, official, keeps_others=True)
    assert [each.opens("/waiting").status_code for each in (old, both)] == [200, 200]
    new, _, _ = enrolled(world, official)
    assert [each.opens("/waiting").status_code for each in (old, both, new)] == [401, 401, 200]


def test_a_link_is_good_for_its_hours(world: World) -> None:
    path = link(world, world.official(), hours=1)
    world.clock.forward(3601)
    assert world.browser().opens(path).status_code == 404


LINKS = {"one that never was": "A" * 43, "too short": "A" * 42, "markup": "<script>", "a way up": "..%2f..%2fme",
         "very long": "A" * 3000}


@pytest.mark.parametrize("token", LINKS.values(), ids=LINKS)
def test_what_is_no_link_is_a_404_that_says_what_to_do(town: Any, token: str) -> None:
    assert town.world.browser().opens(f"/enrol/{token}").status_code == 404


def test_guessing_links_is_slowed_down_and_on_record(world: World) -> None:
    stranger = world.browser()
    token = dict(stranger.form(stranger.opens("/stop"), "/stop").fields)["csrf"]

    def guess(at: int) -> int:
        return stranger.asks("POST", f"/enrol/{at:043d}", data={"csrf": token},
                             headers={"sec-fetch-site": "same-origin"}).status_code

    answers = [guess(at) for at in range(WRONG_CODES + 3)]
    assert set(answers[:WRONG_CODES]) <= {403, 404}
    assert answers[WRONG_CODES:] == [429] * 3
    assert world.events("ticket:limited") == 1


def test_another_site_cannot_press_the_button(world: World) -> None:
    path, victim = link(world, world.official()), world.browser()
    form = victim.form(victim.opens(path), path)
    answer = victim.asks("POST", path, data=dict(form.fields), headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 403
    assert world.count("phone") == 0


def test_a_phone_that_an_attacker_fixed_in_the_browser_is_not_the_one_that_is_enrolled(world: World) -> None:
    official = world.official()
    phone, planted = world.browser(), "ph_" + "1" * 32 + "." + "1" * 64
    phone.http.cookies.set(visitors.PHONE, planted, domain="signing.test")
    phone.http.cookies.set(ENROLLING, planted, domain="signing.test")
    path = link(world, official)
    seed = phone.sends(phone.opens(path), path)
    done = phone.sends(seed, "/complete", code=first_code(world, seed))
    assert done.status_code == 200
    fresh = [each.value for each in phone.http.cookies.jar if each.name == visitors.PHONE]
    assert planted not in fresh or len(fresh) > 1
    assert any(value and value != planted for value in fresh)


def test_who_knows_no_more_than_a_phones_id_cannot_fill_its_measure_of_wrong_codes(world: World) -> None:
    official, office = world.official(), world.client()
    phone, _, seed = enrolled(world, official)
    known = next(each.value for each in phone.http.cookies.jar if each.name == visitors.PHONE).partition(".")[0]
    stranger = world.browser()
    stranger.http.cookies.set(ENROLLING, f"{known}.{'0' * 64}", domain="signing.test")
    token = dict(stranger.form(stranger.opens("/stop"), "/stop").fields)["csrf"]
    for _ in range(WRONG_CODES):
        answer = stranger.asks("POST", f"/enrol/{'A' * 43}/complete", data={"csrf": token, "code": "123456"},
                               headers={"sec-fetch-site": "same-origin"})
        assert answer.status_code == 401

    made = office.submits(official)
    world.city.next_code()
    phone.sends(phone.looks_at(made), "/confirm", code=pyotp.TOTP(seed).at(world.clock.at))
    assert world.state_of(made) == "signed"


def test_an_answer_that_was_lost_after_the_first_code_leads_to_the_list(
    world: World, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = world.official()
    path, phone = link(world, official), world.browser()
    seed = phone.sends(phone.opens(path), path)
    kept = phone.http.cookies.get(ENROLLING)
    assert phone.sends(seed, "/complete", code=first_code(world, seed)).status_code == 200
    phone.http.cookies.clear()
    again = world.browser()  # the same browser, had the answer never come
    again.http.cookies.set(ENROLLING, str(kept), domain="signing.test")
    page = again.opens("/stop")
    token = dict(again.form(page, "/stop").fields)["csrf"]
    answer = again.asks("POST", f"{path}/complete", data={"csrf": token, "code": "123456"},
                        headers={"sec-fetch-site": "same-origin"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/waiting")
    assert again.opens("/waiting").status_code == 200


def test_the_seed_is_written_nowhere(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    _, done, seed = enrolled(world, world.official())
    assert done.status_code == 200
    assert seed.encode() not in world.everything_written()
    assert seed not in caplog.text
    assert done.headers["cache-control"] == "no-store"


def test_an_auditors_link_leads_to_an_account_and_not_to_a_phone(world: World, office: Client) -> None:


    auditor = world.city.acts(AddAuditor("Phạm Thị Dung", ("*",)))[0].id
    path = f"/enrol/{world.city.ticket(auditor)}"
    seen = world.browser().opens(path)
    assert [each.action for each in read(seen).forms if each.method == "post"] == ["/console/enrolment"]
    page = world.browser()
    token = dict(page.form(page.opens(path), "/console/enrolment").fields)["csrf"]
    forced = page.asks("POST", path, data={"csrf": token}, headers={"sec-fetch-site": "same-origin"})
    assert forced.status_code in (400, 403, 404, 409)
    assert world.count("phone") == 0


NAMES = {"Nguyễn Văn An": "N. V. An", "An": "A.", "  Trần   Thị Bích Ngọc ": "T. T. B. Ngọc", "": "."}


@pytest.mark.parametrize(("name", "said"), NAMES.items())
def test_a_name_is_masked_so_that_only_its_owner_knows_it(name: str, said: str) -> None:
    assert masked(name) == said


AGENTS = {
    "Mozilla/5.0 (Linux; Android 14; SM-A146P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Mobile "
    "Safari/537.36": "Android, Chrome",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1": "iPhone, Safari",
    "Mozilla/5.0 (Linux; Android 13; SAMSUNG SM-S911B) AppleWebKit/537.36 SamsungBrowser/23.0 Chrome/115.0 Mobile "
    "Safari/537.36": "Android, Samsung",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0 Safari/537.36 Edg/126.0":
        "Windows, Edge",
    "<script>alert(1)</script>": "",
    "": "",
}


@pytest.mark.parametrize(("agent", "label"), AGENTS.items())
def test_a_phone_is_called_what_its_browser_says_it_is(agent: str, label: str) -> None:
    assert label_of(agent) == label
