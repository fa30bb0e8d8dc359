"""The first shape of the database: what the front writes, what the signer writes, and the log.

Frozen: it says what the tables were then. A later change is a revision of its own.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    front()
    keys_and_people()
    signatures()
    log_and_leases()


def downgrade() -> None:
    """Everything goes, the log too: only for a database in which nothing happened yet."""
    for table in reversed(TABLES):
        op.drop_table(table)


def front() -> None:
    op.create_table(
        "agency",
        sa.Column("code", sa.String(35), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("level", sa.String(20), nullable=False),
        sa.Column("parent_code", sa.String(35)),
        sa.Column("valid_from", Instant, nullable=False),
        sa.Column("valid_to", Instant),
    )
    op.create_table(
        "client",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("agencies", sa.JSON, nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("webhook_url", sa.String(500)),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "access_token",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("client_id", sa.String(40), sa.ForeignKey("client.id"), nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
    )
    op.create_index("ix_access_token_expires_at", "access_token", ["expires_at"])
    op.create_table(
        "signing_request",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("client_id", sa.String(40), sa.ForeignKey("client.id"), nullable=False),
        sa.Column("agency_code", sa.String(35), nullable=False),
        sa.Column("signatory_id", sa.String(40), nullable=False),
        sa.Column("credential_id", sa.String(40), nullable=False),
        sa.Column("batch_id", sa.String(40)),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("external_id", sa.String(200)),
        sa.Column("document_type", sa.String(10), nullable=False),
        sa.Column("number", sa.String(11)),
        sa.Column("symbol", sa.String(30)),
        sa.Column("subject", sa.String(500), nullable=False),
        sa.Column("secrecy", sa.String(10), nullable=False),
        sa.Column("urgency", sa.String(12), nullable=False),
        sa.Column("filename", sa.String(200), nullable=False),
        sa.Column("document_digest", sa.String(64), nullable=False),
        sa.Column("document_size", sa.BigInteger, nullable=False),
        sa.Column("pages", sa.Integer, nullable=False),
        sa.Column("earlier_signatures", sa.Integer, nullable=False),
        sa.Column("warnings", sa.JSON, nullable=False),
        sa.Column("level", sa.String(5), nullable=False),
        sa.Column("asked_level", sa.String(5)),
        sa.Column("algorithm", sa.String(20), nullable=False),
        sa.Column("policy_hash", sa.String(64), nullable=False),
        sa.Column("decision", sa.JSON, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("tail_digest", sa.String(64)),
        sa.Column("confirmation_id", sa.String(40)),
        sa.Column("signed_digest", sa.String(64)),
        sa.Column("signed_size", sa.BigInteger),
        sa.Column("finish_attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("finish_after", Instant),
        sa.Column("finish_error", sa.Text),
    )
    op.create_index("ix_request_client", "signing_request", ["client_id", "id"])
    op.create_index("ix_request_digest", "signing_request", ["document_digest"])
    op.create_index("ix_request_open", "signing_request", ["state", "expires_at"])
    op.create_index("ix_request_signatory", "signing_request", ["signatory_id", "state", "id"])
    op.create_index("ix_request_signed", "signing_request", ["signed_digest"])
    op.create_table(
        "batch",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("client_id", sa.String(40), sa.ForeignKey("client.id"), nullable=False),
        sa.Column("signatory_id", sa.String(40), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("client_id", sa.String(40), primary_key=True),
        sa.Column("key", sa.String(200), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("body", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "document",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("swept_at", Instant),
    )
    op.create_table(
        "timestamp_token",
        sa.Column("signing_request_id", sa.String(40), primary_key=True),
        sa.Column("authority", sa.String(200), nullable=False),
        sa.Column("token", sa.LargeBinary, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("client_id", sa.String(40), nullable=False),
        sa.Column("signing_request_id", sa.String(40), nullable=False),
        sa.Column("url", sa.String(500), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", Instant, nullable=False),
        sa.Column("done_at", Instant),
        sa.Column("last_error", sa.Text),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_index(
        "ix_outbox_waiting", "outbox", ["next_at"],
        postgresql_where=sa.text("done_at IS NULL"), sqlite_where=sa.text("done_at IS NULL"),
    )
    op.create_table(
        "job_lease",
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("holder", sa.String(40), nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
    )


def keys_and_people() -> None:
    op.create_table(
        "signatory",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("agency_code", sa.String(35), nullable=False),
        sa.Column("office", sa.String(40), nullable=False),
        sa.Column("reference", sa.String(100), unique=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "operator",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "key",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("purpose", sa.String(20), nullable=False),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("custody", sa.String(10), nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("blob", sa.LargeBinary),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("destroyed_at", Instant),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "credential",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("kind", sa.String(10), nullable=False),
        sa.Column("signatory_id", sa.String(40)),
        sa.Column("agency_code", sa.String(35), nullable=False),
        sa.Column("key_id", sa.String(40)),
        sa.Column("key_kind", sa.String(10), nullable=False),
        sa.Column("algorithm", sa.String(20), nullable=False),
        sa.Column("custody", sa.String(10), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("certificate", sa.LargeBinary),
        sa.Column("chain", sa.LargeBinary),
        sa.Column("not_before", Instant),
        sa.Column("not_after", Instant),
        sa.Column("replaces", sa.String(40)),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_credential_signatory", "credential", ["signatory_id", "state"])
    op.create_table(
        "seed",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("blob", sa.LargeBinary, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_seed_owner", "seed", ["owner"])
    op.create_table(
        "code_state",
        sa.Column("owner", sa.String(40), primary_key=True),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("failures_today", sa.Integer, nullable=False),
        sa.Column("today", sa.String(10), nullable=False),
        sa.Column("locks", sa.Integer, nullable=False),
        sa.Column("locked_until", Instant),
        sa.Column("suspicion", sa.Float, nullable=False),
        sa.Column("suspicion_at", Instant, nullable=False),
        sa.Column("hard_locked", sa.Boolean, nullable=False),
    )
    op.create_table(
        "policy",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("activated_at", Instant, nullable=False),
        sa.Column("activated_by", sa.String(40), nullable=False),
    )


def signatures() -> None:
    op.create_table(
        "confirmation",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("client_id", sa.String(40), nullable=False),
        sa.Column("channel", sa.String(10), nullable=False),
        sa.Column("matching_code", sa.String(6), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.UniqueConstraint("owner", "step", name="uq_confirmation_step"),
    )
    op.create_table(
        "intent",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("confirmation_id", sa.String(40), nullable=False),
        sa.Column("signing_request_id", sa.String(40), nullable=False, unique=True),
        sa.Column("credential_id", sa.String(40), nullable=False),
        sa.Column("key_id", sa.String(40), nullable=False),
        sa.Column("document_digest", sa.String(64), nullable=False),
        sa.Column("tail_digest", sa.String(64), nullable=False),
        sa.Column("to_sign", sa.LargeBinary, nullable=False),
        sa.Column("algorithm", sa.String(20), nullable=False),
        sa.Column("policy_hash", sa.String(64), nullable=False),
        sa.Column("signer_id", sa.String(40), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("local_day", sa.String(10), nullable=False),
        sa.Column("deadline", Instant, nullable=False),
        sa.Column("outcome", sa.String(20)),
        sa.Column("outcome_at", Instant),
        sa.UniqueConstraint("confirmation_id", "document_digest", name="uq_intent_digest"),
    )
    op.create_index("ix_intent_day", "intent", ["credential_id", "local_day"])
    op.create_index(
        "ix_intent_open", "intent", ["deadline"],
        postgresql_where=sa.text("outcome IS NULL"), sqlite_where=sa.text("outcome IS NULL"),
    )
    op.create_table(
        "signature",
        sa.Column("intent_id", sa.String(40), primary_key=True),
        sa.Column("signing_request_id", sa.String(40), nullable=False, unique=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )


def log_and_leases() -> None:
    op.create_table(
        "entry",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("at", Instant, nullable=False),
        sa.Column("event", sa.String(60), nullable=False),
        sa.Column("actor", sa.String(60), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("client_id", sa.String(40)),
        sa.Column("signatory_id", sa.String(40)),
        sa.Column("agency_code", sa.String(35)),
        sa.Column("credential_id", sa.String(40)),
        sa.Column("signing_request_id", sa.String(40)),
        sa.Column("document_digest", sa.String(64)),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("mac", sa.LargeBinary),
        sa.Column("mac_by", sa.String(40)),
        sa.Column("leaf_index", sa.BigInteger, unique=True),
    )
    op.create_index("ix_entry_agency", "entry", ["agency_code", "leaf_index"])
    op.create_index("ix_entry_at", "entry", ["at"])
    op.create_index("ix_entry_client", "entry", ["client_id", "leaf_index"])
    op.create_index("ix_entry_digest", "entry", ["document_digest"])
    op.create_index("ix_entry_event", "entry", ["event", "leaf_index"])
    op.create_index("ix_entry_request", "entry", ["signing_request_id"])
    op.create_index("ix_entry_signatory", "entry", ["signatory_id", "leaf_index"])
    op.create_index(
        "ix_entry_waiting", "entry", ["id"],
        postgresql_where=sa.text("leaf_index IS NULL"), sqlite_where=sa.text("leaf_index IS NULL"),
    )
    op.create_table(
        "tile",
        sa.Column("level", sa.Integer, primary_key=True),
        sa.Column("tile_index", sa.BigInteger, primary_key=True),
        sa.Column("hashes", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "checkpoint",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("at", Instant, nullable=False),
    )
    op.create_index("ix_checkpoint_size", "checkpoint", ["size"])
    op.create_table(
        "log_key",
        sa.Column("verifier", sa.String(300), primary_key=True),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(60), primary_key=True),
        sa.Column("holder", sa.String(40), nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
    )
    op.create_table(
        "clock",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("high_water", Instant, nullable=False),
    )


TABLES = (
    "agency", "client", "access_token", "signing_request", "batch", "idempotency", "document",
    "timestamp_token", "outbox", "job_lease", "signatory", "operator", "key", "credential", "seed",
    "code_state", "policy", "confirmation", "intent", "signature", "entry", "tile", "checkpoint", "log_key",
    "lease", "clock",
)
