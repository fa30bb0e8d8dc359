"""Document systems that go on whatever happens: they submit under a key and confirm, and repeat until answered.

    load = OfficeLoad(service, people)
    with load.running():
        ...                        # take something away, and give it back
    load.check()                   # what was acknowledged is there, once

What an office was told (201 with an id, 200 with a state) is remembered; a call that has had no good answer for
`PATIENCE` seconds is an error that somebody saw.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pyotp
from sqlalchemy import func, select

from signing_service.db.tables import intent, signing_request
from tests.support.city import Person
from tests.support.service import PLAN, STEP, Service

PATIENCE = 60.0  # seconds until a call counts as failed; how long each took is told
AWAY = {429, 500, 502, 503, 504}


@dataclass
class Told:
    """What the offices were told."""

    submitted: dict[str, str] = field(default_factory=dict)  # key -> signing request
    confirmed: set[str] = field(default_factory=set)
    answers: Counter[int | str] = field(default_factory=Counter)
    longest: float = 0.0   # seconds until a call that first failed was answered well
    errors: list[str] = field(default_factory=list)


def is_to_be_repeated(answer: httpx.Response) -> bool:
    """Nothing was done, or it is being done: an office that lost its patience hears so of its own first call."""
    return answer.status_code in AWAY or (answer.status_code == 409 and answer.json()["code"] == "in-progress")


class OfficeLoad:
    """One office for each of these people, who confirm whenever they have a new code."""

    def __init__(self, service: Service, people: list[Person], *, fronts: int = 1) -> None:
        self._service, self._people, self._fronts = service, people, fronts
        self._stop, self._lock = threading.Event(), threading.Lock()
        self.told = Told()

    @contextmanager
    def running(self) -> Iterator[Told]:
        with ThreadPoolExecutor(len(self._people)) as threads:
            offices = [threads.submit(self._office, number, person) for number, person in enumerate(self._people)]
            try:
                yield self.told
            finally:
                self._stop.set()
        for office in offices:
            office.result()

    def _office(self, number: int, person: Person) -> None:
        front, typed, waiting = number % self._fronts, 0, []
        token = self._service.token(front)
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=self._service.at("", front), headers=headers, timeout=20) as http:
            for turn in range(10**9):
                if self._stop.is_set():
                    return
                made = self._submit(http, person, f"{number}-{turn}")
                if made is not None:
                    waiting.append(made)
                step = int(time.time()) // STEP
                if waiting and step > typed:
                    typed = step
                    self._confirm(http, person, waiting.pop())

    def _submit(self, http: httpx.Client, person: Person, key: str) -> str | None:
        content = PLAN.read_bytes() + f"% {key}\n".encode()
        answer = self._insisting(lambda: http.post(
            "/api/v1/signing-requests", data=self._service.submission(person, level="B-B"),
            files={"file": ("ke-hoach.pdf", content, "application/pdf")}, headers={"Idempotency-Key": key}), key)
        if answer is None:
            return None
        assert answer.status_code == 201, answer.text
        made = str(answer.json()["id"])
        with self._lock:
            self.told.submitted[key] = made
        return made

    def _confirm(self, http: httpx.Client, person: Person, request: str) -> None:
        code = str(pyotp.TOTP(person.secret).at(datetime.now(UTC)))
        answer = self._insisting(
            lambda: http.post(f"/api/v1/signing-requests/{request}/confirm", json={"code": code}), request)
        if answer is not None and answer.status_code == 200 and answer.json()["state"] in ("finishing", "signed"):
            with self._lock:
                self.told.confirmed.add(request)

    def _insisting(self, call: Any, what: str) -> httpx.Response | None:
        """The first answer that says something: whoever hears 503, or nothing, asks again."""
        first: float | None = None
        while True:
            begun = time.monotonic()
            try:
                answer: httpx.Response | None = call()
                said: int | str = answer.status_code if answer is not None else 0
            except httpx.HTTPError as error:
                answer, said = None, type(error).__name__
            with self._lock:
                self.told.answers[said] += 1
            if answer is not None and not is_to_be_repeated(answer):
                if first is not None:
                    with self._lock:
                        self.told.longest = max(self.told.longest, time.monotonic() - first)
                return answer
            first = first or begun
            if time.monotonic() - first > PATIENCE:
                with self._lock:
                    self.told.errors.append(f"{what}: {said}")
                return None
            time.sleep(0.2)

    def check(self) -> tuple[int, int]:
        """Every acknowledged submission is there under its key's one id; every acknowledged confirmation has its
        outcome. How many of each."""
        assert not self.told.errors, self.told.errors[:5]
        with self._service.db.read() as tx:
            there = set(tx.execute(select(signing_request.c.id)).scalars())
            done = set(tx.execute(select(intent.c.signing_request_id).where(intent.c.outcome == "done")).scalars())
            twice = tx.execute(select(signing_request.c.document_digest).group_by(signing_request.c.document_digest)
                               .having(func.count() > 1)).all()
        assert set(self.told.submitted.values()) <= there
        assert not twice
        assert self.told.confirmed <= done
        return len(self.told.submitted), len(self.told.confirmed)
