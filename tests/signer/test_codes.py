"""One-time codes: accepted once, ever; counted before they are looked at; locked, forgotten, unlocked."""

from __future__ import annotations

import threading
from datetime import timedelta

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from hsm.errors import DeviceUnavailable
from signing_service.db.tables import code_state, seed
from signing_service.errors import NotAuthorized, SigningError, Unavailable
from signing_service.signer import codes
from signing_service.wire import messages as m
from tests.support.city import City, Person
from tests.support.memory_device import MemoryDevice


@given(st.binary(min_size=20, max_size=20), st.integers(0, 2**40))
def test_truncation_is_what_the_reference_computes(seed_bytes: bytes, step: int) -> None:
    import base64
    import hmac

    digest = hmac.digest(seed_bytes, step.to_bytes(8, "big"), "sha1")
    reference = pyotp.HOTP(base64.b32encode(seed_bytes).decode()).at(step)
    assert codes.truncated(digest) == reference


def test_a_code_is_accepted_once(city: City) -> None:
    official = city.official()
    city.next_code()
    code = official.code(city.clock.at)
    city.confirms(official, [city.submitted(official)], code)
    with pytest.raises(NotAuthorized):
        city.confirms(official, [city.submitted(official, b"other")], code)


def test_an_older_step_is_refused_after_a_newer_one(city: City) -> None:
    official = city.official()
    city.next_code()
    city.next_code()
    older, newer = official.code(city.clock.at, -1), official.code(city.clock.at)
    city.confirms(official, [city.submitted(official)], newer)
    with pytest.raises(NotAuthorized):
        city.confirms(official, [city.submitted(official, b"other")], older)


