"""Databases that have this version's tables: the migrations run once in a process, and the others are copies.

    url = databases.sqlite(tmp_path)
    url = databases.postgresql()
    with databases.lent_postgresql() as url: ...     # for tests that come by the hundred

Tests of the migrations themselves start from `postgres.fresh_database()` or from no file, and call `upgrade`.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
from psycopg import sql

from signing_service.db.migrate import upgrade
from tests.support import postgres


def sqlite(directory: Path) -> str:
    """A database `signing.db` in this directory, with all tables and no rows."""
    path = directory / "signing.db"
    shutil.copyfile(_empty_file(), path)
    return f"sqlite:///{path}"


def postgresql() -> str:
    """A database of this process's cluster that nobody else has, with all tables and no rows."""
    return postgres.fresh_database(like=_empty_database())


@contextmanager
def lent_postgresql() -> Iterator[str]:
    """A database as `postgresql()` makes it, until the end of the block.

    Then its rows go and somebody else gets it, under another name, so that a thread which was left behind does not
    find it. A copy is 300 files and 7 MB: of hundreds, most of the time would go into the disk. One whose tables are
    not as they were is not lent again.
    """
    url = _spare.pop() if _spare else postgresql()
    yield url
    renamed = postgres.renamed(url)
    if _shape(renamed) == _shape_of_empty():
        _delete_rows(renamed)
        _spare.append(renamed)


_spare: list[str] = []
SHAPE = """
    SELECT (SELECT array_agg((conrelid::regclass::text, conname, convalidated)::text ORDER BY 1) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace),
           (SELECT array_agg((attrelid::regclass::text, attname, attnum, atttypid, attnotnull)::text ORDER BY 1)
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid WHERE relnamespace = 'public'::regnamespace),
           (SELECT array_agg((tgrelid::regclass::text, tgname, tgenabled)::text ORDER BY 1) FROM pg_trigger
            WHERE NOT tgisinternal),
           (SELECT array_agg((relname, relkind, relacl)::text ORDER BY 1) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace)
"""


def _shape(url: str) -> object:
    with psycopg.connect(url) as connection:
        return connection.execute(SHAPE).fetchone()


@cache
def _shape_of_empty() -> object:
    return _shape(_empty_database())


def _delete_rows(url: str) -> None:
    """Without asking whether one table refers to another: all of them go. TRUNCATE writes new files for each."""
    kept = {"alembic_version"}
    with psycopg.connect(url, autocommit=True) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        connection.execute("SET session_replication_role = replica")
        for name in sorted({str(name) for (name,) in tables} - kept):
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))


@cache
def _empty_file() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="empty-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    upgrade(f"sqlite:///{directory / 'signing.db'}")  # closed behind itself: the file is all there is of it
    assert [path.name for path in directory.iterdir()] == ["signing.db"]
    return directory / "signing.db"


@cache
def _empty_database() -> str:
    url = postgres.fresh_database()
    upgrade(url)
    return url
