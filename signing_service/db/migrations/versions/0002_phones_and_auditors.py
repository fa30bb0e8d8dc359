"""Officials' phones, operators' tickets, auditors, accounts and sessions; certificates that can be looked up.

Only adds: a program of the version before goes on working on this shape. What a database has of certificates keeps
serial and fingerprint empty, because a migration has nothing to read them with; seeds from before are version 1,
which is what their MACs were made over.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    people_and_phones()
    staff()
    columns()
    indexes()


def downgrade() -> None:
    """Only for a database in which no phone has confirmed anything yet: such a confirmation names no client."""
    for name, table in INDEXES:
        op.drop_index(name, table)
    with op.batch_alter_table("confirmation") as change:
        change.drop_column("phone_id")
        change.alter_column("client_id", existing_type=sa.String(40), nullable=False)
    with op.batch_alter_table("seed") as change:
        change.drop_column("version")
    with op.batch_alter_table("credential") as change:
        change.drop_column("fingerprint")
        change.drop_column("serial")
    for table in ("seen", "session", "account", "ticket", "phone", "auditor"):
        op.drop_table(table)


def people_and_phones() -> None:
    op.create_table(
        "auditor",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(200), nullable=False, unique=True),
        sa.Column("agencies", sa.JSON, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
    )
    op.create_table(
        "phone",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("signatory_id", sa.String(40), nullable=False),
        sa.Column("secret_hash", sa.String(64), nullable=False),
        sa.Column("label", sa.String(100), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("ticket_id", sa.String(40), nullable=False),
        sa.Column("stop_hash", sa.String(64), unique=True),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("ended_at", Instant),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_phone_signatory", "phone", ["signatory_id", "state"])
    op.create_table(
        "ticket",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False, unique=True),
        sa.Column("keeps_others", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("opened_by", sa.String(64)),
        sa.Column("phone_id", sa.String(40)),
        sa.Column("created_by", sa.String(40), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("mac", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_ticket_owner", "ticket", ["owner", "state"])
    op.create_table(
        "seen",
        sa.Column("signing_request_id", sa.String(40), primary_key=True),
        sa.Column("phone_id", sa.String(40), primary_key=True),
        sa.Column("event", sa.String(60), primary_key=True),
        sa.Column("at", Instant, nullable=False),
    )


def staff() -> None:
    op.create_table(
        "account",
        sa.Column("owner", sa.String(40), primary_key=True),
        sa.Column("password_hash", sa.String(200), nullable=False),
        sa.Column("changed_at", Instant, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("locked_until", Instant),
    )
    op.create_table(
        "session",
        sa.Column("hash", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("seen_at", Instant, nullable=False),
        sa.Column("expires_at", Instant, nullable=False),
    )
    op.create_index("ix_session_owner", "session", ["owner"])
    op.create_index("ix_session_expires_at", "session", ["expires_at"])


def columns() -> None:
    op.add_column("credential", sa.Column("serial", sa.String(80)))
    op.add_column("credential", sa.Column("fingerprint", sa.String(64)))
    op.add_column("seed", sa.Column("version", sa.Integer, nullable=False, server_default="1"))
    with op.batch_alter_table("confirmation") as change:  # SQLite copies the table; PostgreSQL alters it in place
        change.alter_column("client_id", existing_type=sa.String(40), nullable=True)
        change.add_column(sa.Column("phone_id", sa.String(40)))


def indexes() -> None:
    op.create_index("ix_credential_serial", "credential", ["serial"])
    op.create_index("ix_credential_fingerprint", "credential", ["fingerprint"])
    op.create_index("ix_request_waiting", "signing_request", ["signatory_id", "state", "urgency", "id"])
    op.create_index("ix_request_batch", "signing_request", ["batch_id", "id"])
    op.create_index("ix_request_created", "signing_request", ["created_at"])
    op.create_index("ix_request_number", "signing_request", ["number"])
    op.create_index("ix_request_symbol", "signing_request", ["symbol"])
    op.create_index("ix_request_type", "signing_request", ["document_type"])
    op.create_index("ix_entry_credential", "entry", ["credential_id", "leaf_index"])
    op.create_index("ix_entry_outcome", "entry", ["outcome", "leaf_index"])


INDEXES = (
    ("ix_credential_serial", "credential"), ("ix_credential_fingerprint", "credential"),
    ("ix_request_waiting", "signing_request"), ("ix_request_batch", "signing_request"),
    ("ix_request_created", "signing_request"), ("ix_request_number", "signing_request"),
    ("ix_request_symbol", "signing_request"), ("ix_request_type", "signing_request"),
    ("ix_entry_credential", "entry"), ("ix_entry_outcome", "entry"),
)
