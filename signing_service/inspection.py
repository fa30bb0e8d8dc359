"""What an auditor reads in the log: entries by time, person, agency, document, and all of them as an export.

Every reading of entries is itself an entry, written before anything is shown. The text of an entry is the truth
(the tree covers it); columns that say otherwise are reported, never silently believed.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from sqlalchemy import ColumnElement, Connection, or_, select

from signing_service.audit import Event, Fact, disagreements, instant, record
from signing_service.db.engine import Database
from signing_service.db.tables import entry, signing_request
from signing_service.errors import Invalid, NotFound
from signing_service.pdf import Judgement, JudgeOrder
from signing_service.tlog import tree

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

EVERY_AGENCY = "*"
PAGE, LONGEST_PAGE = 50, 200
MOST_REVISIONS = 100   # as many as a document may have (pdf.Limits)
PIECE = 1 << 20
END_MARK = b"%%EOF"
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


class Form(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"  # verifiable: one `EntryLine` a line
    CSV = "csv"      # for spreadsheets; proves nothing


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which entries. `begins` is the first moment, `ends` the first one after; `agency` takes those below with it.

    `digest` is a document's, as it was submitted or as it was signed. `after` is the id that the last page ended with.
    """

    begins: datetime | None = None
    ends: datetime | None = None
    event: str | None = None
    outcome: str | None = None
    agency: str | None = None
    signatory: str | None = None
    client: str | None = None
    signing_request: str | None = None
    digest: str | None = None
    after: str | None = None
    limit: int = PAGE


@dataclass(frozen=True)
class Entry:
    """An entry as it is shown. `body` is what the tree covers; `disagrees` names columns that say something else."""

    id: str
    index: int | None
    leaf_hash: str
    body: dict[str, Any]
    disagrees: tuple[str, ...]

    @classmethod
    def of_row(cls, row: Any) -> Entry:
        leaf = tree.leaf_hash(row.body.encode()).hex()
        try:
            return cls(row.id, row.leaf_index, leaf, json.loads(row.body), tuple(disagreements(row)))
        except (ValueError, AttributeError):  # somebody damaged the text: show that, and not an error
            return cls(row.id, row.leaf_index, leaf, {}, ("body",))


@dataclass(frozen=True)
class Page:
    """Entries in the order of the log, those without a place at the end. `after` is None on the last page."""

    entries: tuple[Entry, ...]
    after: str | None


@dataclass(frozen=True)
class FoundDocument:
    """What is known of a file. `digests`: of its revisions, the whole file last. `problem`: why nothing was judged."""

    digests: tuple[str, ...]
    entries: tuple[Entry, ...]
    judgements: tuple[Judgement, ...]
    problem: str | None


# -------------------------------------------------------------------------------------------------------- reading


def search(db: Database, reader: Known, now: datetime, wanted: Wanted) -> Page:
    """One page of entries. Raises Invalid for a cursor that is no entry, or a limit beyond `LONGEST_PAGE`."""
    if not 1 <= wanted.limit <= LONGEST_PAGE:
        raise Invalid(f"A page has 1 to {LONGEST_PAGE} entries.", code="limit")
    note_reading(db, reader, now, "search", _asked(wanted))
    with snapshot(db) as tx:
        rows = _rows(tx, reader, wanted, wanted.after, wanted.limit + 1)
    shown = rows[: wanted.limit]
    return Page(tuple(map(Entry.of_row, shown)), shown[-1].id if len(rows) > wanted.limit else None)


def get(db: Database, reader: Known, now: datetime, entry_id: str) -> Entry:
    """One entry. NotFound also for one outside the reader's agencies."""
    note_reading(db, reader, now, "entry", {"entry": entry_id[:40]})
    with db.read() as tx:
        return Entry.of_row(entry_row(tx, reader, entry_id))


def export(db: Database, reader: Known, now: datetime, wanted: Wanted, form: Form) -> Iterator[str]:
    """Everything that is wanted, as pieces of text. The reading is on record before the first piece."""
    note_reading(db, reader, now, "export", _asked(wanted) | {"form": form.value})
    return _csv(db, reader, wanted) if form is Form.CSV else _jsonl(db, reader, wanted)


