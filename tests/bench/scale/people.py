"""Ten signatories against a hundred thousand: what a signature takes, and the start of the signer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from signing_service.errors import SigningError
from signing_service.signer import leases
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.bench import crowd
from tests.bench.figures import Figure, figure
from tests.bench.http_load import cpu_of
from tests.bench.scale.kept import Kept, databases
from tests.bench.served import Served
from tests.bench.short import less
from tests.support import postgres
from tests.support.city import City, Person
from tests.support.service import Service, until

FEW, MANY = 10, less(100_000, 100)  # and those who sign
ROUNDS = less(80, 2)     # of ten signatures in each city
NEW = less(300, 5)       # people who sign for the first time
STARTS = less(5, 1)


def measure(kept: Kept, directory: Path) -> Iterator[Figure]:
    kept.make_cities(MANY)
    for name in databases():
        few, many = _few(directory / f"{name}-few", name), kept.city(_made(directory / f"{name}-many"), name, MANY)
        try:
            yield from _signatures(name, few.city, many.city)
            for count, service in ((FEW, few), (MANY, many)):
                yield _start(name, count, service)
        finally:
            few.close()
            many.close()
            if name == "postgresql":
                postgres.drop(few.url, many.url)


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def _few(directory: Path, database: str) -> Service:
    place = _made(directory) / "signing.db"
    return Served(directory, f"sqlite:///{place}" if database == "sqlite" else postgres.fresh_database(durable=True))


def _signatures(database: str, few: City, many: City) -> Iterator[Figure]:
    """The cities take turns, so that what else the machine does meets both."""
    cities = {FEW: (few, crowd.move_in(few, FEW)), MANY: (many, crowd.move_in(many, FEW))}
    signed: dict[int, list[Taken]] = {FEW: [], MANY: []}
    for round_ in range(ROUNDS + 1):
        for count, (city, people) in cities.items():
            each = _sign_once(city, people)
            signed[count] += each if round_ else []
    for count, taken in signed.items():
        yield _figure(f"{database}-signature-{count}", f"{database}, one of {count} signs", taken)
    for count, (city, _) in cities.items():
        taken = _sign_once(city, crowd.move_in(city, NEW))
        yield _figure(f"{database}-first-{count}", f"{database}, one of {count} signs for the first time", taken)


@dataclass(frozen=True)
class Taken:
    """Seconds of the clock, and of the signer's CPU."""

    wall: float
    cpu: float


def _figure(name: str, what: str, taken: list[Taken]) -> Figure:
    wall = [each.wall for each in taken]
    return figure(name, what, len(taken), sum(wall), wall,
                  {"signer": sum(each.cpu for each in taken) / len(taken) * 1000})


def _sign_once(city: City, people: list[Person]) -> list[Taken]:
    """One document each, one after the other, as a confirmation of its own."""
    city.next_code()
    asked = [city.confirmation(who, [city.submitted(who)]) for who in people]
    taken = []
    for each in asked:
        begun, spent = time.perf_counter(), time.process_time()
        answer = city.confirmations([each])[0]
        taken.append(Taken(time.perf_counter() - begun, time.process_time() - spent))
        assert isinstance(answer, m.Confirmed), answer
        assert answer.lines[0].outcome == "done", answer
    return taken


def _start(database: str, count: int, service: Service) -> Figure:
    leases.release(service.city.rt)
    taken = [start_of_signer(service) for _ in range(STARTS)]
    return _figure(f"{database}-start-{count}", f"{database}, start of the signer, {count} signatories", taken)


def start_of_signer(service: Service) -> Taken:
    """From its start until it says that all it needs is well; then it is killed."""
    begun = time.perf_counter()
    running = service.run("signer")
    until(lambda: is_well(service.directory / "sign.sock"), 180, "the signer is well")
    taken = Taken(time.perf_counter() - begun, cpu_of(service)["signer"])
    running.kill()
    del service.running["signer"]
    return taken


def is_well(socket: Path) -> bool:
    try:
        report = ask_once(socket, m.Health(), m.HealthReport, deadline=5)
    except SigningError:
        return False
    return all(each.ok for each in report.conditions)