@pytest.mark.parametrize(("drift", "accepted"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_code_is_good_one_step_before_and_after_its_time(city: City, drift: int, accepted: bool) -> None:
    official = city.official()
    for _ in range(5):
        city.next_code()
    code = official.code(city.clock.at, drift)
    request = city.submitted(official)
    if accepted:
        assert city.confirms(official, [request], code).lines[0].outcome == "done"
    else:
        with pytest.raises(NotAuthorized):
            city.confirms(official, [request], code)


def wrong(city: City, official: Person, times: int) -> list[SigningError]:
    refusals: list[SigningError] = []
    request = city.submitted(official)
    for _ in range(times):
        answer = city.confirmations([city.confirmation(official, [request], "000000")])[0]
        assert isinstance(answer, SigningError)
        refusals.append(answer)
    return refusals


def test_five_wrong_codes_in_a_row_lock_and_the_right_one_is_not_even_looked_at(
    city: City, device: MemoryDevice,
) -> None:
    official = city.official()
    city.next_code()
    refusals = wrong(city, official, 5)
    assert [refusal.tries_left for refusal in refusals if isinstance(refusal, NotAuthorized)] == [4, 3, 2, 1, 0]
    asked = device.calls.count("hmac_sha1")
    with pytest.raises(NotAuthorized, match="locked"):
        city.confirms(official, [city.submitted(official)], official.code(city.clock.at))
    assert device.calls.count("hmac_sha1") == asked
    assert city.events("code:locked") == 1


def test_a_lock_ends_and_the_next_one_lasts_longer(city: City) -> None:
    official = city.official()
    city.next_code()
    wrong(city, official, 5)
    first = locked_for(city, official)
    city.later(first.total_seconds() + 1)
    wrong(city, official, 5)
    assert locked_for(city, official) > first


def locked_for(city: City, official: Person) -> timedelta:
    with city.rt.db.read() as tx:
        until = tx.execute(select(code_state.c.locked_until).where(code_state.c.owner == official.id)).scalar_one()
    return until - city.clock.at


def test_a_right_code_forgives_the_wrong_ones_before(city: City) -> None:
    official = city.official()
    city.next_code()
    wrong(city, official, 4)
    city.confirms(official, [city.submitted(official, b"other")])
    city.next_code()
    assert len(wrong(city, official, 4)) == 4


def test_an_operator_unlocks_and_spent_codes_stay_spent(city: City) -> None:
    official = city.official()
    city.next_code()
    code = official.code(city.clock.at)
    city.confirms(official, [city.submitted(official)], code)
    wrong(city, official, 5)
    city.desk.act(m.Act(city.operator.id, city.operator.code(city.clock.at), (m.Unlock(official.id),)))
    with pytest.raises(NotAuthorized, match="not accepted"):
        city.confirms(official, [city.submitted(official, b"x")], code)
    assert city.confirms(official, [city.submitted(official, b"y")]).lines[0].outcome == "done"


def test_a_year_of_guessing_stays_below_one_in_a_thousand(city: City, device: MemoryDevice) -> None:
    official = city.official()
    city.next_code()
    request = city.submitted(official, expires_at=city.clock.at + timedelta(days=800))
    evaluated = 0
    for _ in range(4 * 366):  # four times a day, as many tries as are taken
        for _ in range(6):
            asked = device.calls.count("hmac_sha1")
            city.confirmations([city.confirmation(official, [request], "000000")])
            evaluated += device.calls.count("hmac_sha1") > asked
            device.calls.clear()
            if evaluated and evaluated % 40 == 0:
                break
        city.later(6 * 3600)
        if hard_locked(city, official):
            break
    assert hard_locked(city, official)
    assert evaluated * 3e-6 <= 1e-3


def hard_locked(city: City, official: Person) -> bool:
    with city.rt.db.read() as tx:
        return bool(tx.execute(
            select(code_state.c.hard_locked).where(code_state.c.owner == official.id)).scalar_one())


def test_one_code_presented_fifty_times_at_once_is_accepted_once(city: City) -> None:
    official = city.official()
    city.next_code()
    code = official.code(city.clock.at)
    requests = [city.submitted(official, bytes([n])) for n in range(50)]
    answers: list[object] = []

    def present(part: list[str]) -> None:
        answers.extend(city.confirmations([city.confirmation(official, [each], code) for each in part]))

    threads = [threading.Thread(target=present, args=(requests[n::5],)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in answers if isinstance(each, m.Confirmed)]) == 1
    assert len(answers) == 50


def counters(city: City, person: Person) -> tuple[object, ...]:
    with city.rt.db.read() as tx:
        state = tx.execute(select(code_state).where(code_state.c.owner == person.id)).one()
    return state.failures, state.failures_today, state.locks, state.locked_until, state.hard_locked


def test_a_device_that_does_not_answer_locks_nobody_out(city: City, device: MemoryDevice) -> None:
    """Nobody looked at these codes: they are neither wrong nor right, however often somebody tries."""
    official = city.official()
    request = city.submitted(official)
    city.next_code()
    wrong(city, official, 3)
    before = counters(city, official)
    for _ in range(codes.PER_DAY + 1):
        device.fail_next(DeviceUnavailable("away"), call="hmac_sha1")
        with pytest.raises(Unavailable):
            city.confirms(official, [request], official.code(city.clock.at))
    assert counters(city, official) == before
    assert city.confirms(official, [request]).lines[0].outcome == "done"


def test_a_right_code_that_came_to_nothing_counts_for_nothing_and_stays_good(city: City, device: MemoryDevice) -> None:
    """The device goes away after it looked at the code, before it could say whether the credential's row is true."""
    official = city.official()
    request = city.submitted(official)
    city.next_code()
    wrong(city, official, 1)  # from here on the seed's row is known to be true
    before, code = counters(city, official), official.code(city.clock.at)
    city.rt.verified._rows.pop(("credential", official.credential))  # the credential's is not, as after a start
    device.fail_next(DeviceUnavailable("away"), call="mac")
    with pytest.raises(Unavailable):
        city.confirms(official, [request], code)
    assert counters(city, official) == before
    assert city.confirms(official, [request], code).lines[0].outcome == "done"


def test_an_operators_code_is_not_counted_either_when_the_device_is_away(city: City, device: MemoryDevice) -> None:
    before = counters(city, city.operator)
    for _ in range(codes.IN_A_ROW + 1):
        city.next_code()
        device.fail_next(DeviceUnavailable("away"), call="hmac_sha1")
        with pytest.raises(Unavailable):
            city.desk.act(m.Act(city.operator.id, city.operator.code(city.clock.at), (m.Unlock(city.operator.id),)))
    assert counters(city, city.operator) == before
    city.acts(m.Unlock(city.operator.id))


def test_a_try_given_back_opens_the_lock_it_made_and_no_other(city: City, device: MemoryDevice) -> None:
    official = city.official()
    city.next_code()
    wrong(city, official, 4)
    with city.rt.db.write() as tx:
        fifth = codes.attempt(city.rt, tx, official.id, city.clock.at)
    assert locked_for(city, official) == codes.FIRST_LOCK
    with city.rt.db.write() as tx:
        codes.give_back(tx, fifth)
    assert counters(city, official) == (4, 4, 0, None, False)
    wrong(city, official, 1)
    locked = counters(city, official)
    with pytest.raises(NotAuthorized, match="locked"):
        city.confirms(official, [city.submitted(official)])
    assert counters(city, official) == locked


def test_an_unknown_person_hears_what_a_known_one_hears(city: City, device: MemoryDevice) -> None:
    official = city.official()
    city.next_code()
    line = city.line(city.submitted(official))
    known, unknown = city.confirmations([
        m.Confirm(city.client, who, "000000", "client", (line,)) for who in (official.id, "sg_" + "0" * 32)])
    assert isinstance(known, NotAuthorized)
    assert isinstance(unknown, NotAuthorized)
    assert (known.message, known.code, known.tries_left) == (unknown.message, unknown.code, unknown.tries_left)


def test_a_swapped_seed_is_refused(city: City) -> None:
    victim, attacker = city.official(), city.official("Kẻ Gian")
    with city.rt.db.write() as tx:
        stolen = tx.execute(select(seed.c.blob, seed.c.mac).where(
            seed.c.owner == attacker.id, seed.c.state == "active")).one()
        tx.execute(update(seed).where(seed.c.owner == victim.id, seed.c.state == "active")
                   .values(blob=stolen.blob, mac=stolen.mac))
    city.next_code()
    with pytest.raises(SigningError, match="changed outside"):
        city.confirms(victim, [city.submitted(victim)], attacker.code(city.clock.at))
    assert city.events("signer:tampered") == 1


def test_a_new_seed_takes_over_only_after_its_first_right_code(city: City) -> None:
    official = city.official()
    uri = city.acts(m.EnrolCode(official.id))[0].uri
    assert uri is not None
    renewed = Person(official.id, uri.split("secret=")[1].split("&")[0], official.credential)
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"
    with pytest.raises(NotAuthorized):
        city.confirms(renewed, [city.submitted(renewed, b"1")], renewed.code(city.clock.at, 1))
    city.next_code()
    city.desk.complete(m.CompleteEnrolment(official.id, renewed.code(city.clock.at)))
    city.next_code()
    assert city.confirms(renewed, [city.submitted(renewed, b"2")]).lines[0].outcome == "done"
    with pytest.raises(NotAuthorized):
        city.confirms(official, [city.submitted(official, b"3")])


@pytest.mark.parametrize("code", ["12345", "1234567", "１２３４５６", "12 345", "12345\u200b", "abcdef", "-12345"])
def test_a_code_that_is_not_six_ascii_digits_never_crosses_the_boundary(city: City, code: str) -> None:
    import msgspec

    official = city.official()
    confirm = m.Confirm(city.client, official.id, code, "client", (city.line(city.submitted(official)),))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(m.encoder.encode(confirm), type=m.SignRequest)


def test_time_that_ran_back_stops_everything(city: City) -> None:
    official = city.official()
    request = city.submitted(official)
    city.next_code()
    city.confirms(official, [city.submitted(official, b"1")])
    city.clock.forward(-60)
    with pytest.raises(SigningError, match="ran back"):
        city.confirms(official, [request], official.code(city.clock.at))
