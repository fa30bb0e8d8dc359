"""A person stops what is done in their name: from the phone without a code, or from anywhere with the stop code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import select, update

from hsm.errors import DeviceUnavailable
from signing_service.db.tables import credential, entry, phone
from signing_service.errors import NotAuthorized, SigningError, Unavailable
from signing_service.metrics import ALARMS
from signing_service.signer import custody, suspending
from signing_service.wire import messages as m
from tests.support.city import City, Person, Phone, secret_of
from tests.support.memory_device import MemoryDevice


@pytest.fixture
def held(city: City) -> Phone:
    return city.enrols_phone(city.official())


def states(city: City, held: Phone) -> tuple[list[str], list[str]]:
    """Of the person's credentials, and of their phones."""
    with city.rt.db.read() as tx:
        credentials = tx.execute(select(credential.c.state).where(credential.c.signatory_id == held.person.id))
        phones = tx.execute(select(phone.c.state).where(phone.c.signatory_id == held.person.id).order_by(phone.c.id))
        return list(credentials.scalars()), list(phones.scalars())


def said(city: City, event: str) -> Any:
    with city.rt.db.read() as tx:
        found = tx.execute(select(entry).where(entry.c.event == event).order_by(entry.c.id.desc())).first()
    assert found is not None
    return found


def alarms(reason: str) -> float:
    return ALARMS.labels(reason)._value.get()  # type: ignore[no-any-return]


@pytest.mark.parametrize(("why", "phones_after", "outcome"), [
    ("not-me", "active", "alarm"), ("own-wish", "active", "ok"), ("lost-phone", "retired", "ok"),
])
def test_a_person_suspends_their_credentials_without_a_code(
    city: City, held: Phone, why: str, phones_after: str, outcome: str,
) -> None:
    request = city.submitted(held.person)
    before = alarms(why)
    answer = city.asks(m.SuspendOneself(held.proof, why, request))
    assert answer == m.Suspended((held.person.credential,))
    assert states(city, held) == (["suspended"], [phones_after])
    told = said(city, "signatory:suspend-oneself")
    assert (told.outcome, told.signatory_id, told.signing_request_id) == (outcome, held.person.id, request)
    assert alarms(why) - before == (0 if why == "own-wish" else 1)
    assert city.confirms(held.person, [request]).lines[0].outcome == "denied"
    assert city.state_of(request) == "pending"


def test_after_it_was_not_me_the_phone_still_shows_itself_and_confirms_nothing(city: City, held: Phone) -> None:
    request = city.submitted(held.person)
    city.asks(m.SuspendOneself(held.proof, "not-me", request))
    assert city.confirms_on_phone(held, [request]).lines[0].outcome == "denied"
    assert city.asks(m.SuspendOneself(held.proof, "not-me", request)) == m.Suspended(())


def test_after_a_lost_phone_the_phone_does_nothing_any_more(city: City, held: Phone) -> None:
    second = city.enrols_phone(held.person, keeps_others=True)
    city.asks(m.SuspendOneself(held.proof, "lost-phone"))
    assert states(city, held)[1] == ["retired", "retired"]
    for each in (held, second):
        with pytest.raises(NotAuthorized):
            city.asks(m.SuspendOneself(each.proof, "own-wish"))


@pytest.mark.parametrize("why", ["not-me", "lost-phone"])
def test_a_link_that_somebody_may_hold_enrols_nobody_after_its_person_stopped_everything(
    city: City, held: Phone, why: str,
) -> None:
    opened, secret = city.ticket(held.person.id), "5" * 64
    half = city.opens(opened, secret)
    assert half.phone_id is not None
    assert half.uri is not None
    codes = Person(held.person.id, secret_of(half.uri))
    city.next_code()
    city.asks(m.SuspendOneself(held.proof, why))
    with pytest.raises(NotAuthorized):
        city.asks(m.CompletePhone(m.PhoneProof(half.phone_id, secret), codes.code(city.clock.at)))
    with pytest.raises(NotAuthorized):
        city.opens(opened, secret)
    assert len(json.loads(said(city, "signatory:suspend-oneself").body)["data"]["voids"]) == 2


def test_the_wish_to_pause_leaves_a_link_as_it_is(city: City, held: Phone) -> None:
    opened = city.ticket(held.person.id)
    city.asks(m.SuspendOneself(held.proof, "own-wish"))
    assert city.opens(opened, "5" * 64).phone_id is not None


def test_a_phone_whose_row_was_edited_does_not_keep_a_person_from_stopping(city: City, held: Phone) -> None:
    second = city.enrols_phone(held.person, keeps_others=True)
    with city.rt.db.write() as tx:
        tx.execute(update(phone).where(phone.c.id == held.id).values(label="other", secret_hash="0" * 64))
    assert city.asks(m.Stop(second.stop_code)) == m.Suspended((held.person.credential,))
    assert sorted(states(city, held)[1]) == ["active", "retired"]  # the edited one confirms nothing, and is reported
    assert city.events("signer:tampered") == 1


def test_only_an_operator_resumes(city: City, held: Phone) -> None:
    city.asks(m.SuspendOneself(held.proof, "own-wish"))
    city.acts(m.SetCredentialState(held.person.credential, "active"))
    assert city.confirms_on_phone(held, [city.submitted(held.person)]).lines[0].outcome == "done"


