"""Whoever waits goes along: questions that arrive while a batch is under way are the next batch.

One batch at a time, in one thread: the signer's writes never wait for each other's locks. A lone question is a
batch of one and waits for nobody.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from signing_service.errors import SigningError, Unavailable
from signing_service.metrics import waited

log = logging.getLogger(__name__)
Q = TypeVar("Q")
A = TypeVar("A")


def _one_each(_question: object) -> int:
    return 1


class Batcher(Generic[Q, A]):
    """Feeds `process` with what is waiting, at most `size` at a time, and gives each its own answer.

    `weigh` says how much a question counts, so that a batch of large ones is no larger: a transaction is short, and
    what is in it is done before its deadline. One that is heavier than `size` goes alone.
    """

    def __init__(
        self, process: Callable[[Sequence[Q]], list[A | SigningError]], *, size: int, most: int,
        weigh: Callable[[Q], int] = _one_each,
    ) -> None:
        self._process, self._size, self._most, self._weigh = process, size, most, weigh
        self._waiting: deque[tuple[Q, asyncio.Future[A], float]] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._loop: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run())

    async def ask(self, question: Q) -> A:
        """The answer to one question, or its refusal raised. Unavailable at once when too many wait."""
        if self._closing or len(self._waiting) >= self._most:
            raise Unavailable("The signer's queue is full or closing. Try again shortly.", code="queue-full",
                              retry_after=1)
        future: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, future, time.perf_counter()))
        self._wake.set()
        return await future

    async def _run(self) -> None:
        while not (self._closing and not self._waiting):
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._one(self._taken())

    def _taken(self) -> list[tuple[Q, asyncio.Future[A], float]]:
        room, batch = self._size, list[tuple[Q, asyncio.Future[A], float]]()
        while self._waiting and (not batch or self._weigh(self._waiting[0][0]) <= room):
            batch.append(self._waiting.popleft())
            room -= self._weigh(batch[-1][0])
        return batch

    async def _one(self, batch: list[tuple[Q, asyncio.Future[A], float]]) -> None:
        started = time.perf_counter()
        for _, _, since in batch:
            waited("queue", started - since)
        try:
            answers = await asyncio.to_thread(self._process, [question for question, _, _ in batch])
            answered = list(zip(batch, answers, strict=True))
        except Exception:
            log.exception("a batch of %d failed", len(batch))
            lost = Unavailable("The signer could not finish this. Look at the state before you repeat it.",
                               code="signer-error")
            answered = [(each, lost) for each in batch]
        for (_, future, _), answer in answered:
            if future.done():
                continue
            if isinstance(answer, SigningError):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def close(self) -> None:
        """Take no more; what waits is still done."""
        self._closing = True
        self._wake.set()
        if self._loop is not None:
            await self._loop
