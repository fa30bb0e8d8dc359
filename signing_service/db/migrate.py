"""Bringing a database to the shape this version expects, and refusing to work on any other shape.

Migrations are expand, then contract: a version adds what it needs, and only the version after it removes what is
no longer used, so that two versions may run side by side during an upgrade.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from signing_service.db.engine import Database
from signing_service.errors import WrongState

MIGRATIONS = Path(__file__).with_name("migrations")
ONE_AT_A_TIME = 7_411_983_246_501  # any fixed number: the key of a PostgreSQL advisory lock


def upgrade(url: str) -> str:
    """Bring the database at `url` to this version's shape, in one transaction, and return its revision.

    Repeatable, and safe to start on several nodes at once: the second waits, and finds nothing to do. Raises
    WrongState for a database that a later version has brought to a shape we do not know.
    """
    with _opened(url) as database, database.write() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
        _check_known(_revision(connection))
        _upgrade(connection)
        return _revision(connection) or ""


def current(url: str) -> str | None:
    """The revision the database says it has; None for a database without our tables."""
    with _opened(url) as database, database.read() as connection:
        return _revision(connection)


def head() -> str:
    """The revision this version of the program expects: the last of the migrations, which their names count."""
    return max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def check(url: str) -> None:
    """Raises WrongState unless the database has exactly the shape this version expects."""
    found, expected = current(url), head()
    if found is None:
        remedy = "Run `signing-service database migrate`."
        raise WrongState(f"The database has no tables yet. {remedy}", code="database-empty")
    if found != expected:
        raise WrongState(
            f"The database is at revision {found} and this version expects {expected}. "
            "Run `signing-service database migrate` with the newest version.", code="database-revision",
        )


def _check_known(revision: str | None) -> None:
    from alembic.script import ScriptDirectory  # alembic only where it is needed: each process looks at its start

    known = {script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()}
    if revision is not None and revision not in known:
        raise WrongState(f"The database is at revision {revision}, which this version does not know: it was migrated "
                         "by a later one. Run that.", code="database-revision")


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        database.close()


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _revision(connection: Connection) -> str | None:
    """What alembic has written into its table."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
