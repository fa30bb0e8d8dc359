"""Where something cannot be put on record, nothing is signed, and the code stays good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from signing_service.credentials import State
from signing_service.errors import SigningError
from signing_service.signer import confirmations, custody, timestamps
from signing_service.signer.acting import By
from signing_service.wire.messages import IssueTimestamp
from tests.support.city import City
from tests.support.memory_device import MemoryDevice

FULL = {
    "sqlite": ("CREATE TRIGGER full BEFORE INSERT ON entry WHEN NEW.event = '{event}' "
               "BEGIN SELECT RAISE(ABORT, 'no room'); END", "DROP TRIGGER full"),
    "postgresql": ("ALTER TABLE entry ADD CONSTRAINT \"full\" CHECK (event <> '{event}') NOT VALID",
                   "ALTER TABLE entry DROP CONSTRAINT \"full\""),
}


@contextmanager
def unwritable(city: City, event: str) -> Iterator[None]:
    """Entries about this cannot be written while the block lasts."""
    begin, end = FULL[city.rt.db.engine.dialect.name]
    with city.rt.db.write() as tx:
        tx.execute(text(begin.format(event=event)))
    try:
        yield
    finally:
        with city.rt.db.write() as tx:
            tx.execute(text(end))


@pytest.mark.parametrize("event", ["signature:intent", "signing-request:confirm"])
def test_what_cannot_be_recorded_is_not_signed_and_costs_no_code(
    city: City, device: MemoryDevice, event: str,
) -> None:
    official = city.official()
    request = city.submitted(official)
    city.next_code()
    code, before = official.code(city.clock.at), len(device.signatures)
    with unwritable(city, event), pytest.raises((SQLAlchemyError, SigningError)):
        city.confirms(official, [request], code)
    assert len(device.signatures) == before
    assert (city.state_of(request), city.events("signature:intent", "signing-request:confirm")) == ("pending", 0)
    assert city.confirms(official, [request], code).lines[0].outcome == "done"


def test_a_confirmation_that_we_cannot_put_into_words_is_not_called_a_wrong_code(
    city: City, device: MemoryDevice, monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> NoReturn:
        raise ValueError("a fault of ours")

    official = city.official()
    request, before = city.submitted(official), len(device.signatures)
    city.next_code()
    code = official.code(city.clock.at)
    with monkeypatch.context() as patched:
        patched.setattr(confirmations, "_confirmed", broken)
        with pytest.raises(ValueError, match="a fault of ours"):
            city.confirms(official, [request], code)
    assert (len(device.signatures), city.events("code:rejected", "signing-request:confirm")) == (before, 0)
    assert city.confirms(official, [request], code).lines[0].outcome == "done"


def test_a_certificate_request_that_cannot_be_recorded_is_not_signed(city: City, device: MemoryDevice) -> None:
    official = city.official()
    before = len(device.signatures)
    with unwritable(city, "credential:csr"), pytest.raises((SQLAlchemyError, SigningError)):
        custody.request_certificate(city.rt, "operator:x", official.credential, (("CN", "X"),))
    assert len(device.signatures) == before


def test_a_timestamp_that_cannot_be_recorded_is_not_issued(city: City, device: MemoryDevice) -> None:
    city.timestamp_authority()
    before = len(device.signatures)
    with unwritable(city, "timestamp:issue"), pytest.raises((SQLAlchemyError, SigningError)):
        timestamps.issue_all(city.rt, [IssueTimestamp(b"i" * 32, "sha256")])
    assert len(device.signatures) == before


def test_an_operators_act_that_cannot_be_recorded_does_not_happen(city: City) -> None:
    official = city.official()
    with unwritable(city, "credential:state"), pytest.raises((SQLAlchemyError, SigningError)):
        custody.set_state(city.rt, By("operator:x"), official.credential, State.SUSPENDED, "")
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"
