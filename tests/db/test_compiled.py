"""Statements that are run on the driver's own connection: as SQLAlchemy would have run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Float, bindparam, delete, func, insert, literal, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from signing_service.db.compiled import Compiled, CompiledList
from signing_service.db.engine import Database
from signing_service.db.inserting import unless_there
from signing_service.db.tables import agency, client, credential, job_lease, outbox, timestamp_token
from signing_service.errors import Unavailable
from tests.support import databases, postgres
from tests.support.statements import statements

NOW = datetime(2026, 11, 22, 8, 30, 15, 123456, tzinfo=UTC)
CLIENT = {"id": "cl_1", "name": "Văn phòng", "role": "submitter", "state": "active", "secret_hash": "0" * 64,
          "agencies": ["H26.1", "H26.2"], "created_at": NOW}
BY_ID = select(client).where(client.c.id == bindparam("id"))
LEASES = CompiledList(lambda names: select(job_lease).where(job_lease.c.name.in_(names)).order_by(job_lease.c.name))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=postgres.requires_postgres)])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = databases.sqlite(tmp_path) if request.param == "sqlite" else databases.postgresql()
    with closing(Database(url, pool_size=1)) as database:
        yield database


def test_rows_are_those_that_sqlalchemy_gives(db: Database) -> None:
    added = Compiled(insert(client).returning(*client.c))
    rows: dict[Any, list[Any]] = {
        agency: [{"code": "H26", "name": "Sở", "level": "city", "parent_code": None, "valid_from": NOW,
                  "valid_to": NOW.astimezone() + timedelta(days=1)}],
        timestamp_token: [{"signing_request_id": "sr_1", "authority": "own", "token": b"\x00\xff", "created_at": NOW}],
    }
    with db.write() as tx:
        assert tuple(added.first(tx, CLIENT)) == tuple(tx.execute(BY_ID, {"id": "cl_1"}).one())
        for table, values in rows.items():
            for each in values:
                assert Compiled(insert(table)).run(tx, each) == 1
            told = Compiled(select(table)).all(tx, {})
            assert [each._asdict() for each in told] == [dict(each) for each in tx.execute(select(table)).mappings()]
        found = Compiled(BY_ID).first(tx, {"id": "cl_1"})
        assert (found.agencies, found.created_at) == (["H26.1", "H26.2"], NOW)
        assert Compiled(BY_ID).first(tx, {"id": "cl_2"}) is None


def test_each_row_keeps_its_own_moment_whether_or_not_the_row_before_had_the_same(db: Database) -> None:
    moments = [NOW, NOW, None, NOW + timedelta(seconds=1), None, NOW, NOW.astimezone()]
    added = Compiled(insert(agency))
    with db.write() as tx:
        added.many(tx, [{"code": f"H{at}", "name": "Sở", "level": "city", "parent_code": None, "valid_from": NOW,
                         "valid_to": moment} for at, moment in enumerate(moments)])
        told = tx.execute(select(agency.c.valid_to).order_by(agency.c.code)).scalars().all()
        assert told == moments
        with pytest.raises(ValueError, match="without a time zone"):
            added.many(tx, [{"code": "H9", "name": "Sở", "level": "city", "parent_code": None, "valid_from": NOW,
                             "valid_to": NOW.replace(tzinfo=None)}])


def test_values_that_stand_in_the_statement_and_values_that_are_given(db: Database) -> None:
    suspend = Compiled(update(client).where(client.c.id == bindparam("which"), client.c.state == "active")
                       .values(state="suspended", name=bindparam("called")).returning(client.c.name))
    with db.write() as tx:
        tx.execute(insert(client), CLIENT)
        assert suspend.first(tx, {"which": "cl_1", "called": "Hết"}).name == "Hết"
        assert suspend.first(tx, {"which": "cl_1", "called": "Hết"}) is None
        assert Compiled(delete(client).where(client.c.id == bindparam("which"))).run(tx, {"which": "cl_1"}) == 1


def test_a_value_that_is_asked_for_twice_is_given_once(db: Database) -> None:
    either = Compiled(select(client.c.id).where(or_(client.c.id == bindparam("x"), client.c.name == bindparam("x"))))
    with db.write() as tx:
        tx.execute(insert(client), CLIENT)
        assert [either.first(tx, {"x": each}).id for each in ("cl_1", "Văn phòng")] == ["cl_1", "cl_1"]


def test_numbers_that_the_database_makes(db: Database) -> None:
    made = select(func.count(), func.sum(bindparam("x", type_=Float)), func.max(literal(1.5)), func.max(literal(7)))
    with db.read() as tx:
        told = Compiled(made.with_only_columns(*(each.label(f"c{n}") for n, each in enumerate(made.selected_columns))))
        assert tuple(told.first(tx, {"x": 2.25})) == (1, 2.25, 1.5, 7)


def test_lists_of_any_length(db: Database) -> None:
    with db.write() as tx:
        for number in range(9):
            tx.execute(insert(job_lease), {"name": f"job {number}", "holder": "jb", "expires_at": NOW})
        for length in range(10):
            wanted = [f"job {number}" for number in range(length)]
            assert [each.name for each in LEASES.all(tx, wanted)] == wanted
        assert [each.name for each in LEASES.all(tx, iter(["job 3", "nothing", "job 1"]))] == ["job 1", "job 3"]


def test_many_rows_in_one_go(db: Database) -> None:
    leases = [{"name": f"job {number}", "holder": "jb", "expires_at": NOW} for number in range(3)]
    added = Compiled(insert(job_lease))
    with db.write() as tx:
        assert added.many(tx, leases) == 3
        assert added.many(tx, []) == 0
        assert [each.name for each in LEASES.all(tx, ["job 0", "job 1", "job 2"])] == ["job 0", "job 1", "job 2"]
        with pytest.raises(KeyError):
            added.many(tx, [leases[0] | {"name": "job 4"}, {"name": "job 5", "holder": "jb"}])


def test_an_insert_for_each_database_says_who_was_first(db: Database) -> None:
    taken = Compiled(unless_there(job_lease))
    lease = {"name": "sweep", "holder": "jb_1", "expires_at": NOW}
    with db.write() as tx:
        assert taken.first(tx, lease).name == "sweep"
        assert taken.first(tx, lease | {"holder": "jb_2"}) is None


def test_what_is_read_is_rolled_back(db: Database) -> None:
    with db.read() as tx:
        Compiled(insert(client)).run(tx, CLIENT)
    with db.read() as tx:
        assert Compiled(BY_ID).first(tx, {"id": "cl_1"}) is None


def test_a_read_sees_one_moment_on_sqlite(tmp_path: Path) -> None:
    """Of several statements in one block, too: a transaction was begun before the first."""
    with closing(Database(databases.sqlite(tmp_path), pool_size=2)) as database, database.read() as reading:
        assert Compiled(BY_ID).first(reading, {"id": "cl_1"}) is None
        with database.write() as tx:
            Compiled(insert(client)).run(tx, CLIENT)
        assert Compiled(BY_ID).first(reading, {"id": "cl_1"}) is None


def test_errors_are_those_of_sqlalchemy_and_nothing_is_kept(db: Database) -> None:
    with pytest.raises(IntegrityError):
        _add_twice(db)
    with db.write() as tx:
        assert Compiled(BY_ID).first(tx, {"id": "cl_1"}) is None
        Compiled(insert(client)).run(tx, CLIENT)


def _add_twice(db: Database) -> None:
    with db.write() as tx:
        Compiled(insert(client)).run(tx, CLIENT)
        Compiled(insert(client)).run(tx, CLIENT)


@postgres.requires_postgres
def test_a_connection_that_broke_is_unavailable_once_and_not_used_again() -> None:
    with closing(Database(databases.postgresql(), pool_size=1)) as database:
        with pytest.raises(Unavailable) as refused:
            _is_killed_while_it_reads(database)
        assert refused.value.code == "database-away"
        with database.write() as tx:
            assert Compiled(BY_ID).first(tx, {"id": "cl_1"}) is None


def _is_killed_while_it_reads(database: Database) -> None:
    with database.write() as tx:
        Compiled(BY_ID).first(tx, {"id": "cl_1"})
        _kill(tx)
        Compiled(BY_ID).first(tx, {"id": "cl_1"})


def _kill(tx: Connection) -> None:
    process = tx.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with psycopg.connect(tx.engine.url.set(drivername="postgresql").render_as_string(False)) as other:
        other.execute("SELECT pg_terminate_backend(%s, 5000)", (process,))


WRONG = {
    "a value is missing": (Compiled(BY_ID), {}),
    "a value too many, which no column would take": (Compiled(BY_ID), {"id": "cl_1", "name": "x"}),
    "another value": (Compiled(BY_ID), {"name": "cl_1"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_values_have_exactly_the_names_of_the_statement(db: Database, case: str) -> None:
    statement, values = WRONG[case]
    with pytest.raises(KeyError), db.read() as tx:
        statement.first(tx, values)


def test_a_column_is_not_dropped_because_the_first_row_had_none(db: Database) -> None:
    added = Compiled(insert(client))
    with db.write() as tx:
        added.run(tx, CLIENT)
        with pytest.raises(KeyError):
            added.run(tx, CLIENT | {"id": "cl_2", "webhook_url": "https://example.vn/"})


def test_what_is_not_the_same_text_each_time_is_refused(db: Database) -> None:
    listed = select(client).where(client.c.id.in_(bindparam("ids", expanding=True)))
    with pytest.raises(ValueError, match="same text"), db.read() as tx:
        Compiled(listed).all(tx, {"ids": ["cl_1"]})


def test_they_are_heard_by_who_counts_statements(db: Database) -> None:
    with statements(db) as asked, db.read() as tx:
        Compiled(select(credential.c.id)).all(tx, {})
        Compiled(select(outbox.c.id)).all(tx, {})
    assert len(asked) == 2
