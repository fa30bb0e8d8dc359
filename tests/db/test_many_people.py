"""What is asked of people and their documents is found by an index: a hundred thousand of them are not read for one."""

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
from signing_service.db.tables import credential, entry, signatory
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
    plans = _plans(tmp_path, ASKED[case])
    assert plans
    assert not [plan for plan in plans if "SCAN " in plan], plans


# What of the words an index leads to: the others are asked of what it finds.
WORDS: dict[str, tuple[dict[str, str], str]] = {
    "a number": ({"number": "7"}, "ix_request_number (number=?)"),
    "a number and a symbol": ({"number": "7", "symbol": "CV-UBND"}, "ix_request_number (number=? AND symbol=?)"),
    "a number and a type": ({"number": "7", "document_type": "CV"}, "ix_request_number (number=?)"),
    "a symbol and a type": ({"symbol": "QĐ-UBND", "document_type": "CV"},
                            "ix_request_symbol (symbol=? AND document_type=?)"),
    "all of them": ({"number": "7", "symbol": "CV-UBND", "document_type": "CV"},
                    "ix_request_number (number=? AND symbol=? AND document_type=?)"),
    "a type": ({"document_type": "CV"}, "ix_request_type (document_type=?)"),
}


@pytest.mark.parametrize("case", WORDS, ids=str)
def test_words_that_never_meet_are_not_looked_for_among_all_that_has_one_of_them(case: str, tmp_path: Path) -> None:
    words, index = WORDS[case]
    plans = _plans(tmp_path, lambda tx: filters.filters_of(tx, EVERYBODY, filters.Wanted(**words)))  # type: ignore[arg-type]  # only texts
    assert len(plans) == 1
    assert index in plans[0]


def test_whose_an_entry_is_is_asked_of_its_request_alone(tmp_path: Path) -> None:
    """A join would read every request of a type that was ever made."""
    asked = select(entry.c.id).where(filters.OfDocuments((("document_type", "CV"),)).holds(entry.c))
    plan, = _plans(tmp_path, lambda tx: tx.execute(asked).all())
    assert "CORRELATED SCALAR SUBQUERY" in plan
    assert "signing_request USING INDEX sqlite_autoindex_signing_request_1 (id=?)" in plan


def _plans(directory: Path, ask: Callable[[Connection], Any]) -> list[str]:
    db, asked = Database(databases.sqlite(directory)), list[tuple[str, Any]]()
    event.listen(db.engine, "before_cursor_execute", lambda _c, _u, said, values, _x, _m: asked.append((said, values)))
    with db.read() as tx:
        ask(tx)
        said = [each for each in asked if each[0].startswith("SELECT")]
        plans = [str(tx.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}", values).all()) for each, values in said]
    db.close()
    return plans
