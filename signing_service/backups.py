"""Backups: the database, then the documents, in a folder; and back, so that nothing spent can be spent again.

    FOLDER/database.sqlite or database.pgdump     one consistent state
    FOLDER/documents/…                            files under their digests; a second backup only adds to them
    FOLDER/manifest.json                          what is in it, written last: without it the backup is not complete

The device is backed up by its vendor's own means, and the secrets of the configuration as others are. A database that
was put back opens an epoch: the signer signs nothing until an operator says that it may (`signer/restoring.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, delete, func, insert, select

from signing_service.audit import instant
from signing_service.db import dumps, migrate
from signing_service.db.engine import Database
from signing_service.db.tables import access_token, checkpoint, epoch, lease, session
from signing_service.documents import DIGEST, FILES
from signing_service.errors import Invalid, Unavailable
from signing_service.tlog import tree

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Manifest:
    """What a backup holds: the log's size and root say how far it had come; `sha256` is the database file's."""

    made_at: str
    revision: str
    log_size: int
    log_root: str
    file: str
    sha256: str
    documents: int


def make(url: str, documents: Path, folder: Path, now: datetime) -> Manifest:
    """Back up while the service runs. The documents come after the database: what its rows name is then there.

    `folder` is new, or holds an older backup, which this one replaces once it is complete. Raises Unavailable where
    something cannot be read or written.
    """
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / MANIFEST).unlink(missing_ok=True)
        size, root = _log(url)
        file = dumps.dump(url, folder)
        copied = _copy(documents, folder / "documents", checked=False)
    made = Manifest(instant(now), migrate.current(url) or "", size, root.hex(), file.name, _digest(file), copied)
    with _storage(folder):
        _write(folder / MANIFEST, json.dumps(asdict(made), indent=2))
    return made


def restore(url: str, documents: Path, folder: Path, now: datetime) -> Manifest:
    """Put a backup back, with the service stopped and an empty database. Sessions and tokens end; an epoch opens.

    Raises Invalid for a backup that is incomplete or damaged, before anything is written; WrongState where a database
    is there already.
    """
    found = read(folder)
    if _digest(folder / found.file) != found.sha256:
        raise Invalid(f"{folder / found.file} is not what the backup wrote.", code="backup-damaged")
    with _storage(documents):
        _copy(folder / "documents", documents, checked=True)
    dumps.load(url, folder / found.file)
    with closing(Database(url, pool_size=1)) as db:
        _open_epoch(db, now)
    return found


def read(folder: Path) -> Manifest:
    """Invalid where there is no complete backup."""
    try:
        return Manifest(**json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise Invalid(f"{folder} holds no complete backup: it has no {MANIFEST}.", code="backup-incomplete") from None
    except (ValueError, TypeError, OSError) as error:
        raise Invalid(f"{folder / MANIFEST} cannot be read.", code="backup-damaged") from error


def _open_epoch(db: Database, now: datetime) -> None:
    """The row that keeps the signer from signing, and what would let somebody in who was shut out since."""
    with db.write() as tx:
        last = tx.execute(select(func.max(epoch.c.number))).scalar() or 0
        size, root = newest(tx)
        tx.execute(insert(epoch).values(number=last + 1, size=size, root=root, opened_at=now))
        for table in (session, access_token, lease):
            tx.execute(delete(table))


def _log(url: str) -> tuple[int, bytes]:
    """How far the log has come: the dump that is made now goes at least as far."""
    with closing(Database(url, pool_size=1)) as db, db.read() as tx:
        return newest(tx)


def newest(tx: Connection) -> tuple[int, bytes]:
    """Size and root of the newest checkpoint."""
    row = tx.execute(select(checkpoint.c.size, checkpoint.c.root).order_by(checkpoint.c.size.desc()).limit(1)).first()
    return (row.size, bytes(row.root)) if row else (0, tree.root([]))


# ------------------------------------------------------------------------------------------------------- the files


def _copy(source: Path, target: Path, *, checked: bool) -> int:
    """Copy what is not there yet; how many there are. `checked`: each must be what its name says, or Invalid."""
    count = 0
    for file in sorted(source.glob(FILES)):
        if not DIGEST.fullmatch(file.name):
            continue
        place = target / file.relative_to(source)
        if not place.exists():
            _copy_one(file, place, checked=checked)
        count += place.exists()
    return count


def _copy_one(file: Path, place: Path, *, checked: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    waiting = place.with_name(f"{place.name}.new")
    try:
        shutil.copyfile(file, waiting)
    except FileNotFoundError:  # swept at this moment: no row needs it any more
        waiting.unlink(missing_ok=True)
        return
    if checked and _digest(waiting) != place.name:
        waiting.unlink()
        raise Invalid(f"{file} is not what its name says: this backup is damaged.", code="backup-damaged")
    with waiting.open("rb") as written:
        os.fsync(written.fileno())
    waiting.chmod(0o440)
    waiting.replace(place)


def _write(path: Path, text: str) -> None:
    waiting = path.with_name(f"{path.name}.new")
    with waiting.open("w", encoding="utf-8") as out:
        out.write(text + "\n")
        out.flush()
        os.fsync(out.fileno())
    waiting.replace(path)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{error.filename or folder}: {error.strerror}.", code="storage") from error
