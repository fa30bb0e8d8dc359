"""Connections to SQLite or PostgreSQL that behave the same where it matters.

SQLite: WAL, `synchronous=FULL` (a commit that returned is on disk), `BEGIN IMMEDIATE` (a writer waits its turn
instead of failing half-way). PostgreSQL: READ COMMITTED, connections that rested are checked before use.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from signing_service.db.compiled import run_plainly
from signing_service.errors import Unavailable

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")

FRESH_SECONDS = 1.0  # a connection that was used so lately is not asked whether it is still there
LOCK_SECONDS = 10  # how long a PostgreSQL statement waits for somebody else's row
# A machine that vanished without a word is noticed within half a minute by both ends: else we would wait for its
# answer, and its row locks would live, as long as TCP believes in it, which is hours.
KEEPALIVE = {
    "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
}
SERVER_KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
BUSY_SECONDS = 15  # how long an SQLite writer waits for its turn; the signer holds the lock for milliseconds


class Database:
    """A pool of connections. `write()` commits at the end of its block or rolls back whole; `read()` never writes."""

    def __init__(self, url: str, *, pool_size: int = 8) -> None:
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _sqlite(url, pool_size) if self.is_sqlite else _postgresql(url, pool_size)
        self._threads = ThreadPoolExecutor(pool_size, thread_name_prefix="db")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is durable when the block has ended without an exception.

        Raises Unavailable where the database is away or full; then nothing of the block was kept, unless the
        connection broke during COMMIT, which callers resolve by looking for their key.
        """
        with _translated(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading. Whatever it writes is rolled back."""
        with _translated(), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.execution_options(signing_read=True)
            yield connection

    async def run(self, block: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run one synchronous database block in a thread of the pool, as many at a time as there are connections."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: block(*args, **kwargs))

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise Unavailable("The database is busy. Try again shortly.", code="database-busy", retry_after=2) from error
    except DBAPIError as error:
        if _is_outage(error):
            log.warning("the database does not answer: %s", error.orig)
            raise Unavailable("The database does not answer. Try again shortly.", code="database-away") from error
        raise


def _is_outage(error: DBAPIError) -> bool:
    """Is the database at fault (away, locked, full, read-only), and not the statement?"""
    return error.connection_invalidated or type(error).__name__ in {"OperationalError", "InterfaceError"}


def _postgresql(url: str, pool_size: int) -> Engine:
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size, max_overflow=2, pool_timeout=5, isolation_level="READ COMMITTED",
        connect_args={
            "connect_timeout": 5, **KEEPALIVE,
            "options": f"-c timezone=UTC -c lock_timeout={LOCK_SECONDS}s {SERVER_KEEPALIVE}",
        },
    )
    _check_what_rested(engine)
    return engine


def _check_what_rested(engine: Engine) -> None:
    """A connection that was used a moment ago is taken as it is; any other is asked first.

    With the first that turns out to be gone, here or in use, all others of the pool are replaced as well.
    """

    @event.listens_for(engine, "checkin")
    def rest(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["rests_since"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def check(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        if time.monotonic() - record.info.get("rests_since", math.inf) < FRESH_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error  # the pool replaces it, and the others


def _sqlite(url: str, pool_size: int) -> Engine:
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url, poolclass=QueuePool, pool_size=pool_size, max_overflow=2, pool_timeout=BUSY_SECONDS,
        connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver must not open transactions behind our back
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get("signing_read", False)
        run_plainly(connection, "BEGIN" if reading else "BEGIN IMMEDIATE")

    if path and path != ":memory:" and Path(path).exists():
        os.chmod(path, 0o640)
    return engine
