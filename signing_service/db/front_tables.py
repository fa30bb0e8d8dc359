"""What the front half writes."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
)

from signing_service.db.columns import DIGEST, ID, Instant, metadata, only_where

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
    Index("ix_request_client_state", "client_id", "state", "id"),
    Index("ix_request_external", "client_id", "external_id", "id"),
    Index("ix_request_signatory", "signatory_id", "state", "id"),
    Index("ix_request_waiting", "signatory_id", "state", "urgency", "id"),
    Index("ix_request_batch", "batch_id", "id"),
    Index("ix_request_created", "created_at"),           # figures of a period
    Index("ix_request_number", "number", "symbol", "document_type"),
    Index("ix_request_symbol", "symbol", "document_type"),
    Index("ix_request_type", "document_type"),
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

seen = Table(
    "seen", metadata,  # which phone was shown which document: what makes its entry once only
    Column("signing_request_id", ID, primary_key=True),
    Column("phone_id", ID, primary_key=True),
    Column("event", String(60), primary_key=True),       # opened, or a page of it looked at: each has its entry
    Column("at", Instant, nullable=False),
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

account = Table(
    "account", metadata,
    Column("owner", ID, primary_key=True),               # an auditor or an operator
    Column("password_hash", String(200), nullable=False),
    Column("changed_at", Instant, nullable=False),
    Column("failures", Integer, nullable=False),         # in a row since the last right password
    Column("locked_until", Instant),
)

session = Table(
    "session", metadata,
    Column("hash", DIGEST, primary_key=True),            # of 256 random bits in the person's cookie
    Column("owner", ID, nullable=False, index=True),
    Column("role", String(20), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False, index=True),
)
