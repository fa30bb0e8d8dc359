"""What ends soon, keys that are to be made, and a person's name are found without reading everybody."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_credential_ends", "credential", ["state", "not_after"])
    op.create_index("ix_signatory_name", "signatory", ["name"])


def downgrade() -> None:
    op.drop_index("ix_credential_ends", "credential")
    op.drop_index("ix_signatory_name", "signatory")
