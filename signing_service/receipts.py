"""A receipt: what is kept of a signing request, for somebody who trusts neither the client nor us.

It carries the request's entries, the proof that each is in the log, and the signed checkpoint they lead to. Whoever
has the log's key and the document can check it offline, years later; what stands around the proof is for people.

A client gets those of its own requests. An auditor gets more: the entry of the confirmation, which may be for many
requests, and the one with which the certificate was imported, so that its digest is proven, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from cryptography import x509
from sqlalchemy import Connection, select

from signing_service import credentials, verification
from signing_service.audit import Event, StoredTiles, instant
from signing_service.db.tables import checkpoint, entry, log_key, signing_request
from signing_service.errors import NotFound, Unavailable
from signing_service.histories import confirmation_entries
from signing_service.inspection import Entry, snapshot
from signing_service.tlog import note, tiles
from signing_service.tlog.entries import EntryLine, parse
from signing_service.tlog.verify import Report, make_receipt, verify_receipt

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime

P = ParamSpec("P")
T = TypeVar("T")

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
    return await patiently(rt, _receipt, rt, caller, request_id)


async def patiently(rt: Runtime, make: Callable[P, T | None], *args: P.args, **more: P.kwargs) -> T:
    """What `make` gives as soon as it is not None: the log needs a moment for the latest entries."""
    deadline = time.monotonic() + PATIENCE
    while True:
        made = await rt.db.run(make, *args, **more)
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
        lines = _lines(own_entries(tx, request_id), newest.size if newest else 0)
        return made_of(tx, row, lines, newest.note) if newest is not None and lines else None


def receipt_for_auditor(tx: Connection, row: Any) -> dict[str, Any] | None:
    """The receipt of the signing request in this row, under the first checkpoint that covers it: always the same.

    None while there is none. The caller has looked at the reader's scope and put the reading on record.
    """
    rows = entries_for_auditor(tx, row)
    if any(each.leaf_index is None for each in rows):
        return None
    top = max(each.leaf_index for each in rows)
    under = tx.execute(select(checkpoint).where(checkpoint.c.size > top).order_by(checkpoint.c.size, checkpoint.c.id)
                       .limit(1)).first()
    return None if under is None else made_of(tx, row, _lines(rows, under.size), under.note)


def entries_for_auditor(tx: Connection, row: Any) -> list[Any]:
    """The rows of these entries, in the order of the log; what waits for its place comes last."""
    rows = [*own_entries(tx, row.id), *confirmation_entries(tx, row), *certificate_entries(tx, row)]
    return sorted(rows, key=lambda each: (each.leaf_index is None, each.leaf_index or 0, each.id))


def made_of(tx: Connection, row: Any, lines: list[EntryLine], note_text: str) -> dict[str, Any]:
    """The receipt that these entries and this checkpoint give."""
    digests = {"document": row.document_digest, "signed_document": row.signed_digest}
    about = _about(tx, row)
    fingerprint = about.get("certificate", {}).get("sha256")
    if any(line.body.get("data", {}).get("certificate") == fingerprint for line in lines):
        digests["certificate"] = fingerprint
    proof = make_receipt(lines, note_text, tiles.node_at(StoredTiles(tx)),
                         {name: digest for name, digest in digests.items() if digest is not None})
    keys = tx.execute(select(log_key.c.verifier).order_by(log_key.c.created_at.desc())).scalars()
    return {"signing_request": about, "log_keys": list(keys), PROOF: proof}


def own_entries(tx: Connection, request_id: str) -> list[Any]:
    """How this request was signed, in the order of the log."""
    return list(tx.execute(
        select(entry).where(entry.c.signing_request_id == request_id, entry.c.event.not_in(AFTERWARDS))
        .order_by(entry.c.leaf_index)))


def certificate_entries(tx: Connection, row: Any) -> Iterator[Any]:
    """The entry with which the credential got the certificate that it has."""
    held = credentials.find(tx, row.credential_id).certificate
    if held is None:
        return
    imported = tx.execute(select(entry).where(
        entry.c.credential_id == row.credential_id, entry.c.event == Event.CERTIFICATE_IMPORTED.value))
    fingerprint = sha256(held).hexdigest()
    yield from (each for each in imported if Entry.of_row(each).body.get("data", {}).get("certificate") == fingerprint)


def _lines(rows: Iterable[Any], size: int) -> list[EntryLine]:
    """Every entry; none while one of them is not below the checkpoint."""
    placed = list(rows)
    if any(row.leaf_index is None or row.leaf_index >= size for row in placed):
        return []
    return [EntryLine.of(row.leaf_index, parse(row.body)) for row in sorted(placed, key=lambda row: row.leaf_index)]


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
        "issuer": certificate.issuer.rfc4514_string(), "sha256": sha256(der).hexdigest(),
    }


def check(receipt: Mapping[str, Any], verifier: str | None, document: bytes | None = None) -> Report:
    """Check a receipt offline, whole or only its proof. Never raises for what the receipt holds; NoteInvalid for a
    `verifier` that is none.
    """
    proof = receipt.get(PROOF, receipt)
    return verify_receipt(proof, note.parse_verifier(verifier) if verifier else None, document)
