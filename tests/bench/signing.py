"""The signer alone: codes, policy, intents, MACs, signatures, outcomes; everything but HTTP and PDF."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

from signing_service.db.migrate import upgrade
from signing_service.wire import messages as m
from tests.bench import crowd
from tests.bench.figures import Figure, figure
from tests.bench.short import less
from tests.support import softhsm
from tests.support.city import City, Clock, Person, runtime

BATCH = less(50, 5)
WAITING = less(50, 5)  # confirmations that wait together: as many as the signer takes at once
ROUNDS = less(8, 1)
KINDS = {"p256": "p-256", "rsa": "rsa-2048"}


def measure(directory: Path) -> Iterator[Figure]:
    for name, kind in KINDS.items():
        yield from _of_kind(directory, name, kind)


def _of_kind(directory: Path, name: str, kind: str) -> Iterator[Figure]:
    url = f"sqlite:///{directory / f'{name}.db'}"
    upgrade(url)
    clock = Clock()
    city = City(runtime(url, directory, softhsm.device(), clock), clock)
    try:
        load = _Load(city, crowd.move_in(city, WAITING, kind))
        yield load.timed(f"signer-{name}-one", f"signer, {kind}, one code each, one after the other",
                         load.ones(less(20, 2)), 1)
        yield load.timed(f"signer-{name}-waiting", f"signer, {kind}, one code each, {WAITING} waiting",
                         load.ones(WAITING), WAITING)
        yield load.timed(f"signer-{name}-batch", f"signer, {kind}, {BATCH} under one code", load.batches(1), 1)
        yield load.timed(f"signer-{name}-batches", f"signer, {kind}, {BATCH} under one code, 4 such waiting",
                         load.batches(4), 4)
    finally:
        city.close()


class _Load:
    def __init__(self, city: City, officials: list[Person]) -> None:
        self._city, self._officials, self._numbers = city, officials, itertools.count()

    def ones(self, count: int) -> Iterator[list[m.Confirm]]:
        """Rounds of confirmations of one document each, by so many people, under fresh codes."""
        while True:
            self._city.next_code()
            yield [self._city.confirmation(who, [self._submitted(who)]) for who in self._officials[:count]]

    def batches(self, count: int) -> Iterator[list[m.Confirm]]:
        """Batches of so many people, of others in the next round: nobody signs more than a day permits."""
        people = itertools.cycle(self._officials)
        while True:
            self._city.next_code()
            yield [self._city.confirmation(who, [self._submitted(who) for _ in range(BATCH)])
                   for who in itertools.islice(people, count)]

    def _submitted(self, who: Person) -> str:
        return self._city.submitted(who, str(next(self._numbers)).encode())

    def timed(self, name: str, what: str, prepared: Iterator[list[m.Confirm]], together: int) -> Figure:
        """The signer gets so many confirmations at once; the first round warms up. `taken` is of one confirmation."""
        self._confirm(next(prepared), together)
        taken: list[float] = []
        spent, signed = 0.0, 0
        for _ in range(ROUNDS):
            some = next(prepared)
            before = time.process_time()
            taken += self._confirm(some, together)
            spent += time.process_time() - before
            signed += sum(len(each.lines) for each in some)
        return figure(name, what, signed, sum(taken), taken, {"signer": spent / signed * 1000})

    def _confirm(self, some: list[m.Confirm], together: int) -> list[float]:
        taken = []
        for at in range(0, len(some), together):
            begun = time.perf_counter()
            answers = self._city.confirmations(some[at:at + together])
            taken.append(time.perf_counter() - begun)
            assert all(isinstance(each, m.Confirmed) and all(line.outcome == "done" for line in each.lines)
                       for each in answers), answers[0]
        return taken
