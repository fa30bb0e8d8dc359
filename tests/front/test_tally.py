"""Counting what one caller did lately."""

from __future__ import annotations

import asyncio

from signing_service.front.tally import KEYS, Tally
from signing_service.front.turns import Turns


class Hand:
    """A clock's hand that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_after_so_many_events_a_key_waits_until_the_oldest_is_old_enough() -> None:
    hand = Hand()
    tally = Tally(2, 60.0, clock=hand)
    tally.add("a")
    hand.at = 10
    assert tally.wait("a") == 0
    tally.add("a")
    assert tally.wait("a") == 50
    assert tally.wait("b") == 0
    hand.at = 60
    assert tally.wait("a") == 0


def test_asking_counts_nothing() -> None:
    tally = Tally(1, 60.0, clock=Hand())
    assert [tally.wait("a") for _ in range(5)] == [0] * 5


def test_the_memory_is_bounded_and_the_quietest_key_is_forgotten_first() -> None:
    tally = Tally(1, 60.0, clock=Hand())
    for each in range(KEYS + 1):
        tally.add(str(each))
    assert tally.wait("0") == 0
    assert tally.wait("1") > 0
    assert tally.wait(str(KEYS)) > 0


def test_two_batches_with_the_same_requests_take_turns_in_whatever_order_they_name_them() -> None:
    async def story() -> list[str]:
        turns, told = Turns(), list[str]()

        async def confirms(name: str, ids: list[str]) -> None:
            async with turns.of(ids):
                told.append(f"{name} begins")
                await asyncio.sleep(0)
                told.append(f"{name} ends")

        await asyncio.wait_for(asyncio.gather(confirms("one", ["a", "b"]), confirms("two", ["b", "a", "b"])), 5)
        return told

    assert asyncio.run(story()) == ["one begins", "one ends", "two begins", "two ends"]
