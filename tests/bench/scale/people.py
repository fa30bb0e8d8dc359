"""Ten signatories against a hundred thousand: what a signature takes, and the start of the signer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from signing_service.errors import SigningError
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.bench import crowd
from tests.bench.figures import Figure, figure
from tests.bench.served import Served
from tests.bench.short import less
from tests.support import postgres
from tests.support.city import City, Person
from tests.support.service import Service, until

FEW, MANY = 10, less(100_000, 100)
ROUNDS = less(80, 2)     # of ten signatures in each city
NEW = less(300, 5)       # people who sign for the first time
STARTS = less(5, 1)


def measure(directory: Path) -> Iterator[Figure]:
    databases = ["sqlite", *(["postgresql"] if postgres.available() else [])]
    few, many = ({name: _service(directory, name, count) for name in databases} for count in (FEW, MANY))
    crowd.fill([each.city for each in many.values()], MANY - FEW)
    for name in databases:
        try:
            yield from _signatures(name, few[name].city, many[name].city)
            for count, service in ((FEW, few[name]), (MANY, many[name])):
                yield _start(name, count, service)
        finally:
            few[name].close()
            many[name].close()


def _service(directory: Path, database: str, count: int) -> Service:
    place = directory / f"{database}-{count}"
    place.mkdir()
    url = f"sqlite:///{place / 'signing.db'}" if database == "sqlite" else postgres.fresh_database(durable=True)
    return Served(place, url)


def _signatures(database: str, few: City, many: City) -> Iterator[Figure]:
    """The cities take turns, so that what else the machine does meets both."""
    cities = {FEW: (few, crowd.move_in(few, FEW)), MANY: (many, crowd.move_in(many, FEW))}
    taken: dict[int, list[float]] = {FEW: [], MANY: []}
    for round_ in range(ROUNDS + 1):
        for count, (city, people) in cities.items():
            each = _sign_once(city, people)
            taken[count] += each if round_ else []
    for count, each in taken.items():
        yield figure(f"{database}-signature-{count}", f"{database}, one of {count} signs", len(each), sum(each), each)
    for count, (city, _) in cities.items():
        each = _sign_once(city, crowd.move_in(city, NEW))
        yield figure(f"{database}-first-{count}", f"{database}, one of {count} signs for the first time",
                     len(each), sum(each), each)


def _sign_once(city: City, people: list[Person]) -> list[float]:
    """One document each, one after the other, as a confirmation of its own."""
    city.next_code()
    asked = [city.confirmation(who, [city.submitted(who)]) for who in people]
    taken = []
    for each in asked:
        begun = time.perf_counter()
        answer = city.confirmations([each])[0]
        taken.append(time.perf_counter() - begun)
        assert isinstance(answer, m.Confirmed), answer
        assert answer.lines[0].outcome == "done", answer
    return taken


def _start(database: str, count: int, service: Service) -> Figure:
    taken = [start_of_signer(service) for _ in range(STARTS)]
    return figure(f"{database}-start-{count}", f"{database}, start of the signer, {count} signatories", STARTS,
                  sum(taken), taken)


def start_of_signer(service: Service) -> float:
    """Seconds from its start until it says that all it needs is well; then it is killed."""
    begun = time.perf_counter()
    running = service.run("signer")
    until(lambda: is_well(service.directory / "sign.sock"), 180, "the signer is well")
    taken = time.perf_counter() - begun
    running.kill()
    del service.running["signer"]
    return taken


def is_well(socket: Path) -> bool:
    try:
        report = ask_once(socket, m.Health(), m.HealthReport, deadline=5)
    except SigningError:
        return False
    return all(each.ok for each in report.conditions)
