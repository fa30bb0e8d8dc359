"""One at a time for each signing request, within this process; between processes the database decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class Turns:
    """A second confirmation of the same request waits for the first, and then finds it done: no code is wasted."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, ids: Iterable[str]) -> AsyncIterator[bool]:
        """Hold the turns of all these, taken in one order so that two batches cannot wait for each other.

        Gives whether somebody was before us: then what was read of them is out of date.
        """
        waited = False
        async with AsyncExitStack() as stack:
            for each in sorted(set(ids)):
                lock = self._locks.get(each) or asyncio.Lock()
                self._locks[each] = lock
                waited = waited or lock.locked()
                await stack.enter_async_context(lock)
            yield waited
