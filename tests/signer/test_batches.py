"""What is wrong with one line, one person or one moment is not the trouble of everybody in the batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest
from sqlalchemy import Connection, delete, select, update

from signing_service.db.tables import code_state, intent, policy, signing_request
from signing_service.errors import NotAuthorized, Unavailable
from signing_service.facts import local_day
from signing_service.signer import codes, intents, reconcile
from signing_service.wire import messages as m
from tests.support.city import POLICY, City, Person
from tests.support.memory_device import MemoryDevice

BROKEN: dict[str, dict[str, Any]] = {  # columns of the front's own row, as a front that was taken over may write them
    "an algorithm that does not exist": {"algorithm": "none"},
    "a secrecy that does not exist": {"secrecy": "?"},
    "a level that does not exist": {"level": "B-X"},
    "warnings that are no words": {"warnings": [["a"]]},
    "warnings that are no list": {"warnings": 7},
}


def two(city: City) -> tuple[tuple[Person, str], tuple[Person, str]]:
    people = city.official("Nguyễn Văn A"), city.official("Trần Thị B")
    return (people[0], city.submitted(people[0], b"a")), (people[1], city.submitted(people[1], b"b"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_row_that_cannot_be_read_is_denied_and_the_neighbour_in_the_batch_is_signed(city: City, name: str) -> None:
    (a, broken), (b, good) = two(city)
    with city.rt.db.write() as tx:
        tx.execute(update(signing_request).where(signing_request.c.id == broken).values(**BROKEN[name]))
    city.next_code()
    line = city.line(good)
    damaged = msgspec.structs.replace(
        line, signing_request_id=broken, credential_id=a.credential, document_digest=digest_of(city, broken),
        algorithm=BROKEN[name].get("algorithm", line.algorithm))
    first, second = city.confirmations([
        m.Confirm(city.client, a.id, a.code(city.clock.at), "client", (damaged,)), city.confirmation(b, [good])])
    assert isinstance(first, m.Confirmed)
    assert isinstance(second, m.Confirmed)
    assert (first.lines[0].outcome, first.lines[0].code) == ("denied", "row-damaged")
    assert second.lines[0].outcome == "done"


def digest_of(city: City, request: str) -> str:
    with city.rt.db.read() as tx:
        return str(tx.execute(
            select(signing_request.c.document_digest).where(signing_request.c.id == request)).scalar_one())


@pytest.mark.parametrize("field", ["signing_request_id", "credential_id", "document_digest", "tail_digest"])
def test_a_line_that_ends_in_a_newline_does_not_cross_the_boundary(city: City, field: str) -> None:
    """`$` of a regular expression would let it: one character too many for PostgreSQL's column."""
    official = city.official()
    line = city.line(city.submitted(official))
    hostile = msgspec.structs.replace(line, **{field: getattr(line, field) + "\n"})
    asked = m.Confirm(city.client, official.id, "123456", "client", (hostile,))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(m.encoder.encode(asked), type=m.SignRequest)


@pytest.mark.parametrize("code", ["123456\n", "123456\x00"])
def test_a_code_that_ends_in_a_control_character_does_not_cross_the_boundary(code: str) -> None:
    asked = m.CompleteEnrolment("op_" + "0" * 32, code)
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(m.encoder.encode(asked), type=m.AdminRequest)


def test_a_stored_policy_that_no_longer_loads_is_a_refusal_and_not_the_end_of_the_batch(city: City) -> None:
    (a, request), _ = two(city)
    with city.rt.db.write() as tx:
        tx.execute(update(policy).values(hash="f" * 64, text="format = 99\n"))
    assert city.confirms(a, [request]).lines[0].code == "policy-tampered"
    assert city.state_of(request) == "pending"


def test_of_two_active_policies_the_newer_one_counts(city: City) -> None:
    """Two signers may activate one at the same moment, and neither sees the other's."""
    newer = city.acts(m.ActivatePolicy("newer", POLICY + "\n# newer\n"))[0].id
    with city.rt.db.write() as tx:
        tx.execute(update(policy).values(active=True))
    official = city.official()
    city.confirms(official, [city.submitted(official)])
    with city.rt.db.read() as tx:
        assert tx.execute(select(intent.c.policy_hash)).scalar_one() == newer


def test_two_requests_for_one_document_in_a_confirmation_have_an_outcome_each(city: City) -> None:
    official = city.official()
    requests = [city.submitted(official, b"same") for _ in range(3)]
    answer = city.confirms(official, requests)
    assert [(line.outcome, line.code) for line in answer.lines] == [
        ("done", None), ("denied", "spent"), ("denied", "spent")]
    assert [city.state_of(each) for each in requests] == ["finishing", "pending", "pending"]


