"""Officials' phones: enrolled once, recognized before any code is counted, retired for ever."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import insert, select, update

from signing_service.db.tables import client, code_state, confirmation, entry, phone
from signing_service.errors import NotAuthorized, SigningError
from signing_service.ids import draw
from signing_service.signer import phones
from signing_service.signer.acting import By
from signing_service.wire import messages as m
from tests.support.city import POLICY, City, Phone
from tests.support.memory_device import MemoryDevice


@pytest.fixture
def held(city: City) -> Phone:
    return city.enrols_phone(city.official())


def counters(city: City) -> list[Any]:
    """Everybody's counters: what nobody may touch who has no business with them."""
    with city.rt.db.read() as tx:
        return list(tx.execute(select(code_state).order_by(code_state.c.owner)).all())


def column(city: City, name: str, phone_id: str) -> Any:
    with city.rt.db.read() as tx:
        return tx.execute(select(phone.c[name]).where(phone.c.id == phone_id)).scalar_one()


def refusal(city: City, asked: m.Confirm) -> SigningError:
    answer = city.confirmations([asked])[0]
    assert isinstance(answer, SigningError)
    return answer


# ------------------------------------------------------------------------------------------------- confirming


def test_a_phone_confirms_and_the_record_names_it(city: City, held: Phone) -> None:
    request = city.submitted(held.person)
    assert city.confirms_on_phone(held, [request]).lines[0].outcome == "done"
    with city.rt.db.read() as tx:
        row = tx.execute(select(confirmation)).one()
        intended = tx.execute(select(entry.c.client_id).where(entry.c.event == "signature:intent")).scalar_one()
    assert (row.client_id, row.phone_id, row.channel) == (None, held.id, "phone")
    assert intended == city.client


def test_one_code_on_the_phone_confirms_requests_of_two_clients(city: City, held: Phone) -> None:
    other = draw("cl")
    with city.rt.db.write() as tx:
        tx.execute(insert(client).values(id=other, name="HR", role="submitter", agencies=["*"], secret_hash="1" * 64,
                                         state="active", created_at=city.clock.at))
    requests = [city.submitted(held.person), city.submitted(held.person, b"other", client_id=other)]
    assert [line.outcome for line in city.confirms_on_phone(held, requests).lines] == ["done", "done"]


def test_through_a_client_another_clients_request_stays_untouched(city: City) -> None:
    official, other = city.official(), draw("cl")
    with city.rt.db.write() as tx:
        tx.execute(insert(client).values(id=other, name="HR", role="submitter", agencies=["*"], secret_hash="1" * 64,
                                         state="active", created_at=city.clock.at))
    request = city.submitted(official, client_id=other)
    assert city.confirms(official, [request]).lines[0].outcome == "denied"
    assert city.state_of(request) == "pending"


def test_a_policy_that_asks_for_the_phone_is_content_with_it_and_not_with_a_client(city: City, held: Phone) -> None:
    """Decided again at the last moment, on the channel that the signer itself has checked."""
    asks = POLICY.replace('way = "client"', 'way = "phone"').replace('confirm = "client"', 'confirm = "phone"')
    city.acts(m.ActivatePolicy("phone", asks))
    request = city.submitted(held.person)
    through_a_client = city.confirms(held.person, [request]).lines[0]
    assert (through_a_client.outcome, city.state_of(request)) == ("denied", "pending")
    assert city.confirms_on_phone(held, [request]).lines[0].outcome == "done"


# ---------------------------------------------------------------------------------- who has no phone, or another


def wrong_secret(city: City, held: Phone, other: Phone) -> m.PhoneProof:
    return m.PhoneProof(held.id, "0" * 64)


def unknown_phone(city: City, held: Phone, other: Phone) -> m.PhoneProof:
    return m.PhoneProof("ph_" + "0" * 32, held.secret)


def somebody_elses(city: City, held: Phone, other: Phone) -> m.PhoneProof:
    return other.proof


