"""Removing what nobody needs any more: drafts, files past their time, rows that have run out.

The log and the receipts stay for ever; of a document whose time is over the row stays as a tombstone (`swept_at`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, select, update

from signing_service.accounts import sweep_sessions
from signing_service.db.tables import access_token, document, idempotency, outbox, signing_request
from signing_service.errors import NotFound
from signing_service.front.runtime import Runtime

YOUNG = timedelta(hours=1)       # a file that was stored or used again so lately may be about to get its row
OUTBOX_KEPT = timedelta(days=30)  # delivered messages, for questions about them
CHUNK = 200                      # digests in one query


async def sweep(rt: Runtime) -> int:
    """Everything that is due; how many files and rows are gone."""
    now = rt.clock()
    drafts = await asyncio.to_thread(rt.documents.drop_drafts, YOUNG.total_seconds())
    drafts += await rt.db.run(sweep_sessions, rt, now)
    return drafts + await rt.db.run(sweep_documents, rt, now) + await rt.db.run(sweep_rows, rt, now)


def sweep_documents(rt: Runtime, now: datetime) -> int:
    """Remove files that no row needs: orphans, and documents of requests that ended long enough ago."""
    old = (digest for digest, age in rt.documents.stored() if age > YOUNG.total_seconds())
    return sum(_sweep_chunk(rt, chunk, now) for chunk in _chunks(old))


def _sweep_chunk(rt: Runtime, digests: list[str], now: datetime) -> int:
    needless = set(digests) - _needed(rt, digests, now)
    gone = [digest for digest in needless if _is_old(rt, digest)]
    for digest in gone:
        rt.documents.remove(digest)
    if gone:
        with rt.db.write() as tx:
            tx.execute(update(document).where(document.c.digest.in_(gone)).values(swept_at=now))
    return len(gone)


def _is_old(rt: Runtime, digest: str) -> bool:
    """Asked again just before the file goes: a submission may have made it young since it was listed."""
    try:
        return time.time() - rt.documents.path(digest).stat().st_mtime > YOUNG.total_seconds()
    except (NotFound, FileNotFoundError):
        return False


def _needed(rt: Runtime, digests: list[str], now: datetime) -> set[str]:
    columns = (signing_request.c.document_digest, signing_request.c.tail_digest, signing_request.c.signed_digest)
    with rt.db.read() as tx:
        rows = tx.execute(
            select(*columns).where(or_(*(column.in_(digests) for column in columns)), _is_kept(rt, now))
        ).all()
    return {digest for row in rows for digest in row if digest is not None}


def _is_kept(rt: Runtime, now: datetime) -> ColumnElement[bool]:
    """Not ended, or ended not long enough ago; what was signed is kept longer than what came to nothing."""
    signed = signing_request.c.state == "signed"
    delivered = now - timedelta(days=rt.settings.keep_delivered_days)
    ended = now - timedelta(days=rt.settings.keep_ended_days)
    return or_(
        signing_request.c.ended_at.is_(None),
        and_(signed, signing_request.c.ended_at > delivered),
        and_(~signed, signing_request.c.ended_at > ended),
    )


def sweep_rows(rt: Runtime, now: datetime) -> int:
    """Remove rows that have run out: remembered answers, access tokens, delivered messages."""
    remembered = now - timedelta(seconds=rt.settings.idempotency_seconds)
    with rt.db.write() as tx:
        return sum(tx.execute(statement).rowcount for statement in (
            delete(idempotency).where(idempotency.c.created_at <= remembered),
            delete(access_token).where(access_token.c.expires_at <= now),
            delete(outbox).where(outbox.c.done_at <= now - OUTBOX_KEPT),
        ))


def _chunks(digests: Iterable[str]) -> Iterator[list[str]]:
    chunk: list[str] = []
    for digest in digests:
        chunk.append(digest)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
