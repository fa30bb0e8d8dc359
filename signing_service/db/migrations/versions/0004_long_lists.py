"""A client's list is found by state and by the client's own name for it, however long it has become."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_request_client_state", "signing_request", ["client_id", "state", "id"])
    op.create_index("ix_request_external", "signing_request", ["client_id", "external_id", "id"])


def downgrade() -> None:
    for name in ("ix_request_client_state", "ix_request_external"):
        op.drop_index(name, "signing_request")
