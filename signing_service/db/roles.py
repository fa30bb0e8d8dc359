"""Who may write what, on PostgreSQL: the wall between the halves that a web process taken over cannot climb.

The front's role reads everything, writes the front's tables, and appends entries without a place in the log. The
signer's role writes everything of its own; of an entry it may set only the place and clear the MAC. Nobody's role
may change or delete an entry: that needs the owner of the tables, who runs migrations and nothing else. SQLite has
no roles: there this wall does not stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sqlalchemy import Connection, Table, make_url, text

from signing_service.db.engine import Database
from signing_service.db.tables import ENTRY_COLUMNS_OF_FRONT, FRONT, SIGNER, entry, metadata
from signing_service.errors import Invalid, Unsupported

SIGNER_SETS = ("leaf_index", "mac", "mac_by")  # of an entry, and nothing else
ROLE_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}\Z")
SIGNER_MOVES = ("state", "reason", "confirmation_id", "tail_digest", "ended_at")  # a signing request, with its outcome


def grant(url: str, front_role: str, signer_role: str) -> None:
    """Give both roles exactly their rights, taking away whatever else they had. Run it after each migration.

    Repeatable. `url` connects as the owner of the tables. Raises Unsupported on SQLite.
    """
    front, signer = _checked(front_role), _checked(signer_role)
    if front == signer:
        raise Invalid("The front and the signer need roles of their own.", code="roles")
    with _Owner(url) as connection:
        # Clusters that began before PostgreSQL 15 let everybody make tables here.
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        for statement in (*_nothing(front), *_nothing(signer), *_front(front), *_signer(signer)):
            connection.execute(text(statement))


def create(url: str, role: str, password: str) -> None:
    """A role that may log in; its password is set again if the role is there already."""
    name = _checked(role)
    with _Owner(url) as connection:
        known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).scalar()
        action = "ALTER" if known else "CREATE"
        literal = connection.execute(text("SELECT quote_literal(:password)"), {"password": password}).scalar_one()
        connection.exec_driver_sql(f"{action} ROLE {name} LOGIN PASSWORD {literal}".replace("%", "%%"))


class _Owner:
    """One transaction as the owner of the tables, on PostgreSQL only."""

    def __init__(self, url: str) -> None:
        if make_url(url).get_backend_name() != "postgresql":
            raise Unsupported("Roles need PostgreSQL: SQLite has no users.", code="roles-need-postgresql")
        self._database = Database(url, pool_size=1)

    def __enter__(self) -> Connection:
        self._writing = self._database.write()
        return self._writing.__enter__()

    def __exit__(self, *what: object) -> None:
        try:
            self._writing.__exit__(*what)  # type: ignore[arg-type]  # the three of the protocol
        finally:
            self._database.close()


def _nothing(role: str) -> Iterable[str]:
    yield f"GRANT USAGE ON SCHEMA public TO {role}"
    yield f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"
    for column in entry.columns:  # rights on single columns outlive REVOKE ALL on the table in no version we know,
        yield f"REVOKE ALL ({column.name}) ON entry FROM {role}"  # but the wall should not rest on that
    yield f"GRANT SELECT ON {_names(metadata.sorted_tables)}, alembic_version TO {role}"


def _front(role: str) -> Iterable[str]:
    yield f"GRANT INSERT, UPDATE, DELETE ON {_names(FRONT)} TO {role}"
    yield f"GRANT INSERT ({', '.join(ENTRY_COLUMNS_OF_FRONT)}) ON entry TO {role}"


def _signer(role: str) -> Iterable[str]:
    yield f"GRANT INSERT, UPDATE, DELETE ON {_names(SIGNER)} TO {role}"
    yield f"GRANT UPDATE ({', '.join(SIGNER_MOVES)}) ON signing_request TO {role}"
    yield f"GRANT INSERT ON entry TO {role}"
    yield f"GRANT UPDATE ({', '.join(SIGNER_SETS)}) ON entry TO {role}"


def _names(tables: Iterable[Table]) -> str:
    return ", ".join(f'"{table.name}"' for table in tables)


def _checked(role: str) -> str:
    if not ROLE_NAME.match(role):
        raise Invalid(f"Not a name for a role: {role!r}. Lower-case letters, digits and _ only.", code="roles")
    return role
