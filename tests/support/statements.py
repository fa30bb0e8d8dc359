"""What is asked of a database while a block runs.

    with statements(world.rt.db) as asked: ...
    assert (len(asked), asked.commits) == (5, 1)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event

from signing_service.db.engine import Database


@dataclass
class Asked:
    """Statements in the order in which they ran, without BEGIN and COMMIT, and how many commits there were."""

    statements: list[str] = field(default_factory=list)
    commits: int = 0

    def of(self, word: str) -> int:
        """How many statements begin with this word, such as INSERT."""
        return sum(each.lstrip().upper().startswith(word) for each in self.statements)

    def __len__(self) -> int:
        return len(self.statements)


@contextmanager
def statements(db: Database) -> Iterator[Asked]:
    asked = Asked()

    def heard(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if not statement.startswith("BEGIN"):
            asked.statements.append(statement)

    def committed(_connection: Any) -> None:
        asked.commits += 1

    event.listen(db.engine, "before_cursor_execute", heard)
    event.listen(db.engine, "commit", committed)
    try:
        yield asked
    finally:
        event.remove(db.engine, "before_cursor_execute", heard)
        event.remove(db.engine, "commit", committed)
