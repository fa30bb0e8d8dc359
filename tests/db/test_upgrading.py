"""A database that has lived comes through a migration with everything it had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import IntegrityError

from signing_service.db import migrate
from signing_service.db.engine import Database
from tests.support import postgres

AT = "2026-01-02 03:04:05+00:00"
LIVED = (
    "INSERT INTO seed (id, owner, state, blob, created_at, mac) VALUES ('sd_1', 'sg_1', 'active', 'b', :at, 'm')",
    "INSERT INTO credential (id, kind, signatory_id, agency_code, key_kind, algorithm, custody, state, created_at,"
    " version, mac) VALUES ('cr_1', 'personal', 'sg_1', 'H26', 'p-256', 'x', 'wrapped', 'active', :at, 3, 'm')",
    "INSERT INTO confirmation (id, owner, step, client_id, channel, matching_code, created_at)"
    " VALUES ('co_1', 'sg_1', 7, 'cl_1', 'client', '123456', :at)",
)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=postgres.requires_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return postgres.fresh_database() if request.param == "postgresql" else f"sqlite:///{tmp_path}/signing.db"


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """A database of the first version in which things have happened."""
    database = Database(url, pool_size=2)
    with database.write() as tx:
        _to(tx, "0001")
    with database.write() as tx:
        for statement in LIVED:
            tx.execute(text(statement), {"at": AT})
    yield database
    database.close()


def _to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.MIGRATIONS))
    config.attributes["connection"] = connection
    (command.downgrade if revision == "back" else command.upgrade)(config, "0001" if revision == "back" else revision)


def test_everything_is_still_there_and_what_is_new_is_empty(url: str, database: Database) -> None:
    migrate.upgrade(url)
    with database.read() as tx:
        seed = tx.execute(text("SELECT owner, state, version FROM seed")).one()
        held = tx.execute(text("SELECT signatory_id, version, serial, fingerprint FROM credential")).one()
        said = tx.execute(text("SELECT owner, step, client_id, phone_id, matching_code FROM confirmation")).one()
    assert tuple(seed) == ("sg_1", "active", 1)
    assert tuple(held) == ("sg_1", 3, None, None)
    assert tuple(said) == ("sg_1", 7, "cl_1", None, "123456")


def test_a_step_is_still_spent_once_and_a_phones_confirmation_has_no_client(url: str, database: Database) -> None:
    migrate.upgrade(url)
    added = ("INSERT INTO confirmation (id, owner, step, phone_id, channel, matching_code, created_at)"
             " VALUES (:id, 'sg_1', :step, 'ph_1', 'phone', '654321', :at)")
    with database.write() as tx:
        tx.execute(text(added), {"id": "co_2", "step": 8, "at": AT})
    with pytest.raises(IntegrityError), database.write() as tx:
        tx.execute(text(added), {"id": "co_3", "step": 7, "at": AT})


def test_the_program_of_the_version_before_can_still_write(url: str, database: Database) -> None:
    """Expand only: both versions may run side by side during an upgrade."""
    migrate.upgrade(url)
    with database.write() as tx:
        for statement in LIVED:
            later = statement.replace("_1', 'sg_1'", "_2', 'sg_2'").replace("'cr_1'", "'cr_2'").replace("sg_1", "sg_2")
            tx.execute(text(later), {"at": AT})
        assert tx.execute(text("SELECT version FROM seed WHERE owner = 'sg_2'")).scalar_one() == 1


def test_the_way_back_leaves_the_first_shape(url: str, database: Database) -> None:
    migrate.upgrade(url)
    with database.write() as tx:
        _to(tx, "back")
    with database.read() as tx:
        looked = inspect(tx)
        assert not {"phone", "ticket", "auditor", "account", "session"} & set(looked.get_table_names())
        assert {"version"} & {column["name"] for column in looked.get_columns("seed")} == set()
        client = next(each for each in looked.get_columns("confirmation") if each["name"] == "client_id")
        assert not client["nullable"]
        assert tx.execute(text("SELECT count(*) FROM confirmation")).scalar_one() == 1
