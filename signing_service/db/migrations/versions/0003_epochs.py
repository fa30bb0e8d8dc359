"""Epochs: a database that was restored from a backup says so, and who let it go on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Instant = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "epoch",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary, nullable=False),
        sa.Column("opened_at", Instant, nullable=False),
        sa.Column("opened_by", sa.String(40)),
        sa.Column("closed_at", Instant),
        sa.Column("closed_by", sa.String(40)),
        sa.Column("mac", sa.LargeBinary),
    )


def downgrade() -> None:
    op.drop_table("epoch")
