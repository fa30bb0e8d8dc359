"""What is counted, once and for every place that shows it: one definition of each figure, added up by the database.

A signing request belongs to the moment it was submitted, whatever became of it later, so that the figures of a day
add up to those of its month, and an agency's to the city's. Times run from submission to the signed document, of
what was signed. A million requests are counted where they lie; only sums come here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnClause,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    and_,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    true,
)

from signing_service.audit import Event
from signing_service.credentials import State as CredentialState
from signing_service.db.tables import credential, entry, signatory, signing_request
from signing_service.inspection import EVERY_AGENCY, Known

LONGEST_CHAIN = 50  # signatures that one document got, each through a signing request of its own
MOST_EXPIRING = 1000


class Became(StrEnum):
    """What became of a signing request: each counts under exactly one."""

    SIGNED = "signed"
    REFUSED = "refused"      # by the official
    WITHDRAWN = "withdrawn"  # by the document system
    EXPIRED = "expired"
    DENIED = "denied"        # by the policy, when it was to be signed
    FAILED = "failed"
    OPEN = "open"            # pending, signing or finishing


_ENDED = frozenset(Became) - {Became.OPEN}


@dataclass(frozen=True)
class Counts:
    """Signing requests by what became of them."""

    signed: int = 0
    refused: int = 0
    withdrawn: int = 0
    expired: int = 0
    denied: int = 0
    failed: int = 0
    open: int = 0

    @property
    def submitted(self) -> int:
        return sum(getattr(self, each) for each in Became)

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{each.value: getattr(self, each) + getattr(other, each) for each in Became})


@dataclass(frozen=True)
class Times:
    """Seconds from submission to the signed document. The percentile is the nearest rank; None of nothing."""

    median: float | None = None
    p90: float | None = None


@dataclass(frozen=True)
class Composition:
    """Signed documents by whose signatures they have. What was signed, and then sealed, is one document."""

    personal: int
    agency: int
    both: int

    @property
    def documents(self) -> int:
        return self.personal + self.agency + self.both


@dataclass(frozen=True)
class Refusals:
    """Submissions that never became a signing request: the policy said no, or the file could not be accepted."""

    turned_away: int
    not_accepted: int


@dataclass(frozen=True)
class Expiring:
    """An active credential whose certificate ends soon, or has ended."""

    credential_id: str
    agency_code: str
    signatory: str | None
    not_after: datetime


@dataclass(frozen=True)
class Span:
    """From the first moment of `begins` to the one before `ends`, for those agencies that the reader sees."""

    begins: datetime
    ends: datetime
    reader: Known

    def requests(self) -> ColumnElement[bool]:
        created = signing_request.c.created_at
        return and_(created >= self.begins, created < self.ends, within(self.reader, signing_request.c.agency_code))


def within(reader: Known, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """The reader's agencies and those below them: codes are dotted from the top (H26, H26.1, H26.1.2)."""
    if EVERY_AGENCY in reader.agencies:
        return true()
    return or_(false(), *(
        or_(column == code, column.startswith(f"{code}.", autoescape=True)) for code in sorted(reader.agencies)))


# -------------------------------------------------------------------------------------------------------- requests


def by_agency_and_type(tx: Connection, span: Span) -> dict[tuple[str, str], Counts]:
    """Counts by agency and type of document, in their order."""
    key = (signing_request.c.agency_code, signing_request.c.document_type)
    rows = tx.execute(select(*key, _became(), func.count().label("times")).where(span.requests())
                      .group_by(*key, signing_request.c.state)).all()
    found: dict[tuple[str, str], Counts] = {}
    for row in rows:
        found[row[0], row[1]] = found.get((row[0], row[1]), Counts()) + Counts(**{row.became: row.times})
    return dict(sorted(found.items()))


def by_day(tx: Connection, span: Span, zone: ZoneInfo) -> dict[date, Counts]:
    """Counts by day of the zone; every day of the span is there."""
    found = dict.fromkeys(days_of(span, zone), Counts())
    for begins, ends, offset in _offsets(span, zone):
        day = _day(tx, offset).label("day")
        rows = tx.execute(
            select(day, _became(), func.count().label("times"))
            .where(Span(begins, ends, span.reader).requests()).group_by(day, signing_request.c.state)).all()
        for row in rows:
            found[date.fromisoformat(row.day)] += Counts(**{row.became: row.times})
    return found


def days_of(span: Span, zone: ZoneInfo) -> list[date]:
    first, last = (each.astimezone(zone).date() for each in (span.begins, span.ends - timedelta(microseconds=1)))
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _became() -> ColumnElement[str]:
    return case((signing_request.c.state.in_(sorted(_ENDED)), signing_request.c.state), else_=Became.OPEN.value).label(
        "became")


