"""One browser and one stage for the stories of a file, a town for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Chromium
from tests.support.town import LiveStage, Town


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStage]:
    made = LiveStage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def chromium(stage: LiveStage) -> Iterator[Chromium]:
    """After the stage, so that it ends before it: pages that hang must not hold the service."""
    with Chromium.open() as opened:
        yield opened


@pytest.fixture
def town(stage: LiveStage, tmp_path: Path) -> Iterator[Town]:
    with Town.open(stage, tmp_path) as made:
        yield made
        made.world.check()
