"""What happens without anybody asking: expiry, finishing, webhooks, sweeps.

Any number of these processes may run. Each job is leased, so that they do not do the same work twice, and each is
idempotent, so that it does no harm when they do: a lease is for economy, correctness is in the conditional UPDATEs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, exists, or_, select, update

from signing_service import delivery
from signing_service.audit import Event, Fact, record
from signing_service.db.tables import client, job_lease, outbox, signature, signing_request
from signing_service.errors import SigningError
from signing_service.front import sweeping, webhooks
from signing_service.front.runtime import Runtime
from signing_service.ids import draw

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=15)    # when its holder dies the job rests at most so long
RENEWALS = 3                     # in each lease, while a pass goes on
BATCH = 100                      # rows of one transaction
GRACE = timedelta(seconds=10)    # the front that confirmed finishes by itself; jobs take what it left
FINISHING_AT_ONCE = 2
NEWS = timedelta(days=1)         # what ended before is no news to a client that was given a webhook since


@dataclass(frozen=True)
class Job:
    """One thing to do again and again. `work` does what is due and says how much that was."""

    name: str
    every: timedelta
    work: Callable[[Runtime], Awaitable[int]]


async def run(rt: Runtime, stop: asyncio.Event) -> None:
    """All jobs until `stop` is set. What is under way then is ended first; the leases are given back."""
    holder = draw("jb")
    try:
        await asyncio.gather(*(_repeat(rt, job, holder, stop) for job in JOBS))
    finally:
        with contextlib.suppress(SigningError):  # they run out by themselves
            await rt.db.run(_release, rt, holder, rt.clock())


async def run_once(rt: Runtime) -> dict[str, int]:
    """Every job, once, whoever holds the leases (for operators and tests). How much each one did."""
    return {job.name: await job.work(rt) for job in JOBS}


async def _repeat(rt: Runtime, job: Job, holder: str, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(TimeoutError):
            await _pass(rt, job, holder)
            await asyncio.wait_for(stop.wait(), job.every.total_seconds())


async def _pass(rt: Runtime, job: Job, holder: str) -> None:
    """One pass, if the lease is ours. Nothing that goes wrong in it may end the process: the next pass tries again."""
    try:
        if await rt.db.run(take_lease, rt, job.name, holder, rt.clock()):
            async with _kept(rt, job.name, holder):
                done = await job.work(rt)
            if done:
                log.info("%s: %d", job.name, done)
    except SigningError as error:
        log.warning("%s could not be done: %s", job.name, error.message)
    except Exception:
        log.exception("%s failed", job.name)


@contextlib.asynccontextmanager
async def _kept(rt: Runtime, name: str, holder: str) -> AsyncIterator[None]:
    """Renew the lease while a pass goes on, however long. A renewal that fails costs economy, not correctness."""
    async def renew() -> None:
        while True:
            await asyncio.sleep(LEASE.total_seconds() / RENEWALS)
            with contextlib.suppress(SigningError):
                await rt.db.run(take_lease, rt, name, holder, rt.clock())

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing


def take_lease(rt: Runtime, name: str, holder: str, now: datetime) -> bool:
    """Take or renew the lease of a job. False while somebody else holds it."""
    with rt.db.write() as tx:
        taken = tx.execute(
            update(job_lease)
            .where(job_lease.c.name == name, or_(job_lease.c.holder == holder, job_lease.c.expires_at <= now))
            .values(holder=holder, expires_at=now + LEASE)
        )
        return taken.rowcount == 1 or delivery.insert_absent(
            tx, job_lease, {"name": name, "holder": holder, "expires_at": now + LEASE})


def _release(rt: Runtime, holder: str, now: datetime) -> None:
    with rt.db.write() as tx:
        tx.execute(update(job_lease).where(job_lease.c.holder == holder).values(expires_at=now))


# --------------------------------------------------------------------------------------------------------- expiry


async def expire(rt: Runtime) -> int:
    """Pending requests whose time is over become `expired`."""
    return await rt.db.run(_expire, rt, rt.clock())


def _expire(rt: Runtime, now: datetime) -> int:
    with rt.db.read() as tx:  # who searches holds up no writer
        due = tx.execute(
            select(signing_request.c.id)
            .where(signing_request.c.state == "pending", signing_request.c.expires_at <= now)
            .order_by(signing_request.c.expires_at).limit(BATCH)
        ).all()
    if not due:
        return 0
    with rt.db.write() as tx:
        return sum(_expire_one(tx, row.id, now) for row in due)


def _expire_one(tx: Connection, request_id: str, now: datetime) -> bool:
    moved = tx.execute(
        update(signing_request)
        .where(signing_request.c.id == request_id, signing_request.c.state == "pending")
        .values(state="expired", reason="Nobody confirmed it in time.", ended_at=now)
    )
    if moved.rowcount != 1:  # confirmed, refused or withdrawn in this very moment
        return False
    row = delivery.find_request(tx, request_id)
    record(tx, now, Fact(
        Event.EXPIRED, actor="job:expiry", client_id=row.client_id, signatory_id=row.signatory_id,
        agency_code=row.agency_code, credential_id=row.credential_id, signing_request_id=row.id,
        document_digest=row.document_digest,
    ))
    delivery.enqueue(tx, row.id, now)
    return True


# -------------------------------------------------------------------------------------------------- announcements


async def announce(rt: Runtime) -> int:
    """Requests that the signer ended (the policy or the device said no at the last moment, nobody knows what the
    device did, or a backup was restored): it has no outbox, so their clients are told from here."""
    return await rt.db.run(_announce, rt, rt.clock())


def _announce(rt: Runtime, now: datetime) -> int:
    with rt.db.read() as tx:  # as above; nearly always there is nothing
        if not _untold(tx, now):
            return 0
    with rt.db.write() as tx:
        ended = _untold(tx, now)
        for request_id in ended:
            delivery.enqueue(tx, request_id, now)
    return len(ended)


def _untold(tx: Connection, now: datetime) -> list[str]:
    untold = ~exists().where(outbox.c.signing_request_id == signing_request.c.id)
    return list(tx.execute(
        select(signing_request.c.id)
        .join(client, client.c.id == signing_request.c.client_id)
        .where(signing_request.c.state.in_(("failed", "denied", "expired")),
               signing_request.c.ended_at > now - NEWS, client.c.webhook_url.is_not(None),
               client.c.state == "active", untold)
        .limit(BATCH)
    ).scalars())


# ------------------------------------------------------------------------------------------------------ finishing


async def finish(rt: Runtime) -> int:
    """Requests that have a signature value and no signed document yet."""
    waiting = await rt.db.run(_waiting, rt, rt.clock())
    slots = asyncio.Semaphore(FINISHING_AT_ONCE)

    async def one(request_id: str) -> bool:
        async with slots:
            return await _finish_one(rt, request_id)

    return sum(await asyncio.gather(*(one(request_id) for request_id in waiting)))


async def _finish_one(rt: Runtime, request_id: str) -> bool:
    """One of them. What nobody foresaw must neither hold up the others nor be tried again every two seconds."""
    try:
        return await delivery.finish(rt, request_id)
    except SigningError as error:
        log.warning("%s could not be finished: %s", request_id, error.message)
    except Exception:
        log.exception("%s could not be finished", request_id)
        await rt.db.run(delivery.postpone, rt, request_id, "An unforeseen error; see the log.", rt.clock())
    return False


def _waiting(rt: Runtime, now: datetime) -> list[str]:
    due = or_(signing_request.c.finish_after.is_(None), signing_request.c.finish_after <= now)
    with rt.db.read() as tx:
        return list(tx.execute(
            select(signing_request.c.id)
            .join(signature, signature.c.signing_request_id == signing_request.c.id)
            .where(signing_request.c.state == "finishing", due, signature.c.created_at <= now - GRACE)
            .order_by(signing_request.c.finish_after, signing_request.c.id).limit(BATCH)
        ).scalars())


JOBS = (
    Job("expiry", timedelta(seconds=5), expire),
    Job("announcements", timedelta(seconds=5), announce),
    Job("finishing", timedelta(seconds=2), finish),
    Job("webhooks", timedelta(seconds=1), webhooks.deliver_due),
    Job("sweep", timedelta(minutes=10), sweeping.sweep),
)
