"""Telling a client how its signing request ended: a row in the outbox, in the transaction that ended it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select

from signing_service.audit import instant
from signing_service.db.compiled import Compiled
from signing_service.db.inserting import insert_absent
from signing_service.db.tables import client, outbox, signing_request
from signing_service.errors import NotFound
from signing_service.tlog.entries import canonical

_REQUEST = Compiled(select(signing_request).where(signing_request.c.id == bindparam("id")))
_LISTENER = Compiled(
    select(client.c.webhook_url).where(client.c.id == bindparam("id"), client.c.state == "active"))


def enqueue(tx: Connection, request_id: str, now: datetime) -> None:
    """Tell the client, if it wants to be told, that this request ended: in the transaction that ended it.

    Done again, it does nothing. The message says what the row says inside this transaction.
    """
    announce(tx, find_request(tx, request_id), now)


def announce(tx: Connection, row: Any, now: datetime) -> None:
    """The same for a row as this transaction has it."""
    listener = _LISTENER.first(tx, {"id": row.client_id})
    if listener is None or not listener.webhook_url:
        return
    event_id = _event_id(row)
    insert_absent(tx, outbox, {
        "id": event_id, "client_id": row.client_id, "signing_request_id": row.id, "url": listener.webhook_url,
        "body": canonical(_notice(event_id, row, now)).decode(), "next_at": now, "created_at": now,
    })


def _event_id(row: Any) -> str:
    """One end of one request is one event, however often and by whomever it is announced."""
    return "ev_" + hashlib.sha256(f"{row.id} {row.state}".encode()).hexdigest()[:32]


def _notice(event_id: str, row: Any, now: datetime) -> dict[str, Any]:
    about = {
        "id": row.id, "state": row.state, "external_id": row.external_id, "batch_id": row.batch_id,
        "document_digest": row.document_digest, "signed_digest": row.signed_digest, "reason": row.reason,
    }
    return {
        "id": event_id, "type": f"signing-request.{row.state}", "at": instant(now),
        "signing_request": {name: value for name, value in about.items() if value is not None},
    }


def find_request(tx: Connection, request_id: str) -> Any:
    row = _REQUEST.first(tx, {"id": request_id})
    if row is None:
        raise NotFound(f"There is no signing request {request_id!r}.")
    return row
