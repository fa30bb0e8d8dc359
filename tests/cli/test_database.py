from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest

from signing_service.cli.main import run
from signing_service.db import migrate
from tests.support import postgres


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of the tables needs an address and nothing else."""
    for name in ("SIGNING_PROFILE", "SIGNING_DATABASE_URL", "SIGNING_OWNER_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_new_database_gets_its_tables_and_the_second_time_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/signing.db"
    monkeypatch.setenv("SIGNING_OWNER_DATABASE_URL", url)
    assert [run(["database", "migrate"]), run(["database", "migrate"])] == [0, 0]
    assert migrate.head() in capsys.readouterr().out
    migrate.check(url)


@postgres.requires_postgres
def test_roles_are_made_with_passwords_from_files_and_given_their_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.fresh_database()
    monkeypatch.setenv("SIGNING_OWNER_DATABASE_URL", url)
    words = ["database", "roles", "--create-roles", "--front", "cli_front", "--signer", "cli_signer"]
    for half in ("front", "signer"):
        (tmp_path / half).write_text(f"secret of the {half}\n")
        words += [f"--{half}-password-file", str(tmp_path / half)]
    assert [run(["database", "migrate"]), run(words), run(words)] == [0, 0, 0]
    with psycopg.connect(postgres.as_role(url, "cli_front"), autocommit=True) as front:
        front.execute("SELECT count(*) FROM intent")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            front.execute("DELETE FROM intent")


def test_a_role_without_a_password_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGNING_OWNER_DATABASE_URL", f"sqlite:///{tmp_path}/signing.db")
    assert run(["database", "roles", "--create-roles"]) == 2
    (tmp_path / "empty").write_text("\n")
    assert run(["database", "roles", "--create-roles", "--front-password-file", str(tmp_path / "empty")]) == 2
    assert "is empty" in capsys.readouterr().err


def test_on_sqlite_there_are_no_roles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SIGNING_OWNER_DATABASE_URL", f"sqlite:///{tmp_path}/signing.db")
    assert run(["database", "roles"]) == 2
    assert "SQLite has no users" in capsys.readouterr().err


@postgres.requires_postgres
def test_roles_that_cannot_be_given_are_a_sentence_and_never_a_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = postgres.fresh_database()
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("CREATE ROLE cli_plain LOGIN")
    (tmp_path / "password").write_text("do not show this")
    words = ["database", "roles", "--front", "cli_nobody", "--signer", "cli_noone"]
    files = [f"--{half}-password-file={tmp_path / 'password'}" for half in ("front", "signer")]
    assert run(["database", "migrate", "--url", owner]) == 0
    assert run([*words, "--url", owner]) == 2
    assert "There are no roles cli_nobody and cli_noone" in capsys.readouterr().err
    assert run([*words, "--url", postgres.as_role(owner, "cli_plain"), "--create-roles", *files]) == 3
    shown = capsys.readouterr()
    assert "takes CREATEROLE" in shown.err
    assert "do not show this" not in shown.out + shown.err


@postgres.requires_postgres
def test_a_role_logs_in_with_its_password_which_the_server_never_sees(tmp_path: Path) -> None:
    owner = postgres.fresh_database()
    assert run(["database", "migrate", "--url", owner]) == 0
    (tmp_path / "password").write_text("it's 100 % mine\n")
    files = [f"--{half}-password-file={tmp_path / 'password'}" for half in ("front", "signer")]
    words = ["database", "roles", "--url", owner, "--create-roles", "--front", "cli_scram", "--signer", "cli_scram_2"]
    assert run([*words, *files]) == 0
    with psycopg.connect(owner) as connection:
        [(kept,)] = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'cli_scram'").fetchall()
    assert kept.startswith("SCRAM-SHA-256$")
    assert "mine" not in kept


def test_a_database_that_a_later_version_has_changed_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/signing.db"
    assert run(["database", "migrate", "--url", url]) == 0
    with sqlite3.connect(tmp_path / "signing.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert run(["database", "migrate", "--url", url]) == 6
    assert "a later one" in capsys.readouterr().err
