"""The operators' desk: finding people, acts under a code of one's own, links that are shown once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import pytest
from sqlalchemy import select, update

from signing_service.db.tables import credential, entry, phone, signatory
from signing_service.front import health
from signing_service.wire import messages as m
from tests.support.city import Person
from tests.support.handset import read
from tests.support.staff import Seat
from tests.support.world import Stage, World

LINK = re.compile(r"http://127\.0\.0\.1:8080/enrol/([A-Za-z0-9_-]{43})")


@dataclass(frozen=True)
class Desk:
    """The operator's seat in a world that tables of refusals and searches share: none of their cases changes it."""

    world: World
    seat: Seat
    auditing: Seat
    official: Person


@pytest.fixture(scope="module")
def desk(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with World.open(stage, tmp_path_factory.mktemp("desk")) as world:
        world.city.acts(m.AddSignatory("Nguyễn Văn Ăn Đặng", "H26.1", "clerk", "CB-77"))
        world.city.acts(m.AddSignatory("Lê Thị Khác", "H26.1", "clerk", "X-1"))
        yield Desk(world, world.operator_at_console(), world.auditor(), world.official("Phạm Quốc Bảo"))
        world.check()


def code(world: World) -> str:
    return world.fresh_code(world.city.operator)


def acts(world: World, seat: Seat, person: str, word: str, target: str = "", **fields: str) -> httpx.Response:
    path = f"/desk/people/{person}/act/{word}"
    more = {"code": code(world), "reason": "asked for"} | ({"target": target} if target else {}) | fields
    return seat.posts(path, on=f"{path}?target={target}", **more)


def state(world: World, table: object, name: str) -> str:
    columns = table.c  # type: ignore[attr-defined]  # a table
    with world.rt.db.read() as tx:
        return str(tx.execute(select(columns.state).where(columns.id == name)).scalar_one())


# --------------------------------------------------------------------------------------------------------- looking


@pytest.mark.parametrize("typed", ["Nguyễn", "nguyen van", "NGUYỄN VĂN Ă", "dang", "CB-77", "sg_"])
def test_a_person_is_found_by_a_part_of_name_reference_or_id(desk: Desk, typed: str) -> None:
    page = desk.seat.sees(f"/desk/people?q={quote(typed)}")
    assert "Nguyễn Văn Ăn Đặng" in page
    assert ("Lê Thị Khác" in page) == (typed == "sg_")


def test_people_are_found_below_an_agency_and_nobody_is_said(world: World, seat: Seat) -> None:
    world.city.acts(m.AddSignatory("Nguyễn Văn An", "H26.1", "clerk"))
    assert "Nguyễn Văn An" in seat.sees("/desk/people?agency=H26.1")
    assert "Nguyễn Văn An" not in seat.sees("/desk/people?agency=H26.2")
    assert "Không tìm thấy ai" in seat.sees("/desk/people?q=khong-co-ai")


def test_a_persons_page_shows_credentials_phones_and_codes_and_no_secret(world: World, seat: Seat) -> None:
    official = world.official()
    held = world.phone(official).phone
    assert held is not None
    page = seat.sees(f"/desk/people/{official.id}")
    for shown in ("Nguyễn Văn A", official.credential, "Test phone", "Dùng được", "Đang dùng"):
        assert shown in page
    for secret in (held.secret, held.stop_code, held.person.secret):
        assert secret not in page


def test_alarms_name_the_person_and_health_says_what_fails(world: World, seat: Seat) -> None:
    official = world.official()
    held = world.phone(official).phone
    assert held is not None
    world.city.asks(m.SuspendOneself(held.proof, "not-me"))
    page = seat.sees("/desk?lang=en")
    assert "this was not me" in page
    assert f"/desk/people/{official.id}" in page
    assert "Everything answers" in page


def test_what_does_not_work_is_said_in_plain_words(world: World, seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked(*_: object) -> dict[str, health.Answer]:
        return {"database": health.Answer(True), "signer device": health.Answer(False, "no answer within 2 s")}

    monkeypatch.setattr(health, "ask_all", asked)
    page = seat.sees("/desk?lang=en")
    assert "Something does not answer" in page
    assert "The HSM" in page
    assert "no answer within 2 s" in page


@pytest.mark.parametrize("path", ["/desk", "/desk/people", "/desk/enrol", "/desk/people/x", "/desk/people/x/link"])
def test_the_desk_is_not_even_there_for_an_auditor_and_asks_others_to_sign_in(desk: Desk, path: str) -> None:
    assert desk.auditing.gets(path).status_code == 404
    answer = Seat(desk.world).gets(path)
    assert (answer.status_code, answer.headers["location"].partition("?")[0]) == (303, "/console/sign-in")


def test_names_are_shown_as_text_whatever_they_are(world: World, seat: Seat) -> None:
    made = world.city.acts(m.AddSignatory("<script>alert(1)</script>", "H26.1", '"><img src=x>', "<b>"))[0].id
    for page in (seat.sees("/desk/people"), seat.sees(f"/desk/people/{made}"), seat.sees(f"/desk/people/{made}/link")):
        assert "<script>alert" not in page
        assert "<img src=x" not in page
    assert "<script>alert(1)</script>" in read(seat.gets("/desk/people")).text


# ---------------------------------------------------------------------------------------------------------- acting


def test_a_signatory_is_enrolled_and_the_record_says_through_what(world: World, seat: Seat) -> None:
    answer = seat.posts("/desk/enrol", on="/desk/enrol", name="Lê Văn Mới", agency="H26.1", office="clerk",
                        reference="CB-9", code=code(world))
    assert answer.status_code == 303, answer.text
    assert "Lê Văn Mới" in seat.sees(answer.headers["location"])
    with world.rt.db.read() as tx:
        said = tx.execute(select(entry.c.actor, entry.c.body).where(entry.c.event == "signatory:add").order_by(
            entry.c.id.desc())).first()
    assert said is not None
    assert said.actor == f"operator:{world.city.operator.id}"
    assert '"through":"web"' in said.body


def credential_of(world: World, official: Person) -> str:
    return official.credential


ACTS: dict[str, tuple[str, str]] = {"suspend": ("signatory", "suspended"), "resume": ("signatory", "active")}


def test_a_person_is_suspended_and_resumed(world: World, seat: Seat) -> None:
    official = world.official()
    for word in ("suspend", "resume"):
        answer = acts(world, seat, official.id, word)
        assert answer.headers["location"] == f"/desk/people/{official.id}?done={word}"
        assert state(world, signatory, official.id) == ACTS[word][1]


def test_a_credential_is_suspended_and_resumed(world: World, seat: Seat) -> None:
    official = world.official()
    for word, after in (("suspend-credential", "suspended"), ("resume-credential", "active")):
        assert acts(world, seat, official.id, word, official.credential).status_code == 303
        assert state(world, credential, official.credential) == after


def test_a_phone_is_retired(world: World, seat: Seat) -> None:
    official = world.official()
    held = world.phone(official).phone
    assert held is not None
    assert acts(world, seat, official.id, "retire-phone", held.id).status_code == 303
    assert state(world, phone, held.id) == "retired"


def test_locked_codes_are_unlocked(world: World, seat: Seat) -> None:
    official = world.official()
    request = world.city.submitted(official)
    for _ in range(5):
        world.city.confirmations([world.city.confirmation(official, [request], "000000")])
    assert f"/desk/people/{official.id}/act/unlock" in seat.sees(f"/desk/people/{official.id}")
    assert acts(world, seat, official.id, "unlock").status_code == 303
    assert f"/desk/people/{official.id}/act/unlock" not in seat.sees(f"/desk/people/{official.id}")


def test_a_link_is_shown_once_with_its_picture_and_enrols_the_phone(world: World, seat: Seat) -> None:
    official = world.official()
    path = f"/desk/people/{official.id}/link"
    answer = seat.posts(path, on=path, hours="2", code=code(world))
    assert answer.status_code == 200, answer.text
    found = LINK.search(answer.text)
    assert found is not None
    assert "data:image/svg+xml" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert found[1] not in seat.sees(f"/desk/people/{official.id}")
    assert found[1].encode() not in world.everything_written()
    assert world.city.opens(found[1], "a" * 64).owner == official.id


# ---------------------------------------------------------------------------------------------------- what is refused


def wrong_code(world: World) -> dict[str, str]:
    return {"code": "000000"}


def no_code(world: World) -> dict[str, str]:
    return {"code": ""}


def full_width_code(world: World) -> dict[str, str]:
    return {"code": "１２３４５６"}


REFUSED: dict[str, tuple[Callable[[World], dict[str, str]], int, str]] = {
    "a wrong code": (wrong_code, 403, "Còn 4 lần thử"),
    "no code": (no_code, 400, "6 chữ số"),
    "full-width digits": (full_width_code, 400, "6 chữ số"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_act_without_a_right_code_is_not_done_and_the_form_stands_again(
    world: World, seat: Seat, name: str,
) -> None:
    fields, status, said = REFUSED[name]
    official = world.official()
    answer = acts(world, seat, official.id, "suspend", **fields(world))
    assert answer.status_code == status
    assert said in answer.text
    assert "asked for" in answer.text
    assert state(world, signatory, official.id) == "active"


def test_a_code_is_good_for_one_act(world: World, seat: Seat) -> None:
    official, typed = world.official(), code(world)
    assert acts(world, seat, official.id, "suspend", code=typed).status_code == 303
    assert acts(world, seat, official.id, "resume", code=typed).status_code == 403
    assert state(world, signatory, official.id) == "suspended"


def test_the_session_alone_does_nothing(world: World, seat: Seat) -> None:
    """Somebody at an unlocked screen: every act asks for the code, in each of its forms."""
    official = world.official()
    before = len(world_entries(world))
    for path in (f"/desk/people/{official.id}/act/suspend", f"/desk/people/{official.id}/link", "/desk/enrol"):
        answer = seat.posts(path, on=path, name="X", agency="H26.1", office="clerk", hours="24", reason="x")
        assert answer.status_code == 400
    assert len(world_entries(world)) == before


def world_entries(world: World) -> list[str]:
    with world.rt.db.read() as tx:
        return [row.event for row in tx.execute(select(entry.c.event)) if not row.event.startswith("log:")]


def test_anothers_credential_is_no_target_on_this_persons_page(world: World, seat: Seat) -> None:
    official, other = world.official(), world.official("Trần Thị B")
    path = f"/desk/people/{official.id}/act/suspend-credential"
    assert seat.gets(f"{path}?target={other.credential}").status_code == 404
    page = seat.sees(f"{path}?target={official.credential}")
    assert seat.sends(path, page, target=other.credential, code=code(world), reason="x").status_code == 404
    assert state(world, credential, other.credential) == "active"


@pytest.mark.parametrize("word", ["revoke", "suspend-everything"])
def test_a_word_that_is_no_act_is_no_page(desk: Desk, word: str) -> None:
    assert desk.seat.gets(f"/desk/people/{desk.official.id}/act/{word}").status_code == 404


NOT_A_PERSON = {
    "an agency that is not there": {"agency": "H99"},
    "no name": {"name": ""},
    "two lines": {"name": "Lê\nVăn"},
    "a reference that is taken": {"reference": "CB-77"},
}


@pytest.mark.parametrize("name", NOT_A_PERSON)
def test_somebody_who_cannot_be_enrolled_is_explained_and_what_was_typed_stays(desk: Desk, name: str) -> None:
    before = desk.world.events("signatory:add")
    typed = {"name": "Lê Văn Mới", "agency": "H26.1", "office": "clerk", "reference": "CB-2"} | NOT_A_PERSON[name]
    answer = desk.seat.posts("/desk/enrol", on="/desk/enrol", code=code(desk.world), **typed)
    assert answer.status_code in (400, 404, 409)
    assert typed["reference"] in answer.text
    assert desk.world.events("signatory:add") == before


@pytest.mark.parametrize("hours", ["0", "169", "x", "", "-1", "２"])
def test_a_link_lasts_between_an_hour_and_a_week(desk: Desk, hours: str) -> None:
    path = f"/desk/people/{desk.official.id}/link"
    assert desk.seat.posts(path, on=path, hours=hours, code=code(desk.world)).status_code == 400
    assert desk.world.events("ticket:issue") == 0


def test_where_web_acts_are_switched_off_the_desk_says_so(world: World, seat: Seat) -> None:
    official = world.official()
    off = world.city.rt.settings.model_copy(update={"web_acts": False})
    object.__setattr__(world.city.rt, "settings", off)
    answer = acts(world, seat, official.id, "suspend")
    assert answer.status_code == 403
    assert state(world, signatory, official.id) == "active"
    assert world.events("signatory:change") == 0


def test_a_suspended_operator_is_at_no_desk(world: World, seat: Seat) -> None:
    from signing_service.db.tables import operator

    with world.city.rt.db.write() as tx:
        tx.execute(update(operator).values(state="suspended"))
    assert seat.gets("/desk").status_code == 303
