"""After a crash with a million entries in the log: ready within ten seconds, and the log goes on.

    SIGNING_CAMPAIGN=full python -m pytest -q tests/crash/test_long_log.py

The service runs as `signing-service serve`. All its processes are killed at once, it is started again, and is ready
when signer and front answer. What each process has spent by then is told beside the seconds: on a machine that has
much else to do only that can be compared.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from signing_service.db.tables import checkpoint
from tests.support import campaign, databases, long_log
from tests.support.served import serve
from tests.support.service import PLAN, Service, until
from tests.support.signing_load import crowd

ENTRIES = campaign.rounds(10_000, 1_000_000)
READY_SECONDS = 10.0
CRASHES = 3
TICKS = os.sysconf("SC_CLK_TCK")


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path, databases.sqlite(tmp_path) if request.param == "sqlite" else databases.postgresql())
    yield made
    made.close()


def test_after_a_crash_everything_is_ready_within_ten_seconds_whatever_the_log_has_grown_to(service: Service) -> None:
    people = crowd(service.city, CRASHES)
    sown = long_log.sow(service.url, ENTRIES)
    long_log.seal(service.city.rt, sown)
    serve(service)
    ready, spent = [], []
    for person in people:
        request = service.submits(person)
        assert service.confirms(person, request).status_code == 200
        ready.append(crashed(service))
        spent.append(spent_by(service))
        until(lambda request=request: service.state(request) == "signed", what="it is signed")
        assert service.signed_document(request).startswith(PLAN.read_bytes())
    until(lambda: service.entries_waiting() == 0, what="the log goes on")
    with service.db.read() as tx:
        assert tx.execute(select(func.max(checkpoint.c.size))).scalar_one() > ENTRIES
    campaign.proven(
        f"crash-long-log-{'sqlite' if service.db.is_sqlite else 'postgresql'}", entries=sown.entries,
        ready_seconds=[round(each, 2) for each in ready],
        cpu_seconds_until_ready=[round(sum(each.values()), 2) for each in spent],
        of_which={name: round(seconds, 2) for name, seconds in spent[-1].items()})
    assert max(ready) <= READY_SECONDS


def crashed(service: Service) -> float:
    """Everything is killed and started again: how long until it is ready."""
    for pid in _family(service.running["serve"].process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    service.running["serve"].process.wait()
    began = time.monotonic()
    serve(service)
    return time.monotonic() - began


def spent_by(service: Service) -> Counter[str]:
    """Seconds of CPU by now, by what a process is."""
    spent: Counter[str] = Counter()
    for pid in _family(service.running["serve"].process.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # one that has ended since
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            name = words[2] if words[2] != "signing_service" else words[3]
            times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            spent[name.rpartition(".")[2]] += sum(map(int, times)) / TICKS
    return spent


def _family(pid: int) -> list[int]:
    """This process, its children, and theirs."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        told = [each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/children")]
        return [pid, *(member for one in told for child in one for member in _family(int(child)))]
    return []