async def find_document(
    rt: Runtime, reader: Known, file: Path, roots: tuple[bytes, ...], client_id: str,
) -> FoundDocument:
    """What the log knows of a file that somebody holds, and what its signatures are worth against `roots` (DER).

    The file itself and every earlier revision in it are looked up: a signed document begins with the submitted one.
    """
    digests = await asyncio.to_thread(revision_digests, file)
    asked = {"sha256": digests[-1], "revisions": len(digests)}
    await rt.db.run(note_reading, rt.db, reader, rt.clock(), "document", asked)
    entries = await rt.db.run(about_digests, rt.db, reader, digests)
    try:
        judged = await rt.pool.judge(JudgeOrder(file, roots, rt.clock()), client_id)
        return FoundDocument(digests, entries, judged, None)
    except Invalid as error:  # no PDF any more, perhaps: what the log says of its bytes is still worth knowing
        return FoundDocument(digests, entries, (), error.message)


def revision_digests(file: Path) -> tuple[str, ...]:
    """SHA-256 of every beginning of the file that ends where a revision ends (%%EOF), and of the whole file, last."""
    whole = hashlib.sha256()
    with file.open("rb") as source:
        size = os.fstat(source.fileno()).st_size
        ends = sorted({end for end in _revision_ends(source, size) if end < size})[-MOST_REVISIONS:]
        source.seek(0)
        found, at = [], 0
        for end in [*ends, size]:
            while at < end:
                piece = source.read(min(PIECE, end - at))
                if not piece:
                    raise Invalid("The file changed while it was read.", code="file-changed")
                whole.update(piece)
                at += len(piece)
            found.append(whole.hexdigest())
    return tuple(dict.fromkeys(found))


def _revision_ends(source: BinaryIO, size: int) -> Iterator[int]:
    """Writers end a revision with or without a line's end behind its %%EOF, so each of these is tried."""
    if not size:
        return
    with mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ) as view:
        at = view.rfind(END_MARK)
        for _ in range(MOST_REVISIONS):
            if at < 0:
                return
            end = at + len(END_MARK)
            yield end
            yield from (end + len(ending) for ending in (b"\r", b"\n", b"\r\n") if view[end:end + 2].startswith(ending))
            at = view.rfind(END_MARK, 0, at)


def about_digests(db: Database, reader: Known, digests: Sequence[str]) -> tuple[Entry, ...]:
    """Entries about any of these documents, submitted or signed. The caller has put the reading on record."""
    with db.read() as tx:
        about = or_(*(_about(digest) for digest in digests))
        rows = tx.execute(
            select(entry).where(about, _scope(reader)).order_by(entry.c.id).limit(LONGEST_PAGE)).all()
    return tuple(map(Entry.of_row, rows))


def note_reading(db: Database, reader: Known, now: datetime, what: str, asked: dict[str, Any]) -> None:
    """Put a reading on record. If that fails nothing is shown."""
    with db.write() as tx:
        record(tx, now, Fact(Event.AUDITOR_READ, reader.actor, data={"what": what, "asked": asked}))


def _asked(wanted: Wanted) -> dict[str, Any]:
    return {
        name: instant(value) if isinstance(value, datetime) else value
        for name, value in asdict(wanted).items() if value is not None and name != "limit"
    }


@contextmanager
def snapshot(db: Database) -> Iterator[Connection]:
    """A reading in which the log stands still: no entry finds its place between two of its questions."""
    with db.read() as tx:
        if not db.is_sqlite:  # there every reading is one
            tx.execution_options(isolation_level="REPEATABLE READ")
        yield tx


