"""An auditor who asks the log of a `Hall`, and what is in it to be found.

    async def story(it: Hall) -> None:
        happened(it, fact(1, agency_code="H26"), fact(2))
        assert actors(search(it, agency="H26")) == ["client:1"]

    tell(tmp_path, story)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from signing_service import search as searching
from signing_service.audit import Event, Fact, record
from signing_service.filters import Wanted
from signing_service.inspection import Reader
from tests.support.hall import Hall, hall

AUDITOR = Reader("client:cl_auditor")


def tell(tmp_path: Path, story: Callable[[Hall], Awaitable[None]], url: str | None = None) -> None:
    async def whole() -> None:
        async with hall(tmp_path, url) as it:
            await story(it)

    asyncio.run(whole())


def happened(it: Hall, *facts: Fact) -> None:
    with it.rt.db.write() as tx:
        record(tx, it.clock(), *facts)


def fact(number: int = 0, **more: Any) -> Fact:
    return Fact(Event.SUBMITTED, f"client:{number}", **more)


def search(it: Hall, reader: Reader = AUDITOR, **wanted: Any) -> searching.Page:
    return searching.search(it.rt.db, reader, it.clock(), Wanted(**wanted))


def actors(page: searching.Page) -> list[str]:
    return sorted(each.body["actor"] for each in page.entries)
