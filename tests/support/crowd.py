"""Many officials at once: a handful of acts for all of them, where `City.official` takes four for each.

    officials = crowd(service.city, 100)      # before the service starts
"""

from __future__ import annotations

import time

from sqlalchemy import select

from signing_service.credentials import find
from signing_service.db.tables import key
from signing_service.wire import messages as m
from tests.support.city import City, Person, secret_of

AT_ONCE = 50  # commands of one kind in one act


def crowd(city: City, count: int) -> list[Person]:
    """So many signatories with codes and active P-256 credentials."""
    people: list[Person] = []
    while len(people) < count:
        people += _some(city, len(people), min(AT_ONCE, count - len(people)))
    return people


def _some(city: City, first: int, count: int) -> list[Person]:
    names = [f"Người thứ {first + at}" for at in range(count)]
    ids = [each.id for each in city.acts(*(m.AddSignatory(name, "H26.1", "chairman") for name in names))]
    made = city.acts(*(m.EnrolCode(each) for each in ids),
                     *(m.AddCredential("personal", "H26.1", "p-256", None, each) for each in ids))
    people = [Person(owner, secret_of(code.uri or ""), credential.id)
              for owner, code, credential in zip(ids, made[:count], made[count:], strict=True)]
    for person in people:
        city.desk.complete(m.CompleteEnrolment(person.id, person.code(city.clock.at)))
    while not all(_public_key(city, person) for person in people):
        time.sleep(0.05)  # keys are made one after the other, behind the acts
    city.acts(*(_import(city, person, name) for person, name in zip(people, names, strict=True)))
    return people


def _public_key(city: City, person: Person) -> bytes:
    """Empty while the key is not made yet."""
    with city.rt.db.read() as tx:
        held = find(tx, person.credential)
        return bytes(tx.execute(select(key.c.public_key).where(key.c.id == held.key_id)).scalar() or b"")


def _import(city: City, person: Person, name: str) -> m.ImportCertificate:
    public_key = _public_key(city, person)
    return city.import_of(person.credential, city.ca.issue(public_key, name), public_key)
