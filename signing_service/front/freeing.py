"""What a call that broke off leaves taken is freed as soon as the database answers again, not after 90 seconds.

While the database is away a call can neither be carried out nor undone. Whoever made it repeats it within seconds, and
must not hear that the first is still under way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from signing_service.errors import Unavailable

PAUSE = 0.25  # seconds between two tries


class Freeing:
    """Runs what frees something until it succeeds. Close it at the end: what is still waiting is given up then."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[None]] = set()

    def begin(self, free: Callable[[], Awaitable[None]]) -> None:
        """Returns at once. `free` may be called any number of times and raises Unavailable while it cannot."""
        task = asyncio.create_task(_insist(free))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


async def _insist(free: Callable[[], Awaitable[None]]) -> None:
    while True:
        with contextlib.suppress(Unavailable):
            return await free()
        await asyncio.sleep(PAUSE)
