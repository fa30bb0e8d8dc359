"""The figures of a period, for auditors: what was signed, by whom, how long it took, and what ends soon.

They are the monthly report's figures (`counting`), over any days up to a year, and with more to see in them.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import reduce
from operator import add
from typing import Any
from zoneinfo import ZoneInfo

from signing_service import counting, reports
from signing_service.audit import instant
from signing_service.counting import Composition, Counts, Expiring, Refusals, Span, Times
from signing_service.db.engine import Database
from signing_service.errors import Invalid, NotFound
from signing_service.inspection import Known, Reader, is_within, note_reading, snapshot, spreadsheet_cell
from signing_service.people import agency_names
from signing_service.reports import Line

LONGEST = 366      # days
EARLIEST, LATEST = date(1900, 1, 1), date(9000, 12, 31)  # the periods beside one, and other zones, are still dates
SOON = (7, 30, 60)  # days before a certificate ends
FINE = 92          # days that a chart can show one by one; a longer period is shown by months


class Table(StrEnum):
    """What an export for a spreadsheet holds."""

    LINES = "lines"        # by agency and type of document: the monthly report's
    DAYS = "days"
    EXPIRING = "expiring"


@dataclass(frozen=True)
class Period:
    """Local days, the last one included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if not (EARLIEST <= self.first <= self.last <= LATEST and (self.last - self.first).days < LONGEST):
            raise Invalid(f"A period has 1 to {LONGEST} days, and begins before it ends.", code="period")

    @classmethod
    def month_of(cls, day: date) -> Period:
        first = day.replace(day=1)
        return cls(first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))

    @classmethod
    def parse(cls, first: str, last: str, today: date) -> Period:
        """Days as YYYY-MM-DD; nothing at all is the present month. Raises Invalid (`period`)."""
        if not first and not last:
            return cls.month_of(today)
        try:
            return cls(date.fromisoformat(first), date.fromisoformat(last))
        except ValueError as error:
            raise Invalid("A day is written as YYYY-MM-DD.", code="period") from error

    @property
    def is_month(self) -> bool:
        return self == Period.month_of(self.first)

    def before(self) -> Period:
        """The one that ends where this one begins: the month before, or as many days."""
        if self.is_month:
            return Period.month_of(self.first - timedelta(days=1))
        return Period(self.first - (self.last - self.first) - timedelta(days=1), self.first - timedelta(days=1))

    def after(self) -> Period:
        """The one that begins where this one ends."""
        following = self.last + timedelta(days=1)
        return Period.month_of(following) if self.is_month else Period(following, following + (self.last - self.first))


@dataclass(frozen=True)
class Group:
    """One bar: an agency, a type of document, a day or a month, as it is written in the data."""

    name: str
    counts: Counts


@dataclass(frozen=True)
class Soon:
    """How many active credentials have ended, and how many end within so many days."""

    ended: int
    within: dict[int, int]


@dataclass(frozen=True)
class Figures:
    """All figures of a period. Requests belong to the day they were submitted on (`counting`)."""

    period: Period
    agency: str | None
    total: Counts
    times: Times
    composition: Composition
    refusals: Refusals
    days: tuple[Group, ...]
    lines: tuple[Line, ...]
    soon: Soon
    expiring: tuple[Expiring, ...]
    names: Mapping[str, str]  # of agencies

    @property
    def agencies(self) -> tuple[Group, ...]:
        return _grouped(self.lines, lambda line: line.agency_code)

    @property
    def types(self) -> tuple[Group, ...]:
        return _grouped(self.lines, lambda line: line.document_type)

    @property
    def is_fine(self) -> bool:
        """Few enough days to be shown one by one."""
        return len(self.days) <= FINE

    @property
    def steps(self) -> tuple[Group, ...]:
        """Days, or the months of a long period (YYYY-MM)."""
        if self.is_fine:
            return self.days
        months: dict[str, Counts] = defaultdict(Counts)
        for each in self.days:
            months[each.name[:7]] += each.counts
        return tuple(Group(*each) for each in months.items())


