"""Every table, in two groups by who may write it.

`FRONT` tables are written by the front half. `SIGNER` tables are written by the signer only: on PostgreSQL the
front's role may SELECT from them (`db/roles.py`). `entry` is appended to by both; nobody changes or deletes one,
and only the signer gives it a place in the log. Times are UTC; digests are lower-case hexadecimal SHA-256.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class Instant(TypeDecorator[datetime]):
    """A moment in UTC. Naive values are refused; what comes back is aware, on both databases."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a moment without a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def only_where(condition: str) -> dict[str, Any]:
    """An index over the few rows that still wait for something."""
    return {"postgresql_where": text(condition), "sqlite_where": text(condition)}


metadata = MetaData()
ID = String(40)
DIGEST = String(64)

# --- the front's

agency = Table(
    "agency", metadata,
    Column("code", String(35), primary_key=True),  # such as H26.1.2
    Column("name", String(200), nullable=False),
    Column("level", String(20), nullable=False),
    Column("parent_code", String(35)),
    Column("valid_from", Instant, nullable=False),
    Column("valid_to", Instant),
)

client = Table(
    "client", metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("role", String(20), nullable=False),          # callers.Role: submitter, auditor, operator
    Column("agencies", JSON, nullable=False),            # codes it may submit for; "*" for all
    Column("secret_hash", DIGEST, nullable=False),       # the secret is 256 random bits, so a plain hash will do
    Column("webhook_url", String(500)),
    Column("state", String(20), nullable=False),         # active, suspended
    Column("created_at", Instant, nullable=False),
)