def test_an_agencys_seal_is_suspended_with_its_custodian_and_anothers_credential_is_not(
    city: City, held: Phone,
) -> None:
    other = city.official("Trần Thị B")
    seal = city.acts(m.AddCredential("agency", "H26.1", "p-256", None, held.person.id))[0].id
    city.certify(seal, "Phường Hoa Sen")
    answer = city.asks(m.SuspendOneself(held.proof, "own-wish"))
    assert set(answer.credential_ids) == {held.person.credential, seal}
    assert city.confirms(other, [city.submitted(other)]).lines[0].outcome == "done"


def test_another_persons_request_is_not_named_in_the_entry(city: City, held: Phone) -> None:
    other = city.official("Trần Thị B")
    city.asks(m.SuspendOneself(held.proof, "not-me", city.submitted(other)))
    assert said(city, "signatory:suspend-oneself").signing_request_id is None


def test_a_credential_whose_row_was_edited_does_not_keep_the_others_from_being_suspended(
    city: City, held: Phone,
) -> None:
    second = city.acts(m.AddCredential("personal", "H26.1", "p-256", None, held.person.id))[0].id
    city.certify(second, "Nguyễn Văn A")
    with city.rt.db.write() as tx:
        tx.execute(update(credential).where(credential.c.id == second).values(algorithm="other"))
    assert city.asks(m.SuspendOneself(held.proof, "own-wish")) == m.Suspended((held.person.credential,))
    assert city.events("signer:tampered") == 1


def test_a_credential_that_changes_at_the_same_moment_is_suspended_all_the_same(
    city: City, held: Phone, monkeypatch: pytest.MonkeyPatch,
) -> None:
    revise = custody.revise

    def meanwhile(*args: Any, **more: Any) -> custody.Change:
        made = revise(*args, **more)
        monkeypatch.setattr(custody, "revise", revise)
        city.acts(m.SetCredentialState(held.person.credential, "suspended", "somebody else"))
        city.acts(m.SetCredentialState(held.person.credential, "active"))
        return made

    monkeypatch.setattr(custody, "revise", meanwhile)
    assert city.asks(m.SuspendOneself(held.proof, "own-wish")) == m.Suspended((held.person.credential,))
    assert states(city, held)[0] == ["suspended"]


def test_a_phone_retired_at_the_same_moment_suspends_nothing(
    city: City, held: Phone, monkeypatch: pytest.MonkeyPatch,
) -> None:
    suspensions = suspending._suspensions

    def meanwhile(*args: Any) -> Any:
        city.acts(m.RetirePhone(held.id))
        return suspensions(*args)

    monkeypatch.setattr(suspending, "_suspensions", meanwhile)
    with pytest.raises(NotAuthorized) as refused:
        city.asks(m.SuspendOneself(held.proof, "own-wish"))
    assert refused.value.code == "phone"
    assert states(city, held)[0] == ["active"]


def test_a_device_that_is_away_is_said_and_stopping_can_be_repeated(
    city: City, device: MemoryDevice, held: Phone,
) -> None:
    device.fail_next(DeviceUnavailable("away"), call="mac")
    with pytest.raises(Unavailable):
        city.asks(m.SuspendOneself(held.proof, "own-wish"))
    assert city.asks(m.SuspendOneself(held.proof, "own-wish")) == m.Suspended((held.person.credential,))


# ------------------------------------------------------------------------------------------------- the stop code


def test_the_stop_code_suspends_and_retires_and_pressing_twice_is_no_error(city: City, held: Phone) -> None:
    before = alarms("stop-code")
    assert city.asks(m.Stop(held.stop_code)) == m.Suspended((held.person.credential,))
    assert states(city, held) == (["suspended"], ["retired"])
    assert alarms("stop-code") - before == 1
    assert city.asks(m.Stop(held.stop_code)) == m.Suspended(())
    assert city.events("stop-code:used") == 1
    assert held.stop_code not in json.dumps([str(said(city, "stop-code:used").body)])


def never_given(city: City, held: Phone) -> str:
    return "ABCDE-FGHIJ-KLMNO-PQRST"


def of_an_old_phone(city: City, held: Phone) -> str:
    city.enrols_phone(held.person)
    return held.stop_code


@pytest.mark.parametrize("found", [never_given, of_an_old_phone], ids=lambda each: each.__name__)
def test_a_stop_code_of_no_active_phone_is_refused_and_stops_nobody(city: City, held: Phone, found: Any) -> None:
    with pytest.raises(NotAuthorized) as refused:
        city.asks(m.Stop(found(city, held)))
    assert refused.value.code == "stop-code"
    assert states(city, held)[0] == ["active"]
    assert city.events("stop-code:refused") == 1


def test_a_stop_code_moved_to_another_persons_phone_by_a_writer_in_the_database_is_noticed(
    city: City, held: Phone,
) -> None:
    other = city.enrols_phone(city.official("Trần Thị B"))
    with city.rt.db.write() as tx:
        hashed = tx.execute(select(phone.c.stop_hash).where(phone.c.id == other.id)).scalar_one()
        tx.execute(update(phone).where(phone.c.id == other.id).values(stop_hash=None))
        tx.execute(update(phone).where(phone.c.id == held.id).values(stop_hash=hashed))
    with pytest.raises(SigningError) as refused:
        city.asks(m.Stop(other.stop_code))
    assert refused.value.code == "tampered"
    assert states(city, held)[0] == ["active"]
