"""Monthly figures, as the city's statistics want them: plain numbers out of the signing requests of a month.

A month is a month in the city's own time zone. What is counted, and how, stands in `counting`.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from signing_service import counting
from signing_service.counting import Counts, Expiring, Span, Times
from signing_service.db.engine import Database
from signing_service.errors import Invalid
from signing_service.inspection import Known, note_reading, snapshot, spreadsheet_cell

MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)
EXPIRING = timedelta(days=60)  # a certificate takes weeks to be renewed


@dataclass(frozen=True)
class Line:
    """One agency and type of document. Times are seconds from submission to the signed document, of what was signed."""

    agency_code: str
    document_type: str
    submitted: int
    signed: int
    refused: int
    withdrawn: int
    expired: int
    denied: int      # by the policy, when it was to be signed
    failed: int
    open: int
    median_seconds: float | None
    p90_seconds: float | None

    @classmethod
    def of(cls, agency_code: str, document_type: str, counts: Counts, times: Times) -> Line:
        return cls(agency_code, document_type, counts.submitted, **asdict(counts), median_seconds=times.median,
                   p90_seconds=times.p90)


@dataclass(frozen=True)
class Monthly:
    """The figures of one month, such as `2026-11`. `turned_away`: submissions that the policy did not let in."""

    month: str
    timezone: str
    begins: datetime
    ends: datetime
    lines: tuple[Line, ...]
    turned_away: int
    expiring: tuple[Expiring, ...]


def monthly(db: Database, reader: Known, now: datetime, month: str, timezone: str) -> Monthly:
    """The figures of `month` (YYYY-MM) for the reader's agencies. Raises Invalid for what is no month."""
    begins, ends = bounds(month, timezone)
    note_reading(db, reader, now, "report", {"month": month})
    span = Span(begins, ends, reader)
    with snapshot(db) as tx:
        return Monthly(month, timezone, begins, ends, lines(tx, span), counting.refusals(tx, span).turned_away,
                       counting.expiring(tx, reader, now + EXPIRING))


def bounds(month: str, timezone: str) -> tuple[datetime, datetime]:
    """The first moment of a month and the first one after it, in UTC."""
    match = MONTH.fullmatch(month)
    if match is None:
        raise Invalid("A month is written as YYYY-MM, such as 2026-11.", code="month")
    year, number = int(match[1]), int(match[2])
    zone = ZoneInfo(timezone)
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    first, last = (datetime(*each, 1, tzinfo=zone).astimezone(UTC) for each in ((year, number), following))
    return first, last


def lines(tx: Connection, span: Span) -> tuple[Line, ...]:
    """What was submitted in the span, by agency and type of document."""
    took = counting.times_by_agency_and_type(tx, span)
    found = counting.by_agency_and_type(tx, span)
    return tuple(Line.of(*key, counts, took.get(key, Times())) for key, counts in found.items())


def as_csv(report: Monthly) -> str:
    """The lines of a report for a spreadsheet."""
    return csv_of(report.lines)


def csv_of(rows: Iterable[Line]) -> str:
    """Lines for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([each.name for each in fields(Line)])
    writer.writerows([spreadsheet_cell(value) for value in astuple(line)] for line in rows)
    return text.getvalue()
