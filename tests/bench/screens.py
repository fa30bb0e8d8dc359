"""How long an official waits for a screen: 10,000 documents are waiting, the server's processes are real, over HTTP.

What counts is one answer after the other, as one phone sees it; the pictures are drawn for every one of them.
"""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
from sqlalchemy import insert, select

from policies.decision import Urgency
from signing_service.db.tables import signing_request
from signing_service.ids import draw
from tests.support import campaign, postgres
from tests.support.printed import long_document
from tests.support.service import PLAN, Service

WAITING = 10_000
PAGES = 200
ROUNDS = 20
AIM_MS = 300
PICTURE = re.compile(r'src="(/requests/[^"]*/pages/[0-9]+[^"]*)"')


@dataclass(frozen=True)
class Figure:
    """One screen: the median and the worst of its rounds in ms."""

    database: str
    what: str
    p50_ms: float
    worst_ms: float


def sow(service: Service, request_id: str, count: int) -> None:
    """As many more like this one, of every urgency."""
    with service.city.rt.db.write() as tx:
        row = dict(tx.execute(select(signing_request).where(signing_request.c.id == request_id)).mappings().one())
        each = list(Urgency)
        tx.execute(insert(signing_request), [
            row | {"id": draw("sr"), "urgency": each[number % 7 % len(each)], "number": str(number)}
            for number in range(count)])


def measure(name: str, directory: Path, url: str) -> Iterator[Figure]:
    service = Service(directory, url)
    try:
        phone = service.city.enrols_phone(service.official())
        service.start()
        long = service.submits(phone.person, long_document(PAGES))
        plan = service.submits(phone.person, PLAN)
        sow(service, plan, WAITING)
        with httpx.Client(base_url=service.at(""), headers={"Cookie": f"__Host-phone={phone.cookie}"},
                          timeout=60) as browser:
            yield from _screens(name, browser, plan, long)
    finally:
        service.close()


def _screens(name: str, browser: httpx.Client, plan: str, long: str) -> Iterator[Figure]:
    first = _answer(browser, "/waiting")
    behind = re.search(r'href="(/waiting\?after=[^"]+)"', first)
    assert behind is not None
    yield timed(name, f"waiting for me, {WAITING} waiting, first page", lambda _: _answer(browser, "/waiting"))
    yield timed(name, "waiting for me, next page", lambda _: _answer(browser, behind[1].replace("&amp;", "&")))
    yield timed(name, "a document opened", lambda _: _answer(browser, f"/requests/{plan}"))
    picture = _pictures(browser, plan)[0]
    yield timed(name, "its first page drawn", lambda _: _answer(browser, picture))
    yield timed(name, f"a document of {PAGES} pages opened", lambda _: _answer(browser, f"/requests/{long}"))
    scheme = re.sub("/pages/1(?=[^0-9]|$)", "/pages/{}", _pictures(browser, long)[0])
    yield timed(name, f"its pages drawn, from 1 to {PAGES}",
                lambda number: _answer(browser, scheme.format(1 + number % PAGES)), PAGES)


def _pictures(browser: httpx.Client, request_id: str) -> list[str]:
    return [each.replace("&amp;", "&") for each in PICTURE.findall(_answer(browser, f"/requests/{request_id}"))]


def _answer(browser: httpx.Client, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
    return answer.text if answer.headers["content-type"].startswith("text/") else ""


def timed(database: str, what: str, work: Callable[[int], object], rounds: int = ROUNDS) -> Figure:
    work(0)
    taken = []
    for number in range(rounds):
        begun = time.perf_counter()
        work(number)
        taken.append((time.perf_counter() - begun) * 1000)
    figure = Figure(database, what, statistics.median(taken), max(taken))
    mark = "  <-- above the aim" if figure.p50_ms > AIM_MS else ""
    print(f"{database + ': ' + what:70}{figure.p50_ms:9.1f}{figure.worst_ms:10.1f}{mark}", flush=True)
    return figure


def main() -> None:
    print(f"{'a screen, as one phone waits for it':70}{'p50 ms':>9}{'worst ms':>10}")
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        figures = list(measure("sqlite", Path(one), f"sqlite:///{Path(one) / 'signing.db'}"))
        if postgres.available():
            figures += measure("postgresql", Path(other), postgres.fresh_database())
    campaign.keep("bench-screens", figures=[asdict(figure) for figure in figures])


if __name__ == "__main__":
    main()
