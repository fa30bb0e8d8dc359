"""Operators at their desk: people are entered, given links, stopped and set going again, each act under a code."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from tests.support.browser import PHONE, STAFF_SIGHTS, Chromium, Sight
from tests.support.town import Town, Townsman
from tests.support.town_officials import Official
from tests.support.town_staff import Operator, Works


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_an_operator_sets_a_password_and_comes_to_the_desk(chromium: Chromium, town: Town, sight: Sight) -> None:
    with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
        operator = Operator(visitor, town, town.operator)
        operator.enrols(town.ticket(operator.person))
        visitor.sees("desk.health")
        visitor.looks("desk")
        operator.signs_out()


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_somebody_new_is_entered_and_their_link_enrols_a_phone(
    works: Works, chromium: Chromium, town: Town, sight: Sight,
) -> None:
    with works(Operator, sight) as operator:
        visitor, page = operator.visitor, operator.visitor.page
        visitor.opens("/desk/enrol")
        visitor.looks("desk-enrol")
        page.locator("[name=name]").fill("Đỗ Thị Hạnh")
        page.locator("[name=agency]").select_option("H26.1")
        page.locator("[name=office]").select_option("deputy")
        page.locator("[name=code]").fill(town.code(operator.person))
        visitor.presses("desk.enrol.button")
        visitor.sees("desk.done.enrol")
        visitor.looks("desk-person-new")
        visitor.follows("desk.act.link")
        visitor.looks("desk-link-form")
        page.locator("[name=code]").fill(town.code(operator.person))
        visitor.presses("desk.act.link")
        visitor.sees("desk.link.once")
        visitor.looks("desk-link")
        address = page.locator(".sheet code").inner_text()
        person_id = page.locator("a[href^='/desk/people/sg_']").get_attribute("href")
    with chromium.visits(PHONE, town.url) as visitor:
        somebody = Official(visitor, town, Townsman(str(person_id).rsplit("/", 1)[-1], "Đỗ Thị Hạnh"))
        somebody.enrols(urlsplit(address).path)


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_stopped_and_set_going_again(works: Works, town: Town, sight: Sight) -> None:
    chairman = town.official()
    town.phone(chairman)
    with works(Operator, sight) as operator:
        operator.finds(chairman)
        operator.visitor.looks("desk-person")
        operator.carries_out("suspend-credential", "nghi ngờ lộ khóa")
        operator.carries_out("resume-credential", "đã kiểm tra")
        operator.carries_out("suspend", "nghỉ hưu")
        operator.visitor.looks("desk-person-suspended")
        operator.carries_out("resume", "trở lại")
        operator.carries_out("retire-phone", "mất điện thoại")


def test_a_locked_official_is_unlocked(works: Works, town: Town) -> None:
    chairman = town.official()
    town.locks(chairman)
    with works(Operator) as operator:
        operator.finds(chairman)
        operator.visitor.sees("desk.codes.locked")
        operator.visitor.looks("desk-person-locked")
        operator.carries_out("unlock")


def test_a_wrong_code_carries_nothing_out(works: Works, town: Town) -> None:
    chairman = town.official()
    with works(Operator) as operator:
        operator.finds(chairman)
        operator.visitor.follows("desk.act.suspend")
        operator.visitor.page.locator("[name=reason]").fill("thử")
        operator.visitor.page.locator("[name=code]").fill(town.wrong_code(operator.person))
        with operator.visitor.told(403):
            operator.visitor.presses("desk.act.suspend")
            operator.visitor.sees("error.tries-left")
            operator.visitor.looks("desk-wrong-code")


def test_an_alarm_is_seen_at_the_desk(works: Works, town: Town) -> None:
    chairman = town.official()
    town.alarms(chairman, town.submits(chairman))
    with works(Operator) as operator:
        operator.visitor.opens("/desk")
        operator.visitor.page.get_by_role("link", name=chairman.name).first.wait_for()
        operator.visitor.looks("desk-alarm")
