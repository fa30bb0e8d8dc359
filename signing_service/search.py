"""Searching the log: one page of entries, in either direction, and how many there are.

A search is bounded, whatever is asked of however long a log. The rarest condition leads, by its index: what it finds
is looked at whole where that is little (`FEW`), else piece by piece in the order of the log until the page is full,
or `MOST_LOOKED` were looked at: then the page ends early and says where to go on. Nothing is left out on the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, literal_column, select

from signing_service.audit import instant
from signing_service.db.engine import Database
from signing_service.db.tables import entry
from signing_service.errors import Invalid
from signing_service.filters import Filter, Leading, Order, Wanted, filters_of
from signing_service.inspection import (
    LONGEST_PAGE,
    Entry,
    Known,
    entry_row,
    note_reading,
    snapshot,
)

FEW = 10_000             # entries that are looked at all together
MOST_LOOKED = 40_000     # entries that are looked at for one page
FIRST_PIECE, LARGEST_PIECE = 1_000, 15_000
MOST_COUNTED = FEW       # beyond it people want to know "many"; what leads is counted so far in any case

# An entry's time and its place in the log go together but for slow transactions and clocks that differ. An entry
# whose time is further than this from its neighbours' is found by anything but its time.
APART = timedelta(hours=1)

NARROW = ("id", "leaf_index", "at", "event", "outcome", "client_id", "signatory_id", "agency_code", "credential_id",
          "signing_request_id", "document_digest")


@dataclass(frozen=True)
class Page:
    """Entries in the wanted order. `after` leads to the next page, `before` to the one before; None at the ends.

    `is_short`: the search stopped before the page was full, and goes on with `after` (or `before`).
    """

    entries: tuple[Entry, ...]
    after: str | None
    before: str | None = None
    is_short: bool = False


class Counted(StrEnum):
    """How sure a number is."""

    EXACT = "exact"
    MORE_THAN = "more-than"
    AT_LEAST = "at-least"  # the search was stopped before it had looked everywhere


@dataclass(frozen=True)
class Count:
    """How many entries are wanted."""

    number: int
    kind: Counted


def search(db: Database, reader: Known, now: datetime, wanted: Wanted) -> Page:
    """One page of entries. Raises Invalid for wrong limits and filters, NotFound for a cursor that is no entry."""
    _check(wanted)
    note_reading(db, reader, now, "search", asked(wanted))
    with snapshot(db) as tx:
        return page_of(tx, reader, wanted)


def search_and_count(db: Database, reader: Known, now: datetime, wanted: Wanted) -> tuple[Page, Count]:
    """The same, and how many entries there are on all pages together."""
    _check(wanted)
    note_reading(db, reader, now, "search", asked(wanted))
    with snapshot(db) as tx:
        plan = _plan(tx, reader, wanted)  # the stretch of a time is looked for once
        return _page(plan, reader, wanted), _count(plan)


def asked(wanted: Wanted) -> dict[str, Any]:
    """What a reading is put on record with."""
    said = asdict(wanted) | {"order": None if wanted.order is Order.OLDEST else wanted.order.value, "limit": None}
    return {name: instant(value) if isinstance(value, datetime) else value
            for name, value in said.items() if value is not None}


def rows_after(tx: Connection, reader: Known, wanted: Wanted, limit: int) -> tuple[Sequence[Any], str | None]:
    """Rows behind the cursor, and where to go on; None when there is nothing further."""
    plan = _plan(tx, reader, wanted)
    found, stopped = _walk(plan, _position(tx, reader, wanted.after, wanted.order), limit)
    if stopped is not None:
        return _whole(tx, found), stopped
    return _whole(tx, found), found[-1].id if len(found) == limit else None


def _check(wanted: Wanted) -> None:
    if not 1 <= wanted.limit <= LONGEST_PAGE:
        raise Invalid(f"A page has 1 to {LONGEST_PAGE} entries.", code="limit")
    if wanted.after is not None and wanted.before is not None:
        raise Invalid("A page is after one entry or before one, not both.", code="cursor")


def page_of(tx: Connection, reader: Known, wanted: Wanted) -> Page:
    """The page, inside a transaction. The caller has put the reading on record."""
    return _page(_plan(tx, reader, wanted), reader, wanted)


def _page(plan: Plan, reader: Known, wanted: Wanted) -> Page:
    if wanted.before is not None:
        return _page_before(plan, reader, wanted, wanted.before)
    tx = plan.tx
    found, stopped = _walk(plan, _position(tx, reader, wanted.after, wanted.order), wanted.limit + 1)
    shown = found[:wanted.limit]
    after = shown[-1].id if len(found) > wanted.limit else stopped
    before = (shown[0].id if shown else wanted.after) if wanted.after is not None else None
    return Page(_entries(tx, shown), after, before, stopped is not None)


def _page_before(plan: Plan, reader: Known, wanted: Wanted, before: str) -> Page:
    """Found by walking the other way, and shown the right way round."""
    tx, other = plan.tx, Order.OLDEST if wanted.order is Order.NEWEST else Order.NEWEST
    found, stopped = _walk(replace(plan, order=other), _position(tx, reader, before, other), wanted.limit + 1)
    shown = found[:wanted.limit][::-1]
    towards = shown[0].id if len(found) > wanted.limit else stopped
    return Page(_entries(tx, shown), shown[-1].id if shown else before, towards, stopped is not None)


def _entries(tx: Connection, found: Sequence[Any]) -> tuple[Entry, ...]:
    return tuple(map(Entry.of_row, _whole(tx, found)))


def _whole(tx: Connection, found: Sequence[Any]) -> list[Any]:
    """The whole rows, in the order in which they were found."""
    ids = [row.id for row in found]
    rows = {row.id: row for row in tx.execute(select(entry).where(entry.c.id.in_(ids)))}
    return [rows[each] for each in ids]


# ---------------------------------------------------------------------------------------------------- where we are


@dataclass(frozen=True)
class Position:
    """Behind this place of the log, or among what waits behind this id. Neither: at the beginning."""

    place: int | None = None
    waiting: str | None = None


def _position(tx: Connection, reader: Known, cursor: str | None, order: Order) -> Position:
    """An entry's id, or `@` and a place. An entry may have got its place since it was shown."""
    if cursor is None:
        return Position()
    if cursor.startswith("@") and cursor[1:].isascii() and cursor[1:].isdigit() and len(cursor) <= 19:
        return Position(place=int(cursor[1:]))
    row = entry_row(tx, reader, cursor)
    return Position(waiting=row.id) if row.leaf_index is None else Position(place=row.leaf_index)


