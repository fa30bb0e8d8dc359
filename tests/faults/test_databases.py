"""The database is restarted, full, broken or read-only while offices work: nothing acknowledged is lost.

PostgreSQL is stopped in three ways. Errors of the disk are made by the kernel's own answers, injected into the calls of
the processes that write (strace), so that SQLite and PostgreSQL meet what they would meet.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select, update

from signing_service.db.engine import Database
from signing_service.db.tables import client, intent, signature
from signing_service.errors import Unavailable
from tests.support import campaign, databases, postgres
from tests.support.office_load import OfficeLoad
from tests.support.service import Service, until
from tests.support.signing_load import crowd

RESTARTS = campaign.rounds(3, 20)
OFFICES = campaign.rounds(4, 16)
WAYS = (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL)  # fast, immediate, killed
WRITERS, ROUNDS = 8, campaign.rounds(40, 2_000)


def test_offices_go_on_while_postgresql_is_restarted(tmp_path: Path) -> None:
    cluster = postgres.cluster(durable=True)
    service = Service(tmp_path, postgres.fresh_database(durable=True), fronts=2)
    load = OfficeLoad(service, crowd(service.city, OFFICES), fronts=2)
    service.start()
    with load.running() as told:
        for number in range(RESTARTS):
            before = len(told.submitted)
            until(lambda before=before: len(told.submitted) > before + OFFICES, what="the offices go on")
            cluster.stop(WAYS[number % len(WAYS)])
            cluster.start()
        until(lambda: told.confirmed, what="somebody confirmed")
    submitted, confirmed = load.check()
    until(lambda: service.entries_waiting() == 0, what="every entry has its place")
    service.check()
    service.close()
    campaign.proven("database-restarts", restarts=RESTARTS, offices=OFFICES, submitted=submitted, confirmed=confirmed,
                    lost=0, twice=0, longest_seconds=round(told.longest, 1), answers=dict(told.answers))
    if campaign.FULL:
        assert told.longest < 10


def test_eight_writers_on_sqlite_wait_for_each_other_and_never_hear_locked(tmp_path: Path) -> None:
    url = databases.sqlite(tmp_path)
    begun, waits = time.monotonic(), []

    def writer(number: int) -> None:
        with closing(Database(url, pool_size=1)) as db:
            for turn in range(ROUNDS):
                asked = time.monotonic()
                with db.write() as tx:  # Unavailable here would be "database is locked"
                    tx.execute(insert(client).values(
                        id=f"cl_{number}_{turn}", name="QLVB", role="submitter", agencies=["*"], secret_hash="0" * 64,
                        state="active", created_at=datetime.now(UTC)))
                    tx.execute(update(client).where(client.c.id == f"cl_{number}_{turn}").values(name="QLVB 2"))
                waits.append(time.monotonic() - asked)

    with ThreadPoolExecutor(WRITERS) as threads:
        for done in [threads.submit(writer, number) for number in range(WRITERS)]:
            done.result()
    with closing(Database(url, pool_size=1)) as db, db.read() as tx:
        assert tx.execute(select(func.count()).select_from(client)).scalar_one() == WRITERS * ROUNDS
    campaign.proven("sqlite-writers", writers=WRITERS, transactions=WRITERS * ROUNDS, locked=0,
                    longest_ms=round(max(waits) * 1000), seconds=round(time.monotonic() - begun))


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    url = databases.sqlite(tmp_path) if request.param == "sqlite" else postgres.fresh_database(durable=True)
    made = Service(tmp_path, url)
    try:
        yield made
        made.check()
    finally:
        made.close()


@pytest.mark.parametrize("error", campaign.rounds(("ENOSPC",), ("ENOSPC", "EIO", "EROFS", "EDQUOT")))  # type: ignore[type-var]
def test_a_disk_that_takes_nothing_stops_signing_and_nothing_else_is_needed_when_it_is_well(
    service: Service, error: str, request: pytest.FixtureRequest,
) -> None:
    people = crowd(service.city, 3)
    service.start()
    first, second = service.submits(people[0]), service.submits(people[1])
    assert service.confirms(people[0], first).status_code == 200
    until(lambda: service.open_intents() == 0, what="the first is signed")
    before = signed(service)
    code = people[1].code(datetime.now(UTC))
    with service.http() as http, failing(writers(service), error):
        answer = http.post(f"/api/v1/signing-requests/{second}/confirm", json={"code": code})
        assert answer.status_code == 503, answer.text
    assert until(partial(signed, service), 60, "the database answers") == before
    service.await_ready()
    until(lambda: service.confirms(people[2], service.submits(people[2])).status_code == 200, 60, "it goes on")
    until(lambda: service.entries_waiting() == 0, 60, "every entry has its place")
    if service.db.is_sqlite:
        with closing(sqlite3.connect(service.directory / "signing.db")) as opened:
            assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    campaign.proven(f"disk-{request.node.callspec.id}", signed_meanwhile=0, corrupt=0)


def signed(service: Service) -> int | None:
    """How many values there are, each with its outcome; None while the database does not answer."""
    try:
        with service.db.read() as tx:
            values = tx.execute(select(func.count()).select_from(signature)).scalar_one()
            assert values == tx.execute(
                select(func.count()).select_from(intent).where(intent.c.outcome == "done")).scalar_one()
    except Unavailable:
        return None
    return int(values)


def writers(service: Service) -> list[int]:
    """Who writes the database's files: our processes, or PostgreSQL's."""
    if service.db.is_sqlite:
        return [service.running["signer"].process.pid]
    main = int((postgres.cluster(durable=True).data / "postmaster.pid").read_text().split()[0])
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return [main, *map(int, children)]


@contextmanager
def failing(processes: list[int], error: str) -> Iterator[None]:
    """While the block lasts, whatever these processes write to files of the database is answered with this error."""
    attached = [argument for each in processes for argument in ("-p", str(each))]
    tracing = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=pwrite64,fdatasync,fsync",
         "-e", f"inject=pwrite64,fdatasync,fsync:error={error}", *attached], stderr=subprocess.DEVNULL)
    try:
        until(lambda: all(is_traced(each) for each in processes), 20, "strace is attached")
        yield
    finally:
        tracing.send_signal(signal.SIGINT)
        tracing.wait(20)


def is_traced(process: int) -> bool:
    """Or gone: a connection's process may have ended, or the server has met the first failure and starts again."""
    try:
        return "TracerPid:\t0\n" not in Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
