"""Taking entries away: all that is wanted, as lines that can be verified or cells for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from signing_service.db.engine import Database
from signing_service.filters import Wanted, filters_of
from signing_service.inspection import CHUNK, Entry, Known, note_reading, snapshot, spreadsheet_cell, stored_line
from signing_service.search import asked, rows_after

COLUMNS = ("index", "id", "at", "event", "actor", "outcome", "agency_code", "client_id", "signatory_id",
           "credential_id", "signing_request_id", "document_digest", "data")


class Form(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"  # verifiable: one `EntryLine` a line
    CSV = "csv"      # for spreadsheets; proves nothing


def export(db: Database, reader: Known, now: datetime, wanted: Wanted, form: Form) -> Iterator[str]:
    """Everything that is wanted, as pieces of text. The reading is on record before the first piece.

    Invalid for a filter that cannot be understood: now, because later the answer has begun.
    """
    note_reading(db, reader, now, "export", asked(wanted) | {"form": form.value})
    with snapshot(db) as tx:
        filters_of(tx, reader, wanted)
    return _csv(db, reader, wanted) if form is Form.CSV else _jsonl(db, reader, wanted)


def _chunks(db: Database, reader: Known, wanted: Wanted) -> Iterator[Sequence[Any]]:
    after = wanted.after
    while True:
        with snapshot(db) as tx:
            rows, after = rows_after(tx, reader, replace(wanted, after=after), CHUNK)
        if rows:
            yield rows
        if after is None:
            return


def _jsonl(db: Database, reader: Known, wanted: Wanted) -> Iterator[str]:
    for rows in _chunks(db, reader, wanted):
        yield "".join(f"{stored_line(row)}\n" for row in rows)


def _csv(db: Database, reader: Known, wanted: Wanted) -> Iterator[str]:
    yield _csv_text([COLUMNS])
    for rows in _chunks(db, reader, wanted):
        yield _csv_text(_cells(row) for row in rows)


def _cells(row: Any) -> list[str]:
    shown = Entry.of_row(row)
    data = json.dumps(shown.body.get("data", {}), ensure_ascii=False)
    told = {"id": shown.id} | shown.body | {"index": shown.index, "data": data}
    return [spreadsheet_cell(told.get(name)) for name in COLUMNS]


def _csv_text(rows: Iterable[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
