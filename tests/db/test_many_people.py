"""What is asked of people is found by an index: a hundred thousand of them are not read for one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from signing_service import counting, filters, naming
from signing_service.credentials import State
from signing_service.db.engine import Database
from signing_service.db.tables import credential, signatory
from signing_service.inspection import Reader
from tests.support import databases

NOW, EVERYBODY = datetime(2026, 1, 1, tzinfo=UTC), Reader("auditor:au_test")
ASKED: dict[str, Callable[[Connection], Any]] = {
    "whose certificate ends soon": lambda tx: counting.expiring(tx, EVERYBODY, NOW),
    "whose key is still to be made": lambda tx: tx.execute(
        select(credential.c.id).where(credential.c.state == State.MAKING_KEY)).all(),
    "whose certificate has no fingerprint yet": lambda tx: tx.execute(select(credential.c.id).where(
        credential.c.fingerprint.is_(None), credential.c.certificate.is_not(None)).limit(1)).all(),
    "who has this name": lambda tx: naming.ids_of(tx, signatory, "Nguyễn Văn A"),
    "whose certificate this is": lambda tx: filters.credentials_of(tx, "0a1b2c"),
}


@pytest.mark.parametrize("case", ASKED, ids=str)
def test_nobody_else_is_read(case: str, tmp_path: Path) -> None:
    db, asked = Database(databases.sqlite(tmp_path)), list[tuple[str, Any]]()
    event.listen(db.engine, "before_cursor_execute", lambda _c, _u, said, values, _x, _m: asked.append((said, values)))
    with db.read() as tx:
        ASKED[case](tx)
        said = [each for each in asked if each[0].startswith("SELECT")]
        plans = [str(tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}", values).all()) for each, values in said]
    db.close()
    assert plans
    assert not [plan for plan in plans if "SCAN " in plan], plans
