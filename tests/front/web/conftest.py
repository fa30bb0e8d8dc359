"""The operator at the console, and both databases for stories in which two things happen at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from signing_service import accounts
from tests.support import databases
from tests.support.staff import Seat, passwords_cost_little
from tests.support.world import Stage, World


@pytest.fixture(autouse=True)
def _passwords_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they really cost has a test of its own."""
    passwords_cost_little(monkeypatch)


@pytest.fixture
def refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals of sign-ins come when they are done; that they wait has a test of its own."""
    monkeypatch.setattr(accounts, "REFUSED_AFTER", 0.0)


@pytest.fixture
def seat(world: World) -> Seat:
    """The operator, who has a code since the city was founded, with a password."""
    return world.operator_at_console()


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, stage: Stage, tmp_path: Path) -> Iterator[World]:
    """A world on each of the two databases."""
    url = databases.postgresql() if request.param == "postgresql" else None
    with World.open(stage, tmp_path, url=url) as made:
        yield made
        made.check()
