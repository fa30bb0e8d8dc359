"""The whole way as processes, and kill -9 between all its steps, on both databases.

Whatever dies wherever: nothing is lost, nothing is signed without a record or twice, what has an outcome is
finished, and after a restart the request is in a state one can explain.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from tests.support import databases, ground_truth
from tests.support.city import Person
from tests.support.crashes import EVERYONE, Story, crashes
from tests.support.mortal import Mortal
from tests.support.service import PLAN, until
from tests.support.signing_load import crowd


class Peopled(Mortal):
    """With officials who have not signed anything yet, and others for the story of the calls."""

    officials: list[Person]
    others: list[Person]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    directory = tmp_path_factory.mktemp("service")
    made = Peopled(directory, databases.sqlite(directory) if request.param == "sqlite" else databases.postgresql(),
                   fronts=2)
    people = crowd(made.city, len(STEPS) + 4 + len(SLICE) * EACH)
    made.officials, made.others = people[:len(STEPS) + 4], people[len(STEPS) + 4:]
    made.start()
    yield made
    made.check()
    made.running["signer"].end()
    ground_truth.joined(made.spy_logs, made.db)
    made.close()


SLICE = ("signer", "front0", EVERYONE)
EACH = 2  # calls of each that are drawn
MOST = {"signer": 280, "front0": 130, EVERYONE: 450}  # calls of a whole signing, at the least


SIGNER = "signing_service.signer"
CONFIRMATIONS = f"{SIGNER}.confirmations:Confirmations"
STEPS = {
    "signer, attempt not yet counted": ("signer", f"before:{CONFIRMATIONS}._count", "pending"),
    "signer, attempt counted (W2a)": ("signer", f"after:{CONFIRMATIONS}._count", "pending"),
    "signer, code known to be right": ("signer", f"after:{CONFIRMATIONS}._evaluate", "pending"),
    "signer, intents written (W3)": ("signer", f"after:{CONFIRMATIONS}._intend", "failed"),
    "signer, the device has signed": ("signer", f"after:{SIGNER}.intents:perform", "failed"),
    "signer, outcome recorded (W4)": ("signer", f"after:{CONFIRMATIONS}._conclude", "signed"),
    "signer, timestamp made": ("signer", f"after:{SIGNER}.timestamps:issue_all", "signed"),
    "signer, entries about to get their place": ("signer", f"before:{SIGNER}.sequencer:_write",
                                                 "signed pending failed"),
    "front, tail stored": ("front0", "after:signing_service.tails:line_of", "pending"),
    "front, signer has answered": ("front0", "after:signing_service.wire.client:SignerClient.ask", "signed"),
    "front, before finishing": ("front0", "before:signing_service.delivery:finish", "signed"),
    "front, timestamp stored": ("front0", "after:signing_service.delivery:_keep_first", "signed"),
    "front, signed document stored": ("front0", "before:signing_service.delivery:_signed", "signed"),
    "front, signed (W5)": ("front0", "after:signing_service.delivery:_signed", "signed"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_process_killed_at_this_step_costs_nobody_a_signature(service: Peopled, name: str) -> None:
    process, step, expected = STEPS[name]
    official = service.officials[list(STEPS).index(name)]
    request = service.submits(official, front=1)
    service.arm(process, step)
    heard = "nothing"
    with contextlib.suppress(httpx.HTTPError):  # the front dies with the answer
        heard = service.confirms(official, request, front=0).text
    until(lambda: service.running[process].process.poll() is not None, 20, f"{process} was killed ({heard})")
    service.run(process)
    service.await_ready(0)
    ended = until(lambda: service.state(request) in ("signed", "failed", "pending") and service.open_intents() == 0
                  and service.state(request), 40, "an explicable state")
    assert ended in expected.split()
    if ended == "signed":
        assert service.signed_document(request).startswith(PLAN.read_bytes())
    service.check()


@pytest.mark.parametrize("victim", SLICE)
def test_a_process_killed_at_any_call_that_others_can_see_costs_nobody_a_signature(
    service: Peopled, victim: str,
) -> None:
    """A seeded slice of the campaign in tests/crash/test_every_call.py."""
    chosen = random.Random(f"{victim} {service.db.is_sqlite}").sample(range(1, MOST[victim]), EACH)
    story = Story(service, service.others)
    done = crashes(story, victim, chosen)
    assert sorted([*done.struck, *done.missed]) == sorted(chosen)
    story.settle()


def test_a_job_killed_while_it_finishes_what_a_dead_front_left_is_finished_by_the_next(service: Peopled) -> None:
    official = service.officials[-4]
    request = service.submits(official, front=1)
    service.arm("front0", "after:signing_service.wire.client:SignerClient.ask")
    service.arm("jobs", "before:signing_service.delivery:_signed")
    with contextlib.suppress(httpx.HTTPError):
        service.confirms(official, request, front=0)
    for process in ("front0", "jobs"):
        until(lambda process=process: service.running[process].process.poll() is not None, 60, f"{process} was killed")
    assert service.state(request) == "finishing"
    for process in ("front0", "jobs"):
        service.run(process)
    service.await_ready(0)
    until(lambda: service.state(request) == "signed", 150, "signed")
    assert service.signed_document(request).startswith(PLAN.read_bytes())


def test_the_signed_document_is_believed_by_others(service: Peopled, tmp_path: Path) -> None:
    official = service.officials[-2]
    request = service.submits(official)
    answer = service.confirms(official, request)
    assert answer.status_code == 200, answer.text
    until(lambda: service.state(request) == "signed", 20, "signed")
    signed = tmp_path / "signed.pdf"
    signed.write_bytes(service.signed_document(request))
    shown = subprocess.run(["pdfsig", signed], capture_output=True, text=True, check=False).stdout
    assert "Total document signed" in shown
    assert "Signature is Valid" in shown
    subprocess.run(["qpdf", "--check", signed], check=True, capture_output=True)


def test_a_pdf_worker_killed_at_work_is_replaced_and_the_request_goes_on(service: Peopled) -> None:
    official = service.officials[-3]
    request = service.submits(official)
    workers = service.workers("front0")
    assert workers
    for each in workers:
        os.kill(each, signal.SIGKILL)
    answer = service.confirms(official, request)
    if answer.status_code != 200:  # the worker it was given died under it: nothing was asked of the signer
        assert answer.status_code == 503, answer.text
        answer = service.confirms(official, request)
    assert answer.status_code == 200, answer.text
    until(lambda: service.state(request) == "signed", 20, "signed")


def test_one_code_presented_a_hundred_times_over_two_fronts_is_accepted_once(service: Peopled) -> None:
    official = service.officials[-1]
    requests = [service.submits(official, front=n % 2) for n in range(4)]
    code = official.code(datetime.now(UTC))
    tokens = [service.token(0), service.token(1)]

    def present(number: int) -> int:
        answer = httpx.post(
            service.at(f"/api/v1/signing-requests/{requests[number % 4]}/confirm", number % 2), timeout=60,
            json={"code": code}, headers={"Authorization": f"Bearer {tokens[number % 2]}"})
        return answer.status_code

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(present, range(100)))
    until(lambda: service.open_intents() == 0, 20, "outcomes")
    states = [service.state(each) for each in requests]
    assert sorted(states).count("pending") == 3
    assert len({"signed", "finishing"} & set(states)) == 1
    service.check()
