"""PAdES over HTTP, as a document system sees it: from the upload to the signed document in its hands.

Two ways of confirming, side by side: batches of 50 under one code, and one code for each document (many
signatories). The ways to one document are gone stage by stage (all uploads, all confirmations, all downloads), so
that each stage has its rate and its CPU by process; the whole is the sum of them. What drives it is a process on the
same cores, and its CPU is told, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import crowd, paper
from tests.bench.figures import Figure, Memory, Stages, Told, figure
from tests.bench.http_load import Load, Stage
from tests.bench.processes import peaks
from tests.bench.served import Served
from tests.bench.short import QUICK, less
from tests.bench.stages import Histograms
from tests.support import postgres
from tests.support.city import Person
from tests.support.service import Service, until

BATCH = less(50, 4)
CONNECTIONS = 6
HALF_LOAD_SECONDS = less(10, 1)
KINDS = {"p256": "p-256", "rsa": "rsa-2048"}
LEVELS = {"bb": "B-B", "bt": "B-T"}


@dataclass(frozen=True)
class Case:
    """One kind of work: `groups` confirmations of `each` documents."""

    kind: str
    level: str
    size: str
    groups: int
    each: int
    database: str = "sqlite"

    @property
    def name(self) -> str:
        place = "http" if self.database == "sqlite" else f"http-{self.database}"
        return f"{place}-{self.kind}-{self.level}-{self.size}-{'batch' if self.each > 1 else 'each'}"

    @property
    def what(self) -> str:
        way = f"{self.each} under one code" if self.each > 1 else "one code each"
        place = "" if self.database == "sqlite" else f"{self.database}, "
        return f"HTTP, {place}{KINDS[self.kind]}, {LEVELS[self.level]}, {paper.TOLD[self.size]}, {way}"


def cases() -> list[Case]:
    small = [Case(kind, level, "small", less(6, 2), BATCH) for kind in KINDS for level in LEVELS]
    each = [Case(kind, level, "small", less(200, 6), 1) for kind in KINDS for level in LEVELS]
    medium = [Case(kind, level, "1mb", 2, BATCH) for kind in KINDS for level in LEVELS]
    large = [Case("p256", "bb", "20mb", 2, less(10, 2)), Case("rsa", "bb", "20mb", 2, less(10, 2)),
             Case("p256", "bt", "20mb", 2, less(10, 2)), Case("rsa", "bt", "20mb", 2, less(10, 2))]
    return small + each + ([] if QUICK else medium + large)


@dataclass
class Officials:
    """People whose codes are unspent: each confirms once."""

    waiting: dict[str, list[Person]] = field(default_factory=dict)

    def take(self, kind: str, count: int) -> list[Person]:
        taken, self.waiting[kind] = self.waiting[kind][:count], self.waiting[kind][count:]
        assert len(taken) == count, f"more {kind} officials are needed"
        return taken


def measure(directory: Path) -> Iterator[Told]:
    service = Served(directory, f"sqlite:///{directory / 'service.db'}")
    try:
        officials = Officials({kind: crowd.move_in(service.city, _needed(kind), KINDS[kind]) for kind in KINDS})
        service.start()
        load = Load(service, CONNECTIONS)
        for kind in KINDS:
            list(worked(load, officials, Case(kind, "bt", "small", 1, BATCH)))  # warms up
        rates = {}
        for case in cases():
            for told in worked(load, officials, case):
                rates[told.name] = told
                yield told
        half = rates["http-p256-bb-small-each-confirm"]
        assert isinstance(half, Figure)
        yield half_load(load, officials, half.per_second / 2)
        yield Memory("memory-http", "processes that served all this", peaks(service))
    finally:
        service.close()
    yield from _on_postgresql(directory)


def _on_postgresql(directory: Path) -> Iterator[Told]:
    """The same for P-256, where the halves do not share a file: SQLite is the other cases' database."""
    if QUICK or not postgres.available():
        return
    place = directory / "postgresql"
    place.mkdir()
    service = Served(place, postgres.fresh_database(durable=True))
    try:
        asked = [Case("p256", "bb", "small", groups, each, "postgresql")
                 for groups, each in ((1, BATCH), (6, BATCH), (200, 1))]
        officials = Officials({"p256": crowd.move_in(service.city, sum(case.groups for case in asked))})
        service.start()
        load = Load(service, CONNECTIONS)
        list(worked(load, officials, asked[0]))  # warms up
        for case in asked[1:]:
            yield from worked(load, officials, case)
        yield Memory("memory-http-postgresql", "processes that served all this on PostgreSQL", peaks(service))
    finally:
        service.close()


