"""How auditors and operators come in, how long they stay, and what nobody learns by trying."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select, update

from signing_service import accounts, passwords
from signing_service.db.tables import account, auditor, entry, operator, session
from signing_service.errors import Invalid, NotAuthorized, TooMany, Unauthenticated, Unavailable
from signing_service.front.doorkeeper import FROM_ONE_PLACE, place_of
from signing_service.front.sweeping import sweep
from tests.support.city import Person
from tests.support.staff import PASSWORD, Seat
from tests.support.world import World

HERE = "192.0.2.7"
REAL = {"HASHER": passwords.HASHER, "NOBODY": passwords.NOBODY}  # before the fixtures put cheap ones in their place


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals come when they are done; that they wait has a test of its own."""
    monkeypatch.setattr(accounts, "REFUSED_AFTER", 0.0)


@pytest.fixture
def seat(world: World) -> Seat:
    """The operator, who has a code since the city was founded, with a password."""
    return world.operator_at_console()


def signs_in(world: World, name: str = "Operator", password: str = PASSWORD, code: str | None = None,
             address: str = HERE) -> str:
    shown = world.fresh_code(world.city.operator) if code is None else code
    return world.stage.run(accounts.sign_in(world.rt, name, password, shown, address))


def is_open(world: World, secret: str) -> bool:
    try:
        world.stage.run(accounts.staff_of(world.rt, secret))
    except Unauthenticated:
        return False
    return True


def failures(world: World) -> int:
    with world.rt.db.read() as tx:
        return int(tx.execute(select(account.c.failures).where(
            account.c.owner == world.city.operator.id)).scalar_one())


def locked_for(world: World) -> timedelta | None:
    with world.rt.db.read() as tx:
        until = tx.execute(select(account.c.locked_until).where(
            account.c.owner == world.city.operator.id)).scalar_one()
    return None if until is None else until - world.clock()


def is_told(world: World, **wrong: str) -> tuple[str, str]:
    with pytest.raises(NotAuthorized) as refused:
        signs_in(world, **wrong)
    return refused.value.code, refused.value.message


# --------------------------------------------------------------------------------------------------------- sign-in


def test_name_password_and_code_open_a_session(world: World, seat: Seat) -> None:
    secret = signs_in(world)
    staff = world.stage.run(accounts.staff_of(world.rt, secret))
    assert (staff.name, staff.role, staff.actor) == ("Operator", "operator", f"operator:{world.city.operator.id}")
    assert world.events("sign-in:accepted") == 1
    assert world.stage.run(accounts.staff_of(world.rt, signs_in(world, name=staff.id))) == staff


def _suspends(world: World) -> None:
    with world.city.rt.db.write() as tx:
        tx.execute(update(operator).values(state="suspended"))


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
    "a suspended person": (_suspends, {}),
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
    import unicodedata
    world.auditor(name="Phạm Thị Dung")
    with world.rt.db.read() as tx:
        for form in ("NFC", "NFD"):
            assert accounts._find(tx, unicodedata.normalize(form, " Phạm Thị Dung ")) is not None


def test_a_password_kept_under_other_parameters_is_kept_under_todays(world: World, seat: Seat) -> None:
    old = PasswordHasher(time_cost=2, memory_cost=8, parallelism=1).hash(PASSWORD)
    with world.rt.db.write() as tx:
        tx.execute(update(account).values(password_hash=old))
    signs_in(world)
    with world.rt.db.read() as tx:
        kept = tx.execute(select(account.c.password_hash)).scalar_one()
    assert kept != old
    assert not passwords.is_outdated(kept)
    signs_in(world)


# -------------------------------------------------------------------------------------------------------- sessions


def test_a_session_ends_after_a_quarter_of_an_hour_without_use(world: World, seat: Seat) -> None:
    for _ in range(4):
        world.clock.forward(14 * 60)
        assert is_open(world, seat.session)
    world.clock.forward(15 * 60)
    assert not is_open(world, seat.session)


def test_a_session_ends_after_eight_hours_however_it_is_used(world: World, seat: Seat) -> None:
    for _ in range(47):
        world.clock.forward(10 * 60)
        assert is_open(world, seat.session)
    world.clock.forward(10 * 60)
    assert not is_open(world, seat.session)


