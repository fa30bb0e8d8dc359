"""The anchor: a file beside the database that remembers how far the log had come.

A database can be put back to an older state, by a restored backup or by somebody's hand, and every row in it is
genuine: no MAC shows it. The anchor does. A signer that starts on a database whose log is shorter than the anchor
says, or another one, signs nothing (`restored`), makes worthless what the old rows would open again
(`restoring.py`), and waits for an operator's word. That word begins a new *epoch*, a row with a MAC of the device, so
that it cannot be given by whoever owns the database.

The file is written after each checkpoint and names its size and root; losing it loses only this one look.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from hsm.errors import Tampered
from hsm.sealing import row_mac, verify_row_mac
from signing_service.audit import StoredTiles
from signing_service.db.tables import checkpoint, epoch
from signing_service.errors import SigningError, Unavailable
from signing_service.signer.runtime import Runtime
from signing_service.tlog import tiles, tree

RESTORED = (
    "The database is older than what this signer has seen: a backup was restored. Nothing is signed until an operator "
    "says that it may go on (`signing-service backup go-on`)."
)


@dataclass(frozen=True)
class Head:
    """The newest checkpoint: how many entries it covers, and when it was made."""

    size: int
    root: bytes
    at: datetime | None


@dataclass(frozen=True)
class Anchor:
    """What the file says: in this epoch the log's first `size` entries had this root."""

    epoch: int
    size: int
    root: bytes


def head(tx: Connection) -> Head:
    row = tx.execute(
        select(checkpoint.c.size, checkpoint.c.root, checkpoint.c.at)
        .order_by(checkpoint.c.size.desc(), checkpoint.c.id.desc()).limit(1)
    ).first()
    return Head(row.size, bytes(row.root), row.at) if row else Head(0, tree.root([]), None)


def check(rt: Runtime) -> None:
    """Raises Unavailable (`restored`) while nobody has said that the service may go on."""
    if rt.guard.is_restored:
        raise Unavailable(RESTORED, code="restored", retry_after=60)


def look(rt: Runtime) -> None:
    """Compare the database with the anchor, and remember in `rt.guard` whether it is older. Asks the device."""
    kept = read(rt.settings.anchor)
    with rt.db.read() as tx:
        newest, current = newest_epoch(tx), head(tx)
        follows = kept is None or _follows(tx, kept, newest, current)
    if newest is not None and newest["closed_by"] is not None:
        _check_mac(rt, newest)
    is_open = newest is not None and newest["closed_by"] is None
    rt.guard.epoch = max(newest["number"] if newest else 0, kept.epoch if kept else 0)
    rt.guard.size = current.size
    rt.guard.is_restored = is_open or not follows


def look_at(rt: Runtime, current: Head) -> None:
    """The same, cheaply, while we live: a database that was exchanged under a running signer has a shorter log."""
    if current.size < rt.guard.size:
        rt.guard.is_restored = True
    check(rt)


def _follows(tx: Connection, kept: Anchor, newest: Any | None, current: Head) -> bool:
    number = newest["number"] if newest is not None else 0
    if kept.epoch != number:
        return kept.epoch < number
    return kept.size <= current.size and tiles.root_at(StoredTiles(tx), kept.size) == kept.root


def newest_epoch(tx: Connection) -> Any | None:
    """The row of the newest epoch; None in a database that was never restored."""
    return tx.execute(select(epoch).order_by(epoch.c.number.desc()).limit(1)).mappings().first()


def mac_of(rt: Runtime, row: Any) -> bytes:
    """The MAC of an epoch that was closed. Asks the device: never call it inside a transaction."""
    return row_mac(rt.device, "epoch", str(row["number"]), row["closed_by"], _content(row), 1)


def _check_mac(rt: Runtime, row: Any) -> None:
    try:
        verify_row_mac(rt.device, "epoch", str(row["number"]), row["closed_by"], _content(row), 1, row["mac"] or b"")
    except Tampered as error:
        raise SigningError(f"The epoch {row['number']} of this database was not begun by an operator.",
                           code="tampered") from error


def _content(row: Any) -> bytes:
    return f"{row['size']}\n{bytes(row['root']).hex()}".encode()


# ------------------------------------------------------------------------------------------------------ the file


def read(path: Path | None) -> Anchor | None:
    """None where there is no anchor yet. Unavailable where it cannot be read: that is looked at by somebody first."""
    if path is None:
        return None
    try:
        found = json.loads(path.read_text(encoding="ascii"))
        return Anchor(int(found["epoch"]), int(found["size"]), bytes.fromhex(found["root"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"The anchor {path} cannot be read. Put back the newest good copy, or remove it if the "
                          "database is known to be the newest.", code="anchor") from error


def keep(rt: Runtime, size: int, root: bytes) -> None:
    """Remember the log's size and root, after its checkpoint became durable."""
    rt.guard.size = size
    if rt.settings.anchor is not None:
        _write(rt.settings.anchor, {"epoch": rt.guard.epoch, "size": size, "root": root.hex()})


def _write(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all: written beside its place, synced, renamed. Unavailable where the disk refuses."""
    waiting = path.with_name(f"{path.name}.new")
    try:
        with waiting.open("w", encoding="ascii") as out:
            json.dump(content, out)
            out.flush()
            os.fsync(out.fileno())
        waiting.replace(path)
    except OSError as error:
        raise Unavailable(f"The anchor {path} cannot be written: {error.strerror}.", code="anchor") from error
