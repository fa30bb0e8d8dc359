"""Visits to the database and the disk that are shared: whoever comes while one is under way goes along with the next.

A commit costs a write to the disk, however much is in it, and so does a visit of a thread. A lone visitor waits for
nobody; where many come at once, their transaction and their fsyncs are one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from signing_service.errors import SigningError, Unavailable

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

Q = TypeVar("Q")
A = TypeVar("A")
Answers = Sequence[A | SigningError]
MOST = 64  # of one visit: its transaction keeps other writers waiting

_Line = deque[tuple[Any, asyncio.Future[Any]]]


class Together:
    """Belongs to one event loop. For each block of work there is one visit at a time."""

    def __init__(self) -> None:
        self._lines: dict[Callable[..., Any], _Line] = {}
        self._visits: set[asyncio.Task[None]] = set()

    async def run(self, block: Callable[[Runtime, Sequence[Q]], Answers[A]], rt: Runtime, asked: Q) -> A:
        """What `block` answers to this, in a thread of the database. A SigningError among its answers is raised.

        `block` answers each of its visitors, in order. Where it raises, whoever came along with others is tried
        again alone, so that nobody fails through somebody else; not after Unavailable, when nobody knows what was
        kept. A caller that is cancelled does not stop the visit.
        """
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        line = self._lines.get(block)
        if line is not None:
            line.append((asked, answer))
            return await answer
        self._lines[block] = deque([(asked, answer)])
        visit = asyncio.create_task(self._serve(block, rt))
        self._visits.add(visit)
        visit.add_done_callback(self._visits.discard)
        return await answer

    async def close(self) -> None:
        """What is under way ends first."""
        await asyncio.gather(*self._visits, return_exceptions=True)

    async def _serve(self, block: Callable[..., Any], rt: Runtime) -> None:
        line = self._lines[block]
        while line:
            visitors = [line.popleft() for _ in range(min(MOST, len(line)))]
            await _visit(block, rt, visitors)
        del self._lines[block]  # in the same moment in which the line was found empty


async def _visit(block: Callable[..., Any], rt: Runtime, visitors: list[tuple[Any, asyncio.Future[Any]]]) -> None:
    try:
        answers = await rt.db.run(block, rt, [asked for asked, _ in visitors])
    except Exception as error:
        if len(visitors) > 1 and not isinstance(error, Unavailable):
            for each in visitors:
                await _visit(block, rt, [each])
            return
        answers = [error] * len(visitors)
    if len(answers) != len(visitors):  # what was done is done: nobody is tried again, and nobody waits for ever
        answers = [ValueError(f"{len(answers)} answers to {len(visitors)} questions")] * len(visitors)
    for (_, future), answer in zip(visitors, answers, strict=True):
        if future.done():
            continue  # nobody waits any more
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
