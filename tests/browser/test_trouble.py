"""What goes wrong in an official's day: a network that leaves, a wrong code, a lost phone, a link that was stolen."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Route

from signing_service.front.web.visitors import PHONE as PHONE_COOKIE
from signing_service.wire import messages as m
from tests.support.browser import DESKTOP, PHONE, SIGHTS, Chromium, Sight
from tests.support.town import Town
from tests.support.town_officials import Official, Visits

# ------------------------------------------------------------------------------------------------------- the network


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_without_a_network_nothing_is_unclear_and_it_goes_on_when_it_is_back(
    visits: Visits, town: Town, sight: Sight,
) -> None:
    with visits(sight) as official:
        visitor, made = official.visitor, town.submits(official.person)
        official.opens(made)
        visitor.page.evaluate("() => navigator.serviceWorker.ready.then(() => true)")
        with visitor.offline():
            official.confirms(town.code(official.person))
            visitor.sees("phone.offline")
            visitor.looks("offline")
            assert town.sees(made)["state"] == "pending"
        official.opens(made)
        official.confirms(town.code(official.person))
        visitor.sees("phone.results.signed-at")
    assert town.world.count("signature") == 1


def test_an_answer_that_was_lost_is_found_again_and_nothing_is_signed_twice(visits: Visits, town: Town) -> None:
    """The server hears the confirmation, and the official never hears the server."""
    with visits() as official:
        visitor, made = official.visitor, town.submits(official.person)
        official.opens(made)

        def lose(route: Route) -> None:
            route.fetch(max_redirects=0)
            route.abort("connectionreset")

        visitor.page.route("**/confirm", lose)
        with visitor.offline(cut=False):
            official.confirms(town.code(official.person))
            visitor.page.wait_for_timeout(500)
        visitor.page.unroute("**/confirm")
        visitor.opens(f"/requests/{made['id']}")
        visitor.follows("phone.see-result")
        visitor.sees("phone.results.signed-at")
    assert town.world.count("signature") == 1


# ------------------------------------------------------------------------------------------------------------ codes


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_a_wrong_code_says_how_many_tries_are_left_until_there_are_none(
    visits: Visits, town: Town, sight: Sight,
) -> None:
    with visits(sight) as official, official.visitor.told(403, 429):
        made = town.submits(official.person)
        official.opens(made)
        official.confirms(town.wrong_code(official.person))
        official.visitor.sees("error.tries-left", n=4)
        official.visitor.looks("wrong-code")
        for left in (3, 2, 1):
            official.confirms(town.wrong_code(official.person))
            official.visitor.sees("error.tries-left", n=left)
        official.confirms(town.wrong_code(official.person))
        official.confirms(town.code(official.person))
        official.visitor.sees("error.code-locked")
        official.visitor.looks("locked")
    assert town.sees(made)["state"] == "pending"


def test_a_code_with_blanks_as_apps_show_it_is_taken(visits: Visits, town: Town) -> None:
    with visits() as official:
        made = town.submits(official.person)
        official.opens(made)
        code = town.code(official.person)
        official.confirms(f"{code[:3]} {code[3:]}")
        official.visitor.sees("phone.results.signed-at")


# ------------------------------------------------------------------------------------------------- what ended meanwhile


def test_what_expired_while_it_was_looked_at_is_not_signed(visits: Visits, town: Town) -> None:
    with visits() as official:
        made = town.submits(official.person)
        official.opens(made)
        town.world.clock.forward(73 * 3600)
        with official.visitor.told(409):
            official.confirms(town.code(official.person))
            official.visitor.sees("error.already-expired")
            official.visitor.looks("expired-meanwhile")
    assert town.world.count("signature") == 0


def test_what_was_withdrawn_while_it_was_looked_at_is_not_signed(visits: Visits, town: Town) -> None:
    with visits() as official:
        made = town.submits(official.person)
        official.opens(made)
        town.office.asks("POST", f"/api/v1/signing-requests/{made['id']}/withdraw", json={"reason": "đổi ý"})
        official.confirms(town.code(official.person))
        official.visitor.page.wait_for_url("**/results?*")
        assert official.visitor.says("state.withdrawn") in official.visitor.text
    assert town.world.count("signature") == 0


def test_a_phone_that_was_retired_shows_nothing_and_confirms_nothing(visits: Visits, town: Town) -> None:
    with visits() as official:
        made = town.submits(official.person)
        official.opens(made)
        retired = official.visitor.context.cookies()
        phone_id = next(each["value"] for each in retired if each["name"] == PHONE_COOKIE).split(".")[0]
        town.world.city.acts(m.RetirePhone(phone_id, "lost"))
        with official.visitor.told(401):
            official.confirms(town.code(official.person))
            official.visitor.sees("error.phone")
            official.visitor.looks("retired")
    assert town.world.count("signature") == 0


def test_a_list_that_stands_open_on_a_phone_goes_away_when_the_phone_is_retired(visits: Visits, town: Town) -> None:
    with visits() as official:
        visitor, made = official.visitor, town.submits(official.person)
        visitor.page.clock.install()
        visitor.opens("/waiting")
        official.waiting(made).wait_for()
        phone_id = next(each["value"] for each in visitor.context.cookies() if each["name"] == PHONE_COOKIE)
        town.world.city.acts(m.RetirePhone(phone_id.partition(".")[0], "lost"))
        with visitor.told(401):
            visitor.page.clock.run_for(21_000)
            official.waiting(made).wait_for(state="detached")
            visitor.sees("error.phone")


# --------------------------------------------------------------------------------------------- phones, lost and found


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_a_lost_phone_is_stopped_from_anywhere_with_the_stop_code(
    chromium: Chromium, town: Town, sight: Sight,
) -> None:
    with chromium.visits(PHONE, town.url) as visitor:
        official = Official(visitor, town, town.official())
        official.enrols(town.ticket(official.person))
    with chromium.visits(sight.glass, town.url, language=sight.language) as elsewhere:
        elsewhere.opens("/")
        elsewhere.looks("unknown-phone")
        elsewhere.follows("phone.stop.title")
        elsewhere.sees("phone.stop.what")
        elsewhere.looks("stop")
        with elsewhere.told(403):
            elsewhere.page.locator("[name=stop-code]").fill("AAAAA-BBBBB-CCCCC-DDDDD")
            elsewhere.presses("phone.stop.button")
            elsewhere.sees("error.stop-code")
        elsewhere.page.locator("[name=stop-code]").fill(official.stop_code.lower().replace("-", " "))
        elsewhere.presses("phone.stop.button")
        elsewhere.sees("phone.stopped.retired")
        elsewhere.looks("stopped-by-code")


@pytest.mark.parametrize("why", ["own-wish", "lost-phone"])
def test_officials_suspend_themselves(visits: Visits, town: Town, why: str) -> None:
    with visits() as official:
        visitor = official.visitor
        visitor.opens("/me")
        visitor.follows(f"phone.suspend.{why}")
        visitor.sees("phone.suspend.what")
        visitor.looks(f"suspend-{why}")
        visitor.presses("phone.suspend.button")
        visitor.sees("phone.stopped.suspended")
        visitor.looks(f"suspended-{why}")


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_what_is_mine(visits: Visits, town: Town, sight: Sight) -> None:
    with visits(sight) as official:
        made = town.submits(official.person)
        official.opens(made)
        official.confirms(town.code(official.person))
        official.visitor.sees("phone.results.signed-at")
        official.visitor.opens("/me")
        official.visitor.page.get_by_text(made["subject"]).first.wait_for()
        official.visitor.looks("me")


def test_a_link_that_was_opened_by_somebody_else_does_not_open(chromium: Chromium, town: Town) -> None:
    person = town.official()
    ticket = town.ticket(person)
    with chromium.visits(PHONE, town.url) as thief:
        Official(thief, town, person).binds_after_opening(ticket)
    with chromium.visits(PHONE, town.url) as visitor, visitor.told(403):
        visitor.opens(ticket)
        visitor.sees("error.ticket-used")
        visitor.looks("ticket-used")


def test_a_link_has_done_its_work_once(chromium: Chromium, town: Town) -> None:
    with chromium.visits(PHONE, town.url) as visitor:
        official = Official(visitor, town, town.official())
        ticket = town.ticket(official.person)
        official.enrols(ticket)
        with visitor.told(409):
            visitor.opens(ticket)
            visitor.looks("ticket-done")


def test_a_wrong_first_code_keeps_the_seed(chromium: Chromium, town: Town) -> None:
    with chromium.visits(PHONE, town.url) as visitor:
        official = Official(visitor, town, town.official())
        official.binds_after_opening(town.ticket(official.person))
        with visitor.told(403):
            visitor.page.locator("[name=code]").fill(town.wrong_code(official.person))
            visitor.presses("enrol.complete")
            visitor.looks("seed-wrong-code")
        official.completes(town.code(official.person))


# ------------------------------------------------------------------------------------------------ other circumstances


@pytest.mark.parametrize("glass", [PHONE, DESKTOP], ids=lambda glass: glass.name)
def test_everything_works_without_a_script(chromium: Chromium, town: Town, glass: Any) -> None:
    with chromium.visits(glass, town.url, script=False) as visitor:
        official = Official(visitor, town, town.official())
        official.binds_after_opening(town.ticket(official.person))
        official.completes(town.code(official.person))
        made, other = town.submits(official.person), town.submits(official.person, subject="Thông báo nghỉ lễ")
        official.opens(made)
        assert official.reads_matching_code() == made["matching_code"]
        official.confirms(town.code(official.person))
        visitor.sees("phone.results.signed-at")
        official.opens(other)
        official.refuses("Chưa đúng thể thức")
        visitor.sees("phone.results.refused")


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_a_mistake_is_a_page_in_either_language(chromium: Chromium, town: Town, sight: Sight) -> None:
    with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
        with visitor.told(404):
            visitor.opens("/nowhere")
        visitor.sees("error.kind.NotFound")
        visitor.looks("not-found")


HOSTILE = {
    "subject": '<script>document.title="taken"</script><img src=x onerror=alert(1)>',
    "number": "1'\"><b>",
    "symbol": '"/><svg onload=1>',
    "external_id": "</title><script>1</script>",
    "filename": '"><img src=x onerror=alert(1)>.pdf',
}


def test_what_a_document_is_called_stays_words(visits: Visits, town: Town) -> None:
    """The policy of the pages would report a script that runs; here nothing has even become a tag."""
    with visits() as official:
        made = town.submits(official.person, **HOSTILE)
        official.visitor.opens("/waiting")
        assert HOSTILE["subject"] in official.visitor.text
        official.opens(made)
        assert HOSTILE["subject"] in official.visitor.text
        assert "taken" not in official.visitor.page.title().split("<")[0]
        assert official.visitor.page.locator("main img[src=x], main b, main svg[onload]").count() == 0
