"""Connections that end: a machine that vanished or a lock that nobody gives up must not stop us for ever."""

from __future__ import annotations

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


def test_what_is_read_is_never_written(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a.db'}", pool_size=1)
    with database.write() as tx:
        tx.execute(text("CREATE TABLE thing (id int)"))
    with database.read() as tx:
        tx.execute(text("INSERT INTO thing VALUES (1)"))
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM thing")).scalar_one() == 0
    database.close()