def test_its_use_is_written_once_a_minute(world: World, seat: Seat) -> None:
    def seen() -> float:
        with world.rt.db.read() as tx:
            return (tx.execute(select(session.c.seen_at)).scalar_one() - begun).total_seconds()

    begun = world.clock()
    for forward, expected in ((30, 0), (29, 0), (1, 60), (59, 60), (1, 120)):
        world.clock.forward(forward)
        assert is_open(world, seat.session)
        assert seen() == expected


def test_signing_in_never_takes_over_what_was_there(world: World, seat: Seat) -> None:
    assert len({seat.session, signs_in(world), signs_in(world)}) == 3


@pytest.mark.parametrize("secret", ["", "x", "0" * 64, "0" * 63, "A" * 64, "é" * 64])
def test_what_is_no_session_opens_nothing(secret: str, world: World, seat: Seat) -> None:
    assert not is_open(world, secret)


def test_only_the_hash_of_a_session_is_kept(world: World, seat: Seat) -> None:
    written = world.everything_written()
    assert seat.session.encode() not in written
    assert PASSWORD.encode() not in written


def test_signing_out_ends_this_session_and_no_other(world: World, seat: Seat) -> None:
    other = signs_in(world)
    world.stage.run(accounts.sign_out(world.rt, other))
    assert (is_open(world, seat.session), is_open(world, other)) == (True, False)
    assert world.events("session:end") == 1


def test_a_suspended_person_is_out_at_the_next_request(world: World, seat: Seat) -> None:
    other = signs_in(world)
    _suspends(world)
    assert not is_open(world, seat.session)
    assert world.count("session") == 0
    assert not is_open(world, other)
    assert world.events("session:end") == 1


def test_all_sessions_of_a_person_can_be_ended_and_nobody_elses(world: World, seat: Seat) -> None:
    auditing = world.auditor()
    signs_in(world)
    staff = world.stage.run(accounts.staff_of(world.rt, seat.session))
    assert world.stage.run(accounts.end_all(world.rt, staff, "asked for")) == 2
    assert (is_open(world, seat.session), is_open(world, auditing.session)) == (False, True)


def test_what_is_over_is_swept_on_record(world: World, seat: Seat) -> None:
    world.clock.forward(14 * 60)
    kept = world.auditor()
    world.clock.forward(60)
    world.stage.run(sweep(world.rt))
    assert world.count("session") == 1
    assert is_open(world, kept.session)
    assert world.events("session:end") == 1


# ------------------------------------------------------------------------------------------------------- passwords


def changes(world: World, seat: Seat, old: str = PASSWORD, new: str = "một câu thật dài và lạ",
            code: str | None = None) -> str:
    staff = world.stage.run(accounts.staff_of(world.rt, seat.session))
    shown = world.fresh_code(world.city.operator) if code is None else code
    return world.stage.run(accounts.change_password(world.rt, staff, old, new, shown))


def test_another_password_ends_every_session(world: World, seat: Seat) -> None:
    other = signs_in(world)
    fresh = changes(world, seat)
    assert [is_open(world, each) for each in (seat.session, other, fresh)] == [False, False, True]
    assert is_told(world)[0] == "sign-in"
    signs_in(world, password="một câu thật dài và lạ")
    assert world.events("password:set") == 2


@pytest.mark.parametrize("wrong", [{"old": "not the old one"}, {"code": "000000"}])
def test_another_password_takes_the_old_one_and_a_code(wrong: dict[str, str], world: World, seat: Seat) -> None:
    with pytest.raises(NotAuthorized, match="not accepted"):
        changes(world, seat, **wrong)
    assert failures(world) == 1
    signs_in(world)


