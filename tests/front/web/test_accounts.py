"""How auditors and operators come in, and what nobody learns by trying."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from signing_service import accounts, passwords
from signing_service.db.tables import account, entry
from signing_service.errors import NotAuthorized, TooMany, Unavailable
from signing_service.front.doorkeeper import FROM_ONE_PLACE, place_of
from tests.support.city import Person
from tests.support.sign_ins import HERE, failures, is_told, kept_password, locked_for, signs_in, suspends
from tests.support.staff import PASSWORD, Seat
from tests.support.world import World

pytestmark = pytest.mark.usefixtures("refused_at_once")


def test_name_password_and_code_open_a_session(world: World, seat: Seat) -> None:
    secret = signs_in(world)
    staff = world.stage.run(accounts.staff_of(world.rt, secret))
    assert (staff.name, staff.role, staff.actor) == ("Operator", "operator", f"operator:{world.city.operator.id}")
    assert world.events("sign-in:accepted") == 1
    assert world.stage.run(accounts.staff_of(world.rt, signs_in(world, name=staff.id))) == staff


def _locks(world: World) -> None:
    with world.rt.db.write() as tx:
        tx.execute(update(account).values(locked_until=world.clock() + timedelta(minutes=5)))


def _forgets(world: World) -> None:
    with world.rt.db.write() as tx:
        tx.execute(account.delete())


def _shares_the_name(world: World) -> None:
    world.auditor(name="Operator")


Before = Callable[[World], None] | None
WRONG: dict[str, tuple[Before, dict[str, str]]] = {
    "an unknown name": (None, {"name": "Nobody"}),
    "a name with a zero byte": (None, {"name": "Oper\0ator"}),
    "a wrong password": (None, {"password": "another password here"}),
    "a password of a million characters": (None, {"password": "x" * 1_000_000}),
    "no password": (None, {"password": ""}),
    "a wrong code": (None, {"code": "000000"}),
    "a code that is no code": (None, {"code": "١٢٣٤٥٦"}),
    "a suspended person": (suspends, {}),
    "a locked account": (_locks, {}),
    "a person without a password": (_forgets, {}),
    "a name that an auditor has, too": (_shares_the_name, {}),
}


@pytest.mark.parametrize(("before", "wrong"), WRONG.values(), ids=WRONG.keys())
def test_whatever_is_wrong_the_answer_is_the_same_and_on_record(
    before: Before, wrong: dict[str, str], world: World, seat: Seat
) -> None:
    if before is not None:
        before(world)
    assert is_told(world, **wrong) == ("sign-in", accounts.NOT_ACCEPTED)
    assert world.events("sign-in:refused") == 1
    assert world.events("sign-in:accepted") == 0


@pytest.mark.parametrize("name", ["Operator", "Nobody"])
def test_a_password_is_hashed_for_everybody_once(
    name: str, world: World, seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str | None] = []
    real = passwords._matches
    monkeypatch.setattr(passwords, "_matches", lambda kept, shown: looked_at.append(kept) or real(kept, shown))
    is_told(world, name=name, password="another password here")
    assert len(looked_at) == 1
    assert (looked_at[0] is None) == (name == "Nobody")


def test_no_refusal_comes_sooner_than_another(world: World, seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of the loop is asked, not ours: a refusal that did not wait would come some ten times sooner."""
    waits: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await real(0)

    monkeypatch.setattr(accounts, "REFUSED_AFTER", 60.0)
    monkeypatch.setattr(accounts.asyncio, "sleep", sleep)
    is_told(world, name="Nobody")
    is_told(world, password="another password here")
    is_told(world, code="000000")
    assert len(waits) == 3
    assert all(0 < each < 60 for each in waits)


def test_codes_are_only_tried_after_the_right_password(world: World, seat: Seat) -> None:
    for _ in range(4):
        is_told(world, password="another password here", code="000000")
    assert world.events("code:rejected") == 0
    is_told(world, code="000000")
    assert world.events("code:rejected") == 1


