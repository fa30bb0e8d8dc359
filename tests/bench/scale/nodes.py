"""Two nodes on one token and one PostgreSQL, under load; one of them is killed with everything it was doing.

Clients do what the API says: a submission is repeated at the other node under its Idempotency-Key, a confirmation is
repeated where the state says that it is still pending. Then everything is counted: what was acknowledged is there,
what was signed was signed once, and the log leads to its checkpoint.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

import httpx
from sqlalchemy import func, select

from signing_service import verification
from signing_service.db.tables import entry, intent, signing_request
from signing_service.tlog import tree
from tests.bench import crowd, paper
from tests.bench.figures import Figure, figure
from tests.bench.scale.kept import Kept
from tests.bench.served import Served
from tests.bench.short import less
from tests.support import postgres
from tests.support.city import Person
from tests.support.memory import family
from tests.support.service import Running, until

PEOPLE = less(800, 24)
AT_ONCE = 8
STEP = 30               # seconds for which a code is good
GIVEN_UP = 60           # seconds after which a client takes another Idempotency-Key: no living call takes so long
ENDED = ("signed", "failed")


class Nodes(Served):
    """Two of everything but the database, the token and the documents."""

    def __init__(self, directory: Path, url: str) -> None:
        super().__init__(directory, url, fronts=2)
        self._node = 0

    def environment(self) -> dict[str, str]:
        place = self.directory / f"node{self._node}"
        place.mkdir(exist_ok=True)
        return super().environment() | {"SIGNING_SIGN_SOCKET": str(place / "sign.sock"),
                                        "SIGNING_ADMIN_SOCKET": str(place / "admin.sock")}

    def run(self, name: str) -> Running:
        self._node = int(name[-1])
        return super().run(name)

    def start_node(self, node: int) -> None:
        for name in ("signer", "jobs", "front"):
            self.run(f"{name}{node}")

    def await_node(self, node: int) -> None:
        until(lambda: _answers(self.at("/readyz", node)), 180, f"node {node} is ready")

    def kill_node(self, node: int) -> None:
        """All at once, with their pdf workers."""
        mine = [self.running.pop(f"{name}{node}") for name in ("front", "signer", "jobs")]
        for pid in [each for running in mine for each in family(running.process.pid)]:
            os.kill(pid, 9)
        for running in mine:
            running.process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass
class Told:
    """What clients were told, and when."""

    acknowledged: list[str] = field(default_factory=list)   # submissions
    ended: dict[str, str] = field(default_factory=dict)     # request: the state that a client was told
    moments: list[float] = field(default_factory=list)      # of signed documents
    late: set[float] = field(default_factory=set)           # those of them whose first submission died
    taken: list[float] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def says(self, request: str, state: str, begun: float, *, was_late: bool) -> None:
        with self.lock:
            self.ended[request] = state
            self.moments.append(time.perf_counter())
            self.late |= {self.moments[-1]} if was_late else set()
            self.taken.append(time.perf_counter() - begun)


def measure(_kept: Kept, directory: Path) -> Iterator[Figure]:
    """Nothing where there is no PostgreSQL."""
    if not postgres.available():
        print("nodes: left out, PostgreSQL is not installed")
        return
    service = Nodes(directory, postgres.fresh_database(durable=True))
    try:
        people = crowd.move_in(service.city, PEOPLE)
        for node in (0, 1):
            service.start_node(node)
        for node in (0, 1):
            service.await_node(node)
        told = Told()
        killed = _under_load(service, people, told)
        lost, unknown = _judged(service, told)
        yield from _figures(told, killed, f"{lost} lost, 0 double, {unknown} of unknown outcome, "
                                        f"{len(told.late)} under another key")
        begun = time.perf_counter()
        service.start_node(0)
        service.await_node(0)
        back = time.perf_counter() - begun
        yield figure("nodes-ready-restart-0", "two nodes: the killed one is ready again", 1, back, [back])
    finally:
        service.close()


def _under_load(service: Nodes, people: list[Person], told: Told) -> float:
    """Everybody signs one document; half way through a node dies. Returns that moment."""
    tokens = [service.token(node) for node in (0, 1)]
    with ThreadPoolExecutor(AT_ONCE) as threads, httpx.Client(timeout=30) as http:
        work = [threads.submit(_sign, _Client(http, service, tokens, number % 2), who, number, told)
                for number, who in enumerate(people)]
        until(lambda: len(told.moments) >= PEOPLE // 2, 600, "half of the documents are signed")
        service.kill_node(0)
        killed = time.perf_counter()
        for each in work:
            each.result()
    return killed


def _sign(client: _Client, who: Person, number: int, told: Told) -> None:
    """As a client that knows both nodes: begin at one, go to the other where it does not answer."""
    arrived = time.perf_counter()
    request = client.submits(who, number)
    was_late = time.perf_counter() - arrived > GIVEN_UP
    with told.lock:
        told.acknowledged.append(request)
    begun = time.perf_counter()
    deadline = begun + 180
    step = 0
    while (state := client.state(request)) not in ENDED:
        assert time.perf_counter() < deadline, f"{request} is still {state}"
        now = int(time.time()) // STEP
        if state == "pending" and now > step:
            step = now
            client.confirms(request, who)
        else:
            time.sleep(0.1)
    told.says(request, state, begun, was_late=was_late)


@dataclass
class _Client:
    http: httpx.Client
    service: Nodes
    tokens: list[str]
    node: int

    def submits(self, who: Person, number: int) -> str:
        """Again and again under one key. Where its first call died with its node that key answers 409 for five
        minutes: a client that knows of the node's death takes another key after a while, and nothing is there twice.
        """
        document, begun = paper.another(0), time.perf_counter()
        while True:
            life = int((time.perf_counter() - begun) / GIVEN_UP)
            answer = self._ask("POST", "/api/v1/signing-requests", data=self.service.submission(who, level="B-B"),
                               files={"file": ("ke-hoach.pdf", document, "application/pdf")},
                               headers={"Idempotency-Key": f"document-{number}-{life}"})
            if answer is not None and answer.status_code == 201:
                return str(answer.json()["id"])
            time.sleep(0.1)

    def confirms(self, request: str, who: Person) -> None:
        """Whatever the answer is, the state says what became of it."""
        self._ask("POST", f"/api/v1/signing-requests/{request}/confirm", json={"code": who.code(datetime.now(UTC))})

    def state(self, request: str) -> str:
        answer = self._ask("GET", f"/api/v1/signing-requests/{request}")
        return str(answer.json()["state"]) if answer is not None and answer.status_code == 200 else "unknown"

    def _ask(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response | None:
        """None, and the other node from now on, where nobody answers."""
        try:
            return self.http.request(method, self.service.at(path, self.node), headers={
                "Authorization": f"Bearer {self.tokens[self.node]}"} | (headers or {}), **more)
        except httpx.HTTPError:
            self.node = 1 - self.node
            return None


def _judged(service: Nodes, told: Told) -> tuple[int, int]:
    """How many were acknowledged and are lost, and how many have an unknown outcome. All else must hold."""
    until(lambda: service.open_intents() == 0, 120, "what the dead signer left is closed")
    service.check()
    until(lambda: service.entries_waiting() == 0, 60, "every entry has its place")
    with service.db.read() as tx:
        states = {row.id: row.state for row in tx.execute(select(signing_request.c.id, signing_request.c.state))}
        count = tx.execute(select(func.count()).select_from(signing_request)).scalar_one()
        bodies = tx.execute(select(entry.c.body).where(entry.c.leaf_index.is_not(None)).order_by(entry.c.leaf_index))
        leaves = [tree.leaf_hash(row.body.encode()) for row in bodies]
        newest = verification.latest_checkpoint(tx)
    assert newest is not None
    assert tree.root(leaves[:newest.size]) == newest.root
    assert count == len(set(told.acknowledged)) == PEOPLE, "a repeated submission became a second request"
    lost = [each for each in told.acknowledged if states.get(each) != told.ended[each]]
    assert not lost, lost
    with service.db.read() as tx:
        unknown = tx.execute(select(func.count()).select_from(intent).where(intent.c.outcome == "unknown-outcome"))
        return len(lost), int(unknown.scalar_one())


def _figures(told: Told, killed: float, became: str) -> Iterator[Figure]:
    before = [each for each in told.moments if each < killed]
    after = sorted(each for each in told.moments if each >= killed)
    others = [each for each in after if each not in told.late]  # who waited for a dead call is told apart
    longest = max((later - earlier for earlier, later in itertools.pairwise([killed, *others])), default=float("inf"))
    yield figure("nodes-before", f"two nodes, PostgreSQL, one code each, {AT_ONCE} at once", len(before),
                 max(before) - min(before), told.taken[:len(before)])
    yield figure("nodes-after", f"one of them killed: {became}", len(others), max([killed + 1, *others]) - killed,
                 told.taken[len(before):])
    yield figure("nodes-pause", "the longest time without a signed document after that", 1, longest, [longest])
