"""A city that was made once and is begun from again and again: for stories that come by the thousand.

    with prepared("postgresql", people) as begun:    # `people(city)`: who is there when a story begins
        city, device, there = begun.begins()        # as it was, on a clock of its own
        ...
        begun.ends(city)
        lives(Machine, begun, 1_000, 30)            # or hypothesis tells the stories

One database serves them all, one story after the other: an SQLite file that is copied (in memory, where there is
/dev/shm), or the rows of a PostgreSQL database, kept in a schema beside. What the driver and SQLAlchemy have learned of
it stays as well.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import urlsplit

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from psycopg import sql

from signing_service.db.engine import Database
from signing_service.signer.runtime import Runtime
from tests.support import campaign, databases
from tests.support.city import City, Clock, runtime
from tests.support.memory_device import MemoryDevice

T = TypeVar("T")
Machine = type[RuleBasedStateMachine]
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # `dir` of a temporary directory


class Prepared(Generic[T]):
    """`url` is a migrated database without rows that nobody else uses."""

    def __init__(self, url: str, directory: Path, people: Callable[[City], T]) -> None:
        self.url, self._directory = url, directory
        self._database = Database(url, pool_size=6)
        self._device, clock = MemoryDevice(), Clock()
        self._city = City(runtime(url, directory, self._device, clock, db=self._database), clock)
        self._there = people(self._city)
        self._city.desk.close()
        self._city.confirmations.close()
        self._database.engine.dispose()
        self._kept = _KeptFile(url) if self._database.is_sqlite else _KeptRows(url)

    def begins(self) -> tuple[City, MemoryDevice, T]:
        self._kept.restore()
        device, clock = self._device.copy(), Clock()
        clock.at = self._city.clock.at
        return self._city.resumed(self.restarted(device, clock), clock), device, self._there

    def restarted(self, device: MemoryDevice, clock: Clock) -> Runtime:
        """Another signer on the same database: the connections of the one before are gone."""
        self._database.engine.dispose()
        return runtime(self.url, self._directory, device, clock, db=self._database)

    def ends(self, city: City) -> None:
        """Nobody of this story is left when the next one begins."""
        city.desk.close()
        city.confirmations.close()
        self._database.engine.dispose()

    def close(self) -> None:
        self._database.close()


class _KeptFile:
    """An SQLite database after its last connection was closed: one file."""

    def __init__(self, url: str) -> None:
        self._path = Path(urlsplit(url).path)
        self._content = self._path.read_bytes()

    def restore(self) -> None:
        for name in ("-wal", "-shm"):
            self._path.with_name(self._path.name + name).unlink(missing_ok=True)
        self._path.write_bytes(self._content)


class _KeptRows:
    """The rows of a PostgreSQL database, as they were, in a schema `kept`."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename").fetchall()
            self._tables = [sql.Identifier(str(name)) for (name,) in found if name != "alembic_version"]
            connection.execute("CREATE SCHEMA kept")
            for table in self._tables:
                connection.execute(sql.SQL("CREATE TABLE kept.{0} AS TABLE public.{0}").format(table))

    def restore(self) -> None:
        """Without asking which table refers to which: all of them come back as they were."""
        with psycopg.connect(self._url) as connection:
            connection.execute("SET session_replication_role = replica")
            for table in self._tables:
                connection.execute(sql.SQL("DELETE FROM public.{}").format(table))
                connection.execute(sql.SQL("INSERT INTO public.{0} SELECT * FROM kept.{0}").format(table))


@contextmanager
def prepared(database: str, people: Callable[[City], T]) -> Iterator[Prepared[T]]:
    """On `sqlite` or `postgresql`, until the end of the block."""
    directory = Path(tempfile.mkdtemp(prefix="prepared-", dir=MEMORY))
    made = Prepared(databases.sqlite(directory) if database == "sqlite" else databases.postgresql(), directory, people)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(directory)


def lives(machine: Machine, begun: Prepared[T], sequences: int, steps: int) -> dict[str, object]:
    """So many lives of up to so many steps. The machine finds `prepared` and counts in `done`; figures come back."""
    done: Counter[str] = Counter()
    kind = type(machine.__name__, (machine,), {"prepared": begun, "done": done})
    started = time.process_time()
    run_state_machine_as_test(kind, settings=settings(
        max_examples=sequences, stateful_step_count=steps, deadline=None, derandomize=not campaign.FULL,
        database=None, suppress_health_check=list(HealthCheck)))
    return {**done, "cpu_seconds": round(time.process_time() - started)}
