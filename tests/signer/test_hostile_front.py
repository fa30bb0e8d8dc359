"""A front that was taken over: it writes its own tables as it likes and sends well-formed messages of its choice.

It sees codes that pass through it, so it may try to use one for something else. What it must never get is a signature
that the code's own person did not confirm at that moment, with that person's own key.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete, insert, select, update

from signing_service.db.tables import signing_request
from signing_service.errors import NotAuthorized, SigningError
from signing_service.signer.process import Signer
from signing_service.wire import messages as m
from signing_service.wire.client import SignerClient
from tests.support.city import City, Person
from tests.support.memory_device import MemoryDevice

SECOND = b"%PDF-1.7 what nobody was shown"


def signed_by_persons(device: MemoryDevice) -> list[Any]:
    """Everything that was signed with a key that is not one of the service's own."""
    return [each for each in device.signatures if not each[0].startswith("service:")]


@pytest.fixture
def people(city: City) -> tuple[Person, Person]:
    return city.official("Nguyễn Văn A"), city.official("Trần Thị B")


def of(city: City, person: Person, *lines: m.Line, code: str | None = None) -> m.Confirm:
    return m.Confirm(city.client, person.id, code or person.code(city.clock.at), "client", lines)


def forged(city: City, **columns: Any) -> str:
    """A request row that no submission made: signatory, credential and document as the front pleases."""
    whose = Person(columns.pop("signatory_id"), "", columns.pop("credential_id"))
    return city.submitted(whose, SECOND, **columns)


Attack = Callable[[City, Person, Person], m.Confirm]


def a_row_of_its_own_for_somebody_else(city: City, a: Person, b: Person) -> m.Confirm:
    return of(city, a, city.line(forged(city, signatory_id=b.id, credential_id=b.credential)))


def a_row_that_gives_a_persons_request_anothers_credential(city: City, a: Person, b: Person) -> m.Confirm:
    return of(city, a, city.line(forged(city, signatory_id=a.id, credential_id=b.credential)))


def a_row_that_gives_anothers_request_this_persons_credential(city: City, a: Person, b: Person) -> m.Confirm:
    return of(city, b, city.line(forged(city, signatory_id=b.id, credential_id=a.credential)))


def a_row_in_anothers_name_with_this_persons_credential(city: City, a: Person, b: Person) -> m.Confirm:
    return of(city, a, city.line(forged(city, signatory_id=b.id, credential_id=a.credential)))


def a_line_with_another_credential_of_the_same_person(city: City, a: Person, b: Person) -> m.Confirm:
    """A person may hold two: the request says which."""
    request = city.submitted(a)
    second = city.acts(m.AddCredential("personal", "H26.1", "p-256", None, a.id))[0].id
    city.certify(second, "Nguyễn Văn A")
    city.next_code()
    return of(city, a, city.line(request, credential_id=second))


def a_line_that_exchanges_the_credential(city: City, a: Person, b: Person) -> m.Confirm:
    return of(city, a, city.line(city.submitted(a), credential_id=b.credential))


def anothers_lines_under_this_persons_code(city: City, a: Person, b: Person) -> m.Confirm:
    return of(city, a, city.line(city.submitted(b)))


def the_timestamp_authoritys_credential(city: City, a: Person, b: Person) -> m.Confirm:
    authority = city.timestamp_authority()
    return of(city, a, city.line(forged(city, signatory_id=a.id, credential_id=authority)))


def a_row_under_an_id_that_was_signed_already(city: City, a: Person, b: Person) -> m.Confirm:
    request = city.submitted(a)
    city.confirms(a, [request])
    city.next_code()
    with city.rt.db.write() as tx:
        tx.execute(update(signing_request).where(signing_request.c.id == request).values(
            state="pending", document_digest=hashlib.sha256(SECOND).hexdigest()))
    return of(city, a, city.line(request))


def a_row_that_was_deleted_and_made_again(city: City, a: Person, b: Person) -> m.Confirm:
    request = city.submitted(a)
    city.confirms(a, [request])
    city.next_code()
    with city.rt.db.write() as tx:
        row = dict(tx.execute(select(signing_request).where(signing_request.c.id == request)).mappings().one())
        tx.execute(delete(signing_request).where(signing_request.c.id == request))
        tx.execute(insert(signing_request).values(row | {"state": "pending", "confirmation_id": None}))
    return of(city, a, city.line(request))


def one_document_under_two_requests(city: City, a: Person, b: Person) -> m.Confirm:
    """The first line is honest; the second would be a second signature over the same document."""
    return of(city, a, *(city.line(city.submitted(a, SECOND)) for _ in range(2)))


