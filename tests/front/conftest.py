"""A stage for all of these tests and a world for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.city import Person
from tests.support.world import Client, Stage, World


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("stage"))
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


@dataclass(frozen=True)
class Town:
    """A world that the cases of one table share: none of them may change what another one sees."""

    world: World
    office: Client
    official: Person


@pytest.fixture(scope="module")
def town(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with World.open(stage, tmp_path_factory.mktemp("town")) as made:
        yield Town(made, made.client(), made.official())
        made.check()
