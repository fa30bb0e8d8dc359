"""Leases: who is alive, and who may sequence the log. Taken and kept by a conditional UPDATE."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from signing_service.db.compiled import Compiled
from signing_service.db.tables import lease
from signing_service.errors import Unavailable
from signing_service.signer.runtime import Runtime

SEQUENCER = "sequencer"

_KEEP = Compiled(update(lease).where(lease.c.name == bindparam("which"), lease.c.holder == bindparam("who"))
                 .values(expires_at=bindparam("until")))
_HOLDER = Compiled(select(lease.c.holder, lease.c.expires_at).where(lease.c.name == bindparam("which")))


def name_of(signer_id: str) -> str:
    return f"signer:{signer_id}"


def beat(rt: Runtime) -> None:
    """Say that this signer is alive. What it holds in memory is never later than what is on record."""
    with rt.lease.beating:  # a beat that began earlier and ends later would set it back
        now = rt.now()
        until = now + timedelta(seconds=rt.settings.lease_seconds)
        with rt.db.write() as tx:
            hold(tx, name_of(rt.id), rt.id, now, until)
        rt.lease.until = until


def check(rt: Runtime) -> None:
    """Raises Unavailable where our lease is over, before anything is counted or written that nothing could follow."""
    if rt.now() >= rt.lease.until:
        raise Unavailable("The signer is taking up its work again. Nothing was signed.", code="lease", retry_after=2)


def hold(tx: Connection, name: str, holder: str, now: datetime, until: datetime) -> bool:
    """Take or keep a lease. The epoch rises with each change of holder. False: somebody else has it."""
    if _KEEP.run(tx, {"which": name, "who": holder, "until": until}) == 1:
        return True
    taken = tx.execute(
        update(lease).where(lease.c.name == name, or_(lease.c.expires_at < now, lease.c.holder == ""))
        .values(holder=holder, expires_at=until, epoch=lease.c.epoch + 1)
    )
    if taken.rowcount == 1:
        return True
    if tx.execute(select(lease.c.name).where(lease.c.name == name)).first() is not None:
        return False
    try:
        with tx.begin_nested():
            tx.execute(insert(lease).values(name=name, holder=holder, epoch=1, expires_at=until))
    except IntegrityError:  # another took it between our look and our insert
        return False
    return True


def is_held(tx: Connection, name: str, holder: str, until: datetime) -> bool:
    """Is this lease ours, and for so long yet? Writes nothing."""
    found = _HOLDER.first(tx, {"which": name})
    return found is not None and found.holder == holder and bool(found.expires_at >= until)


def is_alive(tx: Connection, signer_id: str, now: datetime) -> bool:
    until = tx.execute(select(lease.c.expires_at).where(lease.c.name == name_of(signer_id))).scalar_one_or_none()
    return until is not None and now < until


def let_go(rt: Runtime, name: str) -> None:
    """Leave one lease to whoever asks next."""
    with rt.db.write() as tx:
        tx.execute(update(lease).where(lease.c.name == name, lease.c.holder == rt.id).values(holder=""))


def release(rt: Runtime) -> None:
    """Give everything back at a graceful stop, so that another may go on at once."""
    with rt.db.write() as tx:
        tx.execute(delete(lease).where(lease.c.name == name_of(rt.id)))
        tx.execute(update(lease).where(lease.c.holder == rt.id).values(holder=""))
