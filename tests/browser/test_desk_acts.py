"""What an operator does at the desk has its effect: a link enrols a phone, and who was stopped goes on again."""

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
        operator.signs_out()


def test_the_link_of_somebody_who_was_entered_enrols_their_phone(
    works: Works, chromium: Chromium, town: Town,
) -> None:
    with works(Operator) as operator:
        visitor, page = operator.visitor, operator.visitor.page
        visitor.opens("/desk/enrol")
        page.locator("[name=name]").fill("Đỗ Thị Hạnh")
        page.locator("[name=agency]").select_option("H26.1")
        page.locator("[name=office]").select_option("deputy")
        page.locator("[name=code]").fill(town.code(operator.person))
        visitor.presses("desk.enrol.button")
        visitor.follows("desk.act.link")
        page.locator("[name=code]").fill(town.code(operator.person))
        visitor.presses("desk.act.link")
        visitor.sees("desk.link.once")
        address = urlsplit(page.locator(".sheet code").inner_text())
        back = str(page.locator("a[href^='/desk/people/sg_']").get_attribute("href"))
    with chromium.visits(PHONE, town.url) as visitor:
        somebody = Official(visitor, town, Townsman(back.rsplit("/", 1)[-1], "Đỗ Thị Hạnh"))
        somebody.binds_after_opening(address.path)
        somebody.completes(town.code(somebody.person))


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_who_was_stopped_goes_on_again(works: Works, town: Town, sight: Sight) -> None:
    chairman = town.official()
    town.phone(chairman)
    with works(Operator, sight) as operator:
        operator.finds(chairman)
        operator.carries_out("suspend-credential", "nghi ngờ lộ khóa")
        operator.carries_out("resume-credential", "đã kiểm tra")
        operator.carries_out("suspend", "nghỉ hưu")
        operator.visitor.looks("desk-person-suspended")
        operator.carries_out("resume", "trở lại")
        operator.carries_out("retire-phone", "mất điện thoại")


def test_an_official_who_was_locked_is_unlocked(works: Works, town: Town) -> None:
    chairman = town.official()
    town.locks(chairman)
    with works(Operator) as operator:
        operator.finds(chairman)
        operator.visitor.sees("desk.codes.locked")
        operator.visitor.looks("desk-person-locked")
        operator.carries_out("unlock")
