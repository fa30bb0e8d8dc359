"""What was spent stays spent though somebody who can write into the database deletes or resets every row of it.

The log is asked, by an index, in the transaction that would spend it again: it needs no start that reads the log, and
holds for what another signer did a moment ago. To be rid of the entry as well, one breaks the log, and that is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Table, delete, insert, select, update

from signing_service.db.tables import code_state, confirmation, intent, signature, signing_request
from signing_service.signer.confirmations import Confirmations
from signing_service.wire import messages as m
from tests.support.city import City, Person, runtime
from tests.support.memory_device import MemoryDevice


@contextmanager
def rolled_back(city: City, request: str) -> Iterator[None]:
    """While the block lasts, every row says that this request was never confirmed."""
    with city.rt.db.write() as tx:
        kept = {table: [dict(row) for row in tx.execute(select(table)).mappings()]
                for table in (confirmation, intent, signature)}
        for table in kept:
            tx.execute(delete(table))
        tx.execute(update(code_state).values(last_step=0))
        tx.execute(update(signing_request).where(signing_request.c.id == request).values(
            state="pending", confirmation_id=None, tail_digest=None))
    yield
    _put_back(city, kept)
    with city.rt.db.write() as tx:
        tx.execute(update(signing_request).where(signing_request.c.id == request).values(state="finishing"))


def _put_back(city: City, kept: dict[Table, list[dict[str, object]]]) -> None:
    with city.rt.db.write() as tx:
        for table, rows in kept.items():
            tx.execute(delete(table))
            tx.execute(insert(table), rows)


def signed(city: City, person: Person, code: str) -> str:
    request = city.submitted(person)
    outcome = city.confirms(person, [request], code)
    assert [line.outcome for line in outcome.lines] == ["done"]
    return request


@pytest.mark.parametrize("code", ["the same code", "a new code"])
def test_a_signature_whose_rows_were_all_reset_is_not_made_again(
    city: City, device: MemoryDevice, code: str,
) -> None:
    person = city.official()
    typed = person.code(city.clock.at)
    request = signed(city, person, typed)
    made = len(device.signatures)
    with rolled_back(city, request):
        if code == "a new code":
            city.next_code()
            typed = person.code(city.clock.at)
        again = city.confirms(person, [request], typed)
        assert [(line.outcome, line.code) for line in again.lines] == [("denied", "spent")]
    assert len(device.signatures) == made


def test_neither_does_a_signer_that_was_started_afterwards(
    city: City, device: MemoryDevice, url: str, tmp_path: Path,
) -> None:
    person = city.official()
    request = signed(city, person, person.code(city.clock.at))
    made = len(device.signatures)
    city.next_code()
    with rolled_back(city, request):
        other = runtime(url, tmp_path, device, city.clock)
        confirmations = Confirmations(other, 1)
        answer = confirmations([city.confirmation(person, [request])])[0]
        assert isinstance(answer, m.Confirmed)
        assert [(line.outcome, line.code) for line in answer.lines] == [("denied", "spent")]
        confirmations.close()
        other.db.close()
    assert len(device.signatures) == made
