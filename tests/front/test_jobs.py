"""What happens without anybody asking: once, whoever asks, and again after a crash."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from signing_service import delivery
from signing_service.db.tables import access_token, document, idempotency, job_lease, outbox, signing_request
from signing_service.errors import Unavailable
from signing_service.front import jobs, sweeping
from signing_service.ids import draw
from tests.support import databases
from tests.support.hall import Hall, hall
from tests.support.statements import statements

DAY = timedelta(days=1)


def tell(tmp_path: Path, story: Callable[[Hall], Awaitable[None]], url: str | None = None) -> None:
    async def whole() -> None:
        async with hall(tmp_path, url) as it:
            await story(it)

    asyncio.run(whole())


async def submitted(it: Hall, **more: Any) -> str:
    official = await it.official()
    return await asyncio.to_thread(lambda: it.city.submitted(official, **more))


# --------------------------------------------------------------------------------------------------------- expiry


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_what_nobody_confirmed_in_time_expires_on_record(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        it.listens("https://client.example.vn/hook")
        request_id = await submitted(it)
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
        request_id = await submitted(it, state=state)
        it.clock.forward(1e6)
        assert await jobs.expire(it.rt) == 0
        assert it.row(request_id).state == state

    tell(tmp_path, story)


@pytest.mark.parametrize("job", [jobs.expire, jobs.announce], ids=lambda job: job.__name__)
def test_a_search_that_finds_nothing_holds_up_no_writer(
    tmp_path: Path, job: Callable[[Any], Awaitable[int]],
) -> None:
    async def story(it: Hall) -> None:
        await submitted(it)
        with statements(it.rt.db) as asked:
            assert await job(it.rt) == 0
        assert (len(asked), asked.commits) == (1, 0)

    tell(tmp_path, story)


def test_several_processes_expire_a_request_once(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        await submitted(it)
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
            await submitted(it, state=state, ended_at=ended, reason="why")
        assert await asyncio.gather(*(jobs.announce(it.rt) for _ in range(3))) in ([1, 0, 0], [0, 1, 0], [0, 0, 1])
        assert await jobs.announce(it.rt) == 0
        with it.rt.db.read() as tx:
            notice = json.loads(tx.execute(select(outbox.c.body)).scalar_one())
        assert (notice["type"], notice["signing_request"]["reason"]) == (f"signing-request.{state}", "why")

    tell(tmp_path, story)


def test_an_end_is_one_event_whoever_announces_it(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        it.listens("https://client.example.vn/hook")
        request_id = await submitted(it, state="failed", ended_at=it.clock())
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


# --------------------------------------------------------------------------------------------------------- sweeps


def kept(it: Hall, content: bytes, *, hours: float = 2) -> str:
    """A stored file of this age."""
    draft = it.rt.documents.draft_path()
    draft.write_bytes(content)
    stored = it.rt.documents.store(draft)
    path = it.rt.documents.path(stored.digest)
    moment = path.stat().st_mtime - hours * 3600
    os.utime(path, (moment, moment))
    return stored.digest


def test_a_file_without_a_row_goes_after_an_hour(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        old, young = kept(it, b"old"), kept(it, b"young", hours=0.5)
        assert sweeping.sweep_documents(it.rt, it.clock()) == 1
        assert (it.rt.documents.exists(old), it.rt.documents.exists(young)) == (False, True)

    tell(tmp_path, story)


RETENTION = {
    "an open request keeps its documents": ("pending", None, True),
    "finishing, for years": ("finishing", None, True),
    "refused yesterday": ("refused", 1, True),
    "refused 29 days ago": ("refused", 29, True),
    "refused 31 days ago": ("refused", 31, False),
    "expired 31 days ago": ("expired", 31, False),
    "failed 31 days ago": ("failed", 31, False),
    "signed 31 days ago": ("signed", 31, True),
    "signed 89 days ago": ("signed", 89, True),
    "signed 91 days ago": ("signed", 91, False),
}


@pytest.mark.parametrize(("state", "days", "stays"), RETENTION.values(), ids=RETENTION.keys())
def test_how_long_documents_are_kept(tmp_path: Path, state: str, days: int | None, stays: bool) -> None:
    async def story(it: Hall) -> None:
        digests = [kept(it, content) for content in (b"document", b"tail", b"signed")]
        ended = None if days is None else it.clock() - days * DAY
        await submitted(it, state=state, ended_at=ended, document_digest=digests[0], tail_digest=digests[1],
                        signed_digest=digests[2])
        with it.rt.db.write() as tx:
            tx.execute(insert(document).values(digest=digests[0], size=8, created_at=it.clock()))
        await sweeping.sweep(it.rt)
        assert [it.rt.documents.exists(each) for each in digests] == [stays] * 3
        with it.rt.db.read() as tx:
            swept = tx.execute(select(document.c.swept_at)).scalar_one()
        assert swept == (None if stays else it.clock())  # a tombstone stays

    tell(tmp_path, story)


def test_a_document_that_another_request_needs_stays(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        digest = kept(it, b"document")
        official = await it.official()
        for state, ended in (("signed", it.clock() - 400 * DAY), ("pending", None)):
            await asyncio.to_thread(lambda state=state, ended=ended: it.city.submitted(
                official, state=state, ended_at=ended, document_digest=digest))
        await sweeping.sweep(it.rt)
        assert it.rt.documents.exists(digest)

    tell(tmp_path, story)


def test_a_file_that_became_young_while_it_was_being_swept_stays(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        digest = kept(it, b"document")
        listed = [each for each, _ in it.rt.documents.stored()]
        assert listed == [digest]
        it.rt.documents.touch(digest)  # a submission of the same bytes, in this very moment
        assert sweeping._sweep_chunk(it.rt, listed, it.clock()) == 0
        assert it.rt.documents.exists(digest)

    tell(tmp_path, story)


def test_rows_that_ran_out_go_and_others_stay(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        now = it.clock()
        client = it.city.client
        with it.rt.db.write() as tx:
            for key, age in (("old", 25), ("new", 23)):
                tx.execute(insert(idempotency).values(client_id=client, key=key, fingerprint="0" * 64,
                                                      created_at=now - timedelta(hours=age)))
            for number, left in enumerate((-1, 1)):
                tx.execute(insert(access_token).values(hash=f"{number:064x}", client_id=client,
                                                       expires_at=now + timedelta(seconds=left)))
            for number, done in enumerate((now - 31 * DAY, now - 29 * DAY, None)):
                tx.execute(insert(outbox).values(
                    id=f"ev_{number}", client_id=client, signing_request_id="sr_1", url="https://a/", body="{}",
                    next_at=now, done_at=done, created_at=now - 40 * DAY))
        assert sweeping.sweep_rows(it.rt, now) == 3
        with it.rt.db.read() as tx:
            assert tx.execute(select(idempotency.c.key)).scalars().all() == ["new"]
            assert tx.execute(select(access_token.c.hash)).scalars().all() == [f"{1:064x}"]
            assert tx.execute(select(outbox.c.id)).scalars().all() == ["ev_1", "ev_2"]

    tell(tmp_path, story)


def test_old_drafts_go(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        old, young = it.rt.documents.draft_path(), it.rt.documents.draft_path()
        for path in (old, young):
            path.write_bytes(b"half a document")
        moment = old.stat().st_mtime - 7200
        os.utime(old, (moment, moment))
        assert await sweeping.sweep(it.rt) == 1
        assert (old.exists(), young.exists()) == (False, True)

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
