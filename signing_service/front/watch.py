"""Waiting for a signing request to move, for many callers at once: one task looks, nobody holds a connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import Connection, Row, select

from signing_service.db.engine import Database
from signing_service.db.tables import signing_request
from signing_service.errors import SigningError, Unavailable

log = logging.getLogger(__name__)
PERIOD = 0.25  # seconds between two looks; four cheap queries a second while somebody waits, none otherwise
CHUNK = 500    # ids in one query


class Watch:
    """The shared poller. It runs only while somebody waits."""

    def __init__(self, db: Database, *, most: int = 1000, period: float = PERIOD) -> None:
        self._db, self._most, self._period = db, most, period
        self._waiting: dict[str, set[asyncio.Future[str]]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return sum(len(futures) for futures in self._waiting.values())

    async def moved(self, request_id: str, state: str, seconds: float) -> bool:
        """Wait until the request is no longer in `state`, at most so long. False when the time is over.

        Raises Unavailable when too many are waiting already.
        """
        if self.waiting >= self._most:
            raise Unavailable("Too many callers are waiting. Ask without `wait`.", code="too-many-waiting")
        deadline = asyncio.get_running_loop().time() + seconds
        with self._queued(request_id) as look:
            while (left := deadline - asyncio.get_running_loop().time()) > 0:
                future = look()
                with contextlib.suppress(TimeoutError):
                    if await asyncio.wait_for(future, left) != state:
                        return True
        return False

    def told(self, request_id: str, state: str) -> None:
        """It was moved right here: whoever waits for it need not wait for the next look at the database."""
        self._tell(request_id, state)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    @contextlib.contextmanager
    def _queued(self, request_id: str) -> Iterator[_Look]:
        look = _Look(self._waiting[request_id])
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            yield look
        finally:
            look.leave()
            if not self._waiting[request_id]:
                del self._waiting[request_id]

    async def _poll(self) -> None:
        while self._waiting:
            try:
                found = await self._db.run(self._states, tuple(self._waiting))
            except SigningError:
                log.warning("the states of waiting requests cannot be read", exc_info=True)
                found = {}
            for request_id, state in found.items():
                self._tell(request_id, state)
            await asyncio.sleep(self._period)

    def _tell(self, request_id: str, state: str) -> None:
        for future in tuple(self._waiting.get(request_id, ())):
            if not future.done():
                future.set_result(state)

    def _states(self, ids: tuple[str, ...]) -> dict[str, str]:
        with self._db.read() as tx:
            return {row.id: row.state for chunk in _chunks(ids) for row in _rows(tx, chunk)}


class _Look:
    """One caller's place in the queue: a fresh future for every look."""

    def __init__(self, queue: set[asyncio.Future[str]]) -> None:
        self._queue = queue
        self._future: asyncio.Future[str] | None = None

    def __call__(self) -> asyncio.Future[str]:
        self.leave()
        self._future = asyncio.get_running_loop().create_future()
        self._queue.add(self._future)
        return self._future

    def leave(self) -> None:
        if self._future is not None:
            self._queue.discard(self._future)


def _chunks(ids: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    return (ids[start:start + CHUNK] for start in range(0, len(ids), CHUNK))


def _rows(tx: Connection, ids: tuple[str, ...]) -> Iterable[Row[Any]]:
    return tx.execute(select(signing_request.c.id, signing_request.c.state).where(signing_request.c.id.in_(ids)))
