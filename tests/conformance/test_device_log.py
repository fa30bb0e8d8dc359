"""The ground truth: what the device was asked, as its own log has it, against what the service says it did.

OpenSC's pkcs11-spy stands before the token and writes every call down. Whatever was tried at the service, each
signature with a person's key must belong to exactly one intent that was written before it, and the other way round
(I1, I2). A full campaign signs 50,000 documents on each database, while the signer is killed and the device fails.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import re
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select

from signing_service.db.tables import checkpoint, entry, intent
from signing_service.errors import SigningError
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support import campaign, databases, ground_truth, spy_log
from tests.support.city import POLICY, Person
from tests.support.faulty import SOURCE
from tests.support.ground_truth import Truth
from tests.support.service import PLAN, Service, until
from tests.support.signing_load import Load, crowd

SIGNATURES = campaign.rounds(300, 50_000)    # acknowledged ones, of each campaign
WITHIN = float(os.environ.get("SIGNING_TRUTH_SECONDS", "inf"))  # cuts a campaign short; its figures say how far it got
PEOPLE = campaign.rounds(6, 240)
TROUBLES = campaign.rounds(1, 10_000)        # of the device and the signer, at most
TROUBLE_EVERY = campaign.rounds(0, 8)        # seconds
DATABASES = ("sqlite", "postgresql") if campaign.FULL else ("sqlite",)
BUSY = re.sub(r"(daily_personal|used_today) = 50\d", r"\1 = 1000000", POLICY)  # a person signs all day
DEVICE_ERROR, DEVICE_REMOVED, GENERAL_ERROR = 0x30, 0x32, 0x05
# What the device does to one C_Sign; `after`: it has signed, and its reply is lost.
FAULTS = tuple(f"C_Sign {when} {code:#x} once\n" for when in ("before", "after")
               for code in (DEVICE_ERROR, DEVICE_REMOVED, GENERAL_ERROR))


class Troubled(Service):
    """Its signer speaks to the token through a module that fails to order, and the spy behind that: what the spy
    has seen the device has done, whatever we were told.
    """

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory, url, spied=True)
        self._module, self._orders = directory / "faulty_module.so", directory / "orders"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", self._module, SOURCE, "-ldl"], check=True)

    def environment(self) -> dict[str, str]:
        told = super().environment()
        return told | {"FAULTY_MODULE": told["SIGNING_PKCS11_MODULE"], "FAULTY_ORDERS": str(self._orders),
                       "SIGNING_PKCS11_MODULE": str(self._module), "SIGNING_INTENT_SECONDS": "120",
                       "SIGNING_LEASE_SECONDS": "60"}  # a machine with other work must not end intents

    def disturb(self, fault: str) -> None:
        waiting = self._orders.with_suffix(".new")
        waiting.write_text(fault)
        waiting.replace(self._orders)

    def kill_signer(self) -> None:
        self.running["signer"].kill()
        self.start_signer()

    def start_signer(self) -> None:
        self.run("signer")
        until(self._answers, what="the signer answers")

    def _answers(self) -> bool:
        assert self.running["signer"].process.poll() is None, self.running["signer"].log.read_text()[-3000:]
        try:
            report = ask_once(self.directory / "sign.sock", m.Health(), m.HealthReport, deadline=5)
        except SigningError:
            return False
        return all(each.ok for each in report.conditions)


@dataclass(frozen=True)
class Done:
    """What was done, and where it is written down."""

    service: Troubled
    load: Load
    officials: list[Person]
    troubles: Counter[str]


@pytest.fixture(scope="module", params=DATABASES)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    if spy_log.find_spy() is None:
        pytest.skip("pkcs11-spy (OpenSC) is not installed")
    directory = tmp_path_factory.mktemp("spied")
    url = databases.sqlite(directory) if request.param == "sqlite" else databases.postgresql()
    service = Troubled(directory, url)
    try:
        service.city.acts(m.ActivatePolicy("busy", BUSY))
        officials = [service.official(f"Người thứ {n}") for n in range(3)]
        load = Load(service, crowd(service.city, PEOPLE), seed=1)
        service.start()
        _all_that_is_tried(service, officials)
        troubles = _load_with_troubles(service, load)
        until(lambda: service.open_intents() == 0, 200, "every intent has an outcome")
        service.running["signer"].end()
        yield Done(service, load, officials, troubles)
        load.close()
    finally:
        service.close()


@pytest.fixture(scope="module")
def truth(done: Done) -> Truth:
    return ground_truth.joined(done.service.spy_logs, done.service.db)


def _load_with_troubles(service: Troubled, load: Load) -> Counter[str]:
    """The load in its own threads, and meanwhile a device that fails and a signer that is killed."""
    chance, troubles, over = random.Random(1), Counter[str](), threading.Event()

    def trouble() -> None:
        for number in itertools.count():
            if number >= TROUBLES or over.wait(TROUBLE_EVERY):
                return
            if number % 4 == 3:
                service.kill_signer()
                troubles["signer killed"] += 1
            else:
                service.disturb(chance.choice(FAULTS))
                troubles["device failed"] += 1

    with ThreadPoolExecutor(1) as threads:
        troubling = threads.submit(trouble)
        try:
            load.run(SIGNATURES, WITHIN)
        finally:
            over.set()
        troubling.result()
    return troubles


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
    operator = service.city.operator
    asked = m.Act(operator.id, operator.code(datetime.now(UTC)),
                  (m.RequestCertificate(a.credential, (("CN", "Nguyễn Văn A"),)),))
    assert ask_once(service.directory / "admin.sock", asked, m.Done).results[0].error is None


def test_every_signature_with_a_persons_key_has_exactly_one_intent_written_before_it(done: Done, truth: Truth) -> None:
    """`joined` has looked at each of them, at every intent and at every value that is stored."""
    assert len(truth.by_credentials) >= min(SIGNATURES, len(done.load.acknowledged))
    campaign.proven(
        f"ground-truth-{'sqlite' if done.service.db.is_sqlite else 'postgresql'}", **truth.figures,
        acknowledged=len(done.load.acknowledged), lives_of_the_signer=len(done.service.spy_logs),
        troubles=dict(done.troubles), answers=dict(done.load.tally))


def test_what_was_acknowledged_is_on_record(done: Done) -> None:
    assert len(done.load.acknowledged) >= (SIGNATURES if math.isinf(WITHIN) else 1)
    done.load.check_acknowledged()


def test_of_all_that_was_tried_only_what_a_person_confirmed_was_signed(done: Done, truth: Truth) -> None:
    with done.service.db.read() as tx:
        held = {each.credential for each in done.officials}
        theirs = tx.execute(select(intent).where(intent.c.credential_id.in_(held))).all()
    signed = {each.data for each in truth.by_credentials}
    assert len(theirs) == 1 + 5 + 1
    assert all(row.outcome == "done" and bytes(row.to_sign) in signed for row in theirs)


def test_everything_else_the_device_signed_is_the_services_own(done: Done, truth: Truth) -> None:
    """Timestamps, checkpoints, its own tests, a request for a certificate: each with a key that does nothing else."""
    with done.service.db.read() as tx:
        timestamps = tx.execute(select(func.count()).select_from(entry).where(
            entry.c.event == "timestamp:issue")).scalar_one()
        checkpoints = tx.execute(select(func.count()).select_from(checkpoint)).scalar_one()
    assert set(truth.own) == {"timestamp", "checkpoint", "self-test"}
    assert truth.own["timestamp"] >= timestamps >= 7
    assert truth.own["checkpoint"] >= checkpoints > 0
    assert len(truth.requests) == 1


def test_codes_are_computed_in_the_device_and_signed_by_no_key(done: Done) -> None:
    codes = [each for log in done.service.spy_logs for each in spy_log.signatures(log)
             if each.is_unwrapped and each.is_hmac]
    assert codes
    assert {each.mechanism for each in codes} == {"CKM_SHA_1_HMAC"}
    assert {len(each.data) for each in codes} == {8}  # a time step, RFC 6238 4.2, and nothing else


FORGERIES = {
    "a signature that no intent names": (lambda data: bytes([data[0] ^ 1]) + data[1:], "0 intents"),
    "a digest that was signed twice": (lambda data: data, "signed 2 times"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_signature_too_many_in_the_devices_log_is_found(done: Done, tmp_path: Path, name: str) -> None:
    altered, found = FORGERIES[name]
    logs = done.service.spy_logs
    forged = tmp_path / "forged.log"
    forged.write_text(logs[-1].read_text("utf-8", "replace") + _again(logs[-1], altered))
    with pytest.raises(AssertionError, match=found):
        ground_truth.joined([*logs[:-1], forged], done.service.db)


def _again(log: Path, altered: Callable[[bytes], bytes]) -> str:
    """The last signature with a person's key once more, over other data."""
    last = [each for each in spy_log.signatures(log) if each.is_unwrapped and not each.is_hmac][-1]
    calls = log.read_text("utf-8", "replace").split("\n\n")
    at = max(number for number, call in enumerate(calls) if _written(last.data) in call)
    begun = max(number for number in range(at) if ": C_SignInit\n" in calls[number])
    again = "\n\n".join(calls[begun:at + 1])
    return "\n\n" + again.replace(_written(last.data), _written(altered(last.data))) + "\n\n"


def _written(data: bytes) -> str:
    """As the spy writes the beginning of it."""
    return data[:16].hex(" ").upper()
