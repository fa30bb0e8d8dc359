"""Closing what a dead signer left open: intents without an outcome.

It looks for intents, never for states, and only at those whose deadline has passed and whose signer's lease has
ended, or which are our own and were not written down long after their deadline. Whether the device signed is then
unknown, for ever; nobody retries.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.tables import intent, signing_request
from signing_service.metrics import REQUESTS, SIGNATURES
from signing_service.signer import leases
from signing_service.signer.intents import Outcome
from signing_service.signer.runtime import Runtime

WHY = "the signer ended before it could record an outcome: the device may have signed"
MOST = 200   # in one transaction
OURS = timedelta(seconds=15)  # after deadline and device: how long our own last outcomes may wait for the database


def reconcile(rt: Runtime) -> int:
    """Close open intents of signers that are gone, `MOST` at a time. Returns how many.

    Safe to run anywhere, any number of times.
    """
    now = rt.now()
    closed = 0
    with rt.db.write() as tx:
        rows = tx.execute(
            select(intent, signing_request.c.client_id, signing_request.c.signatory_id, signing_request.c.agency_code)
            .outerjoin(signing_request, signing_request.c.id == intent.c.signing_request_id)  # the front can delete it
            .where(intent.c.outcome.is_(None), intent.c.deadline < now).order_by(intent.c.id).limit(MOST)
        ).all()
        for row in rows:
            if _is_at_work(rt, tx, row, now):
                continue
            taken = tx.execute(update(intent).where(intent.c.id == row.id, intent.c.outcome.is_(None))
                               .values(outcome=Outcome.UNKNOWN.value, outcome_at=now))
            if taken.rowcount != 1:
                continue
            tx.execute(
                update(signing_request)
                .where(signing_request.c.id == row.signing_request_id, signing_request.c.state == "signing")
                .values(state="failed", reason=WHY, ended_at=now)
            )
            record(tx, now, Fact(
                Event.UNKNOWN_OUTCOME, f"signer:{rt.id}", Outcome.UNKNOWN.value, client_id=row.client_id,
                signatory_id=row.signatory_id, agency_code=row.agency_code, credential_id=row.credential_id,
                signing_request_id=row.signing_request_id, document_digest=row.document_digest,
                data={"intent": row.id, "why": WHY},
            ), mac=rt.entry_mac)
            closed += 1
    SIGNATURES.labels(Outcome.UNKNOWN.value).inc(closed)
    REQUESTS.labels("failed").inc(closed)
    return closed


def _is_at_work(rt: Runtime, tx: Connection, row: Any, now: datetime) -> bool:
    """May its signer still write the outcome? Our own lease says nothing: it is our chores that are asking."""
    if row.signer_id != rt.id:
        return leases.is_alive(tx, row.signer_id, now)
    until: datetime = row.deadline + timedelta(seconds=rt.settings.device_deadline) + OURS
    return now < until
