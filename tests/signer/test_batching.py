"""Whoever waits goes along; a full queue says so; nobody gets another's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from signing_service.errors import Invalid, SigningError, Unavailable
from signing_service.signer.batching import Batcher


class Doubler:
    """Doubles numbers, refuses odd hundreds, and remembers the batches it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, numbers: Sequence[int]) -> list[int | SigningError]:
        self.batches.append(list(numbers))
        if 666 in numbers:
            raise RuntimeError("broken")
        if 777 in numbers:
            return []
        return [Invalid("odd") if number == 100 else number * 2 for number in numbers]


def test_each_question_gets_its_own_answer_and_waiting_ones_share_a_batch() -> None:
    async def story() -> None:
        doubler = Doubler()
        batcher: Batcher[int, int] = Batcher(doubler, size=10, most=1000)
        asked = [asyncio.create_task(batcher.ask(number)) for number in range(25)]
        await asyncio.sleep(0)
        batcher.start()
        assert await asyncio.gather(*asked) == [number * 2 for number in range(25)]
        assert [len(batch) for batch in doubler.batches] == [10, 10, 5]
        await batcher.close()

    asyncio.run(story())


def test_heavy_questions_share_a_batch_with_fewer_and_one_that_is_too_heavy_goes_alone() -> None:
    async def story() -> None:
        doubler = Doubler()
        batcher: Batcher[int, int] = Batcher(doubler, size=10, most=1000, weigh=lambda number: number)
        asked = [asyncio.create_task(batcher.ask(number)) for number in (4, 6, 1, 25, 5, 5, 3)]
        await asyncio.sleep(0)
        batcher.start()
        assert await asyncio.gather(*asked) == [8, 12, 2, 50, 10, 10, 6]
        assert doubler.batches == [[4, 6], [1], [25], [5, 5], [3]]
        await batcher.close()

    asyncio.run(story())


def test_one_refusal_is_one_answer() -> None:
    async def story() -> None:
        batcher: Batcher[int, int] = Batcher(Doubler(), size=10, most=1000)
        batcher.start()
        answers = await asyncio.gather(*(batcher.ask(number) for number in (1, 100, 3)), return_exceptions=True)
        assert (answers[0], answers[2]) == (2, 6)
        assert isinstance(answers[1], Invalid)
        await batcher.close()

    asyncio.run(story())


@pytest.mark.parametrize("what", [666, 777], ids=["it raises", "it answers too few"])
def test_a_batch_that_breaks_is_an_answer_and_the_next_one_works(what: int) -> None:
    async def story() -> None:
        batcher: Batcher[int, int] = Batcher(Doubler(), size=10, most=1000)
        batcher.start()
        with pytest.raises(Unavailable):
            await batcher.ask(what)
        assert await batcher.ask(4) == 8
        await batcher.close()

    asyncio.run(story())


def test_a_full_queue_is_refused_at_once_and_closing_finishes_what_waits() -> None:
    async def story() -> None:
        batcher: Batcher[int, int] = Batcher(Doubler(), size=2, most=4)
        waiting = [asyncio.create_task(batcher.ask(number)) for number in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="full"):
            await batcher.ask(5)
        batcher.start()
        await batcher.close()
        assert await asyncio.gather(*waiting) == [0, 2, 4, 6]
        with pytest.raises(Unavailable):
            await batcher.ask(1)

    asyncio.run(story())
