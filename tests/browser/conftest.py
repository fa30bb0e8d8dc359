"""One browser and one stage for the stories of a file, a town for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from signing_service.front.web.visitors import PHONE as PHONE_COOKIE
from tests.support.browser import SIGHTS, Chromium, Sight
from tests.support.town import LiveStage, Town
from tests.support.town_officials import Official, Visits


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


@pytest.fixture
def visits(chromium: Chromium, town: Town) -> Visits:
    """Somebody whose phone is enrolled already."""

    @contextmanager
    def opened(sight: Sight = SIGHTS[0], **more: Any) -> Iterator[Official]:
        with chromium.visits(sight.glass, town.url, language=sight.language, **more) as visitor:
            official = Official(visitor, town, town.official())
            visitor.carries(PHONE_COOKIE, town.phone(official.person))
            yield official

    return opened
