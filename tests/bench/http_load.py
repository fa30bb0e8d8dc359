"""Load over HTTP, and where its time goes: `python -m tests.bench.http_load [--batches 6] [--level B-B] …`.

Officials with a batch of 50 each: submitted, put together, confirmed, waited for, fetched. Of each stage the rate,
the latencies as a client sees them, and the CPU that each process of the service took per document. The service is
real (SoftHSM, SQLite with `synchronous=FULL`, pdf workers); what drives it has a process of its own and is counted
apart, because it takes its share of the same cores.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.city import Person
from tests.support.service import PLAN, Service, until

BATCH = 50
TICK = os.sysconf("SC_CLK_TCK")
BOUNDARY = "-----------------------------boundary-of-the-load"


@dataclass
class Stage:
    """What one stage took: per document, and as each call saw it."""

    name: str
    documents: int
    seconds: float
    cpu_ms: dict[str, float]                 # per document, by process
    calls: list[float] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        calls = sorted(self.calls)
        return {
            "stage": self.name, "documents": self.documents, "per_second": round(self.documents / self.seconds, 1),
            "cpu_ms_per_document": self.cpu_ms, "cpu_ms_all": round(sum(self.cpu_ms.values()), 2),
            "p50_ms": round(statistics.median(calls) * 1000, 1) if calls else None,
            "p99_ms": round(calls[max(0, int(len(calls) * 0.99) - 1)] * 1000, 1) if calls else None,
        }


class Patient(Service):
    """With the signer's own deadlines: those of the tests are short, and a busy machine would miss them."""

    def environment(self) -> dict[str, str]:
        short = ("SIGNING_LEASE_SECONDS", "SIGNING_INTENT_SECONDS")
        return {name: value for name, value in super().environment().items() if name not in short}


class Load:
    """A running service and connections to it that are kept open, as a document system keeps its own."""

    def __init__(self, service: Service, connections: int) -> None:
        self.service = service
        self.token = service.token()
        self._ports = itertools.cycle(service.ports)
        self._threads = ThreadPoolExecutor(connections)
        self._free = [http.client.HTTPConnection("127.0.0.1", next(self._ports)) for _ in range(connections)]

    def ask(self, method: str, path: str, body: bytes | None = None, media: str = "application/json") -> bytes:
        connection = self._free.pop()
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self.token}", "Content-Type": media})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            self._free.append(connection)
        assert answer.status in (200, 201), content[:2000]
        return content

    def stage(self, name: str, documents: int, calls: Iterable[Callable[[], Any]]) -> tuple[Stage, list[Any]]:
        """Make all the calls, as many at once as there are connections."""
        for connection in self._free:
            connection.close()  # what was idle for long was hung up on; http.client connects again
        before, begun = cpu_of(self.service), time.perf_counter()
        done = list(self._threads.map(_timed, calls))
        taken = time.perf_counter() - begun
        after = cpu_of(self.service)
        cpu = {each: round((after[each] - before.get(each, 0.0)) / documents * 1000, 2) for each in after}
        return Stage(name, documents, taken, cpu, [seconds for seconds, _ in done]), [told for _, told in done]

    def submit(self, official: Person, content: bytes, level: str) -> str:
        form = self.service.submission(official, level=level)
        body = _multipart(form, content)
        told = self.ask("POST", "/api/v1/signing-requests", body, f"multipart/form-data; boundary={BOUNDARY}")
        return str(json.loads(told)["id"])

    def batch(self, ids: list[str]) -> str:
        body = json.dumps({"signing_requests": ids}).encode()
        return str(json.loads(self.ask("POST", "/api/v1/batches", body))["id"])

    def confirm(self, official: Person, batch: str) -> None:
        body = json.dumps({"code": official.code(datetime.now(UTC))}).encode()
        told = json.loads(self.ask("POST", f"/api/v1/batches/{batch}/confirm", body))
        assert {each["outcome"] for each in told["lines"]} == {"done"}, told["lines"][0]

    def fetch(self, request: str) -> int:
        return len(self.ask("GET", f"/api/v1/signing-requests/{request}/signed-document"))


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    told = call()
    return time.perf_counter() - begun, told


def _multipart(form: dict[str, str], content: bytes) -> bytes:
    fields = "".join(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                     for name, value in form.items())
    file = (f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="ke-hoach.pdf"\r\n'
            "Content-Type: application/pdf\r\n\r\n")
    return b"".join([(fields + file).encode(), content, f"\r\n--{BOUNDARY}--\r\n".encode()])


