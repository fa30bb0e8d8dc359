"""One at a time for each asker, and not too many of them waiting: one person's load is that person's wait."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from signing_service.errors import TooMany

RETRY_AFTER = 2  # seconds


class Turns:
    """At most `most` of each asker, the one whose turn it is among them."""

    def __init__(self, most: int, refusal: str) -> None:
        self._most, self._refusal = most, refusal
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, asker: str) -> AsyncIterator[None]:
        """Wait for the turn. Raises `TooMany`."""
        if self._waiting[asker] >= self._most:
            raise TooMany(self._refusal, retry_after=RETRY_AFTER)
        self._waiting[asker] += 1
        try:
            async with self._locks.setdefault(asker, asyncio.Lock()):
                yield
        finally:
            self._waiting[asker] -= 1
            if not self._waiting[asker]:
                del self._waiting[asker], self._locks[asker]
