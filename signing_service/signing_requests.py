"""A signing request: its life, who may see it, and how it ends before anybody has confirmed.

Every move of state is a conditional UPDATE whose row count says who made it; the entry is written by that one.
A signing request has two sides: the client that submitted it, and the official who is to sign it. What is another
client's or another official's is not there: every query says whose it must be.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Table, bindparam, select, update

from signing_service import metrics
from signing_service.audit import Event, Fact, record
from signing_service.db.columns import unindexed
from signing_service.db.compiled import Compiled
from signing_service.db.tables import signing_request
from signing_service.errors import Invalid, NotFound, SigningError, WrongState
from signing_service.ids import matching_code
from signing_service.notices import enqueue
from signing_service.people import Official, find_signatory

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime


class State(StrEnum):
    """Where a signing request is. `PENDING`, `SIGNING` and `FINISHING` are open; the others are its end."""

    PENDING = "pending"      # nobody has confirmed yet
    SIGNING = "signing"      # there is an intent: the device may have been asked
    FINISHING = "finishing"  # there is a signature value; the signed document is being made
    SIGNED = "signed"
    REFUSED = "refused"      # the person said no
    WITHDRAWN = "withdrawn"  # the client took it back
    EXPIRED = "expired"      # nobody said anything in time
    DENIED = "denied"        # the policy said no when it was confirmed
    FAILED = "failed"

    @property
    def is_open(self) -> bool:
        return self in OPEN


OPEN = frozenset({State.PENDING, State.SIGNING, State.FINISHING})
CONFIRMED = frozenset({State.SIGNING, State.FINISHING, State.SIGNED})
PAGE = 50          # signing requests in a list when the caller names no number
LONGEST_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class SigningRequest:
    """A signing request as its client and its official may see it. Digests are lower-case hexadecimal SHA-256."""

    id: str
    state: State
    reason: str | None
    client_id: str
    agency_code: str
    signatory_id: str
    credential_id: str
    batch_id: str | None
    external_id: str | None
    document_type: str
    number: str | None
    symbol: str | None
    subject: str
    urgency: str
    filename: str
    document_digest: str
    document_size: int
    pages: int
    earlier_signatures: int
    warnings: tuple[str, ...]
    level: str
    algorithm: str
    confirm: str
    policy_hash: str
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    signed_digest: str | None
    signed_size: int | None
    finish_error: str | None

    @property
    def matching_code(self) -> str:
        """Six digits that the client's screen and the person's phone both show."""
        return matching_code([(self.id, self.document_digest)])

    @classmethod
    def of_row(cls, row: Any) -> SigningRequest:
        said = dict(zip(_AS_STORED, _STORED(row), strict=True))
        return cls(**said, state=State(row.state), warnings=tuple(row.warnings),
                   confirm=row.decision["terms"]["confirm"])


_AS_STORED = tuple(set(SigningRequest.__dataclass_fields__) - {"state", "warnings", "confirm"})
_STORED = attrgetter(*_AS_STORED)
_BY_ID = select(signing_request).where(signing_request.c.id == bindparam("id"))
_CLIENTS = Compiled(_BY_ID.where(signing_request.c.client_id == bindparam("owner")))
_OFFICIALS = Compiled(_BY_ID.where(signing_request.c.signatory_id == bindparam("owner")))


@dataclass(frozen=True)
class Wanted:
    """Which signing requests to list. `after` is the id that the last page ended with."""

    states: frozenset[State] = frozenset()
    signatory: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    external_id: str | None = None
    after: str | None = None
    limit: int = PAGE


# --------------------------------------------------------------------------------------------------------- reading


def whose(table: Table, who: Caller | Official) -> ColumnElement[bool]:
    """What makes a row of `signing_request` or `batch` theirs: a client submitted it, an official is to sign it."""
    if isinstance(who, Official):
        return table.c.signatory_id == who.signatory_id
    return table.c.client_id == who.client_id


def owner_of(who: Caller | Official) -> str:
    """The id that `whose` compares with."""
    return who.signatory_id if isinstance(who, Official) else who.client_id


async def get(rt: Runtime, who: Caller | Official, request_id: str, *, wait: float = 0.0) -> SigningRequest:
    """One of their signing requests. With `wait`: when it moves from an open state, or after that time.

    Raises NotFound for what is not there or not theirs.
    """
    found = await rt.db.run(_get, rt, who, request_id)
    if wait > 0 and found.state.is_open and await rt.watch.moved(request_id, found.state, wait):
        found = await rt.db.run(_get, rt, who, request_id)
    return found


async def listed(rt: Runtime, caller: Caller, wanted: Wanted) -> tuple[SigningRequest, ...]:
    """The caller's signing requests, the newest first, at most `limit` of them."""
    return await rt.db.run(_list, rt, caller, wanted)


async def hand_over(rt: Runtime, who: Caller | Official, request_id: str) -> SigningRequest:
    """They are about to get the signed document: on record, before the first byte. WrongState before `signed`."""
    return await rt.together.run(_hand_over, rt, (who, request_id))


def _hand_over(
    rt: Runtime, asked: Sequence[tuple[Caller | Official, str]],
) -> list[SigningRequest | SigningError]:
    with rt.db.write() as tx:
        return [_delivered(tx, who, request_id, rt.clock()) for who, request_id in asked]


