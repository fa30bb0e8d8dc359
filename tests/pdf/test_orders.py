"""What a worker read is gone before its next order: garbage of one document is never memory that another one lacks."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import msgspec
import pytest

from signing_service.pdf import orders
from signing_service.pdf.messages import Answer, Order, Outcome, Verb


class Circle:
    """As a reader and its objects are: each knows the other."""

    def __init__(self) -> None:
        self.self = self


@pytest.fixture(autouse=True)
def _no_other_collection() -> Iterator[None]:
    """And what a worker sets for the life of its process ends with the test."""
    thresholds = gc.get_threshold()
    gc.disable()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    gc.enable()


def test_a_document_is_gone_when_the_next_one_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[weakref.ref[Circle]] = []
    alive: list[int] = []
    answers: list[Answer] = []
    waiting = [Order(Verb.LOOK, 1, msgspec.Raw(b"\xc0")) for _ in range(3)]

    def look(body: msgspec.Raw) -> None:
        alive.append(sum(each() is not None for each in left))
        left.append(weakref.ref(Circle()))

    monkeypatch.setattr(orders, "_allow_cpu", lambda seconds: None)
    monkeypatch.setattr(orders, "_next", lambda stream: waiting.pop() if waiting else None)
    monkeypatch.setattr(orders, "_send", answers.append)

    orders.serve({Verb.LOOK: look})

    assert [each.outcome for each in answers] == [Outcome.DONE] * 3
    assert alive == [0, 0, 0]
