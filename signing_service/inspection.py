"""What everybody who reads the log has in common: whose entries they see, and that every reading is on record.

Every reading of entries is itself an entry, written before anything is shown. The text of an entry is the truth
(the tree covers it); columns that say otherwise are reported, never silently believed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, or_, select

from signing_service.audit import Event, Fact, disagreements, record
from signing_service.db.engine import Database
from signing_service.db.tables import entry
from signing_service.errors import NotFound
from signing_service.tlog import tree

EVERY_AGENCY = "*"
PAGE, LONGEST_PAGE = 50, 200
CHUNK = 500  # entries of one read transaction while exporting: a slow reader holds no connection


class Known(Protocol):
    """Who reads, as far as the log is concerned (a `Caller`, or an operator at the command line)."""

    @property
    def actor(self) -> str: ...

    @property
    def agencies(self) -> frozenset[str]: ...


@dataclass(frozen=True)
class Reader:
    """Somebody who reads without a client registration. `agencies`: these and those below; `*` for everything."""

    actor: str
    agencies: frozenset[str] = frozenset({EVERY_AGENCY})


@dataclass(frozen=True)
class Entry:
    """An entry as it is shown. `body` is what the tree covers; `disagrees` names columns that say something else."""

    id: str
    index: int | None
    leaf_hash: str
    body: dict[str, Any]
    disagrees: tuple[str, ...]
    text: str = ""  # the body as it is stored: these bytes are the leaf

    @classmethod
    def of_row(cls, row: Any) -> Entry:
        leaf = tree.leaf_hash(row.body.encode()).hex()
        try:
            return cls(row.id, row.leaf_index, leaf, json.loads(row.body), tuple(disagreements(row)), row.body)
        except (ValueError, AttributeError):  # somebody damaged the text: show that, and not an error
            return cls(row.id, row.leaf_index, leaf, {}, ("body",), row.body)


def get(db: Database, reader: Known, now: datetime, entry_id: str) -> Entry:
    """One entry. NotFound also for one outside the reader's agencies."""
    note_reading(db, reader, now, "entry", {"entry": entry_id[:40]})
    with db.read() as tx:
        return Entry.of_row(entry_row(tx, reader, entry_id))


def note_reading(db: Database, reader: Known, now: datetime, what: str, asked: dict[str, Any]) -> None:
    """Put a reading on record. If that fails nothing is shown."""
    with db.write() as tx:
        record(tx, now, Fact(Event.AUDITOR_READ, reader.actor, data={"what": what, "asked": asked}))


@contextmanager
def snapshot(db: Database) -> Iterator[Connection]:
    """A reading in which the log stands still: no entry finds its place between two of its questions."""
    with db.read() as tx:
        if not db.is_sqlite:  # there every reading is one
            tx.execution_options(isolation_level="REPEATABLE READ")
        yield tx


def entry_row(tx: Connection, reader: Known, entry_id: str) -> Any:
    row = tx.execute(select(entry).where(entry.c.id == entry_id, scope(reader))).first()
    if row is None:
        raise NotFound(f"There is no entry {entry_id!r}.")
    return row


def scope(reader: Known) -> ColumnElement[bool]:
    """Only what concerns the reader's agencies; what concerns none is for readers of everything."""
    if EVERY_AGENCY in reader.agencies:
        return entry.c.id.is_not(None)
    return or_(entry.c.id.is_(None), *(_within(code) for code in sorted(reader.agencies)))


def _within(code: str) -> ColumnElement[bool]:
    """An agency and those below it: codes are dotted from the top (H26, H26.1, H26.1.2)."""
    return or_(entry.c.agency_code == code, entry.c.agency_code.startswith(f"{code}.", autoescape=True))


def is_within(reader: Known, code: str | None) -> bool:
    """The same for one code that is at hand."""
    if EVERY_AGENCY in reader.agencies:
        return True
    return code is not None and any(is_below(code, own) for own in reader.agencies)


def is_below(code: str, top: str) -> bool:
    """Is it this agency or one below it?"""
    return f"{code}.".startswith(f"{top}.")


def stored_line(row: Any) -> str:
    """Built from the text as it is stored: an export of a changed entry must not repair it."""
    place = "null" if row.leaf_index is None else str(row.leaf_index)
    return f'{{"body":{row.body},"index":{place},"leaf_hash":"{tree.leaf_hash(row.body.encode()).hex()}"}}'


def spreadsheet_cell(value: Any) -> str:
    """A spreadsheet takes a cell that begins with one of these for a formula, and this text is not all ours."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") and text[:1] else text