def figures(
    db: Database, reader: Known, now: datetime, period: Period, zone: ZoneInfo, *, agency: str | None = None,
    purpose: str = "figures",
) -> Figures:
    """The figures of a period for the reader's agencies, or for one of those and what is below it. On record.

    NotFound for an agency that the reader does not see.
    """
    if agency is not None and not is_within(reader, agency):
        raise NotFound(f"There is no agency {agency!r}.")
    asked = {"first": period.first.isoformat(), "last": period.last.isoformat(), "agency": agency}
    note_reading(db, reader, now, purpose, {name: value for name, value in asked.items() if value is not None})
    narrowed = reader if agency is None else Reader(reader.actor, frozenset({agency}))
    begins, ends = (counting.begin_of(day, zone) for day in (period.first, period.last + timedelta(days=1)))
    span = Span(begins, ends, narrowed)
    with snapshot(db) as tx:
        days = counting.by_day(tx, span, zone)
        expiring = counting.expiring(tx, narrowed, now + _days(SOON[-1]))
        return Figures(
            period=period, agency=agency, total=reduce(add, days.values()), times=counting.times(tx, span),
            composition=counting.composition(tx, span), refusals=counting.refusals(tx, span),
            days=tuple(Group(day.isoformat(), counts) for day, counts in days.items()),
            lines=reports.lines(tx, span), soon=_soon(expiring, now), expiring=expiring,
            names=agency_names(tx))


def _days(count: int) -> timedelta:
    return timedelta(days=count)


def _soon(expiring: Sequence[Expiring], now: datetime) -> Soon:
    left = [each.not_after - now for each in expiring]
    return Soon(sum(each <= timedelta() for each in left),
                {days: sum(timedelta() < each <= _days(days) for each in left) for days in SOON})


def _grouped(lines: Iterable[Line], name: Callable[[Line], str]) -> tuple[Group, ...]:
    """The largest first."""
    found: dict[str, Counts] = defaultdict(Counts)
    for line in lines:
        found[name(line)] += _counts(line)
    return tuple(Group(*each) for each in sorted(found.items(), key=lambda each: (-each[1].signed, each[0])))


def _counts(line: Line) -> Counts:
    return Counts(line.signed, line.refused, line.withdrawn, line.expired, line.denied, line.failed, line.open)


# --------------------------------------------------------------------------------------------------------- exports


def as_csv(found: Figures, table: Table) -> str:
    """One table for a spreadsheet."""
    match table:
        case Table.LINES:
            return reports.csv_of(found.lines)
        case Table.DAYS:
            return _csv(["day", "submitted", *asdict(Counts())], (
                [each.name, each.counts.submitted, *asdict(each.counts).values()] for each in found.days))
        case Table.EXPIRING:
            return _csv(["credential_id", "agency_code", "signatory", "not_after"], (
                [each.credential_id, each.agency_code, each.signatory, instant(each.not_after)]
                for each in found.expiring))


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header)
    writer.writerows([spreadsheet_cell(value) for value in row] for row in rows)
    return text.getvalue()


def as_jsonl(found: Figures) -> str:
    """Everything, an object a line; `kind` says which: summary, day, agency, type, line, expiring."""
    return "".join(f"{json.dumps(each, ensure_ascii=False)}\n" for each in _records(found))


def _records(found: Figures) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "summary", "first": found.period.first.isoformat(), "last": found.period.last.isoformat(),
        "agency": found.agency, "submitted": found.total.submitted, **asdict(found.total),
        "median_seconds": found.times.median, "p90_seconds": found.times.p90,
        "documents": {"all": found.composition.documents, **asdict(found.composition)}, **asdict(found.refusals),
        "credentials": {"ended": found.soon.ended} | {f"within_{n}_days": found.soon.within[n] for n in SOON},
    }
    for kind, groups in (("day", found.days), ("agency", found.agencies), ("type", found.types)):
        for each in groups:
            yield {"kind": kind, kind: each.name, "submitted": each.counts.submitted, **asdict(each.counts)}
    yield from ({"kind": "line", **asdict(line)} for line in found.lines)
    yield from ({"kind": "expiring", **asdict(each), "not_after": instant(each.not_after)} for each in found.expiring)