def retired(city: City, held: Phone, other: Phone) -> m.PhoneProof:
    city.acts(m.RetirePhone(held.id, "sold"))
    city.next_code()
    return held.proof


def still_enrolling(city: City, held: Phone, other: Phone) -> m.PhoneProof:
    opened = city.opens(city.ticket(held.person.id), "a" * 64)
    city.next_code()
    assert opened.phone_id is not None
    return m.PhoneProof(opened.phone_id, "a" * 64)


NOT_THE_PHONE = {
    "a phone with a wrong secret": wrong_secret,
    "a phone that nobody enrolled": unknown_phone,
    "the phone of another person": somebody_elses,
    "a phone that was retired": retired,
    "a phone whose enrolment is not complete": still_enrolling,
}


@pytest.mark.parametrize("name", NOT_THE_PHONE)
def test_confirming_with_another_phone_is_refused_and_touches_nobodys_counters(
    city: City, device: MemoryDevice, held: Phone, name: str,
) -> None:
    other = city.enrols_phone(city.official("Trần Thị B"))
    request = city.submitted(held.person)
    city.next_code()
    proof = NOT_THE_PHONE[name](city, held, other)
    before, made = counters(city), len(device.signatures)
    asked = msgspec.structs.replace(city.phone_confirmation(held, [request]), phone=proof)
    refused = refusal(city, asked)
    assert (type(refused), refused.code) == (NotAuthorized, "phone")
    assert counters(city) == before
    assert (city.state_of(request), len(device.signatures)) == ("pending", made)
    assert city.events("phone:refused") == 1
    assert city.events("code:rejected") == 0