def _delivered(
    tx: Connection, who: Caller | Official, request_id: str, now: datetime,
) -> SigningRequest | SigningError:
    try:
        row = row_of(tx, who, request_id)
    except NotFound as error:
        return error
    if row.state != State.SIGNED:
        return WrongState(f"The signing request is {row.state}, not signed.", code="not-signed")
    record(tx, now, fact_of(Event.DELIVERED, who.actor, row, {"signed_digest": row.signed_digest}))
    return SigningRequest.of_row(row)


def _get(rt: Runtime, who: Caller | Official, request_id: str) -> SigningRequest:
    with rt.db.read() as tx:
        return SigningRequest.of_row(row_of(tx, who, request_id))


def _list(rt: Runtime, caller: Caller, wanted: Wanted) -> tuple[SigningRequest, ...]:
    with rt.db.read() as tx:
        signatory = _signatory_id(tx, wanted.signatory) if wanted.signatory else None
        rows = [row for each in _queries(caller.client_id, wanted, signatory) for row in tx.execute(each)]
    newest = sorted(rows, key=lambda row: row.id, reverse=True)[:wanted.limit]
    return tuple(SigningRequest.of_row(row) for row in newest)


def _queries(client_id: str, wanted: Wanted, signatory: str | None) -> Iterator[Any]:
    """What gives the list, together: each goes along an index of what it names, however long the client's list is.

    The narrowest of what is named chooses the index; of states each has its own query, in the order of the index.
    """
    columns = signing_request.c
    named = [
        *([columns.external_id == wanted.external_id] if wanted.external_id else []),
        *([columns.signatory_id == signatory] if signatory else []),
        *([columns.created_at >= wanted.created_from] if wanted.created_from else []),
        *([columns.created_at < wanted.created_before] if wanted.created_before else []),
        *([columns.id < wanted.after] if wanted.after else []),
    ]
    is_narrow = bool(wanted.external_id or signatory)
    state = unindexed(columns.state) if is_narrow else columns.state
    whose = unindexed(columns.client_id) if signatory and not wanted.external_id else columns.client_id
    some = select(signing_request).where(whose == client_id, *named).order_by(columns.id.desc()).limit(wanted.limit)
    if is_narrow and wanted.states:
        yield some.where(state.in_(sorted(wanted.states)))
    elif wanted.states:
        yield from (some.where(state == each) for each in sorted(wanted.states))
    else:
        yield some


def _signatory_id(tx: Connection, name: str) -> str:
    with names_in_form():
        return find_signatory(tx, name).id


def row_of(tx: Connection, who: Caller | Official, request_id: str) -> Any:
    """NotFound for what is not theirs, too: nobody learns what others have."""
    theirs = _OFFICIALS if isinstance(who, Official) else _CLIENTS
    row = theirs.first(tx, {"id": request_id, "owner": owner_of(who)})
    if row is None:
        raise NotFound("There is no such signing request.")
    return row


# ---------------------------------------------------------------------------------------------------------- ending


async def withdraw(rt: Runtime, caller: Caller, request_id: str, reason: str) -> SigningRequest:
    """The client takes back what nobody has confirmed yet. Repeated: the same answer. Else WrongState."""
    return await rt.db.run(_end, rt, caller, request_id, State.WITHDRAWN, reason)


async def refuse(rt: Runtime, who: Caller | Official, request_id: str, reason: str) -> SigningRequest:
    """The person says no, on the phone or told by the client. It takes no code: a no cannot do harm.

    Repeated: the same answer. Raises NotFound, and WrongState where it ended otherwise or was confirmed.
    """
    return await rt.db.run(_end, rt, who, request_id, State.REFUSED, reason)


ENDINGS = {State.WITHDRAWN: Event.WITHDRAWN, State.REFUSED: Event.REFUSED}


def _end(rt: Runtime, who: Caller | Official, request_id: str, state: State, reason: str) -> SigningRequest:
    now = rt.clock()
    with rt.db.write() as tx:
        moved = tx.execute(
            update(signing_request)
            .where(signing_request.c.id == request_id, whose(signing_request, who),
                   signing_request.c.state == State.PENDING)
            .values(state=state, reason=reason, ended_at=now)
        )
        row = row_of(tx, who, request_id)
        if moved.rowcount == 1:
            record(tx, now, fact_of(ENDINGS[state], who.actor, row, {"reason": reason}))
            enqueue(tx, row.id, now)
        elif row.state != state:
            raise WrongState(f"The signing request is {row.state} already.", code=f"already-{row.state}")
    if moved.rowcount == 1:
        metrics.REQUESTS.labels(state).inc()
    return SigningRequest.of_row(row)


def fact_of(event: Event, actor: str, row: Any, data: dict[str, Any]) -> Fact:
    """A fact about a signing request's row; data without a value is left out."""
    return Fact(
        event, actor, client_id=row.client_id, signatory_id=row.signatory_id, agency_code=row.agency_code,
        credential_id=row.credential_id, signing_request_id=row.id, document_digest=row.document_digest,
        data={name: value for name, value in data.items() if value is not None},
    )


@contextmanager
def names_in_form() -> Iterator[None]:
    """A name in a form that names nothing is a wrong field, not a missing page."""
    try:
        yield
    except NotFound as error:
        raise Invalid(error.message, code="unknown-name") from error
