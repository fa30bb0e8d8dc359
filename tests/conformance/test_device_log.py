"""The ground truth: what the device was asked, as its own log has it, against what the service says it did.

OpenSC's pkcs11-spy stands before the token and writes every call down. Whatever was tried at the service, each
signature with a person's key must belong to exactly one intent that was written before it, and the other way round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from signing_service.db.migrate import upgrade
from signing_service.db.tables import entry, intent
from tests.support import spy_log
from tests.support.city import Person
from tests.support.service import PLAN, Service, until

CLOCK = timedelta(milliseconds=5)  # the spy writes milliseconds


class Spied(Service):
    """Its signer speaks to the token through the spy, in one thread, so that the log can be read."""

    def environment(self) -> dict[str, str]:
        told = super().environment()
        return told | {
            "PKCS11SPY": told["SIGNING_PKCS11_MODULE"], "PKCS11SPY_OUTPUT": str(self.log), "TZ": "UTC",
            "SIGNING_PKCS11_MODULE": str(spy_log.find_spy()), "SIGNING_DEVICE_THREADS": "1",
        }

    @property
    def log(self) -> Path:
        return self.directory / "spy.log"


@dataclass(frozen=True)
class Truth:
    """What the device was asked, and what is on record."""

    asked: list[spy_log.Asked]
    intents: list[Any]
    timestamps: int

    @property
    def by_persons(self) -> list[spy_log.Asked]:
        return [each for each in self.asked if each.is_unwrapped and each.mechanism == "CKM_ECDSA"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Truth]:
    if spy_log.find_spy() is None:
        pytest.skip("pkcs11-spy (OpenSC) is not installed")
    directory = tmp_path_factory.mktemp("spied")
    url = f"sqlite:///{directory / 'signing.db'}"
    upgrade(url)
    service = Spied(directory, url)
    try:
        officials = [service.official(f"Người thứ {n}") for n in range(3)]
        service.start()
        _all_that_is_tried(service, officials)
        until(lambda: service.open_intents() == 0, 20, "every intent has an outcome")
        service.check()
        with service.db.read() as tx:
            intents = list(tx.execute(select(intent)).all())
            timestamps = tx.execute(select(func.count()).select_from(entry).where(
                entry.c.event == "timestamp:issue")).scalar_one()
        service.running["signer"].end()
        yield Truth(spy_log.signatures(service.log.read_text("utf-8", "replace")), intents, timestamps)
    finally:
        service.close()


def _all_that_is_tried(service: Service, officials: list[Person]) -> None:
    """Honest confirmations, a batch, wrong codes, repetitions, one code for twenty requests at once."""
    now = datetime.now(UTC)
    a, b, c = officials
    first = service.submits(a, level="B-T")
    assert service.confirms(a, first, "000000").status_code == 403
    assert service.confirms(a, first, a.code(now)).status_code == 200
    assert service.confirms(a, first, a.code(now)).status_code == 200  # repeated: its state, and nothing else
    second = service.submits(a, PLAN.read_bytes() + b"% another\n")
    assert service.confirms(a, second, a.code(now)).status_code == 403  # a spent code

    lines = [service.submits(b, PLAN.read_bytes() + b"%% %d\n" % number) for number in range(5)]
    with service.http() as http:
        batch = http.post("/api/v1/batches", json={"signing_requests": lines}).json()["id"]
        for code in (a.code(now, 1), b.code(datetime.now(UTC))):  # another person's code first
            http.post(f"/api/v1/batches/{batch}/confirm", json={"code": code})
    many = [service.submits(c, PLAN.read_bytes() + b"%% c %d\n" % number) for number in range(20)]
    code = c.code(datetime.now(UTC))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda request: service.confirms(c, request, code), many))


def test_every_signature_with_a_persons_key_has_exactly_one_intent(truth: Truth) -> None:
    signed = Counter(each.data for each in truth.by_persons)
    intended = Counter(bytes(each.to_sign) for each in truth.intents)
    assert signed == intended
    assert set(signed.values()) == {1}


def test_the_intent_was_written_before_the_device_was_asked(truth: Truth) -> None:
    written = {bytes(each.to_sign): each.created_at for each in truth.intents}
    assert truth.by_persons
    for each in truth.by_persons:
        assert written[each.data] <= each.at + CLOCK


def test_of_all_that_was_tried_only_what_a_person_confirmed_was_signed(truth: Truth) -> None:
    assert len(truth.by_persons) == 1 + 5 + 1
    assert Counter(each.outcome for each in truth.intents) == {"done": 7}


def test_everything_else_the_device_signed_is_the_services_own(truth: Truth) -> None:
    """Timestamps, checkpoints, its own tests: none of them with a digest that any intent names."""
    others = [each for each in truth.asked if not each.is_unwrapped]
    assert {each.mechanism for each in others} <= {"CKM_ECDSA", "CKM_EDDSA", "CKM_SHA256_HMAC"}
    intended = {bytes(each.to_sign) for each in truth.intents}
    assert not [each for each in others if each.data in intended]
    assert truth.timestamps >= 7


def test_codes_are_computed_in_the_device_and_signed_by_no_key(truth: Truth) -> None:
    codes = [each for each in truth.asked if each.is_unwrapped and each.mechanism != "CKM_ECDSA"]
    assert codes
    assert {each.mechanism for each in codes} == {"CKM_SHA_1_HMAC"}
    assert {len(each.data) for each in codes} == {8}  # a time step, RFC 6238 4.2, and nothing else