def _rows(tx: Connection, reader: Known, wanted: Wanted, after: str | None, limit: int) -> Sequence[Any]:
    """Entries behind `after` in the order of the log: those that have their place, then those that wait.

    Two questions, because each is answered by an index and their union by none. The entry `after` may have got its
    place since it was shown; what waited then comes behind it either way.
    """
    conditions = [_scope(reader), *_filters(wanted)]
    last = entry_row(tx, reader, after) if after is not None else None
    found: list[Any] = []
    if last is None or last.leaf_index is not None:
        placed = entry.c.leaf_index > (-1 if last is None else last.leaf_index)
        found += tx.execute(
            select(entry).where(placed, *conditions).order_by(entry.c.leaf_index).limit(limit)).all()
    if len(found) < limit:
        waiting = [entry.c.leaf_index.is_(None)]
        if last is not None and last.leaf_index is None:
            waiting.append(entry.c.id > last.id)
        found += tx.execute(
            select(entry).where(*waiting, *conditions).order_by(entry.c.id).limit(limit - len(found))).all()
    return found


def entry_row(tx: Connection, reader: Known, entry_id: str) -> Any:
    row = tx.execute(select(entry).where(entry.c.id == entry_id, _scope(reader))).first()
    if row is None:
        raise NotFound(f"There is no entry {entry_id!r}.")
    return row


def _filters(wanted: Wanted) -> Iterator[ColumnElement[bool]]:
    same = {
        entry.c.event: wanted.event, entry.c.outcome: wanted.outcome, entry.c.signatory_id: wanted.signatory,
        entry.c.client_id: wanted.client, entry.c.signing_request_id: wanted.signing_request,
    }
    yield from (column == value for column, value in same.items() if value is not None)
    if wanted.begins is not None:
        yield entry.c.at >= wanted.begins
    if wanted.ends is not None:
        yield entry.c.at < wanted.ends
    if wanted.agency is not None:
        yield _within(wanted.agency)
    if wanted.digest is not None:
        yield _about(wanted.digest)


def _scope(reader: Known) -> ColumnElement[bool]:
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
    return code is not None and any(f"{code}.".startswith(f"{own}.") for own in reader.agencies)


def _about(digest: str) -> ColumnElement[bool]:
    requests = select(signing_request.c.id).where(
        or_(signing_request.c.document_digest == digest, signing_request.c.signed_digest == digest))
    return or_(entry.c.document_digest == digest, entry.c.signing_request_id.in_(requests))


def _chunks(db: Database, reader: Known, wanted: Wanted) -> Iterator[Sequence[Any]]:
    after = wanted.after
    while True:
        with snapshot(db) as tx:
            rows = _rows(tx, reader, wanted, after, CHUNK)
        if not rows:
            return
        yield rows
        after = rows[-1].id


def _jsonl(db: Database, reader: Known, wanted: Wanted) -> Iterator[str]:
    for rows in _chunks(db, reader, wanted):
        yield "".join(f"{stored_line(row)}\n" for row in rows)


def stored_line(row: Any) -> str:
    """Built from the text as it is stored: an export of a changed entry must not repair it."""
    place = "null" if row.leaf_index is None else str(row.leaf_index)
    return f'{{"body":{row.body},"index":{place},"leaf_hash":"{tree.leaf_hash(row.body.encode()).hex()}"}}'


COLUMNS = ("index", "id", "at", "event", "actor", "outcome", "agency_code", "client_id", "signatory_id",
           "credential_id", "signing_request_id", "document_digest", "data")


def _csv(db: Database, reader: Known, wanted: Wanted) -> Iterator[str]:
    yield _csv_text([COLUMNS])
    for rows in _chunks(db, reader, wanted):
        yield _csv_text(_cells(row) for row in rows)


def _cells(row: Any) -> list[str]:
    shown = Entry.of_row(row)
    data = json.dumps(shown.body.get("data", {}), ensure_ascii=False)
    told = {"id": shown.id} | shown.body | {"index": shown.index, "data": data}
    return [spreadsheet_cell(told.get(name)) for name in COLUMNS]


def spreadsheet_cell(value: Any) -> str:
    """A spreadsheet takes a cell that begins with one of these for a formula, and this text is not all ours."""
    text = "" if value is None else str(value)
    return f"'{text}" if text[:1] in tuple("=+-@\t\r") and text[:1] else text


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
