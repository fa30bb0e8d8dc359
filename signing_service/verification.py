"""Proofs, and whether the log is still what it was. Entries are read by `inspection`; here they are proven.

A checkpoint and the proof between two of them say nothing about anybody and are for everyone. Whatever looks at
entries is a reading, and on record like one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, or_, select

from signing_service.audit import StoredTiles, disagreements
from signing_service.db.engine import Database
from signing_service.db.tables import checkpoint, entry, log_key
from signing_service.errors import Invalid, NotFound, Unavailable
from signing_service.inspection import CHUNK, Known, entry_row, note_reading, snapshot, stored_line
from signing_service.tlog import note, tiles, tree
from signing_service.tlog.verify import Report, verify_entries, verify_log, verify_range

HISTORY = 25  # checkpoints on a page


@dataclass(frozen=True)
class Inclusion:
    """The proof that an entry is in the log of `size` entries (RFC 6962 2.1.1)."""

    entry_id: str
    index: int
    leaf_hash: str
    size: int
    root: str
    proof: tuple[str, ...]


@dataclass(frozen=True)
class Included:
    """An entry's exact text, and the proof that it is in the log: who has both can compute the rest."""

    text: str
    inclusion: Inclusion


@dataclass(frozen=True)
class Signed:
    """A checkpoint as it was signed. `note` is what is verified; the rest is told for finding one's way."""

    id: str
    size: int
    root: str
    at: datetime
    note: str


@dataclass(frozen=True)
class Checkpoints:
    """A page of checkpoints, the newest first. `older` is where the next page begins, None on the last one."""

    shown: tuple[Signed, ...]
    older: str | None


@dataclass(frozen=True)
class Consistency:
    """The proof that the log of `new` entries begins with that of `old` entries (RFC 6962 2.1.2)."""

    old: int
    new: int
    old_root: str
    new_root: str
    proof: tuple[str, ...]


def newest_checkpoint(tx: Connection) -> Any:
    """The row of the newest checkpoint. Unavailable where the log has none yet."""
    row = latest_checkpoint(tx)
    if row is None:
        raise Unavailable("The log has no checkpoint yet.", code="no-checkpoint", retry_after=2)
    return row


def latest_checkpoint(tx: Connection) -> Any | None:
    """The same, or None."""
    return tx.execute(
        select(checkpoint).order_by(checkpoint.c.size.desc(), checkpoint.c.id.desc()).limit(1)).first()


def checkpoints(db: Database, begin: str | None = None) -> Checkpoints:
    """Checkpoints as they were signed, from the newest or from `begin` on. NotFound for what is no checkpoint.

    They say nothing about anybody, so that looking at them is not on record.
    """
    with db.read() as tx:
        query = select(checkpoint).order_by(checkpoint.c.size.desc(), checkpoint.c.id.desc()).limit(HISTORY + 1)
        if begin is not None:
            row = _checkpoint(tx, begin)
            query = query.where(or_(checkpoint.c.size < row.size,
                                    and_(checkpoint.c.size == row.size, checkpoint.c.id <= row.id)))
        rows = tx.execute(query).all()
    return Checkpoints(tuple(map(_signed, rows[:HISTORY])), rows[HISTORY].id if len(rows) > HISTORY else None)


def newest(db: Database) -> Signed:
    """The newest checkpoint. Unavailable where the log has none yet."""
    with db.read() as tx:
        return _signed(newest_checkpoint(tx))


def get_checkpoint(db: Database, checkpoint_id: str) -> Signed:
    """One of them. NotFound for what is no checkpoint."""
    with db.read() as tx:
        return _signed(_checkpoint(tx, checkpoint_id))


def _checkpoint(tx: Connection, checkpoint_id: str) -> Any:
    row = tx.execute(select(checkpoint).where(checkpoint.c.id == checkpoint_id)).first()
    if row is None:
        raise NotFound("There is no such checkpoint.")
    return row


def _signed(row: Any) -> Signed:
    return Signed(row.id, int(row.size), bytes(row.root).hex(), row.at, str(row.note))


def checkpoint_note(db: Database) -> str:
    """The newest checkpoint, a signed note: to be kept somewhere else."""
    with db.read() as tx:
        return str(newest_checkpoint(tx).note)


def verifier_keys(db: Database) -> tuple[str, ...]:
    """The log's verifier keys, the newest first. To be compared with what was published another way."""
    with db.read() as tx:
        return tuple(tx.execute(select(log_key.c.verifier).order_by(log_key.c.created_at.desc())).scalars())


def prove_inclusion(
    db: Database, reader: Known, now: datetime, entry_id: str, size: int | None = None
) -> Inclusion:
    """The proof under the checkpoint of `size` entries, or the newest. Unavailable while the entry has no place."""
    return prove_entry(db, reader, now, entry_id, size).inclusion


