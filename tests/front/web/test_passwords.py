"""Passwords of auditors and operators: which are taken, how they are kept, and what it takes to have another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from signing_service import accounts, passwords
from signing_service.errors import Invalid, NotAuthorized, Unavailable
from tests.support.sign_ins import failures, is_open, is_told, kept_password, signs_in
from tests.support.staff import PASSWORD, Seat
from tests.support.world import World

REAL = {"HASHER": passwords.HASHER, "NOBODY": passwords.NOBODY}  # before the fixtures put cheap ones in their place


pytestmark = pytest.mark.usefixtures("refused_at_once")


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
    kept = kept_password(world)
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
