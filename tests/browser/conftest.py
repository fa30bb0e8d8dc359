"""One browser and one stage for stories that follow each other in a process, a town for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from signing_service.front.web.visitors import PHONE as PHONE_COOKIE
from signing_service.front.web.visitors import SESSION
from tests.support.browser import SIGHTS, STAFF_SIGHTS, Chromium, Sight
from tests.support.town import LiveStage, Town
from tests.support.town_officials import Official, Visits
from tests.support.town_staff import PASSWORD, Auditor, Staff, Works


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStage]:
    made = LiveStage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


@pytest.fixture(scope="package")
def chromium(stage: LiveStage) -> Iterator[Chromium]:
    """After the stage, so that it ends before it: pages that hang must not hold the service.

    It ends before a test of another directory begins: Playwright's loop counts as running, so nobody could run one.
    """
    with Chromium.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def square(stage: LiveStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One town for all of a file that leaves nothing behind which another test looks at."""
    with Town.open(stage, tmp_path_factory.mktemp("square")) as made:
        yield made


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


@pytest.fixture
def works(chromium: Chromium, town: Town) -> Works:
    """An auditor or an operator who is signed in."""

    @contextmanager
    def opened(role: type[Staff], sight: Sight = STAFF_SIGHTS[0]) -> Iterator[Any]:
        person = town.auditor() if role is Auditor else town.operator
        with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
            visitor.carries(SESSION, town.session(person, PASSWORD))
            yield role(visitor, town, person)

    return opened
