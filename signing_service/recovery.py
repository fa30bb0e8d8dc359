"""Entries that a restored database lost, taken back from an export that somebody else kept.

An auditor's export (jsonl) and a checkpoint from outside hold what a backup of yesterday does not. The entries above
the backup's checkpoint are put back into the tree, and count only if they lead exactly to that checkpoint's root: then
the log goes on from it as if nothing had been lost, and nobody who kept a checkpoint finds a fork.

Only the log comes back. Signatures, requests and what was taken away since do not: `recover` says which acts took
something away (a credential, a phone, a person's rights), so that somebody does them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from signing_service.audit import INDEXED, Event, StoredTiles
from signing_service.backups import newest
from signing_service.db.engine import Database
from signing_service.db.tables import checkpoint, entry, log_key
from signing_service.errors import Invalid
from signing_service.ids import draw
from signing_service.tlog import note, tiles
from signing_service.tlog.entries import EntryLine, canonical
from signing_service.tlog.tree import leaf_hash

AT_ONCE = 2_000  # entries: as many as the sequencer places at a time
# What took something away from somebody, or changed who may do what: not undone by a restore, but not known any more.
TOOK_AWAY = frozenset({
    Event.CREDENTIAL_STATE, Event.KEY_DESTROYED, Event.PHONE_RETIRED, Event.SIGNATORY_CHANGED, Event.OPERATOR_CHANGED,
    Event.AUDITOR_CHANGED, Event.CLIENT_CHANGED, Event.SUSPENDED_ONESELF, Event.STOP_USED, Event.POLICY_ACTIVATED,
    Event.CODE_ENROLLED, Event.PASSWORD_SET,
})


@dataclass(frozen=True)
class Recovered:
    """Entries `first` up to, not including, `end` stand in the log again; `to_do` are acts to be done once more."""

    first: int
    end: int
    to_do: tuple[Mapping[str, Any], ...]


def recover(db: Database, lines: Iterable[bytes], outside: str, now: datetime) -> Recovered:
    """Put the entries of an export back, up to the checkpoint in `outside`. All of them or none.

    Invalid where the checkpoint is not signed by this log's key, is not above the database's own, or where the lines
    do not lead to its root.
    """
    with db.write() as tx:
        keys = [note.parse_verifier(text) for text in tx.execute(select(log_key.c.verifier)).scalars()]
        seen = _opened(outside, keys)
        first, _ = newest(tx)
        if seen.size <= first:
            raise Invalid(f"The database covers {first} entries already, the checkpoint {seen.size}: nothing is lost.",
                          code="nothing-lost")
        to_do = _place_all(tx, _wanted(lines, first, seen.size), first, seen)
        tx.execute(insert(checkpoint).values(id=draw("cp"), size=seen.size, root=seen.root, note=outside, at=now))
    return Recovered(first, seen.size, to_do)


def _opened(outside: str, keys: Sequence[note.Verifier]) -> note.Checkpoint:
    try:
        return note.open_note(outside, keys)
    except note.NoteInvalid as error:
        raise Invalid(f"This checkpoint is not one of this log: {error}", code="checkpoint") from error


def _wanted(lines: Iterable[bytes], first: int, end: int) -> Iterator[EntryLine]:
    """The lines from `first` on, in their order. Invalid where one is missing."""
    parsed = (EntryLine.parse(line) for line in lines if line.strip())
    placed = (line for line in parsed if line.index is not None and line.index >= first)
    expected = first
    for line in islice(placed, end - first):
        if line.index != expected:
            raise Invalid(f"The export lacks entry {expected}.", code="export-gap")
        expected += 1
        yield line
    if expected != end:
        raise Invalid(f"The export ends at entry {expected}; the checkpoint covers {end}.", code="export-gap")


def _place_all(
    tx: Connection, lines: Iterator[EntryLine], first: int, seen: note.Checkpoint,
) -> tuple[Mapping[str, Any], ...]:
    to_do: list[Mapping[str, Any]] = []
    size, root, stored = first, b"", StoredTiles(tx)
    while some := list(islice(lines, AT_ONCE)):
        grown = tiles.append(stored, size, [leaf_hash(canonical(line.body)) for line in some])
        stored.write(grown)
        _place(tx, some)
        to_do += [line.body for line in some if line.body.get("event") in TOOK_AWAY]
        size, root = grown.new_size, grown.root
    if root != seen.root:
        raise Invalid("The entries of the export do not lead to this checkpoint: one of the two is not of this log.",
                      code="export-root")
    return tuple(to_do)


def _place(tx: Connection, lines: Sequence[EntryLine]) -> None:
    """An entry that the backup has, still without its place, gets it; the others are entered."""
    ids = [line.body["id"] for line in lines]
    there = {row.id: row.body for row in tx.execute(
        select(entry.c.id, entry.c.body).where(entry.c.id.in_(ids), entry.c.leaf_index.is_(None)))}
    for line in lines:
        if line.body["id"] in there and there[line.body["id"]].encode() != canonical(line.body):
            raise Invalid(f"Entry {line.index} of the export is another one than the backup has.", code="export-root")
    waiting = [{"which": line.body["id"], "place": line.index} for line in lines if line.body["id"] in there]
    if waiting:
        tx.execute(update(entry).where(entry.c.id == bindparam("which")).values(leaf_index=bindparam("place")), waiting)
    lost = [_row(line) for line in lines if line.body["id"] not in there]
    if lost:
        tx.execute(insert(entry), lost)


def _row(line: EntryLine) -> dict[str, Any]:
    said = line.body
    return {
        "id": said["id"], "at": datetime.fromisoformat(said["at"]), "event": said["event"], "actor": said["actor"],
        "outcome": said["outcome"], "body": canonical(said).decode(), "leaf_index": line.index,
        **{name: said.get(name) for name in INDEXED},
    }