def _needed(kind: str) -> int:
    asked = sum(case.groups for case in cases() if case.kind == kind)
    return asked + 2 + (less(1500, 20) if kind == "p256" else 0)


def worked(load: Load, officials: Officials, case: Case) -> Iterator[Told]:
    """All stages of one case; of the whole, of the confirmation alone, and what /metrics says of it."""
    count = case.groups * case.each
    people = officials.take(case.kind, case.groups)
    before = Histograms.of(load.service)
    submitted, ids = load.stage("submit", count, _submissions(load, case, people))
    groups = [ids[at:at + case.each] for at in range(0, count, case.each)]
    named, targets = load.stage("batch", count, _named(load, case, groups))
    confirmed, _ = load.stage("confirm", count, [
        *(confirming(load, who, target) for who, target in zip(people, targets, strict=True)),
        lambda: _signed(load.service, ids)])
    fetched, _ = load.stage("fetch", count, (lambda each=each: load.fetch(each) for each in ids))
    stages = [submitted, named, confirmed, fetched]
    yield _whole(case, stages)
    yield _one("confirm", f"{case.what}, from the code", case, confirmed, confirmed.calls[:-1])
    yield _one("submit", f"{case.what}, the upload", case, submitted, submitted.calls)
    yield _one("fetch", f"{case.what}, the download", case, fetched, fetched.calls)
    mean, times = Histograms.of(load.service).since(before, count)
    yield Stages(f"stages-{case.name}", mean, times)


def _submissions(load: Load, case: Case, people: list[Person]) -> Iterator[Callable[[], str]]:
    """Each makes its file when it is its turn: many large ones do not wait in memory."""
    size = paper.SIZES[case.size]
    for who in people:
        for _ in range(case.each):
            yield lambda who=who: load.submit(who, paper.another(size), LEVELS[case.level])


def _named(load: Load, case: Case, groups: list[list[str]]) -> Iterator[Callable[[], str]]:
    """What a code will confirm: a batch, or the signing request itself."""
    for group in groups:
        yield lambda group=group: (f"batches/{load.batch(group)}" if case.each > 1
                                   else f"signing-requests/{group[0]}")


def confirming(load: Load, who: Person, target: str) -> Callable[[], None]:
    def confirm() -> None:
        code = json.dumps({"code": who.code(datetime.now(UTC))}).encode()
        told = json.loads(load.ask("POST", f"/api/v1/{target}/confirm", code))
        states = {each["outcome"] for each in told["lines"]} if "lines" in told else {told["state"]}
        assert states <= {"done", "signed", "finishing"}, told
    return confirm


def _signed(service: Service, ids: list[str]) -> None:
    for each in ids:
        until(lambda each=each: service.state(each) == "signed", 600, f"{each} is signed")


def _whole(case: Case, stages: list[Stage]) -> Figure:
    count, seconds = case.groups * case.each, sum(each.seconds for each in stages)
    cpu: dict[str, float] = {}
    for each in stages:
        for name, spent in each.cpu_ms.items():
            cpu[name] = cpu.get(name, 0.0) + spent
    return Figure(case.name, f"{case.what}, upload to download", count / seconds, 0.0, 0.0, cpu)


def _one(stage: str, what: str, case: Case, done: Stage, calls: list[float]) -> Figure:
    return figure(f"{case.name}-{stage}", what, done.documents, done.seconds, calls, done.cpu_ms)


# --------------------------------------------------------------------------------------------------- half the load


def half_load(load: Load, officials: Officials, rate: float) -> Figure:
    """Confirmations of one document each at moments that do not wait for answers, as people do not.

    A latency counts from the moment at which it should have been asked, so that a pause is not hidden by the
    questions it kept back.
    """
    count = min(max(int(rate * HALF_LOAD_SECONDS), 4), less(1200, 8))
    case = Case("p256", "bb", "small", count, 1)
    people = officials.take(case.kind, count)
    _, ids = load.stage("submit", count, _submissions(load, case, people))
    begun = time.perf_counter() + 0.5
    at_moments = [_at(begun + number / rate, confirming(load, who, f"signing-requests/{each}"))
                  for number, (who, each) in enumerate(zip(people, ids, strict=True))]
    done, taken = load.stage("half load", count, at_moments)
    what = f"confirmation, p-256, B-B, one code each, at half load ({rate:.0f}/s)"
    return figure("half-load-p256", what, count, done.seconds - 0.5, taken, done.cpu_ms)


def _at(due: float, call: Callable[[], None]) -> Callable[[], float]:
    def ask() -> float:
        time.sleep(max(0.0, due - time.perf_counter()))
        call()
        return time.perf_counter() - due
    return ask
