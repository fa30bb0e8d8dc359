"""Databases that have this version's tables: the migrations run once in a process, and the others are copies.

    url = databases.sqlite(tmp_path)
    url = databases.postgresql()

Tests of the migrations themselves start from `postgres.fresh_database()` or from no file, and call `upgrade`.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from signing_service.db.migrate import upgrade
from tests.support import postgres


def sqlite(directory: Path) -> str:
    """A database `signing.db` in this directory, with all tables and no rows."""
    path = directory / "signing.db"
    shutil.copyfile(_empty_file(), path)
    return f"sqlite:///{path}"


def postgresql() -> str:
    """A database of this process's cluster that nobody else has, with all tables and no rows."""
    return postgres.fresh_database(like=_empty_database())


@cache
def _empty_file() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="empty-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    upgrade(f"sqlite:///{directory / 'signing.db'}")  # closed behind itself: the file is all there is of it
    assert [path.name for path in directory.iterdir()] == ["signing.db"]
    return directory / "signing.db"


@cache
def _empty_database() -> str:
    url = postgres.fresh_database()
    upgrade(url)
    return url
