"""What waits is written together, and what does not fit is found by halves: nobody pays for a neighbour.

A set of conditional writes either takes effect as a whole, or is rolled back to before it and tried in two halves,
down to the one that does not fit. So n good ones cost the statements of one, and one bad one among n costs log n times
as many.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from signing_service.db.compiled import run_plainly
from signing_service.errors import SigningError

T = TypeVar("T")
R = TypeVar("R")
# A refusal, or a row that cannot be read. An outage, or an entry that cannot be written, is neither and goes through.
Unfit = SigningError | ValueError | TypeError
POINT = "together"


def together(
    tx: Connection, items: Sequence[T], work: Callable[[Sequence[T]], list[R]], *, refused: Callable[[T, Unfit], R],
) -> list[R]:
    """What `work` gives for each, in order; `refused` says what it is for one that does not fit even alone.

    `work` raises where any of its items does not fit, and all that it wrote is undone.
    """
    if not items:
        return []
    run_plainly(tx, f"SAVEPOINT {POINT}")  # begin_nested() says the same, and costs ten times as much
    try:
        answers = work(items)
    except (SigningError, ValueError, TypeError) as error:
        run_plainly(tx, f"ROLLBACK TO SAVEPOINT {POINT}")
        run_plainly(tx, f"RELEASE SAVEPOINT {POINT}")
        if len(items) == 1:
            return [refused(items[0], error)]
    else:
        run_plainly(tx, f"RELEASE SAVEPOINT {POINT}")
        return answers
    middle = len(items) // 2
    return [answer for half in (items[:middle], items[middle:])
            for answer in together(tx, half, work, refused=refused)]