access_token = Table(
    "access_token", metadata,
    Column("hash", DIGEST, primary_key=True),
    Column("client_id", ID, ForeignKey("client.id"), nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
)

signing_request = Table(
    "signing_request", metadata,
    Column("id", ID, primary_key=True),
    Column("client_id", ID, ForeignKey("client.id"), nullable=False),
    Column("agency_code", String(35), nullable=False),   # the issuing agency
    Column("signatory_id", ID, nullable=False),
    Column("credential_id", ID, nullable=False),
    Column("batch_id", ID),
    Column("state", String(20), nullable=False),         # submission.State
    Column("reason", Text),                              # why it was refused, withdrawn, denied or failed
    Column("external_id", String(200)),
    Column("document_type", String(10), nullable=False),
    Column("number", String(11)),
    Column("symbol", String(30)),
    Column("subject", String(500), nullable=False),
    Column("secrecy", String(10), nullable=False),
    Column("urgency", String(12), nullable=False),
    Column("filename", String(200), nullable=False),
    Column("document_digest", DIGEST, nullable=False),
    Column("document_size", BigInteger, nullable=False),
    Column("pages", Integer, nullable=False),
    Column("earlier_signatures", Integer, nullable=False),
    Column("warnings", JSON, nullable=False),
    Column("level", String(5), nullable=False),          # B-B or B-T
    Column("asked_level", String(5)),                    # what the client named, if it did
    Column("algorithm", String(20), nullable=False),
    Column("policy_hash", DIGEST, nullable=False),
    Column("decision", JSON, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
    Column("ended_at", Instant),
    Column("tail_digest", DIGEST),
    Column("confirmation_id", ID),
    Column("signed_digest", DIGEST),
    Column("signed_size", BigInteger),
    Column("finish_attempts", Integer, nullable=False, server_default="0"),
    Column("finish_after", Instant),                     # not to be tried again before
    Column("finish_error", Text),
    Index("ix_request_client", "client_id", "id"),
    Index("ix_request_signatory", "signatory_id", "state", "id"),
    Index("ix_request_open", "state", "expires_at"),
    Index("ix_request_digest", "document_digest"),
    Index("ix_request_signed", "signed_digest"),
)

batch = Table(
    "batch", metadata,
    Column("id", ID, primary_key=True),
    Column("client_id", ID, ForeignKey("client.id"), nullable=False),
    Column("signatory_id", ID, nullable=False),
    Column("created_at", Instant, nullable=False),
)

idempotency = Table(
    "idempotency", metadata,
    Column("client_id", ID, primary_key=True),
    Column("key", String(200), primary_key=True),
    Column("fingerprint", DIGEST, nullable=False),       # of method, path and body
    Column("status", Integer),                           # null while the first call is under way
    Column("body", Text),
    Column("created_at", Instant, nullable=False, index=True),
)

document = Table(
    "document", metadata,
    Column("digest", DIGEST, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("swept_at", Instant),                         # the file is gone, the fact that it was here is not
)

timestamp_token = Table(
    "timestamp_token", metadata,
    Column("signing_request_id", ID, primary_key=True),
    Column("authority", String(200), nullable=False),
    Column("token", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

outbox = Table(
    "outbox", metadata,
    Column("id", ID, primary_key=True),
    Column("client_id", ID, nullable=False),
    Column("signing_request_id", ID, nullable=False),
    Column("url", String(500), nullable=False),
    Column("body", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_at", Instant, nullable=False),
    Column("done_at", Instant),
    Column("last_error", Text),
    Column("created_at", Instant, nullable=False),
    Index("ix_outbox_waiting", "next_at", **only_where("done_at IS NULL")),
)

job_lease = Table(
    "job_lease", metadata,
    Column("name", String(60), primary_key=True),
    Column("holder", ID, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

# --- the signer's

signatory = Table(
    "signatory", metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("agency_code", String(35), nullable=False),
    Column("office", String(40), nullable=False),        # such as chairman, deputy, head, clerk
    Column("reference", String(100), unique=True),       # the personnel number in the city's own systems
    Column("state", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
)

operator = Table(
    "operator", metadata,
    Column("id", ID, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("state", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
)

key = Table(
    "key", metadata,
    Column("id", ID, primary_key=True),
    Column("purpose", String(20), nullable=False),       # credential, timestamp
    Column("kind", String(10), nullable=False),
    Column("custody", String(10), nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("blob", LargeBinary),
    Column("owner", ID, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("destroyed_at", Instant),
    Column("mac", LargeBinary, nullable=False),
)

credential = Table(
    "credential", metadata,
    Column("id", ID, primary_key=True),
    Column("kind", String(10), nullable=False),          # personal, agency, or timestamp for our own authority
    Column("signatory_id", ID),                          # whose, or for an agency's seal its custodian
    Column("agency_code", String(35), nullable=False),
    Column("key_id", ID),                                # null until the job has made it
    Column("key_kind", String(10), nullable=False),
    Column("algorithm", String(20), nullable=False),
    Column("custody", String(10), nullable=False),
    Column("state", String(20), nullable=False),         # credentials.State
    Column("reason", Text),
    Column("certificate", LargeBinary),
    Column("chain", LargeBinary),                        # concatenated DER, issuer first
    Column("not_before", Instant),
    Column("not_after", Instant),
    Column("replaces", ID),
    Column("created_at", Instant, nullable=False),
    Column("version", Integer, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index("ix_credential_signatory", "signatory_id", "state"),
)

seed = Table(
    "seed", metadata,
    Column("id", ID, primary_key=True),
    Column("owner", ID, nullable=False, index=True),     # a signatory or an operator
    Column("state", String(10), nullable=False),         # enrolling, active, retired
    Column("blob", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("mac", LargeBinary, nullable=False),
)

code_state = Table(
    "code_state", metadata,
    Column("owner", ID, primary_key=True),
    Column("last_step", BigInteger, nullable=False),     # the greatest accepted time step; only greater ones count
    Column("attempts", BigInteger, nullable=False),      # changes, ever: makes each conditional UPDATE exact
    Column("failures", Integer, nullable=False),         # in a row since the last right code
    Column("failures_today", Integer, nullable=False),
    Column("today", String(10), nullable=False),
    Column("locks", Integer, nullable=False),            # how often it locked since the last unlock; the delay grows
    Column("locked_until", Instant),
    Column("suspicion", Float, nullable=False),          # wrong codes, slowly forgotten; full = hard lock
    Column("suspicion_at", Instant, nullable=False),
    Column("hard_locked", Boolean, nullable=False),      # only an operator opens it
)

confirmation = Table(
    "confirmation", metadata,
    Column("id", ID, primary_key=True),
    Column("owner", ID, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("client_id", ID, nullable=False),
    Column("channel", String(10), nullable=False),
    Column("matching_code", String(6), nullable=False),
    Column("created_at", Instant, nullable=False),
    UniqueConstraint("owner", "step", name="uq_confirmation_step"),
)

intent = Table(
    "intent", metadata,
    Column("id", ID, primary_key=True),
    Column("confirmation_id", ID, nullable=False),
    Column("signing_request_id", ID, nullable=False, unique=True),
    Column("credential_id", ID, nullable=False),
    Column("key_id", ID, nullable=False),
    Column("document_digest", DIGEST, nullable=False),
    Column("tail_digest", DIGEST, nullable=False),
    Column("to_sign", LargeBinary, nullable=False),
    Column("algorithm", String(20), nullable=False),
    Column("policy_hash", DIGEST, nullable=False),
    Column("signer_id", ID, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("local_day", String(10), nullable=False),
    Column("deadline", Instant, nullable=False),
    Column("outcome", String(20)),                       # done, failed, unknown-outcome
    Column("outcome_at", Instant),
    UniqueConstraint("confirmation_id", "document_digest", name="uq_intent_digest"),
    Index("ix_intent_day", "credential_id", "local_day"),
    Index("ix_intent_open", "deadline", **only_where("outcome IS NULL")),
)

signature = Table(
    "signature", metadata,
    Column("intent_id", ID, primary_key=True),
    Column("signing_request_id", ID, nullable=False, unique=True),
    Column("value", LargeBinary, nullable=False),
    Column("created_at", Instant, nullable=False),
)

policy = Table(
    "policy", metadata,
    Column("hash", DIGEST, primary_key=True),
    Column("name", String(100), nullable=False),
    Column("text", Text, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("activated_at", Instant, nullable=False),
    Column("activated_by", ID, nullable=False),
)

entry = Table(
    "entry", metadata,
    Column("id", ID, primary_key=True),
    Column("at", Instant, nullable=False),
    Column("event", String(60), nullable=False),
    Column("actor", String(60), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("client_id", ID),
    Column("signatory_id", ID),
    Column("agency_code", String(35)),
    Column("credential_id", ID),
    Column("signing_request_id", ID),
    Column("document_digest", DIGEST),
    Column("body", Text, nullable=False),                # canonical JSON: these bytes are the leaf of the tree
    Column("mac", LargeBinary),                          # of the signer's own entries, until they are sequenced
    Column("mac_by", ID),
    Column("leaf_index", BigInteger, unique=True),
    Index("ix_entry_waiting", "id", **only_where("leaf_index IS NULL")),
    Index("ix_entry_at", "at"),
    Index("ix_entry_event", "event", "leaf_index"),
    Index("ix_entry_signatory", "signatory_id", "leaf_index"),
    Index("ix_entry_agency", "agency_code", "leaf_index"),
    Index("ix_entry_client", "client_id", "leaf_index"),
    Index("ix_entry_request", "signing_request_id"),
    Index("ix_entry_digest", "document_digest"),
)

tile = Table(
    "tile", metadata,
    Column("level", Integer, primary_key=True),
    Column("tile_index", BigInteger, primary_key=True),
    Column("hashes", LargeBinary, nullable=False),
)

checkpoint = Table(
    "checkpoint", metadata,
    Column("id", ID, primary_key=True),
    Column("size", BigInteger, nullable=False, index=True),
    Column("root", LargeBinary, nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Instant, nullable=False),
)

log_key = Table(
    "log_key", metadata,
    Column("verifier", String(300), primary_key=True),   # C2SP vkey: name, key id, public key
    Column("created_at", Instant, nullable=False),
)

lease = Table(
    "lease", metadata,
    Column("name", String(60), primary_key=True),
    Column("holder", ID, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires_at", Instant, nullable=False),
)

clock = Table(
    "clock", metadata,
    Column("id", Integer, primary_key=True),
    Column("high_water", Instant, nullable=False),
)

FRONT = (agency, client, access_token, signing_request, batch, idempotency, document, timestamp_token, outbox,
         job_lease)
SIGNER = (signatory, operator, key, credential, seed, code_state, confirmation, intent, signature, policy, tile,
          checkpoint, log_key, lease, clock)
ENTRY_COLUMNS_OF_FRONT = tuple(each.name for each in entry.columns if each.name not in {"leaf_index", "mac", "mac_by"})
