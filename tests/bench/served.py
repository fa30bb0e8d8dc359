"""The service as it is run: with the settings that it has by itself, where tests take shorter leases and deadlines."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select

from signing_service.db.tables import clock as marks
from signing_service.signer import leases
from signing_service.signer.runtime import Runtime
from tests.support.city import City, Clock
from tests.support.service import Service

SHORT = ("SIGNING_LEASE_SECONDS", "SIGNING_INTENT_SECONDS")


class Served(Service):
    """Its processes have the leases and deadlines of a new installation."""

    def environment(self) -> dict[str, str]:
        return {name: value for name, value in super().environment().items() if name not in SHORT}


class Found(Served):
    """A service whose database was there before: its city is the one in it, and time goes on from where it was."""

    def settled(self, rt: Runtime, clock: Clock) -> City:
        with rt.db.read() as tx:
            mark = tx.execute(select(marks.c.high_water)).scalar_one_or_none()
        if mark is not None:
            clock.at = max(clock.at, mark + timedelta(seconds=1))
            leases.beat(rt)
        return City.found(rt, clock)