DENIED: dict[str, tuple[Attack, int]] = {  # the attack, and how many signatures it may cause: the honest ones
    "a row it inserted for somebody else, under this person's code": (a_row_of_its_own_for_somebody_else, 0),
    "a row that joins this person with another's credential":
        (a_row_that_gives_a_persons_request_anothers_credential, 0),
    "a row that joins another person with this one's credential, under the other's code":
        (a_row_that_gives_anothers_request_this_persons_credential, 0),
    "a row in another's name with this person's credential, under this person's code":
        (a_row_in_anothers_name_with_this_persons_credential, 0),
    "a line that names another credential of this person": (a_line_with_another_credential_of_the_same_person, 0),
    "a line that names another's credential": (a_line_that_exchanges_the_credential, 0),
    "another person's pending request": (anothers_lines_under_this_persons_code, 0),
    "the timestamp authority's key": (the_timestamp_authoritys_credential, 0),
    "a signed request put back to pending with another document": (a_row_under_an_id_that_was_signed_already, 1),
    "a signed request deleted and inserted again": (a_row_that_was_deleted_and_made_again, 1),
    "one document twice in a confirmation": (one_document_under_two_requests, 1),
}


@pytest.mark.parametrize("name", DENIED)
def test_a_right_code_signs_nothing_but_what_its_person_may_sign(
    city: City, device: MemoryDevice, people: tuple[Person, Person], name: str,
) -> None:
    attack, allowed = DENIED[name]
    city.next_code()
    before = len(signed_by_persons(device))
    answer = city.confirmations([attack(city, *people)])[0]
    assert isinstance(answer, m.Confirmed)  # the code was right and is spent
    assert answer.lines[-1].outcome == "denied"
    assert len(signed_by_persons(device)) - before == allowed


def test_a_code_that_was_seen_is_worth_nothing_for_the_tail_the_front_would_rather_have(
    city: City, device: MemoryDevice, people: tuple[Person, Person],
) -> None:
    a, _ = people
    request, other = city.submitted(a), city.submitted(a, SECOND)
    city.next_code()
    code = a.code(city.clock.at)
    city.confirms(a, [request], code)
    before = len(signed_by_persons(device))
    shown = city.line(request)
    afterwards = (
        of(city, a, shown, code=code),                                                        # the same again
        of(city, a, city.line(request, tail_digest="a" * 64, to_sign=os.urandom(32)), code=code),  # another tail
        of(city, a, city.line(other), code=code),                                             # another document
    )
    for answer in city.confirmations(afterwards):
        assert isinstance(answer, NotAuthorized)
    assert len(signed_by_persons(device)) == before
    assert (city.state_of(request), city.state_of(other)) == ("finishing", "pending")


def test_a_new_code_does_not_sign_another_tail_of_what_is_signed(
    city: City, device: MemoryDevice, people: tuple[Person, Person],
) -> None:
    a, _ = people
    request = city.submitted(a)
    city.confirms(a, [request])
    before = len(signed_by_persons(device))
    city.next_code()
    answer = city.confirmations([of(city, a, city.line(request, tail_digest="a" * 64, to_sign=os.urandom(32)))])[0]
    assert isinstance(answer, m.Confirmed)
    assert answer.lines[0].code == "not-pending"
    assert len(signed_by_persons(device)) == before


def test_a_code_of_one_person_is_never_a_code_of_another(
    city: City, device: MemoryDevice, people: tuple[Person, Person],
) -> None:
    a, b = people
    city.next_code()
    before = len(signed_by_persons(device))
    asked = of(city, b, city.line(city.submitted(b)), code=a.code(city.clock.at))
    assert isinstance(city.confirmations([asked])[0], NotAuthorized)
    assert len(signed_by_persons(device)) == before


def test_fifty_confirmations_in_flight_with_one_code_are_one_confirmation(
    city: City, device: MemoryDevice, people: tuple[Person, Person],
) -> None:
    """Each names another request, over two connections, at once: the code buys exactly one of them."""
    a, _ = people
    requests = [city.submitted(a, bytes([n])) for n in range(50)]
    city.next_code()
    asked = [of(city, a, city.line(request)) for request in requests]
    before = len(signed_by_persons(device))

    async def story() -> list[m.Confirmed | BaseException]:
        signer = Signer(city.rt)
        await signer.start()
        fronts = [SignerClient(city.rt.settings.sign_socket) for _ in range(2)]
        try:
            return await asyncio.gather(*(
                fronts[at % 2].ask(each, m.Confirmed) for at, each in enumerate(asked)), return_exceptions=True)
        finally:
            for front in fronts:
                await front.close()
            await signer.stop()

    answers = asyncio.run(story())
    assert sum(isinstance(each, m.Confirmed) for each in answers) == 1
    assert all(isinstance(each, NotAuthorized) for each in answers if not isinstance(each, m.Confirmed))
    assert len(signed_by_persons(device)) == before + 1
    assert sorted(city.state_of(each) for each in requests) == ["finishing", *["pending"] * 49]


def test_a_replayed_message_is_refused_byte_for_byte(
    city: City, device: MemoryDevice, people: tuple[Person, Person],
) -> None:
    a, _ = people
    city.next_code()
    recorded = m.encoder.encode(of(city, a, city.line(city.submitted(a))))
    before = len(signed_by_persons(device))
    answers = [city.confirmations([msgspec.msgpack.decode(recorded, type=m.Confirm)])[0] for _ in range(3)]
    assert [isinstance(each, SigningError) for each in answers] == [False, True, True]
    assert len(signed_by_persons(device)) == before + 1
