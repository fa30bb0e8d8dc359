"""The signer's clock is set back and forth while people confirm, over the real processes, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from signing_service.audit import SIGNER_EVENTS
from signing_service.db.tables import checkpoint, entry, intent, signature
from tests.support import campaign, databases, postgres
from tests.support.service import STEP, Service, until
from tests.support.set_clock import WallClock

HOUR = 3_600
SETTINGS = campaign.rounds(2, 20)  # how often the clock is set


@pytest.fixture(params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    url = databases.sqlite(tmp_path) if request.param == "sqlite" else postgres.fresh_database()
    made = Service(tmp_path, url)
    yield made
    made.check()
    made.close()


def signed(service: Service) -> int:
    with service.db.read() as tx:
        return int(tx.execute(select(func.count()).select_from(signature)).scalar_one())


def is_wrong(answer: httpx.Response) -> bool:
    return answer.status_code == 503 and answer.json()["code"] == "clock"


def test_a_signer_whose_clock_was_set_signs_nothing_and_goes_on_when_it_is_right(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest,
) -> None:
    wall = WallClock(tmp_path)
    service.more["signer"] = wall.environment
    people = [service.official(f"Người thứ {n}") for n in range(SETTINGS + 2)]
    begun = datetime.now(UTC)
    service.start()
    spent = people[0].code(datetime.now(UTC))
    assert service.confirms(people[0], service.submits(people[0]), spent).status_code == 200
    refused = 0
    for number, person in enumerate(people[1:SETTINGS + 1]):
        waiting, again = service.submits(person), service.submits(people[0], number=str(number))
        before = signed(service)
        wall.set_by(-HOUR if number % 2 == 0 else HOUR)
        assert is_wrong(service.confirms(person, waiting))
        assert is_wrong(service.confirms(people[0], again, spent))
        for hours in (-1, 1):  # what the wrong clock takes for the present
            code = person.code(datetime.now(UTC) + timedelta(hours=hours))
            assert is_wrong(service.confirms(person, waiting, code))
        assert signed(service) == before
        refused += 4
        wall.set_by(0)
        answer = until(partial(good, service, person, waiting), 60, "the signer goes on")
        assert answer["state"] in ("finishing", "signed")
        assert service.confirms(people[0], again, spent).status_code == 403  # spent long before
    until(lambda: service.entries_waiting() == 0, 30, "every entry has its place")
    assert_in_order(service, begun)
    campaign.proven(f"time-{request.node.callspec.id}", set=SETTINGS, refused=refused, signed_meanwhile=0,
                    codes_twice=0, entries_out_of_order=0)


def good(service: Service, person: Any, waiting: str) -> dict[str, Any] | None:
    answer = service.confirms(person, waiting, person.code(datetime.now(UTC)))
    if answer.status_code == 200:
        body: dict[str, Any] = answer.json()
        return body
    assert answer.status_code in (403, 503), answer.text  # 403: this step's code was counted while the clock was wrong
    return None


def assert_in_order(service: Service, begun: datetime) -> None:
    """The signer's entries, intents and checkpoints never go back by more than clocks are stepped by."""
    with service.db.read() as tx:
        moments = [row.at for row in tx.execute(
            select(entry.c.at).where(entry.c.event.in_(SIGNER_EVENTS), entry.c.at > begun)
            .order_by(entry.c.leaf_index))]
        made = list(tx.execute(select(checkpoint.c.at).where(checkpoint.c.at > begun)
                               .order_by(checkpoint.c.size)).scalars())
        latest = tx.execute(select(func.max(intent.c.created_at))).scalar_one()
    for series in (moments, made):
        assert all(later > earlier - timedelta(seconds=2) for earlier, later in pairwise(series))
    assert latest < datetime.now(UTC) + timedelta(seconds=STEP)
