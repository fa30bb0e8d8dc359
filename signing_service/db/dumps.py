"""The whole database as one file, and back: SQLite by its own backup, PostgreSQL by pg_dump and pg_restore."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url

from signing_service.db import migrate
from signing_service.errors import Invalid, Unavailable, WrongState

SQLITE, POSTGRESQL = "database.sqlite", "database.pgdump"


def dump(url: str, directory: Path) -> Path:
    """Write one consistent state of the database below `directory`, while it is in use. Returns the file, synced."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        file = directory / SQLITE
        _copy_sqlite(_file_of(address), file)
    else:
        file = directory / POSTGRESQL
        _run(address, "pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={file}")
    with file.open("rb") as written:
        os.fsync(written.fileno())
    return file


def load(url: str, file: Path) -> None:
    """Put a dump in the place of the database, which must be empty: WrongState where it has tables."""
    address = make_url(url)
    is_sqlite = address.get_backend_name() == "sqlite"
    if is_sqlite != (file.name == SQLITE):
        raise Invalid("The backup is of the other kind of database.", code="backup-kind")
    if is_sqlite and not _file_of(address).exists():
        _copy_sqlite(file, _file_of(address))
        return
    if migrate.current(url) is not None:
        raise WrongState("There is a database already. Move it away first: it may hold what the backup has not.",
                         code="database-there")
    if is_sqlite:
        raise WrongState(f"{_file_of(address)} is there and is no database of ours. Move it away first.",
                         code="database-there")
    _run(address, "pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges",
         "--dbname", address.database or "", str(file))


def _file_of(address: URL) -> Path:
    if not address.database:
        raise Invalid("A database in memory has no backup.", code="backup-kind")
    return Path(address.database)


def _copy_sqlite(source: Path, target: Path) -> None:
    """With everything that is still in the write-ahead log. The copy is checked before it counts."""
    waiting = target.with_name(f"{target.name}.new")
    waiting.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old, \
                closing(sqlite3.connect(waiting)) as new:
            old.backup(new)
            found = new.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise Invalid(f"{source} is damaged: {found[:200]}", code="database-damaged")
    except sqlite3.Error as error:
        raise Unavailable(f"{source} could not be copied: {error}.", code="backup") from error
    waiting.chmod(0o640)
    waiting.replace(target)


def _run(address: URL, program: str, *arguments: str) -> None:
    """One of PostgreSQL's own programs. The password goes through the environment, where other users cannot see it."""
    found = shutil.which(program)
    if found is None:
        raise Invalid(f"{program} is not installed: it comes with PostgreSQL's client programs.", code="backup-program")
    done = subprocess.run([found, *arguments], env=_environment(address), capture_output=True, text=True, check=False)  # noqa: S603 - our own arguments
    if done.returncode != 0:
        raise Unavailable(f"{program} failed: {done.stderr.strip()[-500:]}", code="backup")


def _environment(address: URL) -> dict[str, str]:
    """What libpq reads (PostgreSQL 15, 34.15)."""
    asked = {key: value if isinstance(value, str) else value[-1] for key, value in address.query.items()}
    given = {
        "PGHOST": asked.get("host") or address.host, "PGPORT": asked.get("port") or address.port,
        "PGUSER": address.username, "PGPASSWORD": address.password, "PGDATABASE": address.database,
        "PGSSLMODE": asked.get("sslmode"), "PGSSLROOTCERT": asked.get("sslrootcert"),
    }
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8",
            **{name: str(value) for name, value in given.items() if value is not None}}
