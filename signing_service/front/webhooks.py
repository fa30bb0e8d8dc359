"""Telling clients that their signing requests ended: signed messages out of the outbox, until they are taken.

A message is written in the transaction that ended the request, so none is lost; it is delivered at least once and
in no particular order. What a client must check is in `docs/webhooks.md`.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from secrets import SystemRandom
from typing import Any

from sqlalchemy import select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.tables import outbox
from signing_service.errors import SigningError
from signing_service.front.outbound import Destination
from signing_service.front.runtime import Runtime

log = logging.getLogger(__name__)

DEADLINE = 10.0        # seconds for one delivery; a client that needs longer answers first and works afterwards
ANSWER_BYTES = 4096    # nothing in the answer is of interest but its status
AT_ONCE = 8            # deliveries under way
AT_ONCE_CLIENT = 2     # of them to one client, so that a slow one does not hold up the others
BATCH = 100

# Eleven tries over about a day: dense while a restart may be the reason, sparse when somebody must be called.
PAUSES = tuple(timedelta(seconds=seconds) for seconds in (
    10, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800,
))
JITTER = 0.2  # of a pause: messages that failed together must not come back together
_random = SystemRandom()


def webhook_secret(front_secret: bytes, client_id: str) -> str:
    """The secret a client verifies its messages with: shown at registration, derived, never stored."""
    derived = hmac.digest(front_secret, b"webhook:" + client_id.encode(), sha256)
    return "whsec_" + base64.urlsafe_b64encode(derived).decode().rstrip("=")


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """`v1=` and the hexadecimal HMAC-SHA-256 over `timestamp.body`; the key is the secret's own text."""
    covered = str(timestamp).encode() + b"." + body
    return "v1=" + hmac.digest(secret.encode(), covered, sha256).hex()


def headers(secret: str, event_id: str, body: bytes, now: datetime) -> dict[str, str]:
    timestamp = int(now.timestamp())
    return {
        "content-type": "application/json", "signing-event-id": event_id, "signing-timestamp": str(timestamp),
        "signing-signature": signature(secret, timestamp, body),
    }


@dataclass(frozen=True)
class Waiting:
    """A message that is due."""

    id: str
    client_id: str
    signing_request_id: str
    url: str
    body: bytes
    attempts: int

    @property
    def is_last(self) -> bool:
        return self.attempts >= len(PAUSES)


async def deliver_due(rt: Runtime) -> int:
    """Try every message that is due, once. How many were taken."""
    due = await rt.db.run(_due, rt, rt.clock())
    all_slots = asyncio.Semaphore(AT_ONCE)
    slots = {message.client_id: asyncio.Semaphore(AT_ONCE_CLIENT) for message in due}

    async def one(message: Waiting) -> bool:
        async with slots[message.client_id], all_slots:
            return await deliver(rt, message)

    return sum(await asyncio.gather(*(one(message) for message in due)))


async def deliver(rt: Runtime, message: Waiting) -> bool:
    """One try. The next one is scheduled before this one begins: if we die while sending, it is sent again."""
    if not await rt.db.run(_claim, rt, message, rt.clock()):
        return False
    try:
        status = await _send(rt, message)
    except SigningError as error:
        await rt.db.run(_failed, rt, message, error.message, rt.clock())
        return False
    if 200 <= status < 300:
        await rt.db.run(_taken, rt, message, status, rt.clock())
        return True
    await rt.db.run(_failed, rt, message, f"The client answered with status {status}.", rt.clock())
    return False


async def _send(rt: Runtime, message: Waiting) -> int:
    secret = webhook_secret(rt.secret, message.client_id)
    answer = await rt.outbound.post(
        message.url, message.body, headers(secret, message.id, message.body, rt.clock()),
        limit=ANSWER_BYTES, deadline=DEADLINE,
    )
    return answer.status


def _due(rt: Runtime, now: datetime) -> list[Waiting]:
    with rt.db.read() as tx:
        rows = tx.execute(
            select(outbox).where(outbox.c.done_at.is_(None), outbox.c.next_at <= now)
            .order_by(outbox.c.next_at, outbox.c.id).limit(BATCH)
        ).all()
    return [
        Waiting(row.id, row.client_id, row.signing_request_id, row.url, row.body.encode(), row.attempts)
        for row in rows
    ]


def _claim(rt: Runtime, message: Waiting, now: datetime) -> bool:
    """Count the try and schedule the next, once: who sees an older count has lost."""
    with rt.db.write() as tx:
        claimed = tx.execute(
            update(outbox)
            .where(outbox.c.id == message.id, outbox.c.attempts == message.attempts, outbox.c.done_at.is_(None))
            .values(attempts=message.attempts + 1, next_at=now + pause(message.attempts))
        )
    return claimed.rowcount == 1


def pause(attempts: int) -> timedelta:
    """How long until the try after this one, jittered."""
    planned = PAUSES[min(attempts, len(PAUSES) - 1)]
    return planned * _random.uniform(1 - JITTER, 1 + JITTER)


def _taken(rt: Runtime, message: Waiting, status: int, now: datetime) -> None:
    with rt.db.write() as tx:
        tx.execute(update(outbox).where(outbox.c.id == message.id).values(done_at=now, last_error=None))
        record(tx, now, _fact(Event.WEBHOOK_DELIVERED, message, {"status": status}))


def _failed(rt: Runtime, message: Waiting, why: str, now: datetime) -> None:
    """Wait for the next try, or after the last one give up, on record."""
    with rt.db.write() as tx:
        ended = {"done_at": now} if message.is_last else {}
        tx.execute(update(outbox).where(outbox.c.id == message.id).values(last_error=why, **ended))
        if message.is_last:
            record(tx, now, _fact(Event.WEBHOOK_GIVEN_UP, message, {"why": why}, outcome="failed"))
    log.warning("%s was not taken (try %d): %s", message.id, message.attempts + 1, why)


def _fact(event: Event, message: Waiting, data: dict[str, Any], outcome: str = "ok") -> Fact:
    return Fact(
        event, actor="job:webhooks", outcome=outcome, client_id=message.client_id,
        signing_request_id=message.signing_request_id,
        # The host only: what stands behind it in an address may be the client's secret.
        data={"event_id": message.id, "host": _host(message.url), "attempts": message.attempts + 1} | data,
    )


def _host(url: str) -> str:
    try:
        return Destination.of(url).host
    except SigningError:
        return "malformed"
