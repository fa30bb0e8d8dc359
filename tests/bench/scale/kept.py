"""What takes long to make and is measured more than once: a hundred thousand people, millions of entries.

    kept = Kept.staying(folder)              # with a token, a PostgreSQL cluster, SQLite files
    kept.make(people=100_000, sizes=[5_000_000])
    service, sown = kept.log("sqlite", 5_000_000)

Everything in the folder belongs together: rows carry MACs of its token, checkpoints its signature. What is there is
used again if it was made to its end and the generator would make the same today; the product's own migrations bring
its tables up to date. What a measuring adds to a log stays in it; cities are copied before they are used.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from signing_service import verification
from signing_service.db.engine import Database
from signing_service.db.migrate import upgrade
from signing_service.db.tables import signatory
from signing_service.inspection import EVERY_AGENCY, Reader
from signing_service.signer import leases
from tests.bench import crowd
from tests.bench.served import Found, Served
from tests.support import long_log, postgres, softhsm
from tests.support.long_log import Sown
from tests.support.service import Service

CHECKED, STRETCH = 5, 2_000  # stretches of a log that the product verifies when it was made, and their entries
BEGUN = "begun"  # a file: there is a city in this database
READER = Reader("auditor:au_scale", frozenset({EVERY_AGENCY}))


def databases() -> list[str]:
    return ["sqlite", *(["postgresql"] if postgres.available() else [])]


@dataclass(frozen=True)
class Kept:
    """A folder for all of it."""

    folder: Path

    @classmethod
    def staying(cls, folder: Path) -> Kept:
        """With its token and its cluster: only one in a process, and before anybody asks for either."""
        folder.mkdir(parents=True, exist_ok=True)
        softhsm.keep(folder / "token")
        postgres.keep(folder / "postgres")
        return cls(folder)

    @cached_property
    def generator(self) -> str:
        """What it would make today, told by the root of a small log."""
        with tempfile.TemporaryDirectory() as directory:
            url = f"sqlite:///{directory}/small.db"
            upgrade(url)
            return long_log.sow(url, 800).root.hex()

    # ------------------------------------------------------------------------------------------------- made once

    def make(self, people: int, sizes: Iterable[int]) -> None:
        """All that is not there yet."""
        for size in sizes:
            self.make_logs(size)
        self.make_cities(people)

    def make_logs(self, size: int) -> None:
        """On all databases at once, each in a process of its own; then checkpoints are signed and checked."""
        names = [each for each in databases() if size and not self._is_made(f"{each}-log-{size}")]
        begun = time.perf_counter()
        services = {name: self._new(f"{name}-log-{size}") for name in names}
        with ProcessPoolExecutor(max(1, len(names)), mp_context=get_context("spawn")) as processes:
            sown = dict(zip(names, processes.map(long_log.sow, [self._url(f"{name}-log-{size}") for name in names],
                                                 [size] * len(names)), strict=True))
        for name, service in services.items():
            long_log.seal(service.city.rt, sown[name])
            _check(service, sown[name])
            service.close()
            self._made(f"{name}-log-{size}", begun, sown=_written(sown[name]))

    def make_cities(self, people: int) -> None:
        """The same people in the cities of all databases. Goes on where it was broken off."""
        names = [each for each in databases() if not self._is_made(f"{each}-people-{people}")]
        begun = time.perf_counter()
        services = [self._begun(f"{name}-people-{people}") for name in names]
        missing = [people - _people(each) for each in services]
        if services:
            crowd.fill([each.city for each in services], min(missing))
        for name, service, count in zip(names, services, missing, strict=True):
            crowd.fill([service.city], count - min(missing))
            leases.release(service.city.rt)
            service.close()
            self._made(f"{name}-people-{people}", begun)

    def _begun(self, what: str) -> Service:
        place = self.folder / what
        return Found(place, self._url(what)) if (place / BEGUN).exists() else self._new(what)

    def _new(self, what: str) -> Service:
        """A city in an empty database, whatever was begun there before."""
        place = self.folder / what
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        if what.startswith("postgresql"):
            postgres.drop(self._url(what))
        service = Served(place, self._url(what))
        (place / BEGUN).touch()
        return service

    def _url(self, what: str) -> str:
        return f"sqlite:///{self.folder / what / 'signing.db'}" if what.startswith("sqlite") else (
            postgres.database(what))

    def _made(self, what: str, begun: float, **more: object) -> None:
        seconds = time.perf_counter() - begun
        print(f"{what}: made in {seconds:.0f} s", file=sys.stderr, flush=True)
        self._note(what).write_text(json.dumps({"generator": self.generator, "seconds": round(seconds), **more}))

    def _is_made(self, what: str) -> bool:
        note = self._note(what)
        return note.exists() and json.loads(note.read_text())["generator"] == self.generator

    def _note(self, what: str) -> Path:
        return self.folder / f"{what}.json"

    # ---------------------------------------------------------------------------------------------- used again

    def log(self, database: str, size: int) -> tuple[Service, Sown]:
        """A service whose log is so long."""
        what = f"{database}-log-{size}"
        told = json.loads(self._note(what).read_text())["sown"]
        return Found(self.folder / what, self._url(what)), _read(told)

    def city(self, directory: Path, database: str, people: int) -> Service:
        """A service in a copy of a city with so many people."""
        what = f"{database}-people-{people}"
        if database == "postgresql":
            return Found(directory, postgres.fresh_database(durable=True, like=self._url(what)))
        shutil.copyfile(self.folder / what / "signing.db", directory / "signing.db")
        return Found(directory, f"sqlite:///{directory / 'signing.db'}")


def _people(service: Service) -> int:
    with service.db.read() as tx:
        return int(tx.execute(select(func.count()).select_from(signatory)).scalar_one())


def _check(service: Service, sown: Sown) -> None:
    """The product's own verification: the checkpoint, stretches of the log under it, columns held against texts."""
    db = Database(service.url)
    try:
        for number in range(CHECKED):
            start = (sown.entries - STRETCH) * number // (CHECKED - 1) if sown.entries > STRETCH else 0
            found = verification.verify_stored(db, READER, service.city.rt.now(), start=start,
                                               end=min(start + STRETCH, sown.entries))
            assert found.ok, found
    finally:
        db.close()


def _written(sown: Sown) -> dict[str, Any]:
    return asdict(sown) | {"root": sown.root.hex(), "begins": sown.begins.isoformat(), "ends": sown.ends.isoformat()}


def _read(told: dict[str, Any]) -> Sown:
    moments = {name: datetime.fromisoformat(told[name]) for name in ("begins", "ends")}
    return Sown(**told | moments | {"root": bytes.fromhex(told["root"])})
