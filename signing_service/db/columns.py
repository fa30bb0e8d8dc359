"""What tables are made of: moments in UTC, ids, digests, and an index over the rows that still wait."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    DateTime,
    Dialect,
    MetaData,
    String,
    TypeDecorator,
    func,
    text,
)

T = TypeVar("T")


class Instant(TypeDecorator[datetime]):
    """A moment in UTC. Naive values are refused; what comes back is aware, on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def only_where(condition: str) -> dict[str, Any]:
    """An index over the few rows that still wait for something."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


def unindexed(column: ColumnElement[T]) -> ColumnElement[T]:
    """The column itself, for a condition that must not choose the index."""
    return func.coalesce(column, column)


metadata = MetaData()
ID = String(40)
DIGEST = String(64)