def test_five_wrong_ones_lock_and_the_lock_grows(world: World, seat: Seat) -> None:
    for number, minutes in enumerate((15, 30, 60), 1):
        for _ in range(5):
            assert locked_for(world) in (None, timedelta()) or (locked_for(world) or timedelta()) < timedelta()
            is_told(world, password="another password here", code="000000")
        assert (failures(world), locked_for(world)) == (5 * number, timedelta(minutes=minutes))
        is_told(world)  # the right one does not open it either, and does not count
        assert failures(world) == 5 * number
        world.clock.forward(minutes * 60)
    signs_in(world)
    assert (failures(world), locked_for(world)) == (0, None)


def test_of_many_at_once_no_more_than_five_are_looked_at(
    world: World, seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[str] = []

    def matches(kept: str | None, shown: str) -> bool:
        if kept is not None:
            looked_at.append(shown)
        return False

    monkeypatch.setattr(passwords, "_matches", matches)

    async def tries(number: int) -> str:
        try:
            return await accounts.sign_in(world.rt, "Operator", f"guess number {number}", "000000", f"192.0.2.{number}")
        except NotAuthorized as error:
            return error.code
        except Unavailable as error:
            return error.code

    async def crowd() -> list[str]:
        return await asyncio.gather(*(tries(number) for number in range(40)))

    assert set(world.stage.run(crowd())) <= {"sign-in", "sign-ins-busy"}
    assert 0 < len(looked_at) <= 5


def test_one_place_is_sent_away_after_many_failures(world: World, seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "_matches", lambda kept, shown: False)
    for _ in range(FROM_ONE_PLACE):
        is_told(world, name="Nobody", code="000000")
    with pytest.raises(TooMany):
        signs_in(world, code="000000")
    assert is_told(world, name="Nobody", code="000000", address="192.0.2.8")[0] == "sign-in"
    assert world.events("sign-in:refused") <= 30


def test_who_has_no_ticket_cannot_make_us_hash_without_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []

    async def hashing(password: str) -> str:
        hashed.append(password)
        return "$"

    monkeypatch.setattr(world.rt.hashing, "hash", hashing)

    def asks_with_no_ticket() -> None:
        world.stage.run(accounts.complete_enrolment(
            world.rt, "A" * 43, "0" * 64, "au_" + "0" * 32, "một câu thật dài và lạ", "123456", HERE))

    for _ in range(FROM_ONE_PLACE):
        with pytest.raises(NotAuthorized):
            asks_with_no_ticket()
    with pytest.raises(TooMany):
        asks_with_no_ticket()
    assert len(hashed) == FROM_ONE_PLACE


def test_who_has_one_ipv6_address_has_one_place() -> None:
    assert place_of("2001:db8::1") == place_of("2001:db8::ffff:2") != place_of("2001:db8:0:1::1")
    assert place_of("not an address") == "nowhere"


def test_an_outage_of_the_signer_is_the_same_for_everybody(world: World, seat: Seat) -> None:
    code = world.fresh_code(world.city.operator)
    with world.without_signer():
        for name in ("Operator", "Nobody"):
            with pytest.raises(Unavailable):
                signs_in(world, name=name, code=code)
    assert failures(world) == 0


def test_a_code_signs_in_once(world: World, seat: Seat) -> None:
    code = world.fresh_code(world.city.operator)
    signs_in(world, code=code)
    assert is_told(world, code=code)[0] == "sign-in"


def test_a_name_is_found_however_its_accents_are_typed(world: World) -> None:
    world.auditor(name="Phạm Thị Dung")
    with world.rt.db.read() as tx:
        for form in ("NFC", "NFD"):
            assert accounts._find(tx, unicodedata.normalize(form, " Phạm Thị Dung ")) is not None


def test_a_password_kept_under_other_parameters_is_kept_under_todays(world: World, seat: Seat) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
    with world.rt.db.write() as tx:
        tx.execute(update(account).values(password_hash=old))
    signs_in(world)
    kept = kept_password(world)
    assert kept != old
    assert not passwords.is_outdated(kept)
    signs_in(world)


def test_entries_name_who_and_never_what_was_typed(world: World, seat: Seat) -> None:
    is_told(world, name="Phạm Văn Kẻ Trộm", password="thử đoán mật khẩu này")
    with world.rt.db.read() as tx:
        bodies = "\n".join(tx.execute(select(entry.c.body)).scalars())
    assert "Kẻ Trộm" not in bodies
    assert "thử đoán" not in bodies
    assert isinstance(world.city.operator, Person)