def _offsets(span: Span, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """The span in pieces in which the zone keeps its distance from UTC: one, where there is no summer time."""
    begins, hour = span.begins, timedelta(hours=1)
    at = begins
    while at < span.ends:
        following = min(at + hour, span.ends)
        offset = at.astimezone(zone).utcoffset() or timedelta()
        if following == span.ends or following.astimezone(zone).utcoffset() != offset:
            yield begins, following, offset
            begins = following
        at = following


def _day(tx: Connection, offset: timedelta) -> ColumnElement[str]:
    """The local day as YYYY-MM-DD."""
    created, seconds = signing_request.c.created_at, int(offset.total_seconds())
    if tx.dialect.name == "sqlite":
        return func.date(created, f"{seconds:+d} seconds")
    return func.to_char(func.timezone("UTC", created) + func.make_interval(0, 0, 0, 0, 0, 0, seconds), "YYYY-MM-DD")


# ----------------------------------------------------------------------------------------------------------- times


def times(tx: Connection, span: Span) -> Times:
    """Of everything signed."""
    row = tx.execute(_ranked(tx, span)).one()
    return _times(row)


def times_by_agency_and_type(tx: Connection, span: Span) -> dict[tuple[str, str], Times]:
    rows = tx.execute(_ranked(tx, span, signing_request.c.agency_code, signing_request.c.document_type)).all()
    return {(row[0], row[1]): _times(row) for row in rows}


def _times(row: Any) -> Times:
    return Times(*(None if value is None else round(float(value), 3) for value in (row.median, row.p90)))


def _ranked(tx: Connection, span: Span, *key: ColumnClause[Any]) -> Select[Any]:
    """Median and 90th percentile of each group. The median of an even number is between the two in the middle."""
    # Not a condition: asked for the state, SQLite would go through everything that was ever signed.
    signed = case((signing_request.c.state == Became.SIGNED, _seconds(tx))).label("seconds")
    took = select(*key, signed).where(span.requests()).subquery()
    group = [took.c[each.name] for each in key]
    ranked = select(
        *group, took.c.seconds, func.count().over(partition_by=group or None).label("n"),
        func.row_number().over(order_by=took.c.seconds, partition_by=group or None).label("rank"),
    ).where(took.c.seconds.is_not(None)).subquery()
    rank, n = ranked.c.rank, ranked.c.n
    middle = or_(rank == (n + 1) // 2, rank == (n + 2) // 2)
    ninetieth = rank == (n * 90 + 99) // 100  # rounded up, in whole numbers
    own = [ranked.c[each.name] for each in key]
    return select(
        *own, func.avg(case((middle, ranked.c.seconds))).label("median"),
        func.max(case((ninetieth, ranked.c.seconds))).label("p90")).group_by(*own)


def _seconds(tx: Connection) -> ColumnElement[float]:
    created, ended = signing_request.c.created_at, signing_request.c.ended_at
    if tx.dialect.name == "sqlite":
        return func.round((func.julianday(ended) - func.julianday(created)) * 86_400, 3)
    return cast(func.round(func.extract("epoch", ended - created), 3), Float)


# ----------------------------------------------------------------------------------------------------- composition


def composition(tx: Connection, span: Span) -> Composition:
    """Whose signatures the documents have that were signed first in this span, whenever the others followed.

    A signed document that is submitted again, for the seal perhaps, is the same document: its chain is followed by
    its digest.
    """
    is_personal, is_agency = (
        cast(case((credential.c.kind == kind, 1), else_=0), Integer) for kind in ("personal", "agency"))
    own = signing_request.join(credential, credential.c.id == signing_request.c.credential_id)
    # What is signed has this digest, and nothing else has; asked by state, SQLite would go through all that is signed.
    signed = signing_request.c.signed_digest.is_not(None)
    before = signing_request.alias("before")
    continues = exists().where(before.c.signed_digest == signing_request.c.document_digest)
    chain = (
        select(signing_request.c.id.label("root"), signing_request.c.signed_digest.label("digest"),
               is_personal.label("personal"), is_agency.label("agency"), literal(1).label("depth"))
        .select_from(own).where(span.requests(), signed, ~continues).cte("chain", recursive=True))
    chain = chain.union_all(
        select(chain.c.root, signing_request.c.signed_digest, is_personal, is_agency, chain.c.depth + 1)
        .select_from(chain.join(signing_request, signing_request.c.document_digest == chain.c.digest)
                     .join(credential, credential.c.id == signing_request.c.credential_id))
        .where(signed, chain.c.depth < LONGEST_CHAIN))
    each = select(func.max(chain.c.personal).label("personal"), func.max(chain.c.agency).label("agency")).group_by(
        chain.c.root).subquery()
    rows = tx.execute(select(each.c.personal, each.c.agency, func.count().label("times")).group_by(
        each.c.personal, each.c.agency)).all()
    found = {(row.personal, row.agency): row.times for row in rows}
    return Composition(found.get((1, 0), 0), found.get((0, 1), 0), found.get((1, 1), 0))


# ------------------------------------------------------------------------------------- refusals, and what ends soon


def refusals(tx: Connection, span: Span) -> Refusals:
    rows = tx.execute(
        select(entry.c.event, func.count().label("times"))
        .where(entry.c.event.in_((Event.SUBMIT_DENIED, Event.SUBMIT_REFUSED)), entry.c.at >= span.begins,
               entry.c.at < span.ends, within(span.reader, entry.c.agency_code))
        .group_by(entry.c.event)).all()
    found = {row.event: row.times for row in rows}
    return Refusals(found.get(Event.SUBMIT_DENIED, 0), found.get(Event.SUBMIT_REFUSED, 0))


def expiring(tx: Connection, reader: Known, before: datetime) -> tuple[Expiring, ...]:
    """Active credentials whose certificate ends before this moment, the soonest first."""
    rows: Sequence[Any] = tx.execute(
        select(credential.c.id, credential.c.agency_code, credential.c.not_after, signatory.c.name)
        .join(signatory, signatory.c.id == credential.c.signatory_id, isouter=True)
        .where(credential.c.state == CredentialState.ACTIVE, credential.c.not_after < before,
               within(reader, credential.c.agency_code))
        .order_by(credential.c.not_after, credential.c.id).limit(MOST_EXPIRING)
    ).all()
    return tuple(Expiring(row.id, row.agency_code, row.name, row.not_after) for row in rows)


def begin_of(day: date, zone: ZoneInfo) -> datetime:
    """The first moment of a local day, in UTC."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
