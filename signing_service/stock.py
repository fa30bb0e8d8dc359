"""What stands open at this moment, counted from the database when somebody asks for the metrics.

Counted there and not kept in step by those who change it: a number that a dead process left behind would look
well. Each count has an index of its own that holds only what is open.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.sql.elements import ColumnElement

from signing_service import metrics
from signing_service.db.tables import checkpoint, entry, intent, outbox


def show(tx: Connection, now: datetime) -> None:
    """Set the gauges of open intents, entries without a place, undelivered notices and the checkpoint's age."""
    metrics.OPEN_INTENTS.set(_count(tx, intent, intent.c.outcome.is_(None)))
    metrics.UNSEQUENCED_ENTRIES.set(_count(tx, entry, entry.c.leaf_index.is_(None)))
    metrics.WEBHOOK_OUTBOX.set(_count(tx, outbox, outbox.c.done_at.is_(None)))
    metrics.CHECKPOINT_AGE.set(_checkpoint_age(tx, now))


def _count(tx: Connection, table: Table, condition: ColumnElement[bool]) -> int:
    return tx.execute(select(func.count()).select_from(table).where(condition)).scalar_one()


def _checkpoint_age(tx: Connection, now: datetime) -> float:
    """Seconds; without any checkpoint those since the first entry, which has waited for one ever since."""
    latest = tx.execute(select(checkpoint.c.at).order_by(checkpoint.c.size.desc(), checkpoint.c.id.desc()).limit(1))
    since = latest.scalar() or tx.execute(select(entry.c.at).order_by(entry.c.id).limit(1)).scalar()
    return max(0.0, (now - since).total_seconds()) if since else 0.0
