from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from signing_service.db import migrate
from signing_service.db.engine import Database
from signing_service.db.tables import metadata
from signing_service.errors import WrongState
from tests.support import postgres


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=postgres.requires_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return postgres.fresh_database() if request.param == "postgresql" else f"sqlite:///{tmp_path}/signing.db"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url, pool_size=2)
    yield database
    database.close()


def test_the_migrations_make_exactly_the_tables_that_the_code_uses(url: str, database: Database) -> None:
    migrate.upgrade(url)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_an_empty_database_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(WrongState, match="database migrate"):
        migrate.check(url)


def test_a_migrated_database_is_accepted_and_migrating_it_again_changes_nothing(url: str) -> None:
    assert migrate.upgrade(url) == migrate.upgrade(url) == migrate.current(url) == migrate.head()
    migrate.check(url)


def test_a_database_from_the_future_is_refused(url: str, database: Database) -> None:
    migrate.upgrade(url)
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(WrongState, match="9999"):
        migrate.check(url)


@postgres.requires_postgres
def test_two_nodes_that_migrate_at_one_moment_both_succeed() -> None:
    url = postgres.fresh_database()
    with ThreadPoolExecutor(2) as nodes:
        done = list(nodes.map(_in_a_process, [url, url]))
    assert done == [0, 0]
    migrate.check(url)


def _in_a_process(url: str) -> int:
    program = f"from signing_service.db import migrate; migrate.upgrade({url!r})"
    return subprocess.run([sys.executable, "-c", program], check=False).returncode
