"""What waits for an official: the most urgent first, and the newest first among equals.

A page costs the same whether ten or ten thousand wait: for each class of urgency one range of one index is read,
from the cursor on, and no more of it than fits. What a client put together as a batch is one line, where its most
urgent and newest document stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_, select

from policies.decision import Urgency
from signing_service.db.columns import unindexed
from signing_service.db.tables import agency, client, signing_request
from signing_service.errors import Invalid, NotFound
from signing_service.ids import matching_code
from signing_service.people import Official
from signing_service.signing_requests import SigningRequest, State, whose
from signing_service.wire.messages import MAX_LINES

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

T = TypeVar("T")

PAGE = 20
MOST_COUNTED = 100  # "more than 99" says as much as the number, and counting costs as much as what is counted
ORDER = (Urgency.HOA_TOC, Urgency.THUONG_KHAN, Urgency.KHAN, Urgency.NORMAL)
CURSOR = re.compile(rf"({'|'.join(ORDER)})[.](sr_[0-9a-f]{{32}})")


@dataclass(frozen=True)
class Line:
    """One document, or a batch by its first one: `documents` of it are still pending."""

    request: SigningRequest
    client: str
    agency: str
    documents: int = 1

    @property
    def is_batch(self) -> bool:
        return self.documents > 1


@dataclass(frozen=True)
class Page:
    """Lines, the cursor of the next page, and how many documents wait in all, counted up to MOST_COUNTED."""

    lines: tuple[Line, ...]
    next: str | None
    total: int


@dataclass(frozen=True)
class Review:
    """Several documents that are looked at together, the most urgent first."""

    lines: tuple[Line, ...]

    @property
    def pending(self) -> tuple[Line, ...]:
        return tuple(each for each in self.lines if each.request.state is State.PENDING)

    @property
    def matching_code(self) -> str:
        """Of what one code would confirm."""
        return matching_code((each.request.id, each.request.document_digest) for each in self.pending)


async def page(rt: Runtime, official: Official, after: str | None = None, limit: int = PAGE) -> Page:
    """What waits, from the cursor on. Raises Invalid for a cursor that is none."""
    return await rt.db.run(_page, rt, official, _cursor(after), limit)


async def review(rt: Runtime, official: Official, ids: Sequence[str]) -> Review:
    """These documents, each once, together. NotFound where one is not the official's; Invalid for none or too many."""
    wanted = tuple(dict.fromkeys(ids))
    if not 1 <= len(wanted) <= MAX_LINES:
        raise Invalid(f"One code confirms 1 to {MAX_LINES} documents.", code="batch-size")
    return await rt.db.run(_review, rt, official, wanted)


def _cursor(after: str | None) -> tuple[Urgency, str] | None:
    if after is None:
        return None
    found = CURSOR.fullmatch(after)
    if found is None:
        raise Invalid("There is no such page of the list.", code="cursor")
    return Urgency(found[1]), found[2]


def _page(rt: Runtime, official: Official, after: tuple[Urgency, str] | None, limit: int) -> Page:
    now = rt.clock()
    with rt.db.read() as tx:
        rows = list(_rows(tx, official, after, limit + 1, now))
        shown = rows[:limit]
        documents = _documents(tx, [row.batch_id for row in shown if row.batch_id], now)
        total = _total(tx, official, now)
    lines = tuple(_line(row, documents.get(row.batch_id, 1)) for row in shown)
    last = shown[-1] if len(rows) > limit else None
    return Page(lines, f"{last.urgency}.{last.id}" if last else None, total)


def _rows(
    tx: Connection, official: Official, after: tuple[Urgency, str] | None, wanted: int, now: datetime,
) -> Iterator[Any]:
    """Class by class, until there are enough."""
    first = ORDER.index(after[0]) if after else 0
    for at in range(first, len(ORDER)):
        below = after[1] if after and at == first else None
        found = tx.execute(_of_class(official, at, below, now).limit(wanted)).all()
        yield from found
        wanted -= len(found)
        if wanted <= 0:
            return


def _of_class(official: Official, at: int, below: str | None, now: datetime) -> Any:
    request = signing_request
    conditions = [*_pending(official, now), request.c.urgency == ORDER[at],
                  or_(request.c.batch_id.is_(None), _is_first_of_batch(at, now))]
    if below is not None:
        conditions.append(request.c.id < below)
    return _with_names().where(*conditions).order_by(request.c.id.desc())


# Expiry spans everybody's requests, and a batch has few members while thousands are pending: no planner can know
# either, so that these conditions are kept from choosing an index (`unindexed`).


def _pending(official: Official, now: datetime) -> list[ColumnElement[bool]]:
    return [signing_request.c.signatory_id == official.signatory_id, signing_request.c.state == State.PENDING,
            unindexed(signing_request.c.expires_at) > now]


def _is_first_of_batch(at: int, now: datetime) -> ColumnElement[bool]:
    """No other pending document of its batch stands before this one in the list: none newer of its class, which is
    found at the first look, and none of a class before.
    """
    other = signing_request.alias("other")
    urgency = unindexed(other.c.urgency)
    is_pending = and_(other.c.batch_id == signing_request.c.batch_id, unindexed(other.c.state) == State.PENDING,
                      unindexed(other.c.expires_at) > now)
    newer = and_(is_pending, other.c.id > signing_request.c.id, urgency == ORDER[at])
    before = and_(is_pending, urgency.in_(ORDER[:at]))
    return and_(*(~select(literal(1)).where(each).correlate(signing_request).exists() for each in (newer, before)))


def _with_names() -> Any:
    """Outer joins, so that no planner begins with the names."""
    return (select(signing_request, client.c.name.label("client_name"), agency.c.name.label("agency_name"))
            .outerjoin(client, client.c.id == signing_request.c.client_id)
            .outerjoin(agency, agency.c.code == signing_request.c.agency_code))


def _documents(tx: Connection, batches: Sequence[str], now: datetime) -> dict[str, int]:
    """How many of each batch are still pending. A batch is one person's."""
    rows = tx.execute(
        select(signing_request.c.batch_id, func.count().label("documents"))
        .where(signing_request.c.batch_id.in_(batches), unindexed(signing_request.c.state) == State.PENDING,
               unindexed(signing_request.c.expires_at) > now)
        .group_by(signing_request.c.batch_id))
    return {row.batch_id: row.documents for row in rows}


def _total(tx: Connection, official: Official, now: datetime) -> int:
    some = (select(literal(1)).select_from(signing_request).where(*_pending(official, now))
            .limit(MOST_COUNTED).subquery())
    return int(tx.execute(select(func.count()).select_from(some)).scalar_one())


def _review(rt: Runtime, official: Official, ids: Sequence[str]) -> Review:
    with rt.db.read() as tx:
        rows = tx.execute(_with_names().where(signing_request.c.id.in_(ids), whose(signing_request, official))).all()
    if len(rows) != len(ids):
        raise NotFound("There is no such signing request.")
    lines = sorted((_line(row, 1) for row in rows), key=lambda each: each.request.id, reverse=True)
    return Review(tuple(sorted(lines, key=lambda each: ORDER.index(Urgency(each.request.urgency)))))


def _line(row: Any, documents: int) -> Line:
    return Line(SigningRequest.of_row(row), row.client_name, row.agency_name or row.agency_code, documents)
