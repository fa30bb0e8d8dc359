"""An operator's morning at the desk, in a browser: somebody new, a link, an alarm, a lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from signing_service.front.web.visitors import SESSION
from signing_service.wire import messages as m
from tests.support.browser import SIGHTS, Chromium, Sight, Visitor
from tests.support.city import Person
from tests.support.staff import seated
from tests.support.town import Town


@contextmanager
def at_the_desk(chromium: Chromium, town: Town, sight: Sight) -> Iterator[Visitor]:
    """The operator, signed in already."""
    with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
        visitor.carries(SESSION, seated(town.world, town.operator.id, "Operator").session)
        yield visitor


def types_code(town: Town, visitor: Visitor) -> None:
    visitor.page.locator("[name=code]").fill(town.code(town.operator))


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_from_somebody_new_to_the_sheet_that_is_printed_for_them(
    chromium: Chromium, town: Town, sight: Sight,
) -> None:
    with at_the_desk(chromium, town, sight) as visitor:
        visitor.opens("/desk")
        visitor.sees("desk.health.good")
        visitor.looks("desk")
        visitor.follows("desk.enrol")
        visitor.looks("desk-enrol")
        visitor.page.locator("[name=name]").fill("Đỗ Thị Hoa")
        visitor.page.locator("[name=reference]").fill("CB-2041")
        visitor.page.locator("[name=code]").fill("000000")
        with visitor.told(403):
            visitor.presses("desk.enrol.button")
        visitor.sees("error.code-not-accepted")
        visitor.looks("desk-enrol-wrong-code")
        types_code(town, visitor)
        visitor.presses("desk.enrol.button")
        visitor.sees("desk.done.enrol")
        visitor.looks("desk-person-new")
        visitor.follows("desk.act.link")
        visitor.looks("desk-link-form")
        types_code(town, visitor)
        visitor.presses("desk.act.link")
        visitor.sees("desk.link.once")
        visitor.looks("desk-link")
        assert visitor.page.locator("img.qr").evaluate("each => each.naturalWidth") > 0


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_after_it_was_not_me_the_alarm_leads_to_the_person_and_what_can_be_done(
    chromium: Chromium, town: Town, sight: Sight,
) -> None:
    an = town.official()
    phone_id, secret = town.phone(an).split(".")
    town.world.city.asks(m.SuspendOneself(m.PhoneProof(phone_id, secret), "not-me"))
    request = town.world.city.submitted(Person(an.id, "", an.credential))
    for _ in range(5):
        line = town.world.city.line(request)
        town.world.city.confirmations([m.Confirm(town.office.id, an.id, "000000", "client", (line,))])
    with at_the_desk(chromium, town, sight) as visitor:
        visitor.opens("/desk")
        visitor.sees("desk.alarm.signatory:suspend-oneself:alarm")
        visitor.looks("desk-alarms")
        visitor.page.locator("[name=q]").fill("nguyen van an")
        visitor.presses("desk.find-button")
        visitor.looks("desk-people")
        visitor.page.get_by_role("link", name="Nguyễn Văn An").click()
        visitor.looks("desk-person")
        visitor.follows("desk.act.unlock")
        visitor.looks("desk-unlock")
        types_code(town, visitor)
        visitor.presses("desk.act.unlock")
        visitor.sees("desk.done.unlock")
        visitor.follows("desk.act.resume-credential")
        visitor.looks("desk-resume-credential")
        types_code(town, visitor)
        visitor.presses("desk.act.resume-credential")
        visitor.sees("desk.done.resume-credential")
        visitor.follows("desk.act.retire-phone")
        visitor.page.locator("[name=reason]").fill("Mất điện thoại")
        types_code(town, visitor)
        visitor.presses("desk.act.retire-phone")
        visitor.sees("desk.done.retire-phone")
        visitor.looks("desk-person-after")
