"""What happens without anybody asking: once, whoever asks, and again after a crash. Sweeps have their own file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from signing_service import delivery
from signing_service.db.tables import job_lease, outbox, signing_request
from signing_service.errors import Unavailable
from signing_service.front import jobs
from signing_service.ids import draw
from tests.support import databases
from tests.support.hall import Hall, tell
from tests.support.statements import statements

DAY = timedelta(days=1)


# --------------------------------------------------------------------------------------------------------- expiry


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_nobody_confirmed_in_time_expires_on_record(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        it.listens("https://client.example.vn/hook")
        request_id = await it.submitted()
        it.clock.at = it.row(request_id).expires_at - timedelta(seconds=1)
        assert await jobs.expire(it.rt) == 0
        it.clock.forward(1)
        assert await jobs.expire(it.rt) == 1
        assert await jobs.expire(it.rt) == 0
        row = it.row(request_id)
        assert (row.state, row.ended_at) == ("expired", it.clock())
        (recorded,) = it.entries("signing-request:expire")
        assert (recorded.actor, recorded.signing_request_id) == ("job:expiry", request_id)
        with it.rt.db.read() as tx:
            assert json.loads(tx.execute(select(outbox.c.body)).scalar_one())["type"] == "signing-request.expired"

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


@pytest.mark.parametrize("state", ["signing", "finishing", "signed", "refused", "withdrawn", "failed"])
def test_only_what_is_pending_expires(tmp_path: Path, state: str) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.submitted(state=state)
        it.clock.forward(1e6)
        assert await jobs.expire(it.rt) == 0
        assert it.row(request_id).state == state

    tell(tmp_path, story)


@pytest.mark.parametrize("job", [jobs.expire, jobs.announce], ids=lambda job: job.__name__)
def test_a_search_that_finds_nothing_holds_up_no_writer(
    tmp_path: Path, job: Callable[[Any], Awaitable[int]],
) -> None:
    async def story(it: Hall) -> None:
        await it.submitted()
        with statements(it.rt.db) as asked:
            assert await job(it.rt) == 0
        assert (len(asked), asked.commits) == (1, 0)

    tell(tmp_path, story)


def test_several_processes_expire_a_request_once(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        await it.submitted()
        it.clock.forward(1e6)
        assert sorted(await asyncio.gather(*(jobs.expire(it.rt) for _ in range(4)))) == [0, 0, 0, 1]
        assert len(it.entries("signing-request:expire")) == 1

    tell(tmp_path, story)


# ------------------------------------------------------------------------------------------------------ finishing


def test_what_the_front_left_is_finished(tmp_path: Path) -> None:
    """After it died, say. What was signed this very moment is left to the front that is at it."""
    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        assert await jobs.finish(it.rt) == 0
        it.clock.forward(jobs.GRACE.total_seconds())
        assert await jobs.finish(it.rt) == 1
        assert it.row(request_id).state == "signed"

    tell(tmp_path, story)


def test_what_failed_is_tried_again_later_and_later(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        it.pool.broken = Unavailable("no worker")
        it.clock.forward(jobs.GRACE.total_seconds())
        pauses = []
        for _ in range(12):
            await jobs.finish(it.rt)
            await jobs.finish(it.rt)  # not before its time
            pauses.append((it.row(request_id).finish_after - it.clock()).total_seconds())
            it.clock.at = it.row(request_id).finish_after
        assert pauses[:5] == [5, 10, 20, 40, 80]
        assert pauses[-1] == 900
        assert it.row(request_id).finish_attempts == 12
        it.pool.broken = None
        assert await jobs.finish(it.rt) == 1

    tell(tmp_path, story)


def test_what_nobody_foresaw_is_put_off_like_everything_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(it: Hall) -> None:
        bad = await it.confirmed()
        it.pool.broken = RuntimeError("a bug")
        it.clock.forward(jobs.GRACE.total_seconds())
        assert await jobs.finish(it.rt) == 0
        assert it.row(bad).finish_after > it.clock()
        assert "a bug" in caplog.text
        it.pool.broken = None
        it.clock.at = it.row(bad).finish_after
        assert await jobs.finish(it.rt) == 1

    tell(tmp_path, story)


# -------------------------------------------------------------------------------------------------- announcements


@pytest.mark.parametrize("state", ["failed", "denied"])
def test_what_the_signer_ended_is_announced_once(tmp_path: Path, state: str) -> None:
    async def story(it: Hall) -> None:
        it.listens("https://client.example.vn/hook")
        for ended in (it.clock(), it.clock() - 2 * DAY):
            await it.submitted(state=state, ended_at=ended, reason="why")
        assert await asyncio.gather(*(jobs.announce(it.rt) for _ in range(3))) in ([1, 0, 0], [0, 1, 0], [0, 0, 1])
        assert await jobs.announce(it.rt) == 0
        with it.rt.db.read() as tx:
            notice = json.loads(tx.execute(select(outbox.c.body)).scalar_one())
        assert (notice["type"], notice["signing_request"]["reason"]) == (f"signing-request.{state}", "why")

    tell(tmp_path, story)


def test_an_end_is_one_event_whoever_announces_it(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        it.listens("https://client.example.vn/hook")
        request_id = await it.submitted(state="failed", ended_at=it.clock())
        for _ in range(3):
            with it.rt.db.write() as tx:
                delivery.enqueue(tx, request_id, it.clock())
        with it.rt.db.read() as tx:
            assert len(tx.execute(select(outbox)).all()) == 1

    tell(tmp_path, story)


# --------------------------------------------------------------------------------------------------------- leases


def test_a_job_is_done_by_one_process_until_its_lease_ends(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        def takes(holder: str) -> bool:
            return jobs.take_lease(it.rt, "expiry", holder, it.clock())

        assert takes("jb_one")
        assert not takes("jb_two")
        it.clock.forward(jobs.LEASE.total_seconds() - 1)
        assert takes("jb_one")  # renewed
        it.clock.forward(jobs.LEASE.total_seconds() - 1)
        assert not takes("jb_two")
        it.clock.forward(1)  # the first one died
        assert takes("jb_two")
        assert not takes("jb_one")

    tell(tmp_path, story)


def test_a_pass_that_takes_longer_than_its_lease_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "LEASE", timedelta(seconds=0.3))

    async def story(it: Hall) -> None:
        async def work(rt: Any) -> int:
            it.clock.forward(0.3)  # as it was taken, the lease has ended now
            for _ in range(500):
                if lease_of("long") > it.clock():
                    return 0
                await asyncio.sleep(0.02)
            pytest.fail("the lease was not renewed")

        def lease_of(name: str) -> datetime:
            with it.rt.db.read() as tx:
                return tx.execute(select(job_lease.c.expires_at).where(job_lease.c.name == name)).scalar_one()

        await jobs._pass(it.rt, jobs.Job("long", timedelta(seconds=1), work), "jb_one")

    tell(tmp_path, story)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_many_that_want_a_lease_one_gets_it(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        for _ in range(5):
            taken = await asyncio.gather(*(
                it.rt.db.run(jobs.take_lease, it.rt, "sweep", draw("jb"), it.clock()) for _ in range(6)))
            assert sum(taken) == 1
            it.clock.forward(jobs.LEASE.total_seconds())

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_who_inserts_first_is_told_so_on_both_databases(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        values = {"name": "sweep", "holder": "jb_one", "expires_at": it.clock()}
        for expected in (True, False, False):
            with it.rt.db.write() as tx:
                assert delivery.insert_absent(tx, job_lease, values) is expected

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


def test_a_process_that_stops_gives_its_leases_back(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        stop, worked = asyncio.Event(), asyncio.Event()

        async def work(_rt: object) -> int:
            worked.set()
            return 1

        patched = tuple(jobs.Job(job.name, job.every, work) for job in jobs.JOBS)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jobs, "JOBS", patched)
            running = asyncio.create_task(jobs.run(it.rt, stop))
            await asyncio.wait_for(worked.wait(), 5)
            stop.set()
            await asyncio.wait_for(running, 5)
        with it.rt.db.read() as tx:
            ends = tx.execute(select(job_lease.c.expires_at)).scalars().all()
        assert ends
        assert all(each <= it.clock() for each in ends)

    tell(tmp_path, story)


def test_a_job_that_fails_does_not_end_the_others(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def story(it: Hall) -> None:
        async def broken(_rt: object) -> int:
            raise RuntimeError("a bug")

        async def away(_rt: object) -> int:
            raise Unavailable("The database does not answer.")

        for job in (jobs.Job("one", DAY, broken), jobs.Job("two", DAY, away)):
            await jobs._pass(it.rt, job, "jb_one")
        assert "one failed" in caplog.text
        assert "two could not be done: The database does not answer." in caplog.text

    tell(tmp_path, story)


def test_every_job_can_be_run_once_by_hand(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        it.clock.forward(jobs.GRACE.total_seconds())
        assert await jobs.run_once(it.rt) == {
            "expiry": 0, "announcements": 0, "finishing": 1, "webhooks": 0, "sweep": 0}
        with it.rt.db.write() as tx:
            tx.execute(update(signing_request).values(signed_digest=it.row(request_id).signed_digest))
        assert await delivery.finish(it.rt, request_id)

    tell(tmp_path, story)
