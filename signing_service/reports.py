"""Monthly figures, as the city's statistics want them: plain numbers out of the signing requests of a month.

A month is a month in the city's own time zone. A signing request belongs to the month it was submitted in, whatever
became of it later, so that the figures of one month add up; what is still open is counted as open.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from signing_service.audit import Event
from signing_service.credentials import State as CredentialState
from signing_service.db.engine import Database
from signing_service.db.tables import credential, entry, signatory, signing_request
from signing_service.errors import Invalid
from signing_service.inspection import Known, is_within, note_reading, spreadsheet_cell

MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])", re.ASCII)
EXPIRING = timedelta(days=60)  # a certificate takes weeks to be renewed
OPEN = ("pending", "signing", "finishing")


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


@dataclass(frozen=True)
class Expiring:
    """An active credential whose certificate ends soon, or has ended."""

    credential_id: str
    agency_code: str
    signatory: str | None
    not_after: datetime


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
    with db.read() as tx:
        lines = _lines(_requests(tx, begins, ends), reader)
        turned_away = _turned_away(tx, reader, begins, ends)
        expiring = _expiring(tx, reader, now)
    return Monthly(month, timezone, begins, ends, lines, turned_away, expiring)


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


def _requests(tx: Connection, begins: datetime, ends: datetime) -> Sequence[Any]:
    columns = (signing_request.c.agency_code, signing_request.c.document_type, signing_request.c.state,
               signing_request.c.created_at, signing_request.c.ended_at)
    return tx.execute(select(*columns).where(
        signing_request.c.created_at >= begins, signing_request.c.created_at < ends)).all()


def _lines(rows: Iterable[Any], reader: Known) -> tuple[Line, ...]:
    groups: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in rows:
        if is_within(reader, row.agency_code):
            groups[row.agency_code, row.document_type].append(row)
    return tuple(_line(agency, kind, found) for (agency, kind), found in sorted(groups.items()))


def _line(agency: str, kind: str, rows: Sequence[Any]) -> Line:
    states = [row.state for row in rows]
    took = sorted((row.ended_at - row.created_at).total_seconds() for row in rows if row.state == "signed")
    return Line(
        agency_code=agency, document_type=kind, submitted=len(rows), signed=states.count("signed"),
        refused=states.count("refused"), withdrawn=states.count("withdrawn"), expired=states.count("expired"),
        denied=states.count("denied"), failed=states.count("failed"),
        open=sum(states.count(state) for state in OPEN),
        median_seconds=round(median(took), 3) if took else None, p90_seconds=percentile(took, 90),
    )


def percentile(ordered: Sequence[float], percent: int) -> float | None:
    """The nearest-rank percentile: the smallest value that so many per cent do not exceed. None of nothing."""
    if not ordered:
        return None
    rank = -(-len(ordered) * percent // 100)  # rounded up, in whole numbers
    return round(ordered[max(rank, 1) - 1], 3)


def _turned_away(tx: Connection, reader: Known, begins: datetime, ends: datetime) -> int:
    rows = tx.execute(
        select(entry.c.agency_code, func.count().label("times"))
        .where(entry.c.event == Event.SUBMIT_DENIED, entry.c.at >= begins, entry.c.at < ends)
        .group_by(entry.c.agency_code)
    ).all()
    return sum(row.times for row in rows if is_within(reader, row.agency_code))


def _expiring(tx: Connection, reader: Known, now: datetime) -> tuple[Expiring, ...]:
    rows = tx.execute(
        select(credential.c.id, credential.c.agency_code, credential.c.not_after, signatory.c.name)
        .join(signatory, signatory.c.id == credential.c.signatory_id, isouter=True)
        .where(credential.c.state == CredentialState.ACTIVE, credential.c.not_after < now + EXPIRING)
        .order_by(credential.c.not_after, credential.c.id)
    ).all()
    return tuple(Expiring(row.id, row.agency_code, row.name, row.not_after) for row in rows
                 if is_within(reader, row.agency_code))


def as_csv(report: Monthly) -> str:
    """The lines of a report for a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([each.name for each in fields(Line)])
    writer.writerows([spreadsheet_cell(value) for value in astuple(line)] for line in report.lines)
    return text.getvalue()
