"""Time that does not run back: the signer refuses to sign when it did, or when the database disagrees."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from signing_service.db.compiled import Compiled
from signing_service.db.tables import clock
from signing_service.errors import Unavailable
from signing_service.signer.runtime import Runtime

TOLERANCE = timedelta(seconds=2)       # ordinary clocks are stepped by less
DRIFT = timedelta(seconds=30)          # from PostgreSQL's, and from the time that passed: one code step
EVERY = timedelta(seconds=1)           # the mark is raised at most so often: not a write for each signature

_MARK = Compiled(select(clock.c.high_water).where(clock.c.id == 1))
_RAISE = Compiled(update(clock).where(clock.c.id == 1, clock.c.high_water < bindparam("now"))
                  .values(high_water=bindparam("now")))


def look(rt: Runtime) -> None:
    """The same question without anything to sign, so that a wrong clock is seen before somebody is refused."""
    with rt.db.write() as tx:
        check(rt, tx)


def check(rt: Runtime, tx: Connection) -> datetime:
    """The present moment, if it can be trusted; raises Unavailable where time ran back or disagrees.

    Raises the high-water mark in the same transaction, so that a restart does not forget it.
    """
    now = rt.now()
    found = _MARK.first(tx, {})
    mark = None if found is None else found.high_water
    if mark is not None and now < mark - TOLERANCE:
        raise Unavailable("The signer's clock ran back. Nothing is signed until it is right.", code="clock",
                          retry_after=30)
    if rt.pace is not None and abs(rt.pace.ahead(now)) > DRIFT:
        raise Unavailable("The signer's clock was set while it ran. Nothing is signed until it is right again, or the "
                          "signer is started anew.", code="clock", retry_after=30)
    theirs = rt.database_clock(tx)
    if theirs is not None and abs(theirs - now) > DRIFT:
        raise Unavailable("The clocks of signer and database disagree. Nothing is signed until they agree.",
                          code="clock", retry_after=30)
    if mark is None:
        with suppress(IntegrityError), tx.begin_nested():  # another signer's first mark is as good
            tx.execute(insert(clock).values(id=1, high_water=now))
    elif now > mark + EVERY:
        _RAISE.run(tx, {"now": now})
    return now
