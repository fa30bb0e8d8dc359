"""`make bench`: what one signature costs at each layer, side by side in one run, as ratios to the raw device.

Machines are noisy and unlike each other, so a rate alone says little; the last column says how much of the device's
own rate is left. Everything is real: SoftHSM, SQLite with `synchronous=FULL`, HTTP, PDF workers. Nothing is left
out to reach a figure.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from hsm.algorithms import Algorithm, KeyKind
from hsm.device import Custody
from signing_service.db.migrate import upgrade
from signing_service.wire import messages as m
from tests.bench import screens, searching
from tests.support import softhsm
from tests.support.city import City, Clock, Person, runtime
from tests.support.service import PLAN, Service, until

BATCH = 50
ROUNDS = 5


@dataclass(frozen=True)
class Figure:
    """One layer: signatures per second, the median and the worst of its rounds in ms per signature."""

    what: str
    per_second: float
    p50_ms: float
    worst_ms: float


def measured(what: str, count: int, work: Callable[[], None], rounds: int = ROUNDS) -> Figure:
    """Run `work`, which makes `count` signatures, a few times; the first round warms up and is not counted."""
    work()
    each = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        each.append((time.perf_counter() - begun) / count * 1000)
    return Figure(what, 1000 / statistics.median(each), statistics.median(each), max(each))


def raw_device(kind: KeyKind, algorithm: Algorithm) -> Figure:
    device = softhsm.device()
    key = device.generate_key(f"bench-{kind}-{time.monotonic_ns()}", kind, Custody.WRAPPED)
    digest = hashlib.sha256(b"bench").digest()
    count = 300 if kind is KeyKind.P256 else 100
    return measured(f"device alone, {kind}", count, lambda: [device.sign(key, algorithm, digest) for _ in range(count)])


def signer_alone(directory: Path, kind: str) -> list[Figure]:
    """Codes, policy, intents, MACs, signatures, outcomes: everything but HTTP and PDF."""
    url = f"sqlite:///{directory / f'{kind}.db'}"
    upgrade(url)
    clock = Clock()
    city = City(runtime(url, directory, softhsm.device(), clock), clock)
    officials = [city.official(f"Người thứ {n}", key_kind=kind) for n in range(20)]
    numbers = iter(range(10**9))

    def submitted(who: Person) -> str:
        return city.submitted(who, str(next(numbers)).encode())

    prepared: list[list[m.Confirm]] = []

    def prepare(batch: bool) -> None:
        city.next_code()
        if batch:
            prepared.append([city.confirmation(officials[0], [submitted(officials[0]) for _ in range(BATCH)])])
        else:
            prepared.append([city.confirmation(who, [submitted(who)]) for who in officials])

    def one_after_the_other() -> None:
        for each in prepared.pop():
            assert all(not isinstance(answer, Exception) for answer in city.confirmations([each]))

    def all_waiting() -> None:
        assert all(not isinstance(answer, Exception) for answer in city.confirmations(prepared.pop()))

    def timed(what: str, count: int, work: Callable[[], None], batch: bool) -> Figure:
        each = []
        for round_ in range(ROUNDS + 1):
            prepare(batch)
            begun = time.perf_counter()
            work()
            if round_:
                each.append((time.perf_counter() - begun) / count * 1000)
        return Figure(what, 1000 / statistics.median(each), statistics.median(each), max(each))

    figures = [
        timed(f"signer, {kind}, one code each, one after the other", 20, one_after_the_other, batch=False),
        timed(f"signer, {kind}, one code each, 20 waiting", 20, all_waiting, batch=False),
        timed(f"signer, {kind}, {BATCH} under one code", BATCH, all_waiting, batch=True),
    ]
    city.close()
    return figures


def over_http(directory: Path) -> list[Figure]:
    """Submitted documents, confirmed as a batch and finished, as a client sees it."""
    service = Service(directory, f"sqlite:///{directory / 'service.db'}")
    officials = [service.official(f"Người thứ {n}") for n in range(2)]
    service.start()
    figures = []
    try:
        for level, official in zip(("B-B", "B-T"), officials, strict=True):
            requests = [service.submits(official, PLAN.read_bytes() + b"\n%% %d\n" % n, level=level)
                        for n in range(BATCH)]  # a batch wants documents that differ
            with service.http() as http:
                http.timeout = 120
                batch = http.post("/api/v1/batches", json={"signing_requests": requests}).json()["id"]
                begun = time.perf_counter()
                code = official.code(datetime.now(UTC))
                answer = http.post(f"/api/v1/batches/{batch}/confirm", json={"code": code})
                assert answer.status_code == 200, answer.text
                until(lambda requests=requests: all(service.state(each) == "signed" for each in requests), 120)
            taken = (time.perf_counter() - begun) / BATCH * 1000
            what = f"PAdES {level} over HTTP, p-256, {BATCH} under one code"
            figures.append(Figure(what, 1000 / taken, taken, taken))
    finally:
        service.close()
    return figures


def main() -> None:
    _signatures()
    searching.main()
    screens.main()


def _signatures() -> None:
    figures = [raw_device(KeyKind.P256, Algorithm.ECDSA_SHA256), raw_device(KeyKind.RSA_2048, Algorithm.RSA_SHA256)]
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        figures += signer_alone(directory, "p-256") + signer_alone(directory, "rsa-2048") + over_http(directory)
    raw = {"rsa-2048": figures[1].per_second, "p-256": figures[0].per_second}
    print(f"{'':58}{'per s':>9}{'p50 ms':>9}{'worst ms':>10}{'of device':>11}")
    for figure in figures:
        device = raw["rsa-2048" if "rsa-2048" in figure.what else "p-256"]
        print(f"{figure.what:58}{figure.per_second:9.0f}{figure.p50_ms:9.2f}{figure.worst_ms:10.2f}"
              f"{figure.per_second / device:10.2f}x")
    json.dump([asdict(figure) for figure in figures], sys.stdout)
    print()


if __name__ == "__main__":
    main()
