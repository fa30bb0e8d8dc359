"""A receipt: what a client keeps of a signing request, for somebody who trusts neither the client nor us.

It carries the request's entries, the proof that each is in the log, and the signed checkpoint they lead to. Whoever
has the log's key and the document can check it offline, years later; what stands around the proof is for people.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cryptography import x509
from sqlalchemy import Connection, select

from signing_service import credentials, verification
from signing_service.audit import Event, StoredTiles, instant
from signing_service.db.tables import entry, signing_request
from signing_service.errors import NotFound, Unavailable
from signing_service.inspection import snapshot
from signing_service.tlog import note, tiles
from signing_service.tlog.entries import EntryLine, parse
from signing_service.tlog.verify import Report, make_receipt, verify_receipt

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime

PATIENCE = 2.0  # seconds; the sequencer needs less than one
PERIOD = 0.1
PROOF = "proof"

# What happened to a document after it was signed (fetched, announced) is not part of how it was signed, and would
# give the same request another receipt every day.
AFTERWARDS = (Event.DELIVERED, Event.WEBHOOK_DELIVERED, Event.WEBHOOK_GIVEN_UP)


async def receipt(rt: Runtime, caller: Caller, request_id: str) -> dict[str, Any]:
    """The receipt of one of the caller's signing requests, as JSON.

    Waits a moment for the log to take up the latest entries; Unavailable when that takes longer. NotFound for what
    is not there or not the caller's.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        made = await rt.db.run(_receipt, rt, caller, request_id)
        if made is not None:
            return made
        if time.monotonic() > deadline:
            raise Unavailable("The latest entries have no place in the log yet.", code="not-sequenced", retry_after=2)
        await asyncio.sleep(PERIOD)


def _receipt(rt: Runtime, caller: Caller, request_id: str) -> dict[str, Any] | None:
    """None while an entry is not below the newest checkpoint."""
    with snapshot(rt.db) as tx:
        row = tx.execute(select(signing_request).where(
            signing_request.c.id == request_id, signing_request.c.client_id == caller.client_id)).first()
        if row is None:
            raise NotFound(f"There is no signing request {request_id!r}.")
        newest = verification.latest_checkpoint(tx)
        lines = _lines(tx, request_id, newest.size) if newest else []
        if newest is None or not lines:
            return None
        digests = {"document": row.document_digest, "signed_document": row.signed_digest}
        proof = make_receipt(
            lines, newest.note, tiles.node_at(StoredTiles(tx)),
            {name: digest for name, digest in digests.items() if digest is not None},
        )
        about = _about(tx, row)
    keys = verification.verifier_keys(rt.db)
    return {"signing_request": about, "log_keys": list(keys), PROOF: proof}


def _lines(tx: Connection, request_id: str, size: int) -> list[EntryLine]:
    """Every entry of the request; none while one of them is not below the checkpoint."""
    rows = tx.execute(
        select(entry.c.leaf_index, entry.c.body)
        .where(entry.c.signing_request_id == request_id, entry.c.event.not_in(AFTERWARDS))
        .order_by(entry.c.leaf_index)
    ).all()
    if any(row.leaf_index is None or row.leaf_index >= size for row in rows):
        return []
    return [EntryLine.of(row.leaf_index, parse(row.body)) for row in rows]


def _about(tx: Connection, row: Any) -> dict[str, Any]:
    names = ("id", "state", "reason", "external_id", "document_type", "number", "symbol", "subject", "agency_code",
             "signatory_id", "credential_id", "document_digest", "signed_digest", "level", "algorithm")
    told = {name: getattr(row, name) for name in names}
    told |= {"created_at": instant(row.created_at), "ended_at": instant(row.ended_at) if row.ended_at else None}
    told["certificate"] = _certificate(credentials.find(tx, row.credential_id).certificate)
    return {name: value for name, value in told.items() if value is not None}


def _certificate(der: bytes | None) -> dict[str, str] | None:
    if der is None:
        return None
    certificate = x509.load_der_x509_certificate(der)
    return {
        "serial": f"{certificate.serial_number:x}", "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
    }


def check(receipt: Mapping[str, Any], verifier: str | None, document: bytes | None = None) -> Report:
    """Check a receipt offline, whole or only its proof. Never raises for what the receipt holds; NoteInvalid for a
    `verifier` that is none.
    """
    proof = receipt.get(PROOF, receipt)
    return verify_receipt(proof, note.parse_verifier(verifier) if verifier else None, document)
