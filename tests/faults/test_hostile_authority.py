"""A hostile timestamp authority: whatever it does, the document waits in `finishing` until the next good answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select

from signing_service import delivery
from signing_service.db.tables import timestamp_token
from signing_service.front.authorities import Authorities
from signing_service.front.runtime import Runtime
from tests.support import campaign
from tests.support.authority import POLICY, TestCa
from tests.support.hall import Hall, hall
from tests.support.hostile_authority import answering, misbehaviours
from tests.support.outside import Outside

ENDLESS = {"silence", "one byte at a time"}
PATIENCE = 0.3  # seconds for those, instead of the ten that all others have


def test_each_misbehaviour_is_refused_and_the_next_good_answer_completes_the_document(tmp_path: Path) -> None:
    ca = TestCa.fresh()
    asyncio.run(_story(ca, tmp_path))


async def _story(ca: TestCa, directory: Path) -> None:
    async with Outside() as host, hall(directory, hosts=(f"tsa.example.vn:{host.port}",)) as it:
        def clock() -> datetime:
            return it.clock()

        def asked_with(patience: float) -> Runtime:
            return replace(it.rt, authorities=Authorities(
                it.rt.outbound, (host.url("/tsa"),), (ca.root,), clock, policy=POLICY, deadline=patience))

        patient, impatient = asked_with(10.0), asked_with(PATIENCE)
        every = misbehaviours(ca, clock)
        request_id = await it.confirmed(level="B-T")
        refused = 0
        for name, reply in every.items():
            host.reply, before = reply, host.connections
            assert not await delivery.finish(impatient if name in ENDLESS else patient, request_id), name
            assert host.connections == before + 1, name
            assert it.row(request_id).state == "finishing", name
            assert it.row(request_id).finish_error, name
            refused += 1
        assert _tokens(it) == 0
        assert it.entries("timestamp:receive") == []
        host.reply = answering(ca.timestamping(), clock)
        assert await delivery.finish(patient, request_id), it.row(request_id).finish_error
        assert it.row(request_id).state == "signed"
        assert _tokens(it) == 1
        campaign.proven("tsa", misbehaviours=len(every), refused=refused, completed_by_the_next_good_one=1)
        assert refused >= 40


def _tokens(it: Hall) -> int:
    with it.rt.db.read() as tx:
        return int(tx.execute(select(func.count()).select_from(timestamp_token)).scalar_one())
