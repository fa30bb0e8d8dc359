"""After a crash with a million entries in the log: ready within ten seconds, and the log goes on.

    SIGNING_CAMPAIGN=full python -m pytest -q tests/crash/test_long_log.py
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from signing_service.db.tables import checkpoint
from tests.support import campaign, databases, long_log
from tests.support.service import PLAN, Service, until
from tests.support.signing_load import crowd

ENTRIES = campaign.rounds(10_000, 1_000_000)
READY_SECONDS = 10.0
CRASHES = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, databases.sqlite(tmp_path) if request.param == "sqlite" else databases.postgresql())
    yield made
    made.close()


def test_after_a_crash_everything_is_ready_within_ten_seconds_whatever_the_log_has_grown_to(service: Service) -> None:
    people = crowd(service.city, CRASHES)
    sown = long_log.sow(service.url, ENTRIES)
    long_log.seal(service.city.rt, sown)
    service.start()
    ready = []
    for person in people:
        request = service.submits(person)
        assert service.confirms(person, request).status_code == 200
        ready.append(_crashed(service))
        until(lambda request=request: service.state(request) == "signed", what="it is signed")
        assert service.signed_document(request).startswith(PLAN.read_bytes())
    until(lambda: service.entries_waiting() == 0, what="the log goes on")
    with service.db.read() as tx:
        assert tx.execute(select(func.max(checkpoint.c.size))).scalar_one() > ENTRIES
    campaign.proven(
        f"crash-long-log-{'sqlite' if service.db.is_sqlite else 'postgresql'}", entries=sown.entries,
        ready_seconds=[round(each, 2) for each in ready])
    assert max(ready) <= READY_SECONDS


def _crashed(service: Service) -> float:
    """Everything is killed and started again: how long until all of it is ready."""
    for running in service.running.values():
        running.kill()
    began = time.monotonic()
    service.start()
    return time.monotonic() - began
