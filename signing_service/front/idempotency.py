"""`Idempotency-Key`: the same call again gives the same answer, and is not carried out again.

A key belongs to one client and one call: method, path and body (for a form: its fields and the document's
digest). Another body under the same key is a 409. Only answers that did something are kept; a refusal frees the
key, because nothing was done.

What creates something writes its answer in the transaction that creates it (`Note`), so that a key without an
answer proves that nothing was created: after a crash the same call may run again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import BaseModel
from sqlalchemy import Connection, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from starlette.requests import Request
from starlette.responses import Response

from signing_service.db.tables import idempotency
from signing_service.errors import Invalid, Unavailable, WrongState
from signing_service.front.callers import Caller
from signing_service.front.runtime import Runtime

KEY = re.compile(r"[\x21-\x7e]{1,200}")
# Longer than calls take: whoever held the key is gone. One that takes longer all the same makes nothing (`Call.note`).
ABANDONED = timedelta(seconds=90)
REPLAYED = {"Idempotency-Replayed": "true"}

Note = Callable[[Connection, BaseModel], None]


def no_note(_tx: Connection, _answer: BaseModel) -> None:
    """For calls without a key."""


@dataclass
class Call:
    """One call under a key, with the fingerprint of what was asked."""

    client_id: str
    key: str
    fingerprint: str
    status: int
    begun: datetime
    is_noted: bool = False

    def note(self, tx: Connection, answer: BaseModel) -> None:
        """Keep the answer, in the transaction of what it tells of.

        WrongState when the key is another call's by now: then that one makes what was asked for, and this transaction
        must not be kept.
        """
        if not self.keep(tx, answer):
            raise WrongState("The call took so long that its Idempotency-Key was given to another.", code="in-progress")
        self.is_noted = True

    def keep(self, tx: Connection, answer: BaseModel) -> bool:
        """Keep the answer, if the key is still this call's."""
        return tx.execute(
            update(idempotency)
            .where(idempotency.c.client_id == self.client_id, idempotency.c.key == self.key,
                   idempotency.c.created_at == self.begun, idempotency.c.status.is_(None))
            .values(status=self.status, body=_json(answer))
        ).rowcount == 1


def fingerprint(rt: Runtime, request: Request, *content: object) -> str:
    """Keyed, because a body may hold a code, and six digits are quickly found from a plain hash."""
    text = json.dumps([request.method, request.url.path, *content], default=str, ensure_ascii=False)
    key = hmac.digest(rt.secret, b"idempotency", "sha256")
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


async def once(
    rt: Runtime, request: Request, caller: Caller, content: tuple[object, ...],
    act: Callable[[Note], Awaitable[BaseModel]], status: int = 200,
) -> Response:
    """Carry out `act`, or give the answer that this key had. Raises WrongState for a key that was used otherwise."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return _answer(status, _json(await act(no_note)))
    if not KEY.fullmatch(key):
        raise Invalid("An Idempotency-Key has 1 to 200 printable ASCII characters.", code="idempotency-key")
    call = Call(caller.client_id, key, fingerprint(rt, request, *content), status, rt.clock())
    try:
        kept = await rt.db.run(_begin, rt, call)
    except Unavailable:  # the key may be taken all the same: a COMMIT whose answer was lost
        rt.freeing.begin(lambda: rt.db.run(_forget, rt, call))
        raise
    if kept is not None:
        return _answer(*kept, REPLAYED)
    try:
        answer = await act(call.note)
        if not call.is_noted:
            await rt.db.run(_keep, rt, call, answer)
    except BaseException:
        await _free(rt, call)
        raise
    return _answer(status, _json(answer))


async def _free(rt: Runtime, call: Call) -> None:
    try:
        await rt.db.run(_forget, rt, call)
    except Unavailable:
        rt.freeing.begin(lambda: rt.db.run(_forget, rt, call))


def _begin(rt: Runtime, call: Call) -> tuple[int, str] | None:
    """Take the key, or the answer that is kept under it."""
    try:
        with rt.db.write() as tx:
            _drop_old(tx, rt, call, call.begun)
            tx.execute(insert(idempotency).values(
                client_id=call.client_id, key=call.key, fingerprint=call.fingerprint, created_at=call.begun))
    except IntegrityError:
        return _kept(rt, call)
    return None


def _kept(rt: Runtime, call: Call) -> tuple[int, str]:
    with rt.db.read() as tx:
        row = tx.execute(select(idempotency).where(
            idempotency.c.client_id == call.client_id, idempotency.c.key == call.key)).first()
    if row is not None and row.fingerprint != call.fingerprint:
        raise WrongState("This Idempotency-Key was used for another call.", code="idempotency-key-reused")
    if row is None or row.status is None:
        raise WrongState("The first call with this Idempotency-Key is still under way.", code="in-progress")
    return row.status, row.body


def _drop_old(tx: Connection, rt: Runtime, call: Call, now: datetime) -> None:
    """Forget this key if its day is over, or if whoever took it is gone without having done anything."""
    lifetime = timedelta(seconds=rt.settings.idempotency_seconds)
    is_old = idempotency.c.created_at <= now - lifetime
    is_abandoned = and_(idempotency.c.status.is_(None), idempotency.c.created_at <= now - ABANDONED)
    tx.execute(delete(idempotency).where(
        idempotency.c.client_id == call.client_id, idempotency.c.key == call.key, or_(is_old, is_abandoned)))


def _forget(rt: Runtime, call: Call) -> None:
    with rt.db.write() as tx:
        tx.execute(delete(idempotency).where(
            idempotency.c.client_id == call.client_id, idempotency.c.key == call.key,
            idempotency.c.created_at == call.begun, idempotency.c.status.is_(None)))


def _keep(rt: Runtime, call: Call, answer: BaseModel) -> None:
    """Of what was done once whoever asked: another call under this key says the same."""
    with rt.db.write() as tx:
        call.keep(tx, answer)


def _json(answer: BaseModel) -> str:
    return answer.model_dump_json(exclude_none=True)


def _answer(status: int, body: str, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")
