"""After a restore: what an old backup would open again is made worthless, and an operator begins a new epoch.

A backup of yesterday knows nothing of today: codes that were spent could be spent again, links that were used could
be opened again, and documents that were signed wait for their signature again. So, before anybody is asked: every
code up to now counts as spent, every open link is void, and nothing that waited for a person waits any longer. All of
it may be repeated. What was taken away since the backup (a suspended credential, a retired phone) cannot be known
from the backup; `signing-service backup restore --entries` lists it from an export of the log.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select, update

from hsm.errors import Tampered
from signing_service.audit import Event, Fact, record
from signing_service.db.tables import code_state, epoch, signing_request, ticket
from signing_service.errors import WrongState
from signing_service.signer import anchor, seeds, tickets
from signing_service.signer.acting import By
from signing_service.signer.codes import step_of
from signing_service.signer.rows import store
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

AT_ONCE = 500  # signing requests in one transaction
CODES_LATER = timedelta(seconds=30)  # a code may be one step ahead of us
ENDED = ("The server was restored from a backup. Whether this document was signed since is not known here: look for "
         "it, and submit it again if it was not.")


def open_epoch(rt: Runtime) -> None:
    """Make worthless what the backup would open again. Repeatable; the first time it is put on record, as an alarm."""
    now = rt.now()
    with rt.db.write() as tx:
        _open(rt, tx, now)
        _spend_codes(tx, now)
    _void_tickets(rt)
    while _end_requests(rt):
        pass


def begin(rt: Runtime, by: By, command: m.Restored) -> m.Result:
    """An operator's word that the service may go on. WrongState where nothing was restored."""
    if not rt.guard.is_restored:
        raise WrongState("Nothing was restored here: the database is what this signer knows.", code="not-restored")
    open_epoch(rt)
    with rt.db.read() as tx:
        opened, current = anchor.newest_epoch(tx), anchor.head(tx)
    assert opened is not None
    row: dict[str, Any] = dict(opened) | {"closed_at": rt.now(), "closed_by": by.actor.partition(":")[2],
                                          "size": current.size, "root": current.root}
    _close(rt, by, row | {"mac": anchor.mac_of(rt, row)}, command.why)
    rt.guard.epoch, rt.guard.is_restored = row["number"], False
    anchor.keep(rt, current.size, current.root)
    return m.Result(str(row["number"]))


def _open(rt: Runtime, tx: Connection, now: datetime) -> None:
    newest, current = anchor.newest_epoch(tx), anchor.head(tx)
    if newest is not None and newest["closed_by"] is None:  # who put the backup back has said so, or we, before
        number = newest["number"]
        if newest["opened_by"] is not None:
            return
        tx.execute(update(epoch).where(epoch.c.number == number).values(opened_by=rt.id))
    else:
        number = max(rt.guard.epoch, newest["number"] if newest else 0) + 1
        tx.execute(insert(epoch).values(
            number=number, size=current.size, root=current.root, opened_at=now, opened_by=rt.id))
    kept = anchor.read(rt.settings.anchor)
    record(tx, now, Fact(Event.RESTORED, f"signer:{rt.id}", "alarm", data={
        "epoch": number, "size": current.size, "root": current.root.hex(),
        **({"seen_size": kept.size, "seen_root": kept.root.hex()} if kept else {})}), mac=rt.entry_mac)


def _close(rt: Runtime, by: By, row: dict[str, Any], why: str) -> None:
    with rt.db.write() as tx:
        closed = tx.execute(
            update(epoch).where(epoch.c.number == row["number"], epoch.c.closed_by.is_(None)).values(row))
        if closed.rowcount != 1:
            raise WrongState("Another operator has said so at this moment.", code="not-restored")
        record(tx, rt.now(), by.fact(Event.EPOCH_BEGUN, data={
            "epoch": row["number"], "size": row["size"], "root": row["root"].hex(), "why": why}), mac=rt.entry_mac)


def _spend_codes(tx: Connection, now: datetime) -> None:
    """Every code that could be shown now counts as spent, whoever's it is."""
    step = step_of(now + CODES_LATER)
    tx.execute(update(code_state).where(code_state.c.last_step < step)
               .values(last_step=step, attempts=code_state.c.attempts + 1))


def _void_tickets(rt: Runtime) -> None:
    with rt.db.read() as tx:
        unfinished = tx.execute(select(ticket).where(
            ticket.c.state.in_((tickets.State.OPEN, tickets.State.USED)))).mappings().all()
    for row in unfinished:
        try:
            void = tickets.voided(rt, row)
        except (Tampered, WrongState):  # a row that does not fit opens nothing, and is reported when it is tried
            continue
        with rt.db.write() as tx:
            store(tx, void)
        seeds.remember(rt, void)


def _end_requests(rt: Runtime) -> int:
    """Those that wait for a person become `expired`; their clients are told by the jobs of the front half."""
    now = rt.now()
    with rt.db.write() as tx:
        waiting = tx.execute(select(signing_request).where(signing_request.c.state == "pending").limit(AT_ONCE)).all()
        for row in waiting:
            tx.execute(
                update(signing_request).where(signing_request.c.id == row.id, signing_request.c.state == "pending")
                .values(state="expired", reason=ENDED, ended_at=now))
        record(tx, now, *(Fact(
            Event.EXPIRED, f"signer:{rt.id}", client_id=row.client_id, signatory_id=row.signatory_id,
            agency_code=row.agency_code, credential_id=row.credential_id, signing_request_id=row.id,
            document_digest=row.document_digest, data={"why": "restored"}) for row in waiting), mac=rt.entry_mac)
    return len(waiting)
