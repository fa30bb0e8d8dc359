"""Every table, in two groups by who may write it.

`FRONT` tables are written by the front half. `SIGNER` tables are written by the signer only: on PostgreSQL the
front's role may SELECT from them (`db/roles.py`). `entry` is appended to by both; nobody changes or deletes one,
and only the signer gives it a place in the log. Times are UTC; digests are lower-case hexadecimal SHA-256.
"""

from __future__ import annotations

from signing_service.db.columns import DIGEST, ID, Instant, metadata, only_where
from signing_service.db.front_tables import (
    access_token,
    account,
    agency,
    batch,
    client,
    document,
    idempotency,
    job_lease,
    outbox,
    seen,
    session,
    signing_request,
    timestamp_token,
)
from signing_service.db.log_tables import checkpoint, entry, log_key, tile
from signing_service.db.signer_tables import (
    auditor,
    clock,
    code_state,
    confirmation,
    credential,
    epoch,
    intent,
    key,
    lease,
    operator,
    phone,
    policy,
    seed,
    signatory,
    signature,
    ticket,
)

FRONT = (agency, client, access_token, signing_request, batch, idempotency, document, timestamp_token, outbox,
         job_lease, account, session, seen)
SIGNER = (signatory, operator, auditor, phone, ticket, key, credential, seed, code_state, confirmation, intent,
          signature, policy, tile, checkpoint, log_key, lease, clock, epoch)
ENTRY_COLUMNS_OF_FRONT = tuple(each.name for each in entry.columns if each.name not in {"leaf_index", "mac", "mac_by"})

__all__ = [
    "DIGEST", "ENTRY_COLUMNS_OF_FRONT", "FRONT", "ID", "SIGNER", "Instant", "access_token", "account", "agency",
    "auditor", "batch", "checkpoint", "client", "clock", "code_state", "confirmation", "credential", "document",
    "entry", "epoch", "idempotency", "intent", "job_lease", "key", "lease", "log_key", "metadata", "only_where",
    "operator", "outbox", "phone", "policy", "seed", "seen", "session", "signatory", "signature", "signing_request",
    "ticket", "tile", "timestamp_token",
]
