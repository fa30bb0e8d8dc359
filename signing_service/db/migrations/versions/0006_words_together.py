"""A number, a symbol and a type that never occur together are not looked for among all that has one of them."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TOGETHER = {
    "ix_request_number": ["number", "symbol", "document_type"],
    "ix_request_symbol": ["symbol", "document_type"],
}


def upgrade() -> None:
    for name, columns in TOGETHER.items():
        op.drop_index(name, "signing_request")
        op.create_index(name, "signing_request", columns)


def downgrade() -> None:
    for name, columns in TOGETHER.items():
        op.drop_index(name, "signing_request")
        op.create_index(name, "signing_request", columns[:1])
