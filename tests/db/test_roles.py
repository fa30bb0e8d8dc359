from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Connection, insert, text

from signing_service.audit import EntryMac, Event, Fact, record
from signing_service.db import migrate, roles
from signing_service.db.engine import Database
from signing_service.db.tables import FRONT, SIGNER, agency, metadata
from signing_service.errors import Invalid, Unsupported
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support import postgres
from tests.support.terminal import Terminal, opened

pytestmark = postgres.requires_postgres
NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)
TABLES = {table.name: table for table in metadata.sorted_tables}
REFUSED = psycopg.errors.InsufficientPrivilege


@pytest.fixture(scope="module")
def url() -> str:
    url = postgres.fresh_database()
    migrate.upgrade(url)
    for role in ("front_half", "signer_half"):
        roles.create(url, role, "it's 100% secret")
    roles.grant(url, "front_half", "signer_half")
    with writing(url) as tx:
        tx.execute(insert(agency).values(code="H26", name="Hà Nội", level="city", valid_from=NOW))
        record(tx, NOW, Fact(Event.AGENCY_CHANGED, "operator:test"))
    return url


@contextmanager
def writing(url: str, role: str = postgres.OWNER) -> Iterator[Connection]:
    database = Database(postgres.as_role(url, role), pool_size=1)
    try:
        with database.write() as tx:
            yield tx
    finally:
        database.close()


