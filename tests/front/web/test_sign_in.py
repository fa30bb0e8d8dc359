"""The console's door over HTTP: where it leads, what it gives away, and what it takes from a browser."""

from __future__ import annotations

import re

import httpx
import pytest
from sqlalchemy import update

from signing_service import accounts
from signing_service.db.tables import operator
from signing_service.front.web import visitors
from signing_service.front.web.session_pages import destination
from tests.support.staff import PASSWORD, Seat
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("refused_at_once")


def signs_in(world: World, browser: Seat, **fields: str) -> httpx.Response:
    typed = {"name": "Operator", "password": PASSWORD, "code": world.fresh_code(world.city.operator), "next": ""}
    return browser.posts("/console/sign-in", on="/console/sign-in", **typed | fields)


# -------------------------------------------------------------------------------------------------- where it leads

INSIDE = {
    "the search": ("/console/search?from=2026-11-01&agency=H26.1", "auditor"),
    "a search with accents, as browsers write them": ("/console/search?text=k%C3%BD%20s%E1%BB%91", "auditor"),
    "an entry": ("/console/entries/en_01a2", "auditor"),
    "the home of auditors": ("/console", "auditor"),
    "somebody at the desk": ("/desk/people/sg_1?tab=phones", "operator"),
    "the password, for both": ("/console/password", "operator"),
}
ELSEWHERE = {
    "nothing": "", "another site": "https://evil.test/console", "another site without a scheme": "//evil.test/console",
    "three slashes": "///evil.test", "a backslash": "/\\evil.test", "a backslash further in": "/console\\..\\evil",
    "a slash more": "/console//evil.test", "a script": "javascript:alert(1)", "data": "data:text/html,x",
    "an address with a user": "https://x@evil.test", "a blank before it": " /console/search",
    "a tab in it": "/con\tsole", "a line's end": "/console/search\r\nSet-Cookie: a=b", "a zero byte": "/console/\0",
    "up and out": "/console/../api", "up and out, encoded later": "/console/..%2f..%2fapi",
    "something that only begins so": "/consolelog", "the API": "/api/v1/openapi.json", "the phone's pages": "/waiting",
    "a fragment": "/console#x", "full-width signs": "／／evil.test", "signing out": "/console/sign-out",
    "signing in again": "/console/sign-in?next=/console", "the other role's": "/desk/people",
}


@pytest.mark.parametrize(("wanted", "role"), INSIDE.values(), ids=INSIDE.keys())
def test_it_leads_to_the_page_that_was_asked_for(wanted: str, role: accounts.Role) -> None:
    assert destination(wanted, role) == wanted


