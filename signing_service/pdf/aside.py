"""Who is costly is read aside: by one worker that gives way to all others, where only the likes of them wait.

A document may take three seconds, and many that do are no accident. Without this, two clients who send such documents
one after the other take every turn at reading from everybody else, and the processor from confirmations. Nobody knows
that of a client's first: once it has taken half a second it steps back, and its place is somebody else's.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from signing_service.pdf.worker import Worker

COSTLY: Final = 0.5         # seconds of CPU for one document; an ordinary one takes 0.02, one of 50 MB 0.2
REMEMBERED: Final = 600.0   # seconds
_MOST_KNOWN: Final = 10_000
_LOOKS_AGAIN: Final = 0.05  # seconds
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Aside:
    """Which clients are read aside, and the worker that does it; it starts when the first of them comes.

    `start` gives a worker that has stepped back.
    """

    def __init__(
        self, start: Callable[[], Awaitable[Worker]], end: Callable[[Worker], Awaitable[None]], jobs_per_worker: int,
    ) -> None:
        self._start, self._end, self._jobs = start, end, jobs_per_worker
        self._until: dict[str, float] = {}
        self._place: asyncio.Queue[None] = asyncio.Queue()
        self._place.put_nowait(None)
        self._worker: Worker | None = None

    def concerns(self, client_id: str) -> bool:
        """Was this client costly lately?"""
        return self._until.get(client_id, 0.0) > time.monotonic()

    def note(self, client_id: str, cpu_seconds: float) -> None:
        """What reading one document of this client took; infinity where it took the worker with it."""
        if cpu_seconds < COSTLY or not client_id:
            return
        self._until.pop(client_id, None)
        self._until[client_id] = time.monotonic() + REMEMBERED
        if len(self._until) > _MOST_KNOWN:
            del self._until[next(iter(self._until))]

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """The worker, for one document. Raises OSError or `Gone` when none can be started."""
        await self._place.get()
        try:
            if self._worker is None:
                self._worker = await self._start()
            yield self._worker
        finally:
            await self._leave()

    def adopts(self, worker: Worker) -> bool:
        """Is there room for a worker with the document it is reading? Then it is the one aside, until `gives_back`."""
        if self._worker is not None or self._place.empty():
            return False
        self._place.get_nowait()
        self._worker = worker
        return True

    async def gives_back(self) -> None:
        """The document of the worker that was adopted is done; the worker stays for the next one."""
        await self._leave()

    async def _leave(self) -> None:
        try:
            if self._worker is not None and (not self._worker.alive or self._worker.jobs >= self._jobs):
                worn, self._worker = self._worker, None
                await self._end(worn)
        finally:
            self._place.put_nowait(None)


async def turns_out_costly(worker: Worker, begun: float) -> None:
    """Returns when a worker has spent half a second on the document that it was given when it had used `begun` seconds
    of CPU; never when it is over.
    """
    left = COSTLY
    while left > 0:
        await asyncio.sleep(max(left, _LOOKS_AGAIN))
        left = COSTLY - (cpu_seconds(worker.pid) - begun)
    if not worker.alive:
        await asyncio.Event().wait()


def cpu_seconds(pid: int) -> float:
    """What a process has used so far; infinity when it is over (proc(5): fields 14 and 15 of stat)."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return float("inf")
    return (int(told[11]) + int(told[12])) / _TICKS