def test_a_confirmation_whose_lines_are_all_impossible_spends_its_code_and_leaves_them_pending(city: City) -> None:
    official = city.official()
    request = city.submitted(official)
    city.acts(m.SetCredentialState(official.credential, "suspended", "on leave"))
    city.next_code()
    code = official.code(city.clock.at)
    assert city.confirms(official, [request], code).lines[0].outcome == "denied"
    assert city.state_of(request) == "pending"
    with pytest.raises(NotAuthorized):
        city.confirms(official, [request], code)
    city.acts(m.SetCredentialState(official.credential, "active"))
    assert city.confirms(official, [request]).lines[0].outcome == "done"


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_whatever_the_device_raises_is_the_outcome_of_one_intent(
    city: City, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    (a, first), (b, second) = two(city)
    city.next_code()
    sign = device.sign
    broken = city.line(first).to_sign

    def raising(key: Any, algorithm: Any, digest: bytes) -> bytes:
        if digest == broken:
            raise RuntimeError("nobody foresaw this")
        return sign(key, algorithm, digest)

    monkeypatch.setattr(device, "sign", raising)
    one, other = city.confirmations([city.confirmation(a, [first]), city.confirmation(b, [second])])
    assert isinstance(one, m.Confirmed)
    assert isinstance(other, m.Confirmed)
    assert (one.lines[0].outcome, one.lines[0].code) == ("failed", "unknown-outcome")
    assert other.lines[0].outcome == "done"


@contextmanager
def lost_commit(city: City, monkeypatch: pytest.MonkeyPatch, which: int) -> Iterator[None]:
    """The `which`-th transaction from now is durable, but we are told that the database is away."""
    write, counted = city.rt.db.write, [0]

    @contextmanager
    def losing() -> Iterator[Connection]:
        counted[0] += 1
        mine = counted[0]
        with write() as tx:
            yield tx
        if mine == which:
            raise Unavailable("The database does not answer. Try again shortly.", code="database-away")

    with monkeypatch.context() as patched:
        patched.setattr(city.rt.db, "write", losing)
        yield


def test_outcomes_whose_commit_was_heard_of_too_late_are_answered_as_they_are(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """W4 is durable, its acknowledgement is lost: repeating it finds our own outcome, not another's."""
    (a, first), (_b, _second) = two(city)
    city.next_code()
    asked = city.confirmation(a, [first])
    with lost_commit(city, monkeypatch, 3):
        answer = city.confirmations([asked])[0]
    assert isinstance(answer, m.Confirmed)
    assert (answer.lines[0].outcome, answer.lines[0].code) == ("done", None)
    assert city.state_of(first) == "finishing"
    assert city.events("signature:done") == 1


def test_intents_whose_commit_was_heard_of_too_late_are_acted_upon(
    city: City, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """W3 is durable, its acknowledgement is lost: nobody else will ever act on these intents."""
    (a, first), _ = two(city)
    city.next_code()
    asked = city.confirmation(a, [first])
    with lost_commit(city, monkeypatch, 2):
        answer = city.confirmations([asked])[0]
    assert isinstance(answer, m.Confirmed)
    assert answer.lines[0].outcome == "done"


def test_what_was_signed_just_before_its_deadline_is_not_closed_by_our_own_chores(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The device took its time; W4 comes a moment after the deadline, and reconcile came first."""
    official = city.official()
    request = city.submitted(official)
    city.next_code()
    sign = city.rt.device.sign

    def slow(key: Any, algorithm: Any, digest: bytes) -> bytes:
        value = sign(key, algorithm, digest)
        city.clock.forward(31)
        reconcile.reconcile(city.rt)
        return value

    monkeypatch.setattr(city.rt.device, "sign", slow)
    asked = city.confirmation(official, [request])
    answer = city.confirmations([asked])[0]
    assert isinstance(answer, m.Confirmed)
    assert answer.lines[0].outcome == "done"


def test_a_long_batch_is_written_down_as_it_goes(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first outcomes are durable while the device still works on the last: time loses only what was not asked."""
    official = city.official()
    requests = [city.submitted(official, bytes([n])) for n in range(100)]
    durable: list[int] = []
    sign = city.rt.device.sign

    def watching(key: Any, algorithm: Any, digest: bytes) -> bytes:
        with city.rt.db.read() as tx:
            durable.append(len(tx.execute(select(intent.c.id).where(intent.c.outcome.is_not(None))).all()))
        return sign(key, algorithm, digest)

    monkeypatch.setattr(city.rt.device, "sign", watching)
    assert {line.outcome for line in city.confirms(official, requests).lines} == {"done"}
    assert max(durable) > 0


def test_an_intent_whose_request_is_gone_is_closed_all_the_same(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = city.official()
    request = city.submitted(official)
    with monkeypatch.context() as patched:
        patched.setattr(intents, "conclude", dies)
        with pytest.raises(KeyboardInterrupt):
            city.confirms(official, [request])
    with city.rt.db.write() as tx:
        tx.execute(delete(signing_request).where(signing_request.c.id == request))
    city.clock.forward(120)
    assert reconcile.reconcile(city.rt) == 1


def dies(*_: object) -> None:
    raise KeyboardInterrupt


# ----------------------------------------------------------------------------------------------------------- codes


def state_of_code(city: City, person: Person) -> Any:
    with city.rt.db.read() as tx:
        return tx.execute(select(code_state).where(code_state.c.owner == person.id)).one()


def test_the_tries_left_are_none_where_the_day_or_the_bucket_locks(city: City) -> None:
    """Ten wrong codes of one day lock, also where a lock ended between them and a new row began."""
    official = city.official()
    request = city.submitted(official)
    left = [wrong(city, official, request) for _ in range(5)]
    city.later(codes.FIRST_LOCK.total_seconds() + 1)
    with city.rt.db.write() as tx:  # whatever the hour, it is still the same day
        tx.execute(update(code_state).where(code_state.c.owner == official.id)
                   .values(today=local_day(city.clock.at, city.rt.settings.timezone), failures_today=8))
    left += [wrong(city, official, request) for _ in range(2)]
    assert left == [4, 3, 2, 1, 0, 1, 0]
    assert state_of_code(city, official).locked_until > city.clock.at
    assert city.events("code:locked") == 2


def wrong(city: City, person: Person, request: str) -> int | None:
    refusal = city.confirmations([city.confirmation(person, [request], "000000")])[0]
    assert isinstance(refusal, NotAuthorized)
    return refusal.tries_left


def test_a_right_code_changes_the_row_that_another_signer_was_counting_on(city: City) -> None:
    """Else the other's count, taken from the row before, would undo the forgiveness."""
    official = city.official()
    before = state_of_code(city, official).attempts
    city.confirms(official, [city.submitted(official)])
    assert state_of_code(city, official).attempts == before + 2
