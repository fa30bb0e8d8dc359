"""Small files with a large appetite, through the pool: each is refused within its limits, and the pool serves on."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from signing_service.errors import Invalid
from signing_service.pdf import Limits, Pool
from tests.support import campaign
from tests.support.hostile_pdf import BOMBS
from tests.support.pdf_pool import with_pool
from tests.support.raw_pdf import document, one_page

# As in production, with less processor for each. Time on the wall is for what waits: those that stepped back get what
# other tests leave of two cores.
LIMITS = Limits(look_cpu_seconds=1, look_wall_seconds=60.0, aside_wall_seconds=600.0, memory_bytes=768 << 20)
MOST_SECONDS = 180.0
REFUSALS = {
    "broken", "truncated", "document-too-costly", "too-many-pages", "too-many-revisions", "active-content"
}
HOSTILE_CLIENTS = 2


def test_every_bomb_is_refused_within_its_limits_while_good_documents_pass(tmp_path: Path) -> None:
    good = tmp_path / "good.pdf"
    good.write_bytes(document(one_page()))
    names = iter(BOMBS)
    outcomes: dict[str, str] = {}
    served = 0

    async def story(pool: Pool) -> None:
        async def hostile(client: str) -> None:
            for name in names:
                path = written(tmp_path / client, BOMBS[name]())
                outcomes[name] = await code_of(pool, path, client)

        async def honest(others: asyncio.Task[object]) -> None:
            nonlocal served
            while not others.done():
                await pool.look(good, client_id="honest")
                served += 1
                await asyncio.sleep(0.1)

        everybody = asyncio.gather(*(hostile(f"hostile-{at}") for at in range(HOSTILE_CLIENTS)))
        others = asyncio.ensure_future(everybody)
        await honest(others)  # type: ignore[arg-type]  # a gathering is a future, and `done` is all we ask
        await others

    started = time.monotonic()
    with_pool(story, LIMITS, size=4)
    assert set(outcomes) == set(BOMBS)
    assert {name: code for name, code in outcomes.items() if code not in REFUSALS} == {}
    patience = LIMITS.look_wall_seconds * len(BOMBS) / HOSTILE_CLIENTS  # the machine does other things as well
    assert time.monotonic() - started < (MOST_SECONDS if campaign.FULL else patience)
    assert served >= HOSTILE_CLIENTS


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


async def code_of(pool: Pool, path: Path, client: str) -> str:
    try:
        await pool.look(path, client_id=client)
    except Invalid as refused:
        return refused.code
    return "accepted"