# ---------------------------------------------------------------------------------------------- what processes took


def cpu_of(service: Service) -> dict[str, float]:
    """Seconds of CPU so far: each process of the service, its pdf workers (dead ones too), and ourselves."""
    told: dict[str, float] = defaultdict(float)
    for name, running in service.running.items():
        told[name] += _stat(running.process.pid)[0]
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (mother := _mother(service, int(folder.name))):
            told[f"{mother} pdf"] += _stat(int(folder.name))[0]
    for name, running in service.running.items():
        told[f"{name} pdf"] += _stat(running.process.pid)[2]
    told["driver"] = time.process_time()
    return {name: seconds for name, seconds in told.items() if seconds}


def _mother(service: Service, pid: int) -> str | None:
    """Which process of the service this is a child of."""
    try:
        parent = _stat(pid)[1]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return next((name for name, running in service.running.items() if running.process.pid == parent), None)


def _stat(pid: int) -> tuple[float, int, float]:
    """CPU seconds, parent, CPU seconds of children that ended (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK, int(fields[1]), (int(fields[13]) + int(fields[14])) / TICK


# --------------------------------------------------------------------------------------------------------- the load


def documents(size: int, count: int) -> list[bytes]:
    """Different documents of about this size: a comment behind the end of a real one."""
    plan = PLAN.read_bytes()
    padding = b"%" + b"0" * max(0, size - len(plan) - 40) + b"\n"
    return [plan + b"\n" + padding + b"%% %d %d\n" % (number, time.monotonic_ns()) for number in range(count)]


def run(load: Load, officials: list[Person], level: str, size: int, each: int = BATCH) -> list[Stage]:
    """One batch of each official through all stages."""
    count = len(officials) * each
    whose = [official for official in officials for _ in range(each)]
    submitted, ids = load.stage("submit", count, [
        partial(load.submit, who, content, level)
        for who, content in zip(whose, documents(size, count), strict=True)])
    groups = [ids[start:start + each] for start in range(0, count, each)]
    batched, batches = load.stage("batch", count, [partial(load.batch, group) for group in groups])
    confirmed, _ = load.stage("confirm", count, [
        *(partial(load.confirm, who, batch) for who, batch in zip(officials, batches, strict=True)),
        partial(_await, load.service, ids)])
    fetched, _ = load.stage("fetch", count, [partial(load.fetch, request) for request in ids])
    return [submitted, batched, confirmed, fetched]


def _await(service: Service, ids: list[str]) -> None:
    """Until the last one, too: a confirmation may answer `finishing`."""
    for each in ids:
        until(partial(_is_signed, service, each), 600, "signing")


def _is_signed(service: Service, request: str) -> bool:
    return service.state(request) == "signed"


def total(stages: list[Stage]) -> float:
    """Documents a second from submission to the last signed one: what the issue calls over HTTP."""
    return stages[0].documents / sum(stage.seconds for stage in stages if stage.name != "fetch")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--batches", type=int, default=6)
    options.add_argument("--each", type=int, default=BATCH)
    options.add_argument("--level", choices=("B-B", "B-T"), default="B-B")
    options.add_argument("--size", type=int, default=0)
    options.add_argument("--connections", type=int, default=6)
    options.add_argument("--fronts", type=int, default=1)
    options.add_argument("--key", default="p-256")
    options.add_argument("--pause", action="store_true", help="wait for Enter before the measured round")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        service = Patient(Path(name), f"sqlite:///{name}/service.db", fronts=asked.fronts)
        try:
            officials = [service.official(f"Người thứ {n}", key_kind=asked.key) for n in range(asked.batches + 1)]
            service.start()
            load = Load(service, asked.connections)
            run(load, officials[:1], asked.level, asked.size, 10)  # warm
            if asked.pause:
                print({each: running.process.pid for each, running in service.running.items()}, flush=True)
                sys.stdin.readline()
            stages = run(load, officials[1:], asked.level, asked.size, asked.each)
        finally:
            service.close()
    for stage in stages:
        print(json.dumps(stage.told(), ensure_ascii=False))
    print(json.dumps({"level": asked.level, "per_second": round(total(stages), 1)}))


if __name__ == "__main__":
    main()
