"""Closing what a dead signer left open: intents without outcome, and keys that were being made.

It looks for intents without an outcome, never for states, and only at those whose deadline has passed and whose
signer's lease has ended. Whether the device signed is then unknown, for ever; nobody retries.
"""

from __future__ import annotations

from sqlalchemy import select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.tables import intent, signing_request
from signing_service.metrics import REQUESTS, SIGNATURES
from signing_service.signer import leases
from signing_service.signer.intents import Outcome
from signing_service.signer.runtime import Runtime

WHY = "the signer ended before it could record an outcome: the device may have signed"
MOST = 200


def reconcile(rt: Runtime) -> int:
    """Close open intents of signers that are gone. Returns how many. Safe to run anywhere, any number of times."""
    now = rt.now()
    closed = 0
    with rt.db.write() as tx:
        rows = tx.execute(
            select(intent, signing_request.c.client_id, signing_request.c.signatory_id, signing_request.c.agency_code)
            .join(signing_request, signing_request.c.id == intent.c.signing_request_id)
            .where(intent.c.outcome.is_(None), intent.c.deadline < now).order_by(intent.c.id).limit(MOST)
        ).all()
        for row in rows:
            if row.signer_id != rt.id and leases.is_alive(tx, row.signer_id, now):
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
