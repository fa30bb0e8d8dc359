"""How long a search takes in a log of a million entries: every filter, a common and a rare value, page and count."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from signing_service.db.engine import Database
from signing_service.db.migrate import upgrade
from signing_service.filters import Order, Wanted
from signing_service.inspection import Reader
from signing_service.search import search_and_count
from tests.support import campaign, long_log, postgres
from tests.support.long_log import Sown

ENTRIES = 1_000_000
ROUNDS = 3
AIM_MS = 1_000
READERS = {"all": Reader("auditor:au_bench"), "one district": Reader("auditor:au_bench", frozenset({"H26.7"}))}


@dataclass(frozen=True)
class Figure:
    """One search: what was asked, the median and the worst of its rounds, how many entries it said there are."""

    database: str
    what: str
    p50_ms: float
    worst_ms: float
    found: str


def cases(sown: Sown) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every filter alone, in an old week, in an old year; then those that hardly ever meet."""
    week = {"begins": sown.middle - timedelta(days=700), "ends": sown.middle - timedelta(days=693)}
    year = {"begins": sown.begins + timedelta(days=200), "ends": sown.begins + timedelta(days=565)}
    middle = {"begins": sown.middle - timedelta(days=3), "ends": sown.middle + timedelta(days=4)}
    yield "nothing asked", {}
    yield "a week", week
    yield "a year", year
    for name, value in sown.common.items():
        yield f"{name}, common", {name: value}
        yield f"{name}, common, an old week", {name: value} | week
        yield f"{name}, common, an old year", {name: value} | year
    for name, value in sown.rare.items():
        yield f"{name}, rare", {name: value}
        yield f"{name}, rare, its week", {name: value} | middle
        yield f"{name}, rare, another year", {name: value} | year
    yield "two that never meet", {"event": "signature:done", "outcome": "failed"}
    yield "two common ones that never meet", {"signatory": sown.common["signatory"], "agency": "H26.99"}
    yield "two common ones that are never one", {"document_type": "CV", "symbol": "QĐ-UBND"}
    yield "everything at once", {**sown.common, **year}


def wanted(sown: Sown) -> Iterator[tuple[str, Wanted]]:
    """The same as they are asked, the newest first."""
    return ((what, Wanted(order=Order.NEWEST, **asked)) for what, asked in cases(sown))


def measure(name: str, url: str) -> Iterator[Figure]:
    upgrade(url)
    begun = time.perf_counter()
    sown = long_log.sow(url, ENTRIES)
    print(f"{name}: {sown.entries} entries sown in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    db = Database(url)
    for who, reader in READERS.items():
        for what, asked in wanted(sown):
            figure = timed(name, f"{what} ({who})", db, reader, sown, asked)
            _print(figure)
            yield figure
    db.close()


def timed(name: str, what: str, db: Database, reader: Reader, sown: Sown, asked: Wanted,
          rounds: int = ROUNDS) -> Figure:
    taken = []
    for _ in range(rounds):
        begun = time.perf_counter()
        _, count = search_and_count(db, reader, sown.ends, asked)
        taken.append((time.perf_counter() - begun) * 1000)
    return Figure(name, what, statistics.median(taken), max(taken), f"{count.kind} {count.number}")


def _print(figure: Figure) -> None:
    mark = "  <-- above the aim" if figure.p50_ms > AIM_MS else ""
    what = f"{figure.database}: {figure.what}"
    print(f"{what:70}{figure.p50_ms:9.1f}{figure.worst_ms:10.1f}  {figure.found}{mark}", flush=True)


def main() -> None:
    print(f"{'a search in ' + str(ENTRIES) + ' entries, first page and count':70}{'p50 ms':>9}{'worst ms':>10}  found")
    with tempfile.TemporaryDirectory() as directory:
        figures = list(measure("sqlite", f"sqlite:///{Path(directory) / 'log.db'}"))
    if postgres.available():
        figures += measure("postgresql", postgres.fresh_database())
    campaign.keep("bench-searching", figures=[asdict(figure) for figure in figures])


if __name__ == "__main__":
    main()
