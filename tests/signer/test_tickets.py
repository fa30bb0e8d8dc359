"""Tickets: the right to enrol, for one browser, until it is used up, void or out of time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from hsm.errors import DeviceUnavailable
from signing_service.db.tables import code_state, entry, phone, seed, ticket
from signing_service.errors import NotAuthorized, SigningError, Unavailable, WrongState
from signing_service.signer import seeds
from signing_service.signer.phones import secret_hash
from signing_service.signer.process import Signer
from signing_service.signer.rows import mac_of
from signing_service.wire import messages as m
from signing_service.wire.client import SignerClient
from tests.support.city import City, Person, secret_of
from tests.support.memory_device import MemoryDevice

SECRET, OTHER_BROWSER = "a" * 64, "c" * 64


def row(city: City, owner: str) -> Any:
    """The newest ticket of somebody."""
    with city.rt.db.read() as tx:
        return tx.execute(select(ticket).where(ticket.c.owner == owner).order_by(ticket.c.id.desc())).first()


def states(city: City, table: Any, owner: str) -> list[str]:
    column = table.c.signatory_id if table is phone else table.c.owner
    with city.rt.db.read() as tx:
        return sorted(tx.execute(select(table.c.state).where(column == owner)).scalars())


def renewed(person: Person, opened: m.TicketRedeemed) -> Person:
    assert opened.uri is not None
    return Person(person.id, secret_of(opened.uri), person.credential)


def completes(city: City, person: Person, opened: m.TicketRedeemed, code: str | None = None) -> m.PhoneReady:
    assert opened.phone_id is not None
    city.next_code()
    typed = code or renewed(person, opened).code(city.clock.at)
    answer = city.asks(m.CompletePhone(m.PhoneProof(opened.phone_id, SECRET), typed))
    assert isinstance(answer, m.PhoneReady)
    return answer


# ---------------------------------------------------------------------------------------------------- the whole way


def test_an_officials_ticket_gives_a_phone_new_codes_and_a_stop_code(city: City) -> None:
    official = city.official()
    token = city.ticket(official.id)
    opened = city.opens(token, SECRET)
    assert (opened.owner, opened.name, states(city, seed, official.id)) == (
        official.id, "Nguyễn Văn A", ["active", "enrolling"])
    ready = completes(city, official, opened)
    assert [len(group) for group in ready.stop_code.split("-")] == [5, 5, 5, 5]
    assert states(city, phone, official.id) == ["active"]
    assert states(city, seed, official.id) == ["active", "retired"]
    assert row(city, official.id).state == "done"
    with city.rt.db.read() as tx:
        bodies = " ".join(tx.execute(select(entry.c.body)).scalars())
    assert not [secret for secret in (token, SECRET, ready.stop_code) if secret in bodies]


def test_the_present_codes_stay_good_until_the_first_right_one_of_the_new(city: City) -> None:
    official = city.official()
    city.opens(city.ticket(official.id), SECRET)
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"


def test_an_auditors_ticket_gives_codes_and_no_phone(city: City) -> None:
    auditor = city.auditor()
    city.next_code()
    assert city.asks(m.ProveCode(auditor.id, auditor.code(city.clock.at))) == m.Proven(auditor.id)
    assert states(city, phone, auditor.id) == []


def test_an_operators_ticket_shows_no_seed_and_takes_the_present_code(city: City) -> None:
    token = city.ticket(city.operator.id)
    opened = city.opens(token, SECRET)
    assert (opened.uri, opened.phone_id) == (None, None)
    assert states(city, seed, city.operator.id) == ["active"]
    city.next_code()
    code = city.operator.code(city.clock.at)
    assert city.asks(m.CompleteAccount(token, city.browser, code)) == m.Proven(city.operator.id)
    with pytest.raises(NotAuthorized, match="link"):
        city.asks(m.CompleteAccount(token, city.browser, code))


def test_a_lost_answer_is_repeated_by_the_same_browser_with_a_new_seed_and_a_new_phone(city: City) -> None:
    official = city.official()
    token = city.ticket(official.id)
    first, second = (city.opens(token, SECRET) for _ in range(2))
    assert first.uri != second.uri
    assert first.phone_id != second.phone_id
    assert states(city, phone, official.id) == ["enrolling", "retired"]
    with pytest.raises(NotAuthorized):
        completes(city, official, first)
    completes(city, official, second)


def test_completing_twice_says_that_the_phone_is_ready(city: City) -> None:
    official = city.official()
    opened = city.opens(city.ticket(official.id), SECRET)
    completes(city, official, opened)
    with pytest.raises(WrongState) as refused:
        completes(city, official, opened)
    assert refused.value.code == "phone-ready"


# ---------------------------------------------------------------------------------------------------- once, for one


def test_a_ticket_opened_by_two_browsers_at_once_is_opened_by_one(city: City) -> None:
    """Twenty browsers over two connections: exactly one has it, the others learn nothing."""
    official = city.official()
    token = city.ticket(official.id)
    asked = [m.RedeemTicket(token, f"{n:064x}", "d" * 64) for n in range(20)]

    async def story() -> list[m.TicketRedeemed | BaseException]:
        signer = Signer(city.rt)
        await signer.start()
        fronts = [SignerClient(city.rt.settings.sign_socket) for _ in range(2)]
        try:
            return await asyncio.gather(*(
                fronts[at % 2].ask(each, m.TicketRedeemed) for at, each in enumerate(asked)), return_exceptions=True)
        finally:
            for front in fronts:
                await front.close()
            await signer.stop()

    answers = asyncio.run(story())
    refused = [each for each in answers if isinstance(each, BaseException)]
    assert len(refused) == 19
    assert {(type(each), getattr(each, "code", "")) for each in refused} == {(NotAuthorized, "ticket")}
    assert states(city, phone, official.id) == ["enrolling"]
    assert city.events("ticket:redeem") == 1


def test_two_codes_typed_at_once_complete_an_enrolment_once(city: City) -> None:
    official = city.official()
    opened = city.opens(city.ticket(official.id), SECRET)
    assert opened.phone_id is not None
    city.next_code()
    asked = m.CompletePhone(m.PhoneProof(opened.phone_id, SECRET), renewed(official, opened).code(city.clock.at))
    answers: list[Any] = []

    def story() -> None:
        try:
            answers.append(city.asks(asked))
        except SigningError as error:
            answers.append(error)

    threads = [threading.Thread(target=story) for _ in range(5)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sum(isinstance(each, m.PhoneReady) for each in answers) == 1
    assert city.events("phone:ready") == 1
    assert states(city, phone, official.id) == ["active"]


def opened_by_another(city: City, token: str, official: Person) -> None:
    city.opens(token, SECRET, OTHER_BROWSER)


def out_of_time(city: City, token: str, official: Person) -> None:
    city.clock.forward(24 * 3600)


def done(city: City, token: str, official: Person) -> None:
    completes(city, official, city.opens(token, SECRET))


def another_was_issued(city: City, token: str, official: Person) -> None:
    city.opens(token, SECRET)
    city.ticket(official.id)


def its_owner_is_suspended(city: City, token: str, official: Person) -> None:
    city.acts(m.SetSignatoryState(official.id, "suspended"))


def opened_too_often(city: City, token: str, official: Person) -> None:
    for _ in range(50):
        city.opens(token, SECRET)


def nothing(city: City, token: str, official: Person) -> None:
    pass


SPOILT: dict[str, tuple[Callable[[City, str, Person], None], bool]] = {
    "another browser opened it": (opened_by_another, True),
    "its time is over": (out_of_time, True),
    "its enrolment is complete": (done, True),
    "another was issued since": (another_was_issued, True),
    "its owner is suspended": (its_owner_is_suspended, True),
    "it was opened fifty times": (opened_too_often, True),
    "it was never issued": (nothing, False),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_ticket_is_refused_with_one_answer_whatever_the_reason(city: City, name: str) -> None:
    spoil, is_known = SPOILT[name]
    official = city.official()
    token = city.ticket(official.id)
    spoil(city, token, official)
    before = states(city, seed, official.id), states(city, phone, official.id)
    with pytest.raises(NotAuthorized) as refused:
        city.opens(token if is_known else "A" * 43, SECRET)
    assert (refused.value.code, refused.value.message) == (
        "ticket", "This link is not good, or no longer. Ask an operator for a new one.")
    assert (states(city, seed, official.id), states(city, phone, official.id)) == before
    assert city.events("ticket:refused") == 1


def test_an_enrolment_that_was_begun_ends_with_its_tickets_time(city: City) -> None:
    official = city.official()
    opened = city.opens(city.ticket(official.id), SECRET)
    city.clock.forward(24 * 3600)
    with pytest.raises(NotAuthorized, match="link"):
        completes(city, official, opened)
    assert states(city, phone, official.id) == ["enrolling"]


def test_an_enrolment_that_was_begun_ends_when_another_ticket_is_issued(city: City) -> None:
    official = city.official()
    opened = city.opens(city.ticket(official.id), SECRET)
    city.ticket(official.id)
    with pytest.raises(NotAuthorized):
        completes(city, official, opened)
    assert states(city, ticket, official.id) == ["open", "void"]
    assert states(city, phone, official.id) == ["retired"]


def test_nobody_is_issued_a_ticket_who_is_suspended_or_unknown(city: City) -> None:
    official = city.official()
    city.acts(m.SetSignatoryState(official.id, "suspended"))
    assert city.tries(m.IssueTicket(official.id))[0].error_code == "suspended"
    assert city.tries(m.IssueTicket("sg_" + "0" * 32))[0].error_code == "not-found"
    assert city.tries(m.IssueTicket(official.credential))[0].error_code == "not-found"


def test_an_officials_ticket_without_a_phone_is_not_used_up(city: City) -> None:
    official = city.official()
    token = city.ticket(official.id)
    with pytest.raises(SigningError) as refused:
        city.opens(token)
    assert refused.value.code == "phone-missing"
    assert city.opens(token, SECRET).phone_id is not None


# --------------------------------------------------------------------------------------------- together or not at all


def test_a_wrong_first_code_changes_nothing_and_is_counted(city: City) -> None:
    official = city.official()
    opened = city.opens(city.ticket(official.id), SECRET)
    with pytest.raises(NotAuthorized) as refused:
        completes(city, official, opened, official.code(city.clock.at + timedelta(seconds=30)))
    assert refused.value.tries_left == 4
    assert states(city, phone, official.id) == ["enrolling"]
    assert states(city, seed, official.id) == ["active", "enrolling"]
    assert row(city, official.id).state == "used"
    completes(city, official, opened)


@pytest.mark.parametrize("call", ["mac", "hmac_sha1"])
def test_a_device_that_goes_away_while_an_enrolment_is_completed_leaves_it_whole(
    city: City, device: MemoryDevice, call: str,
) -> None:
    official = city.official()
    opened = city.opens(city.ticket(official.id), SECRET)
    device.fail_next(DeviceUnavailable("away"), call=call)
    with pytest.raises(Unavailable):
        completes(city, official, opened)
    assert states(city, seed, official.id) == ["active", "enrolling"]
    with city.rt.db.read() as tx:
        assert tx.execute(select(code_state.c.failures).where(code_state.c.owner == official.id)).scalar_one() == 0
    completes(city, official, opened)
    assert states(city, seed, official.id) == ["active", "retired"]


def test_what_cannot_be_written_undoes_phone_ticket_seed_and_code_together(
    city: City, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = city.official()
    opened = city.opens(city.ticket(official.id), SECRET)
    enter = seeds.enter

    def meanwhile(*args: Any) -> None:  # in the transaction, after code, ticket, phone and seed were written
        enter(*args)
        raise WrongState("moved")

    monkeypatch.setattr(seeds, "enter", meanwhile)
    with pytest.raises(WrongState):
        completes(city, official, opened)
    monkeypatch.setattr(seeds, "enter", enter)
    assert states(city, phone, official.id) == ["enrolling"]
    assert states(city, seed, official.id) == ["active", "enrolling"]
    assert row(city, official.id).state == "used"
    completes(city, official, opened, renewed(official, opened).code(city.clock.at))


# ------------------------------------------------------------------------------------------ a writer in the database

EDITS: dict[str, dict[str, Any]] = {
    "to another owner": {"owner": "sg_" + "0" * 32},
    "to another token": {"hash": "e" * 64},
    "to more time": {"expires_at": None},
    "to another browser": {"opened_by": OTHER_BROWSER},
    "to be open again": {"state": "open", "opened_by": None},
    "to leave the other phones": {"keeps_others": True},
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_ticket_is_refused_and_raises_the_alarm(city: City, name: str) -> None:
    official = city.official()
    token = city.ticket(official.id)
    city.opens(token, SECRET)
    values = EDITS[name] | ({"expires_at": city.clock.at + timedelta(days=99)} if "expires_at" in EDITS[name] else {})
    if "hash" in values:
        token = "Z" * 43
        values = {"hash": secret_hash(token)}
    with city.rt.db.write() as tx:
        tx.execute(update(ticket).where(ticket.c.owner == official.id).values(values))
    with pytest.raises(Unavailable) as refused:
        city.opens(token, SECRET, OTHER_BROWSER)
    assert refused.value.code == "tampered"
    assert city.events("signer:tampered") == 1
    assert city.events("ticket:redeem") == 1


def test_a_retired_seed_that_is_put_back_is_noticed(city: City) -> None:
    """The row from before carries its own right MAC; its version is older than the one we wrote."""
    official = city.official()
    with city.rt.db.read() as tx:
        old = dict(tx.execute(select(seed).where(seed.c.owner == official.id)).mappings().one())
    city.enrols_phone(official)
    with city.rt.db.write() as tx:
        tx.execute(update(seed).where(seed.c.owner == official.id).values(state="retired"))
        tx.execute(update(seed).where(seed.c.id == old["id"]).values(old))
    with pytest.raises(SigningError) as refused:
        city.confirms(official, [city.submitted(official)])
    assert refused.value.code == "tampered"


@pytest.mark.parametrize("version", [2, 99])
def test_a_seed_whose_version_was_edited_is_refused(city: City, version: int) -> None:
    official = city.official()
    city.confirms(official, [city.submitted(official)])
    with city.rt.db.write() as tx:
        tx.execute(update(seed).where(seed.c.owner == official.id).values(version=version + 1))
    with pytest.raises(SigningError) as refused:
        city.confirms(official, [city.submitted(official)])
    assert refused.value.code == "tampered"


def test_a_seed_from_before_versions_is_as_good_as_ever(city: City) -> None:
    """Its MAC was made without one, which is what version 1 says."""
    official = city.official()
    with city.rt.db.read() as tx:
        held = dict(tx.execute(select(seed).where(seed.c.owner == official.id)).mappings().one())
    before = {name: value for name, value in held.items() if name not in ("version", "mac")}
    with city.rt.db.write() as tx:
        tx.execute(update(seed).where(seed.c.id == held["id"]).values(
            version=1, mac=mac_of(city.rt.device, "seed", before)))
    city.rt.verified._newest.clear()
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"