def prove_entry(db: Database, reader: Known, now: datetime, entry_id: str, size: int | None = None) -> Included:
    """The same together with the entry's text, for who computes the leaf hash alone."""
    note_reading(db, reader, now, "inclusion", {"entry": entry_id[:40]})
    with snapshot(db) as tx:
        row = entry_row(tx, reader, entry_id)
        if row.leaf_index is None:
            raise Unavailable("The entry has no place in the log yet.", code="not-sequenced", retry_after=1)
        under = _size(tx, size)
        node_at = tiles.node_at(StoredTiles(tx))
        proof = tree.inclusion_proof(row.leaf_index, under, node_at)
        root = tree.root_at(under, node_at)
    leaf = tree.leaf_hash(row.body.encode())
    return Included(str(row.body), Inclusion(
        row.id, row.leaf_index, leaf.hex(), under, root.hex(), tuple(step.hex() for step in proof)))


def prove_consistency(db: Database, old: int, new: int | None = None) -> Consistency:
    """The proof between two sizes of the log; `new` is the newest checkpoint's size unless it is given."""
    with snapshot(db) as tx:
        size = _size(tx, new)
        node_at = tiles.node_at(StoredTiles(tx))
        proof = tree.consistency_proof(old, size, node_at)
        roots = tree.root_at(old, node_at), tree.root_at(size, node_at)
    return Consistency(old, size, roots[0].hex(), roots[1].hex(), tuple(step.hex() for step in proof))


def _size(tx: Connection, asked: int | None) -> int:
    newest = int(newest_checkpoint(tx).size)
    if asked is not None and not 0 <= asked <= newest:
        raise Invalid(f"The newest checkpoint covers {newest} entries.", code="not-in-log")
    return newest if asked is None else asked


# --------------------------------------------------------------------------------------------------- verification


@dataclass(frozen=True)
class Verified:
    """The result for a log in its database. `columns` names entries whose columns do not say what their text says."""

    report: Report
    columns: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return self.report.ok and not self.columns


def verify_stored(
    db: Database, reader: Known, now: datetime, *, verifier: str | None = None, outside: str | None = None,
    start: int = 0, end: int | None = None,
) -> Verified:
    """The log in the database against its newest checkpoint, and against one kept `outside` if there is one.

    `verifier` is the log's key as it was published; without it the database's own is used, and the report says what
    that leaves open. With `start` or `end` only these entries are read. Raises NoteInvalid for a checkpoint that is not
    signed by the key, Unavailable where the log has no checkpoint.
    """
    note_reading(db, reader, now, "verify", {"start": start, "end": end, "outside": outside is not None})
    keys = [note.parse_verifier(text) for text in ((verifier,) if verifier else verifier_keys(db))]
    seen = note.open_note(outside, keys) if outside else None
    wrong: list[str] = []
    with snapshot(db) as tx:
        own = note.open_note(newest_checkpoint(tx).note, keys)
        node_at = tiles.node_at(StoredTiles(tx))
        if start == 0 and end is None:
            report = verify_log(_stored_lines(tx, wrong), own, outside=seen, node_at=node_at)
        else:
            until = own.size if end is None else end
            lines = _stored_lines(tx, wrong, start, until)
            report = verify_range(lines, start, until, own, node_at, outside=seen)
    return Verified(report if verifier else _own_key(report), tuple(wrong))


def verify_export(lines: Iterable[str | bytes], checkpoint: str | None, verifier: str | None) -> Report:
    """An export of the whole log (a file, offline) against a checkpoint; without one the lines only agree with
    themselves. Raises NoteInvalid for a checkpoint that the key did not sign."""
    if checkpoint is None:
        return verify_entries(lines)
    if verifier is None:
        kept = note.read_unverified(checkpoint)
    else:
        kept = note.open_note(checkpoint, [note.parse_verifier(verifier)])
    return verify_log(lines, kept, outside=kept)  # a file has no checkpoint of its own: this one came from elsewhere


def _own_key(report: Report) -> Report:
    open_question = "The key came out of the same database: whoever could replace the log could replace it, too."
    return replace(report, not_proven=(*report.not_proven, open_question))


def _stored_lines(tx: Connection, wrong: list[str], start: int = 0, end: int | None = None) -> Iterator[str]:
    placed = select(entry).where(entry.c.leaf_index >= start).order_by(entry.c.leaf_index)
    waiting = select(entry).where(entry.c.leaf_index.is_(None)).order_by(entry.c.id)
    whole = start == 0 and end is None
    for query in (placed, waiting) if whole else (placed.where(entry.c.leaf_index < end),):
        for row in tx.execute(query, execution_options={"yield_per": CHUNK}):
            yield stored_line(row)
            wrong += _column_findings(row)


def _column_findings(row: Any) -> list[str]:
    try:
        return [f"entry {row.id}: the column {name} does not say what the entry says" for name in disagreements(row)]
    except (ValueError, AttributeError):  # the text itself is damaged, which the line's own check finds
        return []
