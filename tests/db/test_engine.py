"""Connections that end: a machine that vanished or a lock that nobody gives up must not stop us for ever."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from signing_service.db import engine
from signing_service.db.engine import Database
from signing_service.errors import Unavailable
from tests.support import postgres


@postgres.requires_postgres
def test_a_lock_that_nobody_gives_up_is_unavailable_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LOCK_SECONDS", 1)
    url = postgres.fresh_database()
    database = Database(url, pool_size=1)
    with psycopg.connect(url) as other:
        other.execute("CREATE TABLE thing (id int)")
        other.commit()
        other.execute("LOCK TABLE thing")
        with pytest.raises(Unavailable), database.write() as tx:
            tx.execute(text("INSERT INTO thing VALUES (1)"))
    with database.write() as tx:
        tx.execute(text("INSERT INTO thing VALUES (1)"))
    database.close()


@postgres.requires_postgres
def test_both_ends_of_a_connection_notice_that_the_other_machine_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    connect = psycopg.connect
    monkeypatch.setattr(psycopg, "connect", lambda *args, **more: asked.update(more) or connect(*args, **more))
    database = Database(postgres.fresh_database(), pool_size=1)
    with database.read() as tx:
        tx.execute(text("SELECT 1"))
    database.close()
    assert {"keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"} <= asked.keys()
    assert "tcp_keepalives_idle" in str(asked["options"])


RESTED = {
    "what was used a moment ago is not asked whether it is there": (3600.0, True),
    "what rested is asked, and replaced without a word": (0.0, False),
}


@postgres.requires_postgres
@pytest.mark.parametrize("case", RESTED)
def test_a_connection_that_was_ended_while_it_rested(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    fresh_seconds, is_noticed = RESTED[case]
    monkeypatch.setattr(engine, "FRESH_SECONDS", fresh_seconds)
    url = postgres.fresh_database()
    with closing(Database(url, pool_size=2)) as database:
        with database.read() as one, database.read() as other:
            ended = [each.execute(text("SELECT pg_backend_pid()")).scalar_one() for each in (one, other)]
        with psycopg.connect(url) as administrator:
            for process in ended:
                administrator.execute("SELECT pg_terminate_backend(%s, 5000)", (process,))
        if is_noticed:
            with pytest.raises(Unavailable), database.read() as tx:
                tx.execute(text("SELECT 1"))
        for _ in range(3):  # and the second of the two is not tried at all
            with database.write() as tx:
                assert tx.execute(text("SELECT pg_backend_pid()")).scalar_one() not in ended


def test_what_is_read_is_never_written(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}", pool_size=1)
    with database.write() as tx:
        tx.execute(text("CREATE TABLE thing (id int)"))
    with database.read() as tx:
        tx.execute(text("INSERT INTO thing VALUES (1)"))
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM thing")).scalar_one() == 0
    database.close()