@pytest.mark.parametrize("wanted", ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_it_leads_nowhere_else(wanted: str) -> None:
    assert destination(wanted, "auditor") == "/console"


def test_who_is_not_signed_in_is_sent_to_the_door_and_back(world: World, seat: Seat) -> None:
    browser = Seat(world)
    sent = browser.gets("/console/password?done=1")
    assert (sent.status_code, sent.headers["location"]) == (
        303, "/console/sign-in?next=%2Fconsole%2Fpassword%3Fdone%3D1")
    door = browser.sees(sent.headers["location"])
    hidden = re.search(r'name="next" value="([^"]*)"', door)
    assert hidden is not None
    back = browser.sends("/console/sign-in", door, name="Operator", password=PASSWORD, next=hidden[1],
                         code=world.fresh_code(world.city.operator))
    assert (back.status_code, back.headers["location"]) == (303, "/console/password?done=1")
    assert "Operator" in browser.sees("/console/password")


def test_a_form_cannot_lead_elsewhere_either(world: World, seat: Seat) -> None:
    assert signs_in(world, Seat(world), next="https://evil.test/").headers["location"] == "/desk"
    assert seat.gets("/console/sign-in?next=//evil.test").headers["location"] == "/desk"


# ----------------------------------------------------------------------------------------------------- the browser


def test_the_session_is_a_fresh_one_whatever_the_browser_brought(world: World, seat: Seat) -> None:
    """Fixation: a secret that somebody planted before the sign-in opens nothing after it."""
    planted = "f" * 64
    browser = Seat(world, session=planted)
    answer = signs_in(world, browser)
    assert answer.status_code == 303
    assert re.fullmatch("[0-9a-f]{64}", browser.session)
    assert browser.session not in (planted, seat.session)
    assert Seat(world, session=planted).gets("/console/password").status_code == 303
    cookie = next(each for each in answer.headers.get_list("set-cookie") if each.startswith(visitors.SESSION))
    assert {"Secure", "HttpOnly", "SameSite=lax", "Path=/"} <= {each.strip() for each in cookie.split(";")}
    assert "Max-Age" not in cookie
    assert "Domain" not in cookie


def test_signing_in_ends_the_session_that_the_browser_had(world: World, seat: Seat) -> None:
    before = seat.session
    page = seat.sees("/console/password")
    seat.sends("/console/sign-in", page, name="Operator", password=PASSWORD,
                        code=world.fresh_code(world.city.operator))
    assert seat.session != before
    assert Seat(world, session=before).gets("/console/password").status_code == 303


def test_a_refusal_says_the_same_of_everybody(world: World, seat: Seat) -> None:
    """Byte for byte, apart from the name that was typed and the token of the form."""
    def answered(**wrong: str) -> tuple[int, str]:
        answer = signs_in(world, Seat(world), **wrong)
        return answer.status_code, re.sub(r'value="[^"]*"', "", answer.text)

    first = answered(name="Nobody")
    assert first[0] == 403
    assert answered(password="another password here") == first
    assert answered(code="000000") == first
    with world.city.rt.db.write() as tx:
        tx.execute(update(operator).values(state="suspended"))
    assert answered() == first


def test_what_was_typed_comes_back_escaped_and_never_the_password(world: World) -> None:
    browser = Seat(world)
    answer = signs_in(world, browser, name='"><script>alert(1)</script>', password="mật khẩu bí mật lắm")
    assert "<script>alert" not in answer.text
    assert "bí mật lắm" not in answer.text


@pytest.mark.parametrize("headers", [{"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}])
def test_another_site_can_neither_sign_in_nor_out(
    headers: dict[str, str], world: World, seat: Seat
) -> None:
    token = {"csrf": "0" * 64}
    for path in ("/console/sign-in", "/console/sign-out", "/console/password"):
        assert seat.asks("POST", path, data=token, headers=headers).status_code == 403
        assert seat.asks("POST", path, data=token).status_code == 403
    assert seat.gets("/console/password").status_code == 200


def test_signing_out_takes_the_cookie_and_the_session(world: World, seat: Seat) -> None:
    before = seat.session
    answer = seat.posts("/console/sign-out", on="/console/password")
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/sign-in?out=1")
    assert seat.session == ""
    assert Seat(world, session=before).gets("/console/password").status_code == 303
    assert world.count("session") == 0


def test_pages_of_one_role_are_not_there_for_the_other(world: World, seat: Seat) -> None:
    auditing = world.auditor()
    assert seat.gets("/console/figures").status_code == 404
    assert auditing.gets("/desk").status_code == 404
    assert seat.gets("/console").headers["location"] == "/desk"
    assert auditing.gets("/console").status_code == 200


def test_nothing_of_the_console_may_be_kept_by_a_cache(world: World, seat: Seat) -> None:
    for path in ("/console/sign-in", "/console/password", "/desk"):
        assert "no-store" in seat.gets(path).headers["cache-control"]


# ------------------------------------------------------------------------------------------------------- passwords

NEW = {"old": PASSWORD, "new": "một câu thật dài và lạ", "again": "một câu thật dài và lạ"}
MISTAKES = {
    "the two differ": ({"again": "một câu khác hẳn"}, 400),
    "it is short": ({"new": "ngắn", "again": "ngắn"}, 400),
    "it is the own name": ({"new": "Operator 2026", "again": "Operator 2026"}, 400),
    "the old one is wrong": ({"old": "không phải mật khẩu này"}, 403),
    "the code is wrong": ({"code": "000000"}, 403),
}


@pytest.mark.parametrize(("wrong", "status"), MISTAKES.values(), ids=MISTAKES.keys())
def test_no_other_password_when(wrong: dict[str, str], status: int, world: World, seat: Seat) -> None:
    code = world.fresh_code(world.city.operator)
    answer = seat.posts("/console/password", on="/console/password", **{"code": code} | NEW | wrong)
    assert answer.status_code == status
    assert world.events("password:set") == 1
    assert seat.gets("/console/password").status_code == 200


def test_another_password_comes_with_another_session(world: World, seat: Seat) -> None:
    before = seat.session
    answer = seat.posts("/console/password", on="/console/password", **NEW,
                                 code=world.fresh_code(world.city.operator))
    assert answer.headers["location"] == "/console/password?done=1"
    assert seat.session != before
    assert seat.gets("/console/password").status_code == 200
    assert Seat(world, session=before).gets("/console/password").status_code == 303
    assert signs_in(world, Seat(world), password=NEW["new"]).status_code == 303
