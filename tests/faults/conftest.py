"""The long ones want the machine for themselves and minutes of it, so they are there in a full campaign only."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import campaign
from tests.support.world import Stage

collect_ignore_glob = [] if campaign.FULL else ["test_long_*.py"]


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


