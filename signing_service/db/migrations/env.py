"""How alembic reaches the database: over the connection, and in the transaction, that `db/migrate.py` opened.

A new revision is a file in `versions/`, written by hand for both databases; a test compares what all revisions
together make with `db/tables.py`, on both.
"""

from alembic import context

from signing_service.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot alter a table in place
)
context.run_migrations()
