"""A key whose call takes too long is given to another, and the first one then makes nothing."""

from __future__ import annotations

import asyncio
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import func, select

from signing_service import submission
from signing_service.db.tables import entry, idempotency, signing_request
from signing_service.errors import WrongState
from signing_service.front.idempotency import ABANDONED, Call, _begin
from signing_service.front.schemas import SigningRequestAnswer
from signing_service.signing_requests import SigningRequest
from signing_service.submission import Arrived, Submission
from tests.support.hall import DOCUMENT, Hall, hall

MOMENT = timedelta(seconds=1)


def taken(it: Hall, after: timedelta = timedelta()) -> Call:
    """The key, by a call that comes so much later. WrongState while the first one holds it."""
    call = Call(it.caller().client_id, "7d1c", "f" * 64, 201, it.rt.clock() + after)
    assert _begin(it.rt, call) is None
    return call


def test_a_call_that_takes_longer_than_its_key_makes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with hall(tmp_path) as it:
            official = await it.official()
            slow = taken(it)
            with pytest.raises(WrongState, match="still under way"):
                taken(it, ABANDONED - MOMENT)
            second = taken(it, ABANDONED)
            before = _count(it, entry)
            with pytest.raises(WrongState, match="given to another"):
                submission._settle(it.rt, [await _arrived(it, official.id, slow)])
            assert (_count(it, signing_request), _count(it, entry)) == (0, before)

            made = submission._settle(it.rt, [await _arrived(it, official.id, second)])[0]
            assert isinstance(made, SigningRequest)
            assert made.id in _kept(it)

    asyncio.run(story())


def test_what_was_done_is_no_answer_of_a_key_that_is_somebody_elses(tmp_path: Path) -> None:
    async def story() -> None:
        async with hall(tmp_path) as it:
            slow, second = taken(it), taken(it, ABANDONED)
            with it.rt.db.write() as tx:
                assert not slow.keep(tx, Told(id="sr_slow"))
                assert second.keep(tx, Told(id="sr_second"))
                assert not second.keep(tx, Told(id="sr_again"))
            assert "sr_second" in _kept(it)

    asyncio.run(story())


class Told(BaseModel):
    """An answer of which only the id matters."""

    id: str


async def _arrived(it: Hall, signatory: str, call: Call) -> Arrived:
    said = Submission(document_type="KH", subject="Kế hoạch", issuing_agency="H26.1", signatory=signatory,
                      filename="ke-hoach.pdf")
    draft = it.rt.documents.receive(io.BytesIO(DOCUMENT.read_bytes()))
    return Arrived(it.caller(), said, draft, await it.rt.pool.look(draft.path),
                   lambda tx, made: call.note(tx, SigningRequestAnswer.of(made)))


def _count(it: Hall, table: Any) -> int:
    with it.rt.db.read() as tx:
        return int(tx.execute(select(func.count()).select_from(table)).scalar_one())


def _kept(it: Hall) -> str:
    with it.rt.db.read() as tx:
        return str(tx.execute(select(idempotency.c.body)).scalar_one())
