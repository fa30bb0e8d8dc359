"""Many people who confirm at once, straight at the signer: batches, single documents, and what goes wrong with codes.

    load = Load(service, crowd(service.city, 100), seed=1)
    load.run(5_000)           # until so many signatures were acknowledged, in a few threads
    load.check_acknowledged() # what was said to be signed is on record as signed

The signer is asked over its socket, as a front would; the rows that a front would have written are written first.
"""

from __future__ import annotations

import hashlib
import math
import random
import secrets
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyotp
from sqlalchemy import insert, select

from signing_service.db.engine import Database
from signing_service.db.tables import intent, key, signature, signing_request
from signing_service.errors import SigningError, Unavailable
from signing_service.ids import draw
from signing_service.wire import messages as m
from signing_service.wire.client import ask_once
from tests.support.city import City, Person, secret_of
from tests.support.service import Service, until

STEP = 30
BATCH = 50
PATIENCE = 150.0  # seconds for an answer: longer than the signer's own deadlines
# How often which act, of a hundred.
ACTS = {"batch": 80, "single": 8, "same twice": 4, "wrong code": 2, "code again": 3, "timestamp": 3}


def crowd(city: City, number: int) -> list[Person]:
    """So many people with codes and certificates, made in a few acts."""
    added = city.acts(*(m.AddSignatory(f"Người thứ {n}", "H26.1", "chairman") for n in range(number)))
    enrolled = city.acts(*(m.EnrolCode(each.id) for each in added))
    held = city.acts(*(m.AddCredential("personal", "H26.1", "p-256", None, each.id) for each in added))
    people = [Person(each.id, secret_of(str(code.uri)), credential.id)
              for each, code, credential in zip(added, enrolled, held, strict=True)]
    for person in people:
        city.desk.complete(m.CompleteEnrolment(person.id, person.code(city.clock.at)))
    keys = until(lambda: _keys(city, people), what="everybody has a key")
    city.acts(*(city.import_of(each.credential, city.ca.issue(keys[each.credential], "Nguyễn Văn A"),
                               keys[each.credential]) for each in people))
    return people


def _keys(city: City, people: list[Person]) -> dict[str, bytes]:
    """The public keys of all credentials; none while one of these people has none."""
    with city.rt.db.read() as tx:
        keys = {row.owner: bytes(row.public_key) for row in tx.execute(select(key.c.owner, key.c.public_key))}
    return keys if all(each.credential in keys for each in people) else {}


@dataclass
class Signer:
    """A person of the load, and the last time step whose code was typed."""

    person: Person
    typed: int = 0

    def code(self) -> str | None:
        """One that was never typed, or None: then half a minute must pass."""
        now = int(time.time()) // STEP
        step = max(self.typed + 1, now)  # the one before would be good, too, but not for long
        if step > now + 1:
            return None
        self.typed = step
        return str(pyotp.TOTP(self.person.secret).at(step * STEP))


class Load:
    """Its own connections and threads. `tally` counts what was answered."""

    def __init__(self, service: Service, people: list[Person], *, seed: int, threads: int = 4) -> None:
        self.service, self.threads = service, threads
        self.tally: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self._db = Database(service.url, pool_size=threads + 1)
        self._seed, self._lock = seed, threading.Lock()
        self._people = [[Signer(each) for each in people[at::threads]] for at in range(threads)]
        with self._db.read() as tx:
            made = service.city.submitted(people[0])
            self._row: dict[str, Any] = dict(tx.execute(
                select(signing_request).where(signing_request.c.id == made)).mappings().one())

    def run(self, signatures: int, within: float = math.inf) -> None:
        """Until so many signatures were acknowledged, or so many seconds have passed."""
        wanted, until_then = len(self.acknowledged) + signatures, time.monotonic() + within
        with ThreadPoolExecutor(self.threads) as threads:
            for each in [threads.submit(self._one, number, wanted, until_then) for number in range(self.threads)]:
                each.result()

    def _one(self, number: int, wanted: int, until_then: float) -> None:
        chance = random.Random(f"{self._seed} {number} {wanted}")
        people = self._people[number]
        while len(self.acknowledged) < wanted and time.monotonic() < until_then:
            signer = people[chance.randrange(len(people))]
            act = chance.choices(list(ACTS), list(ACTS.values()))[0]
            if act == "timestamp":
                self._asks(m.IssueTimestamp(secrets.token_bytes(32), "sha256"), m.TimestampIssued, act)
            elif (code := signer.code()) is None:
                time.sleep(0.01)
            else:
                try:
                    self._confirms(signer.person, code, act)
                except Unavailable as error:  # the front's own rows could not be written: a 503 there, nothing asked
                    self._count(f"front: {error.code}")

    def _confirms(self, person: Person, code: str, act: str) -> None:
        asked = self._confirmation(person, code, 1 if act == "single" else BATCH)
        if act == "wrong code":
            wrong = m.Confirm(asked.client_id, person.id, f"{(int(code) + 1) % 10**6:06d}", "client", asked.lines)
            self._asks(wrong, m.Confirmed, act)
        elif act == "same twice":
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(lambda _: self._asks(asked, m.Confirmed, act), range(2)))
            return
        self._asks(asked, m.Confirmed, act)
        if act == "code again":
            self._asks(self._confirmation(person, code, 3), m.Confirmed, act)

    def _asks(self, message: m.Message, expected: type[m.Message], act: str) -> None:
        try:
            answer = ask_once(self.service.directory / "sign.sock", message, expected, deadline=PATIENCE)
        except SigningError as error:
            self._count(f"{act}: {error.code}")
            return
        if isinstance(answer, m.Confirmed):
            done = [each.signing_request_id for each in answer.lines if each.outcome == "done"]
            with self._lock:
                self.acknowledged.update(done)
            for each in answer.lines:
                self._count(each.outcome if each.outcome == "done" else f"line: {each.code}")
        else:
            self._count(act)

    def _count(self, what: str) -> None:
        with self._lock:
            self.tally[what] += 1

    def _confirmation(self, person: Person, code: str, documents: int) -> m.Confirm:
        """What a front would send, after the rows that it would have written."""
        now = datetime.now(UTC)
        rows = [self._row | {
            "id": draw("sr"), "signatory_id": person.id, "credential_id": person.credential, "created_at": now,
            "expires_at": now + timedelta(hours=1), "document_digest": secrets.token_hex(32),
        } for _ in range(documents)]
        with self._db.write() as tx:
            tx.execute(insert(signing_request), rows)
        return m.Confirm(self.service.city.client, person.id, code, "client", tuple(map(_line, rows)))

    def check_acknowledged(self) -> None:
        """Nothing is lost: what the signer said was signed is on record, with its value."""
        with self._db.read() as tx:
            kept = set(tx.execute(select(intent.c.signing_request_id).join(
                signature, signature.c.intent_id == intent.c.id).where(intent.c.outcome == "done")).scalars())
        lost = self.acknowledged - kept
        assert not lost, f"{len(lost)} acknowledged signatures are lost: {sorted(lost)[:5]}"

    def close(self) -> None:
        self._db.close()


def _line(row: dict[str, Any]) -> m.Line:
    drawn = hashlib.sha256(row["id"].encode())
    return m.Line(row["id"], row["credential_id"], row["document_digest"], drawn.hexdigest(),
                  hashlib.sha256(drawn.digest()).digest(), row["algorithm"])
