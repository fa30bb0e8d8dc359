"""How long auditors and operators stay, what ends it, and what they may see meanwhile."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from signing_service import accounts
from signing_service.db.tables import auditor, session
from signing_service.front.sweeping import sweep
from tests.support.sign_ins import is_open, signs_in, suspends
from tests.support.staff import PASSWORD, Seat
from tests.support.world import World


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
    suspends(world)
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


def test_the_narrow_scope_of_an_auditor_comes_with_the_session(world: World) -> None:
    seat = world.auditor(agencies=("H26.1",))
    staff = world.stage.run(accounts.staff_of(world.rt, seat.session))
    assert (staff.role, staff.agencies) == ("auditor", frozenset({"H26.1"}))
    with world.city.rt.db.write() as tx:
        tx.execute(update(auditor).values(agencies=["H26.2"]))
    assert world.stage.run(accounts.staff_of(world.rt, seat.session)).agencies == frozenset({"H26.2"})