@pytest.fixture
def front(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.as_role(url, "front_half"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def signer(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.as_role(url, "signer_half"), autocommit=True) as connection:
        yield connection


def a_row(name: str) -> bytes:
    """An INSERT whose columns all exist; rights are checked before any constraint is."""
    return f'INSERT INTO "{name}" SELECT * FROM "{name}"'.encode()


def an_update(name: str) -> bytes:
    column = next(iter(TABLES[name].columns)).name
    return f'UPDATE "{name}" SET "{column}" = "{column}"'.encode()


@pytest.mark.parametrize("name", [table.name for table in SIGNER])
def test_the_front_cannot_write_a_table_of_the_signer(front: psycopg.Connection, name: str) -> None:
    for statement in (a_row(name), an_update(name), f'DELETE FROM "{name}"'.encode(), f'TRUNCATE "{name}"'.encode()):
        with pytest.raises(REFUSED):
            front.execute(statement)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_both_halves_read_everything(front: psycopg.Connection, signer: psycopg.Connection, name: str) -> None:
    for half in (front, signer):
        half.execute(f'SELECT * FROM "{name}" LIMIT 1'.encode())


@pytest.mark.parametrize("name", [table.name for table in FRONT])
def test_the_front_writes_its_own_tables(front: psycopg.Connection, name: str) -> None:
    for statement in (a_row(name) + b" WHERE false", an_update(name) + b" WHERE false"):
        front.execute(statement)


def test_the_front_appends_entries_as_the_code_writes_them(url: str) -> None:
    with writing(url, "front_half") as tx:
        record(tx, NOW, Fact(Event.SUBMITTED, "client:cl_1"), Fact(Event.DELIVERED, "client:cl_1"))


FORBIDDEN_TO_THE_FRONT = {
    "give an entry a place in the log": "UPDATE entry SET leaf_index = 7",
    "change what an entry says": "UPDATE entry SET body = '{}'",
    "delete an entry": "DELETE FROM entry",
    "empty the log": "TRUNCATE entry",
    "insert an entry with a place of its own choosing":
        "INSERT INTO entry (id, at, event, actor, outcome, body, leaf_index) VALUES (1, now(), 1, 1, 1, '', 0)",
    "insert an entry that claims to be the signer's":
        "INSERT INTO entry (id, at, event, actor, outcome, body, mac) VALUES ('x', now(), 'e', 'a', 'ok', '{}', 'm')",
    "make a table": "CREATE TABLE mine (x int)",
    "become the signer": "SET ROLE signer_half",
}


@pytest.mark.parametrize("statement", FORBIDDEN_TO_THE_FRONT.values(), ids=FORBIDDEN_TO_THE_FRONT.keys())
def test_the_front_cannot(front: psycopg.Connection, statement: str) -> None:
    with pytest.raises(REFUSED):
        front.execute(statement.encode())


def test_the_front_cannot_give_itself_rights(front: psycopg.Connection) -> None:
    front.execute("GRANT ALL ON entry TO front_half")  # PostgreSQL warns, and does nothing
    with pytest.raises(REFUSED):
        front.execute("DELETE FROM entry")


FORBIDDEN_TO_THE_SIGNER = {
    "change what an entry says": "UPDATE entry SET body = '{}'",
    "change when it happened": "UPDATE entry SET at = now()",
    "delete an entry": "DELETE FROM entry",
    "change a client's secret": "UPDATE client SET secret_hash = 'x'",
    "delete a signing request": "DELETE FROM signing_request",
    "swap a request's document": "UPDATE signing_request SET document_digest = 'x'",
    "make a table": "CREATE TABLE mine (x int)",
}


@pytest.mark.parametrize("statement", FORBIDDEN_TO_THE_SIGNER.values(), ids=FORBIDDEN_TO_THE_SIGNER.keys())
def test_the_signer_cannot(signer: psycopg.Connection, statement: str) -> None:
    with pytest.raises(REFUSED):
        signer.execute(statement.encode())


def test_the_signer_writes_its_tables_its_entries_and_their_place_in_the_log(
    url: str, signer: psycopg.Connection
) -> None:
    for table in SIGNER:
        signer.execute(an_update(table.name))
    with writing(url, "signer_half") as tx:
        record(tx, NOW, Fact(Event.SIGNER_STARTED, "signer:sg_1"), mac=EntryMac("sg_1", b"k" * 32))
    signer.execute("UPDATE entry SET leaf_index = 0, mac = NULL, mac_by = NULL WHERE event = 'agency:change'")


def test_granting_again_changes_nothing_and_takes_away_what_was_added_by_hand(
    url: str, front: psycopg.Connection
) -> None:
    with writing(url) as tx:
        tx.execute(text("GRANT ALL ON intent, entry TO front_half"))
        tx.execute(text("GRANT UPDATE (leaf_index) ON entry TO front_half"))
    roles.grant(url, "front_half", "signer_half")
    for statement in (b"DELETE FROM intent", b"UPDATE entry SET leaf_index = 7", b"DELETE FROM entry"):
        with pytest.raises(REFUSED):
            front.execute(statement)


@pytest.mark.usefixtures("url")
def test_both_halves_do_their_work_with_their_rights_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh = postgres.fresh_database()  # the roles are the cluster's, made with the other database
    migrate.upgrade(fresh)
    roles.grant(fresh, "front_half", "signer_half")
    halves = postgres.as_role(fresh, "front_half"), postgres.as_role(fresh, "signer_half")
    with opened(tmp_path, *halves) as office:
        terminal = Terminal(office, monkeypatch, capsys)
        terminal.bootstraps()
        terminal.agencies()
        terminal.asks("client", "add", "Văn bản", "--agency", "*")
        made = terminal.asks("credential", "add", "--agency", "H26.1", "--signatory", terminal.signatory())
        assert terminal.asks("credential", "wait", made["id"])["state"] == "key-ready"
        terminal("policy", "activate", "default")
        _enrols_a_phone(terminal)
        assert terminal.asks("audit", "verify")["ok"]


def _enrols_a_phone(terminal: Terminal) -> None:
    """The signer writes phones, tickets and seeds; with the front's role nobody does (above)."""
    link = terminal.asks("ticket", "issue", "CB-1")["link"]
    asked = m.RedeemTicket(link.rpartition("/")[2], "b" * 64, hashlib.sha256(b"a" * 64).hexdigest())
    opened = ask_once(terminal.office.rt.settings.sign_socket, asked, m.TicketRedeemed)
    code = terminal.office.fresh_code(str(opened.uri))
    ready = m.CompletePhone(m.PhoneProof(str(opened.phone_id), "a" * 64), code)
    assert ask_once(terminal.office.rt.settings.sign_socket, ready, m.PhoneReady).stop_code


def test_a_password_may_contain_anything(url: str) -> None:
    with writing(url) as tx:
        known = tx.execute(text("SELECT rolname FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$%'")).scalars()
        assert {"front_half", "signer_half"} <= set(known)


@pytest.mark.parametrize("name", ["front-half", "x; DROP TABLE entry", "", "Front", 'a"b'])
def test_a_name_that_is_no_name_of_a_role_is_refused(url: str, name: str) -> None:
    with pytest.raises(Invalid):
        roles.grant(url, name, "signer_half")


def test_one_role_for_both_halves_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match="of their own"):
        roles.grant(url, "front_half", "front_half")


def test_sqlite_has_no_roles_and_says_so() -> None:
    with pytest.raises(Unsupported, match="PostgreSQL"):
        roles.grant("sqlite://", "front_half", "signer_half")