def test_a_phone_retired_while_its_code_was_looked_at_confirms_nothing_and_the_code_stays_good(
    city: City, device: MemoryDevice, held: Phone, monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = city.submitted(held.person)
    hmac_sha1 = device.hmac_sha1
    made = len(device.signatures)

    def meanwhile(*args: Any) -> bytes:
        monkeypatch.setattr(device, "hmac_sha1", hmac_sha1)
        city.desk._one(city_operator(city), m.RetirePhone(held.id))  # another thread of the signer
        return hmac_sha1(*args)

    city.next_code()
    code = held.code(city.clock.at)
    before = counters(city)
    monkeypatch.setattr(device, "hmac_sha1", meanwhile)
    assert refusal(city, city.phone_confirmation(held, [request], code)).code == "phone"
    assert len(device.signatures) == made
    assert [row.failures for row in counters(city)] == [row.failures for row in before]
    assert city.confirms(held.person, [request], code).lines[0].outcome == "done"


def city_operator(city: City) -> By:
    return By(f"operator:{city.operator.id}")


MISMATCHES: dict[str, dict[str, Any]] = {
    "a phone's confirmation without a phone": {"channel": "phone", "client_id": None, "phone": None},
    "a phone's confirmation that names a client": {"channel": "phone", "client_id": "cl_" + "0" * 32},
    "a client's confirmation with a phone": {"channel": "client", "client_id": "cl_" + "0" * 32},
    "a client's confirmation without a client": {"channel": "client", "client_id": None, "phone": None},
}


@pytest.mark.parametrize("name", MISMATCHES)
def test_a_channel_that_does_not_fit_dies_at_the_decoder(city: City, held: Phone, name: str) -> None:
    honest = msgspec.to_builtins(city.phone_confirmation(held, [city.submitted(held.person)]))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(honest | MISMATCHES[name], type=m.SignRequest)


def test_refused_phones_do_not_fill_the_log(city: City, held: Phone) -> None:
    for _ in range(100):
        with pytest.raises(NotAuthorized):
            city.asks(m.SuspendOneself(m.PhoneProof(held.id, "0" * 64), "not-me"))
    assert city.events("phone:refused") == 30
    city.clock.forward(10)
    with pytest.raises(NotAuthorized):
        city.asks(m.SuspendOneself(m.PhoneProof(held.id, "0" * 64), "not-me"))
    assert city.events("phone:refused") == 31
    with city.rt.db.read() as tx:
        last = tx.execute(select(entry.c.body).where(entry.c.event == "phone:refused").order_by(
            entry.c.id.desc())).scalars().first()
    assert '"unrecorded_before":70' in str(last)


# ------------------------------------------------------------------------------------------ a writer in the database


def newer_phone(city: City, held: Phone, other: Phone) -> dict[str, Any]:
    """The other person's row, moved to this one."""
    return {"secret_hash": column(city, "secret_hash", other.id), "mac": column(city, "mac", other.id)}


ROWS: dict[str, Any] = {
    "another secret": lambda city, held, other: {"secret_hash": phones.secret_hash(held.secret)},
    "another person": lambda city, held, other: {"signatory_id": held.person.id},
    "the mac of another row": lambda city, held, other: {
        "secret_hash": phones.secret_hash(held.secret), "signatory_id": held.person.id,
        "mac": column(city, "mac", held.id)},
    "a newer version": lambda city, held, other: {"signatory_id": held.person.id, "version": 99},
}


@pytest.mark.parametrize("name", ROWS)
def test_an_edited_row_of_a_phone_confirms_nothing_and_raises_the_alarm(
    city: City, device: MemoryDevice, held: Phone, name: str,
) -> None:
    """`other` is edited so that it would be a phone of this person, with a secret that the writer knows."""
    other = city.enrols_phone(city.official("Trần Thị B"))
    secret = held.secret if "secret_hash" in ROWS[name](city, held, other) else other.secret
    with city.rt.db.write() as tx:
        tx.execute(update(phone).where(phone.c.id == other.id).values(ROWS[name](city, held, other)))
    with city.rt.db.read() as tx:
        owner = tx.execute(select(phone.c.signatory_id).where(phone.c.id == other.id)).scalar_one()
    whose = held.person if owner == held.person.id else other.person
    request = city.submitted(whose)
    city.next_code()
    made, before = len(device.signatures), counters(city)
    asked = m.Confirm(None, whose.id, whose.code(city.clock.at), "phone", (city.line(request),),
                      m.PhoneProof(other.id, secret))
    assert refusal(city, asked).code == "tampered"
    assert (len(device.signatures), counters(city)) == (made, before)
    assert city.events("signer:tampered") == 1


def test_a_retired_phone_whose_row_is_put_back_stays_retired(city: City, held: Phone) -> None:
    with city.rt.db.read() as tx:
        old = dict(tx.execute(select(phone).where(phone.c.id == held.id)).mappings().one())
    city.acts(m.RetirePhone(held.id, "stolen"))
    with city.rt.db.write() as tx:
        tx.execute(update(phone).where(phone.c.id == held.id).values(old))
    city.next_code()
    assert refusal(city, city.phone_confirmation(held, [city.submitted(held.person)])).code == "tampered"


def test_a_phone_is_retired_once(city: City, held: Phone) -> None:
    city.acts(m.RetirePhone(held.id))
    assert city.tries(m.RetirePhone(held.id))[0].error_code == "phone-retired"
    assert city.tries(m.RetirePhone("ph_" + "0" * 32))[0].error_code == "not-found"
    assert city.events("phone:retire") == 1


def test_a_new_phone_retires_the_old_one_unless_the_operator_lets_it_stay(city: City, held: Phone) -> None:
    second = city.enrols_phone(held.person, keeps_others=True)
    assert [column(city, "state", each.id) for each in (held, second)] == ["active", "active"]
    third = city.enrols_phone(held.person)
    assert [column(city, "state", each.id) for each in (held, second, third)] == ["retired", "retired", "active"]
    assert city.confirms_on_phone(third, [city.submitted(held.person)]).lines[0].outcome == "done"


