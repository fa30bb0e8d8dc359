"""Each of these tests runs on SQLite and on PostgreSQL, over the in-memory device unless it says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import databases
from tests.support.city import City, Clock, runtime
from tests.support.memory_device import MemoryDevice


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.uncounted)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield databases.sqlite(tmp_path)
        return
    with databases.lent_postgresql() as lent:
        yield lent


@pytest.fixture
def device() -> MemoryDevice:
    return MemoryDevice()


@pytest.fixture
def city(url: str, tmp_path: Path, device: MemoryDevice) -> Iterator[City]:
    clock = Clock()
    made = City(runtime(url, tmp_path, device, clock), clock)
    yield made
    made.check()
    made.close()
