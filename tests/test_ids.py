"""Identifiers and the matching code."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing_service.ids import draw, matching_code, uuid7

WORD = st.text("0123456789abcdef", min_size=1)
PAIRS = st.lists(st.tuples(WORD, WORD), min_size=1)


def test_ids_are_version_7_and_say_what_they_name() -> None:
    drawn = uuid.UUID(draw("sr").removeprefix("sr_"))
    assert (drawn.version, drawn.variant) == (7, uuid.RFC_4122)


def test_ids_of_one_process_rise_also_within_a_millisecond() -> None:
    drawn = [uuid7().int for _ in range(20_000)]
    assert drawn == sorted(drawn)


def test_no_two_threads_draw_the_same() -> None:
    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(lambda _: draw("en"), range(20_000)))
    assert len(set(drawn)) == len(drawn)


@given(PAIRS, st.randoms())
def test_the_matching_code_does_not_depend_on_the_order(pairs: list[tuple[str, str]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert matching_code(pairs) == matching_code(shuffled)


@pytest.mark.parametrize("other", [[("a", "1")], [("a", "1"), ("b", "3")], [("a1", "")]])
def test_the_matching_code_names_exactly_its_documents(other: list[tuple[str, str]]) -> None:
    assert matching_code([("a", "1"), ("b", "2")]) != matching_code(other)


def test_the_matching_code_is_six_digits() -> None:
    assert len(matching_code([("sr_1", "0" * 64)])) == 6
    assert matching_code([("sr_1", "0" * 64)]).isdigit()
