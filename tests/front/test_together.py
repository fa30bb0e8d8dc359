"""Visits that several share, and what each visitor gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from signing_service.errors import Invalid, SigningError, Unavailable
from signing_service.front.together import MOST, Together


class Desk:
    """A database whose visits are held up until a test lets them go."""

    def __init__(self) -> None:
        self.db = self
        self.visits: list[list[int]] = []
        self.gate = asyncio.Event()

    async def run(self, block: Callable[..., Any], rt: Any, asked: list[int]) -> Any:
        self.visits.append(asked)
        await self.gate.wait()
        return block(rt, asked)


def doubled(_rt: Any, asked: Sequence[int]) -> list[int | SigningError]:
    return [Invalid("not this one") if each == 13 else each * 2 for each in asked]


def fragile(_rt: Any, asked: Sequence[int]) -> list[int]:
    if 13 in asked:
        raise ValueError("13")
    return [each * 2 for each in asked]


def away(_rt: Any, asked: Sequence[int]) -> list[int]:
    raise Unavailable("away")


def forgetful(_rt: Any, asked: Sequence[int]) -> list[int]:
    return [each * 2 for each in asked if each != 13]


async def after_one(together: Together, desk: Any, block: Any, *more: int) -> list[Any]:
    """One visitor goes at once; the others come while that visit is under way."""
    first = asyncio.create_task(together.run(block, desk, 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(together.run(block, desk, each)) for each in more]
    await asyncio.sleep(0)
    desk.gate.set()
    return await asyncio.gather(first, *waiting, return_exceptions=True)


def test_a_lone_visitor_waits_for_nobody_and_those_who_come_meanwhile_share_the_next_visit() -> None:
    async def story() -> None:
        desk, together = Desk(), Together()
        assert await after_one(together, desk, doubled, 2, 3, 4) == [2, 4, 6, 8]
        assert desk.visits == [[1], [2, 3, 4]]

    asyncio.run(story())


def test_each_visitor_hears_its_own_refusal() -> None:
    async def story() -> None:
        told = await after_one(Together(), Desk(), doubled, 2, 13, 4)
        assert [type(each) for each in told] == [int, int, Invalid, int]

    asyncio.run(story())


def test_where_there_are_fewer_answers_than_questions_all_hear_it_and_the_next_visit_is_served() -> None:
    async def story() -> None:
        desk, together = Desk(), Together()
        told = await after_one(together, desk, forgetful, 2, 13, 4)
        assert [type(each) for each in told] == [int, ValueError, ValueError, ValueError]
        assert desk.visits == [[1], [2, 13, 4]]
        assert await together.run(forgetful, desk, 5) == 10  # type: ignore[arg-type]  # a desk is all it needs

    asyncio.run(story())


def test_a_visit_that_breaks_is_repeated_for_each_alone_so_that_only_one_fails() -> None:
    async def story() -> None:
        desk = Desk()
        told = await after_one(Together(), desk, fragile, 2, 13, 4)
        assert [type(each) for each in told] == [int, int, ValueError, int]
        assert desk.visits == [[1], [2, 13, 4], [2], [13], [4]]

    asyncio.run(story())


def test_what_may_have_been_kept_is_not_repeated() -> None:
    async def story() -> None:
        desk = Desk()
        told = await after_one(Together(), desk, away, 2, 3)
        assert [type(each) for each in told] == [Unavailable] * 3
        assert desk.visits == [[1], [2, 3]]

    asyncio.run(story())


def test_blocks_of_different_work_do_not_wait_for_each_other() -> None:
    async def story() -> None:
        desk, together = Desk(), Together()
        tasks = [asyncio.create_task(together.run(block, desk, 5)) for block in (doubled, fragile)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.visits == [[5], [5]]
        desk.gate.set()
        assert await asyncio.gather(*tasks) == [10, 10]

    asyncio.run(story())


def test_one_visit_takes_only_so_many() -> None:
    async def story() -> None:
        desk = Desk()
        await after_one(Together(), desk, doubled, *range(100, 100 + MOST + 5))
        assert [len(each) for each in desk.visits] == [1, MOST, 5]

    asyncio.run(story())


def test_a_visitor_who_goes_away_stops_nobody_and_closing_waits_for_what_is_under_way() -> None:
    async def story() -> None:
        desk, together = Desk(), Together()
        first = asyncio.create_task(together.run(doubled, desk, 1))
        await asyncio.sleep(0)
        second = asyncio.create_task(together.run(doubled, desk, 2))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        desk.gate.set()
        await together.close()
        assert await second == 4
        assert desk.visits == [[1], [2]]

    asyncio.run(story())
