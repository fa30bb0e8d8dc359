"""Small files with a large appetite, through the pool: each is refused within its limits, and the pool serves on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path


from signing_service.errors import Invalid
from signing_service.pdf import Limits, Pool
from tests.support.hostile_pdf import BOMBS
from tests.support.raw_pdf import document, one_page

# As in production, with less patience, so that the run is short.
LIMITS = Limits(look_cpu_seconds=1, look_wall_seconds=5.0, memory_bytes=768 << 20)
REFUSALS = {
    "broken", "truncated", "document-too-costly", "too-many-pages", "too-many-revisions", "active-content"
}


def test_every_bomb_is_refused_within_its_limits_while_good_documents_pass(tmp_path: Path) -> None:
    good = tmp_path / "good.pdf"
    good.write_bytes(document(one_page()))
    outcomes: dict[str, tuple[str, float]] = {}
    served: list[float] = []

    async def story(pool: Pool) -> None:
        async def throw(name: str) -> None:
            path = tmp_path / f"{len(outcomes)}-{abs(hash(name))}.pdf"
            path.write_bytes(BOMBS[name]())
            started = time.perf_counter()
            try:
                await pool.look(path, client_id="hostile")
                code = "accepted"
            except Invalid as refused:
                code = refused.code
            outcomes[name] = (code, time.perf_counter() - started)
            path.unlink()

        async def ask() -> None:
            started = time.perf_counter()
            await pool.look(good, client_id="honest")
            served.append(time.perf_counter() - started)

        for name in BOMBS:
            await asyncio.gather(throw(name), ask())

    asyncio.run(in_pool(story))
    assert {name: code for name, (code, _) in outcomes.items() if code not in REFUSALS} == {}
    assert {name: took for name, (_, took) in outcomes.items() if took > LIMITS.look_wall_seconds + 1} == {}
    assert len(served) == len(BOMBS)


async def in_pool(story: Callable[[Pool], Awaitable[None]], limits: Limits = LIMITS, size: int = 3) -> None:
    pool = Pool(size, limits)
    await pool.start()
    try:
        await story(pool)
    finally:
        await pool.close()


