"""Who may write what, on PostgreSQL: the wall between the halves that a web process taken over cannot climb.

The front's role reads everything, writes the front's tables, and appends entries without a place in the log. The
signer's role writes everything of its own; of an entry it may set only the place and clear the MAC. Nobody's role
may change or delete an entry: that needs the owner of the tables, who runs migrations and nothing else. SQLite has
no roles: there this wall does not stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedObject, UndefinedTable
from sqlalchemy import Connection, Table, make_url, text
from sqlalchemy.exc import ProgrammingError

from signing_service.db.engine import Database
from signing_service.db.tables import ENTRY_COLUMNS_OF_FRONT, FRONT, SIGNER, entry, metadata
from signing_service.errors import Invalid, NotAuthorized, Unsupported

SIGNER_SETS = ("leaf_index", "mac", "mac_by")  # of an entry, and nothing else
ROLE_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}\Z")
SIGNER_MOVES = ("state", "reason", "confirmation_id", "tail_digest", "ended_at")  # a signing request, with its outcome


def grant(url: str, front_role: str, signer_role: str) -> None:
    """Give both roles exactly their rights, taking away whatever else they had. Run it after each migration.

    Repeatable. `url` connects as the owner of the tables. Raises Unsupported on SQLite, Invalid where a role or the
    tables are missing, NotAuthorized where the owner may not.
    """
    front, signer = _checked(front_role), _checked(signer_role)
    if front == signer:
        raise Invalid("The front and the signer need roles of their own.", code="roles")
    with _in_words(front, signer), _Owner(url) as connection:
        # Clusters that began before PostgreSQL 15 let everybody make tables here.
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
        for statement in (*_nothing(front), *_nothing(signer), *_front(front), *_signer(signer)):
            connection.execute(text(statement))


def create(url: str, role: str, password: str) -> None:
    """A role that may log in; its password is set again if the role is there already. Raises as `grant` does.

    The server is sent what it keeps (RFC 5803) and not the password, which could stand in its log otherwise.
    """
    name = _checked(role)
    with _in_words(name), _Owner(url) as connection:
        known = connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}).scalar()
        action = "ALTER" if known else "CREATE"
        kept = _driver(connection).pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        connection.exec_driver_sql(f"{action} ROLE {name} LOGIN PASSWORD '{kept}'")


@contextmanager
def _in_words(*roles: str) -> Iterator[None]:
    """What an administrator can put right, without the statement. Raised from nothing: it may hold a password."""
    try:
        yield
    except ProgrammingError as error:
        cause, names = error.orig, " and ".join(roles)
        if isinstance(cause, UndefinedObject):
            raise Invalid(f"There are no roles {names} yet: make them, or use --create-roles.", code="roles") from None
        if isinstance(cause, UndefinedTable):
            raise Invalid("The tables are not there yet: `database migrate` makes them.", code="roles") from None
        if isinstance(cause, InsufficientPrivilege):
            raise NotAuthorized(
                f"This user of the database may not do that for {names}: making roles takes CREATEROLE, giving rights "
                "takes the owner of the tables.", code="roles") from None
        raise


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    if not isinstance(driver, psycopg.Connection):
        raise TypeError("the tables' owner connects with psycopg")
    return driver


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