def test_a_change_while_somebody_signs_in_with_the_old_password_wins(
    world: World, seat: Seat, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = accounts._proves

    async def meanwhile(rt: object, owner: str, code: str) -> bool:
        await world.rt.db.run(accounts.keep_password, world.rt, owner, passwords.HASHER.hash("x"), world.clock())
        return await real(world.rt, owner, code)

    monkeypatch.setattr(accounts, "_proves", meanwhile)
    assert is_told(world)[0] == "sign-in"


NAMES = ("Phạm Thị Dung", "au_0123456789abcdef0123456789abcdef")
PASSWORDS = {
    "a long sentence": ("ba con mèo ngủ trưa", None),
    "twelve characters": ("x9#kQ2mvP0zr", None),
    "eleven characters": ("x9#kQ2mvP0z", "password-short"),
    "eleven characters, spelled with fourteen": ("e\u0301x9#kQ2mo\u0302\u0301z", "password-short"),
    "two hundred characters": ("abcdefgh" * 25, None),
    "two hundred and one": ("abcdefgh" * 25 + "x", "password-long"),
    "one character again and again": ("aaaaaaaaaaaaaaaa", "password-obvious"),
    "the word password with a number": ("Password2026!", "password-obvious"),
    "mật khẩu": ("Mật khẩu 12345", "password-obvious"),
    "a row of numbers": ("123456789012", "password-obvious"),
    "one's own name": ("Phạm Thị Dung", "password-obvious"),
    "one's own name without accents and with a year": ("pham thi dung 1988", "password-obvious"),
    "one's own id": ("au_0123456789abcdef0123456789abcdef", "password-obvious"),
    "quản trị viên": ("QuanTriVien@2026", "password-obvious"),
}


@pytest.mark.parametrize(("password", "code"), PASSWORDS.values(), ids=PASSWORDS.keys())
def test_a_password(password: str, code: str | None) -> None:
    if code is None:
        passwords.check(password, NAMES)
        return
    with pytest.raises(Invalid) as refused:
        passwords.check(password, NAMES)
    assert refused.value.code == code


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords as they are hashed outside of tests."""
    for name, value in REAL.items():
        monkeypatch.setattr(passwords, name, value)


@pytest.mark.usefixtures("real")
def test_nobodys_hash_takes_as_much_work_as_a_real_one() -> None:
    assert not passwords.is_outdated(passwords.NOBODY)
    assert passwords.NOBODY.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert not passwords._matches(None, PASSWORD)


@pytest.mark.usefixtures("real")
def test_whoever_signs_in_is_kept_under_the_parameters_of_rfc_9106(world: World, seat: Seat) -> None:
    signs_in(world)
    with world.rt.db.read() as tx:
        kept = tx.execute(select(account.c.password_hash)).scalar_one()
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert is_told(world, password="another password here")[0] == "sign-in"
    signs_in(world)


def test_one_spelling_for_what_looks_the_same() -> None:
    kept = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(passwords.spelled("mèo ngủ"))
    assert passwords._matches(kept, "mèo ngủ")


@pytest.fixture
def doors() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_two_hashes_at_a_time_and_a_short_line(doors: threading.Event) -> None:
    """Everybody beyond that is told to come back; nobody's password is looked at meanwhile."""
    inside = threading.Semaphore(0)
    running: list[int] = []

    def work() -> bool:
        running.append(1)
        inside.release()
        doors.wait(30)
        return True

    async def crowd() -> None:
        hashing = passwords.Hashing(at_once=2, in_line=3)
        under_way = [asyncio.create_task(hashing._in_turn(work)) for _ in range(5)]
        for _ in range(2):
            await asyncio.to_thread(inside.acquire)
        with pytest.raises(Unavailable):
            await hashing._in_turn(work)
        assert len(running) == 2
        doors.set()
        assert await asyncio.gather(*under_way) == [True] * 5
        assert await hashing._in_turn(lambda: True)

    asyncio.run(crowd())


# ------------------------------------------------------------------------------------------------------- enrolment


def test_the_narrow_scope_of_an_auditor_comes_with_the_session(world: World) -> None:
    seat = world.auditor(agencies=("H26.1",))
    staff = world.stage.run(accounts.staff_of(world.rt, seat.session))
    assert (staff.role, staff.agencies) == ("auditor", frozenset({"H26.1"}))
    with world.city.rt.db.write() as tx:
        tx.execute(update(auditor).values(agencies=["H26.2"]))
    assert world.stage.run(accounts.staff_of(world.rt, seat.session)).agencies == frozenset({"H26.2"})


def test_entries_name_who_and_never_what_was_typed(world: World, seat: Seat) -> None:
    is_told(world, name="Phạm Văn Kẻ Trộm", password="thử đoán mật khẩu này")
    with world.rt.db.read() as tx:
        bodies = "\n".join(tx.execute(select(entry.c.body)).scalars())
    assert "Kẻ Trộm" not in bodies
    assert "thử đoán" not in bodies
    assert isinstance(world.city.operator, Person)
