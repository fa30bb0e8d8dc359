"""Who was costly lately is read aside: by one worker of a lower priority, where only the likes of them wait.

A document may take three seconds, and many that do are no accident. Without this, two clients who send such documents
one after the other take every turn at reading from everybody else, and the processor from confirmations.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from signing_service.pdf.worker import Worker

COSTLY: Final = 1.0         # seconds of CPU for one document; an ordinary one takes 0.02, one of 50 MB 0.2
REMEMBERED: Final = 600.0   # seconds
_NICE: Final = 15           # the kernel's own scale: where others want the processor, about a thirtieth of it
_MOST_KNOWN: Final = 10_000
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Aside:
    """Which clients are read aside, and the worker that does it; it starts when the first of them comes."""

    def __init__(
        self, start: Callable[[], Awaitable[Worker]], end: Callable[[Worker], Awaitable[None]], jobs_per_worker: int,
    ) -> None:
        self._start, self._end, self._jobs = start, end, jobs_per_worker
        self._until: dict[str, float] = {}
        self._turn = asyncio.Lock()
        self._worker: Worker | None = None

    def concerns(self, client_id: str) -> bool:
        """Was this client costly lately?"""
        return self._until.get(client_id, 0.0) > time.monotonic()

    def note(self, client_id: str, cpu_seconds: float) -> None:
        """What reading one document of this client took; infinity where it took the worker with it."""
        if cpu_seconds < COSTLY:
            return
        self._until.pop(client_id, None)
        self._until[client_id] = time.monotonic() + REMEMBERED
        if len(self._until) > _MOST_KNOWN:
            del self._until[next(iter(self._until))]

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Worker]:
        """The worker, for one document. Raises OSError or `Gone` when none can be started."""
        async with self._turn:
            if self._worker is None:
                self._worker = await self._start()
                _step_back(self._worker.pid)
            try:
                yield self._worker
            finally:
                if not self._worker.alive or self._worker.jobs >= self._jobs:
                    worn, self._worker = self._worker, None
                    await self._end(worn)


def _step_back(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, pid, _NICE)


def cpu_seconds(pid: int) -> float:
    """What a process has used so far; infinity when it is over (proc(5): fields 14 and 15 of stat)."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return float("inf")
    return (int(told[11]) + int(told[12])) / _TICKS
