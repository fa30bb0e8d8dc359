"""Batches: signing requests of one person that are confirmed together, with an outcome for each.

What is in a batch is fixed when it is made, and a signing request is in one batch at most: what was shown under a
matching code is never more than what it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, bindparam, insert, select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.compiled import Compiled
from signing_service.db.tables import batch, signing_request
from signing_service.errors import Invalid, NotFound, WrongState
from signing_service.ids import draw, matching_code
from signing_service.people import Official
from signing_service.signing_requests import SigningRequest, State, owner_of
from signing_service.wire.messages import MAX_LINES

if TYPE_CHECKING:
    from signing_service.front.callers import Caller
    from signing_service.front.runtime import Runtime


@dataclass(frozen=True)
class Batch:
    """A batch and its signing requests as they are now, in the order of their ids."""

    id: str
    signatory_id: str
    created_at: datetime
    requests: tuple[SigningRequest, ...]

    @property
    def pending(self) -> tuple[SigningRequest, ...]:
        return tuple(each for each in self.requests if each.state is State.PENDING)

    @property
    def matching_code(self) -> str:
        """Of what a confirmation would cover: everything still pending, or, when nothing is, of all."""
        return matching_code((each.id, each.document_digest) for each in self.pending or self.requests)


Then = Callable[[Connection, Batch], None]


def nothing_more(_tx: Connection, _batch: Batch) -> None:
    """The batch alone."""


async def create(rt: Runtime, caller: Caller, ids: Sequence[str], then: Then = nothing_more) -> Batch:
    """Put pending signing requests of one signatory together; `then` runs in the same transaction.

    Raises Invalid (none, too many, twice, several signatories, one document twice), NotFound for what is not the
    caller's, WrongState where one is not pending or is in a batch already; then none of them is in this batch.
    """
    if not 1 <= len(ids) <= MAX_LINES:
        raise Invalid(f"A batch has 1 to {MAX_LINES} signing requests.", code="batch-size")
    if len(set(ids)) != len(ids):
        raise Invalid("A signing request is named twice.", code="line-twice")
    return await rt.db.run(_create, rt, caller, tuple(ids), then)


async def get(rt: Runtime, who: Caller | Official, batch_id: str) -> Batch:
    """One of their batches. NotFound for what is not there or not theirs."""
    return await rt.db.run(_get, rt, who, batch_id)


def _create(rt: Runtime, caller: Caller, ids: tuple[str, ...], then: Then) -> Batch:
    now, batch_id = rt.clock(), draw("ba")
    with rt.db.write() as tx:
        rows = tx.execute(select(signing_request).where(
            signing_request.c.id.in_(ids), signing_request.c.client_id == caller.client_id)).all()
        if len(rows) != len(ids):
            raise NotFound("There is no such signing request.")
        _check(rows)
        tx.execute(insert(batch).values(
            id=batch_id, client_id=caller.client_id, signatory_id=rows[0].signatory_id, created_at=now))
        moved = tx.execute(
            update(signing_request)
            .where(signing_request.c.id.in_(ids), signing_request.c.state == State.PENDING,
                   signing_request.c.batch_id.is_(None), signing_request.c.expires_at > now)
            .values(batch_id=batch_id)
        )
        if moved.rowcount != len(ids):
            raise WrongState("A signing request is no longer pending, or is in a batch already.", code="not-pending")
        record(tx, now, Fact(Event.BATCHED, caller.actor, client_id=caller.client_id,
                             signatory_id=rows[0].signatory_id, data={"batch": batch_id, "requests": sorted(ids)}))
        made = _read(tx, caller, batch_id)
        then(tx, made)
    return made


def _check(rows: Sequence[Any]) -> None:
    if len({row.signatory_id for row in rows}) != 1:
        raise Invalid("The signing requests of a batch have one signatory.", code="several-signatories")
    if len({row.document_digest for row in rows}) != len(rows):
        raise Invalid("One document is in the batch twice.", code="document-twice")


def _get(rt: Runtime, who: Caller | Official, batch_id: str) -> Batch:
    with rt.db.read() as tx:
        return _read(tx, who, batch_id)


def _read(tx: Connection, who: Caller | Official, batch_id: str) -> Batch:
    itself, members = _OFFICIALS if isinstance(who, Official) else _CLIENTS
    named = {"id": batch_id, "owner": owner_of(who)}
    found = itself.first(tx, named)
    if found is None:
        raise NotFound("There is no such batch.")
    rows = members.all(tx, named)
    return Batch(found.id, found.signatory_id, found.created_at, tuple(SigningRequest.of_row(row) for row in rows))


def _those(owner: str) -> tuple[Compiled, Compiled]:
    """A batch by its id, and what is in it, where this column names their owner."""
    members = select(signing_request).where(
        signing_request.c.batch_id == bindparam("id"), signing_request.c[owner] == bindparam("owner"))
    itself = select(batch).where(batch.c.id == bindparam("id"), batch.c[owner] == bindparam("owner"))
    return Compiled(itself), Compiled(members.order_by(signing_request.c.id))


_CLIENTS, _OFFICIALS = _those("client_id"), _those("signatory_id")
