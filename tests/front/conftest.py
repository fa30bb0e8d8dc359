"""A stage for all of these tests and a world for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.world import Client, Stage, World


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


@pytest.fixture
def world(stage: Stage, tmp_path: Path) -> Iterator[World]:
    with World.open(stage, tmp_path) as made:
        yield made
        made.check()


@pytest.fixture
def office(world: World) -> Client:
    """The document system that most stories are told by."""
    return world.client()