# ------------------------------------------------------------------------------------------------------------ plan


@dataclass(frozen=True)
class Plan:
    """How a search goes: the stretch of the log (`end` is the first place behind it), who leads, what is asked."""

    tx: Connection
    begin: int
    end: int
    leader: Leading | None      # None: the log itself
    asked: tuple[Filter, ...]   # of each entry that the leader finds
    is_few: bool
    order: Order

    @property
    def every(self) -> tuple[Filter, ...]:
        return self.asked if self.leader is None else (self.leader, *self.asked)

    def within(self, begin: int, end: int) -> list[ColumnElement[bool]]:
        """What the leader finds in this stretch."""
        stretch = [entry.c.leaf_index >= begin, entry.c.leaf_index < end]
        return stretch if self.leader is None else [*stretch, self.leader.holds(entry.c)]


def _plan(tx: Connection, reader: Known, wanted: Wanted) -> Plan:
    filters = filters_of(tx, reader, wanted)
    begin, end = _stretch(tx, wanted.begins, wanted.ends)
    leading = [each for each in filters if isinstance(each, Leading)]
    found = {each: _how_many(tx, each, begin, end) for each in leading}
    rarest = min(leading, key=lambda each: found[each], default=None)
    if end - begin <= FEW and (rarest is None or end - begin <= found[rarest]):
        return Plan(tx, begin, end, None, filters, True, wanted.order)
    if rarest is None or found[rarest] > FEW:
        leader = next((each for each in leading if each.is_ordered), None)
        return Plan(tx, begin, end, leader, _others(filters, leader), False, wanted.order)
    return Plan(tx, begin, end, rarest, _others(filters, rarest), True, wanted.order)


def _others(filters: Sequence[Filter], leader: Filter | None) -> tuple[Filter, ...]:
    return tuple(each for each in filters if each is not leader)


def _how_many(tx: Connection, leading: Leading, begin: int, end: int) -> int:
    """As an index counts them, and no further than `FEW`."""
    some = (select(entry.c.leaf_index)
            .where(leading.holds(entry.c), entry.c.leaf_index >= begin, entry.c.leaf_index < end)
            .limit(FEW + 1).subquery())
    return int(tx.execute(select(func.count()).select_from(some)).scalar_one())


def _stretch(tx: Connection, begins: datetime | None, ends: datetime | None) -> tuple[int, int]:
    """The places between which every entry of this time stands (`APART` says how sure that is)."""
    top = tx.execute(select(func.max(entry.c.leaf_index))).scalar_one()
    size = 0 if top is None else top + 1
    begin = 0 if begins is None else _first_place(tx, begins - APART, size)
    return begin, size if ends is None else max(begin, _first_place(tx, ends + APART, size))


