"""Auditors at their desks, from the link that an operator sent to a proof that nobody has to be believed for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser import DESKTOP, SIGHTS, Chromium, Sight
from tests.support.town import Town
from tests.support.town_staff import Auditor


@pytest.fixture(params=SIGHTS, ids=str)
def sight(request: pytest.FixtureRequest) -> Sight:
    found: Sight = request.param
    return found


@pytest.fixture
def auditor(chromium: Chromium, town: Town, sight: Sight) -> Iterator[Auditor]:
    """Somebody who has just signed in for the first time."""
    with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
        made = Auditor(visitor, town, town.auditor())
        made.enrols(town.ticket(made.person))
        yield made


def test_signing_in_and_out(auditor: Auditor, town: Town) -> None:
    visitor = auditor.visitor
    visitor.looks("console-home")
    auditor.signs_out()
    visitor.looks("signed-out")
    visitor.opens("/console")
    visitor.page.wait_for_url("**/console/sign-in*")
    with visitor.told(403):
        auditor.tries_to_sign_in(password="không phải mật khẩu này")
        visitor.sees("error.sign-in")
        visitor.looks("sign-in-refused")
    auditor.tries_to_sign_in()
    visitor.page.wait_for_url("**/console")


def test_a_session_that_was_ended_on_the_server_is_over_in_the_browser(
    auditor: Auditor, chromium: Chromium, town: Town,
) -> None:
    with chromium.visits(DESKTOP, town.url) as elsewhere:
        other = Auditor(elsewhere, town, auditor.person)
        other.signs_in()
        elsewhere.opens("/console/password")
        elsewhere.presses("session.everywhere.button")
        elsewhere.sees("session.signed-out")
    auditor.visitor.page.reload()
    auditor.visitor.page.wait_for_url("**/console/sign-in*")


def test_another_password(auditor: Auditor, town: Town) -> None:
    visitor, page = auditor.visitor, auditor.visitor.page
    visitor.opens("/console/password")
    visitor.looks("password")
    for name, typed in (("old", auditor.password), ("new", "hoa sữa thơm nồng đêm thu"), ("again", "khác hẳn")):
        page.locator(f"[name={name}]").fill(typed)
    page.locator("[name=code]").fill(town.code(auditor.person))
    with visitor.told(400):
        visitor.presses("session.password.button")
        visitor.sees("error.password-differs")
        visitor.looks("password-differs")
    for name, typed in (("old", auditor.password), ("new", "hoa sữa thơm nồng đêm thu"),
                        ("again", "hoa sữa thơm nồng đêm thu")):
        page.locator(f"[name={name}]").fill(typed)
    page.locator("[name=code]").fill(town.code(auditor.person))
    visitor.presses("session.password.button")
    visitor.sees("session.password.done")
