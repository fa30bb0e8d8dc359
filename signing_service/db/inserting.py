"""INSERT … ON CONFLICT, which both databases have and SQLAlchemy spells for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Insert, Table
from sqlalchemy.dialects import postgresql, sqlite


def on_both(table: Table, finished: Callable[[Any], Insert]) -> Mapping[str, Insert]:
    """An INSERT into this table, finished for each database, by the name of its dialect."""
    return MappingProxyType({
        "postgresql": finished(postgresql.insert(table)), "sqlite": finished(sqlite.insert(table))})


@cache  # made once for each table
def unless_there(table: Table) -> Mapping[str, Insert]:
    """Insert unless the primary key is taken; a row comes back for the one who inserted.

    Asked for by RETURNING: psycopg gives no row count for such an INSERT, and -1 would read as "somebody else".
    """
    return on_both(table, lambda made: made.on_conflict_do_nothing().returning(*table.primary_key))


def insert_absent(tx: Connection, table: Table, values: Mapping[str, Any]) -> bool:
    """Insert unless the primary key is taken already. True for the one who inserted."""
    return tx.execute(unless_there(table)[tx.dialect.name], values).first() is not None