def _first_place(tx: Connection, moment: datetime, size: int) -> int:
    """The first place from which on the log is not older than the moment, by halving."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        row = tx.execute(select(entry.c.leaf_index, entry.c.at).where(entry.c.leaf_index >= middle)
                         .order_by(entry.c.leaf_index).limit(1)).one()
        low, high = (low, middle) if row.at >= moment else (int(row.leaf_index) + 1, high)
    return low


# ------------------------------------------------------------------------------------------------------------ walk


@dataclass(frozen=True)
class Piece:
    """A part of what the leader finds. `size`: how many entries that are at most, where it is not all at once;
    `cursor`: where somebody who stopped before it goes on."""

    rows: Select[Any]
    by: str
    asked: tuple[Filter, ...]
    size: int = 0
    cursor: str | None = None


def _walk(plan: Plan, start: Position, limit: int) -> tuple[list[Any], str | None]:
    """Up to `limit` entries behind the position; a cursor where it was stopped before it had looked everywhere."""
    found: list[Any] = []
    for piece in _bounded(plan, start):
        if piece.size > MOST_LOOKED:
            return found, piece.cursor
        matching = _matching(piece).order_by(*_ordered(piece, plan.order)).limit(limit - len(found))
        found += plan.tx.execute(matching).all()
        if len(found) == limit:
            break
    return found, None


def count_of(tx: Connection, reader: Known, wanted: Wanted) -> Count:
    """How many entries are wanted, wherever the page stands."""
    return _count(_plan(tx, reader, wanted))


def _count(plan: Plan) -> Count:
    if not plan.is_few and not plan.asked:
        return Count(MOST_COUNTED, Counted.MORE_THAN)
    number = 0
    for piece in _bounded(plan, Position()):
        if piece.size > MOST_LOOKED:
            return Count(number, Counted.AT_LEAST)
        some = _matching(piece).limit(MOST_COUNTED + 1 - number).subquery()
        number += int(plan.tx.execute(select(func.count()).select_from(some)).scalar_one())
        if number > MOST_COUNTED:
            return Count(MOST_COUNTED, Counted.MORE_THAN)
    return Count(number, Counted.EXACT)


def _matching(piece: Piece) -> Select[Any]:
    """What of this piece is wanted. Materialized, or a database could be led by another condition's index instead."""
    narrow = piece.rows.cte("piece").prefix_with("MATERIALIZED")
    return select(narrow).where(*(each.holds(narrow.c) for each in piece.asked))


def _ordered(piece: Piece, order: Order) -> list[ColumnElement[Any]]:
    column: ColumnElement[Any] = literal_column(piece.by)
    return [column if order is Order.OLDEST else column.desc()]


def _bounded(plan: Plan, start: Position) -> Iterator[Piece]:
    """The pieces in the wanted order, each with the number of entries looked at up to its end."""
    looked = 0
    for piece in _pieces(plan, start):
        looked += piece.size
        yield replace(piece, size=looked)


def _pieces(plan: Plan, start: Position) -> Iterator[Piece]:
    """What has a place in the log, and what waits for one (behind all of it)."""
    if plan.order is Order.OLDEST:
        if start.waiting is None:
            yield from _placed(plan, start.place)
        yield _waiting(plan, start.waiting)
    else:
        if start.place is None:
            yield _waiting(plan, start.waiting)
        yield from _placed(plan, start.place)


def _waiting(plan: Plan, behind: str | None) -> Piece:
    """Of about a second, or as long as the signer is away: then nothing is signed and little happens."""
    conditions: list[ColumnElement[bool]] = [entry.c.leaf_index.is_(None)]
    if behind is not None:
        conditions.append(entry.c.id > behind if plan.order is Order.OLDEST else entry.c.id < behind)
    return Piece(select(*(entry.c[name] for name in NARROW)).where(*conditions), "id", plan.every)


def _placed(plan: Plan, behind: int | None) -> Iterator[Piece]:
    begin, end = plan.begin, plan.end
    if behind is not None:
        begin, end = (max(begin, behind + 1), end) if plan.order is Order.OLDEST else (begin, min(end, behind))
    if plan.is_few:
        yield _piece(plan, begin, end, 0)
        return
    size = FIRST_PIECE
    while begin < end:
        border = _border(plan, begin, end, size)
        if plan.order is Order.OLDEST:
            yield _piece(plan, begin, border, size)
            begin = border
        else:
            yield _piece(plan, border, end, size)
            end = border
        size = min(4 * size, LARGEST_PIECE)


def _piece(plan: Plan, begin: int, end: int, size: int) -> Piece:
    rows = select(*(entry.c[name] for name in NARROW)).where(*plan.within(begin, end))
    cursor = f"@{begin - 1}" if plan.order is Order.OLDEST else f"@{end}"
    return Piece(rows, "leaf_index", plan.asked, size, cursor)


def _border(plan: Plan, begin: int, end: int, size: int) -> int:
    """Where a piece of this size ends (or, walking to older entries, begins)."""
    is_forward = plan.order is Order.OLDEST
    if plan.leader is None:
        return min(begin + size, end) if is_forward else max(end - size, begin)
    place = entry.c.leaf_index
    at = plan.tx.execute(
        select(place).where(*plan.within(begin, end)).order_by(place if is_forward else place.desc())
        .offset(size - 1).limit(1)).scalar_one_or_none()
    if at is None:
        return end if is_forward else begin
    return int(at) + 1 if is_forward else int(at)
