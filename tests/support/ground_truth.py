"""The ground truth: the device's own log, joined with a database.

    truth = joined(logs, db)      # raises AssertionError, with the first that do not fit, where I1 or I2 is broken

Each signature that the device gave with a credential's key belongs to exactly one intent, written before it, or to
one recorded request for a certificate; no digest was signed twice with a key; every intent has an outcome; every
value that is stored is what the device gave. What else it signed it signed with the service's own keys.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from hsm.algorithms import Algorithm
from hsm.device import ServiceKey, object_id
from hsm.encodings import signature_value
from hsm.verification import holds
from signing_service.audit import Event
from signing_service.db.engine import Database
from signing_service.db.tables import entry, intent, key, signature
from tests.support import spy_log
from tests.support.spy_log import Asked

CLOCK = timedelta(milliseconds=5)  # the spy writes milliseconds
SHOWN = 5                          # of what does not fit, so many are named
Digest = tuple[bytes, bytes]       # with which key (its CKA_ID), and what
OWN = {object_id(each.key_id): each.value for each in ServiceKey}


@dataclass(frozen=True)
class Recorded:
    """What the database says was to be signed with credentials' keys."""

    intents: dict[Digest, list[Any]]
    requests: Counter[Digest]           # for certificates: recorded, then signed
    keys: dict[bytes, Any]
    values: dict[str, bytes]            # intent -> signature value
    digests: frozenset[bytes]           # of all intents, whatever their key

    def algorithm(self, asked: Asked) -> Algorithm:
        found = self.intents.get(digest_of(asked))
        return Algorithm(found[0].algorithm) if found else Algorithm.ECDSA_SHA256


@dataclass
class Truth:
    """What was found: signatures with credentials' keys, and how many others of each kind."""

    by_credentials: list[Asked] = field(default_factory=list)
    requests: list[Asked] = field(default_factory=list)
    own: Counter[str] = field(default_factory=Counter)         # by the service's key
    hmacs: Counter[str] = field(default_factory=Counter)       # by mechanism
    outcomes: Counter[str] = field(default_factory=Counter)
    unused: int = 0                                            # intents that the device was never asked for

    @property
    def figures(self) -> dict[str, object]:
        return {
            "signatures": len(self.by_credentials), "certificate_requests": len(self.requests),
            "own": dict(self.own), "hmacs": dict(self.hmacs), "outcomes": dict(self.outcomes),
            "intents_never_asked": self.unused, "unrecorded": 0, "double": 0,
        }


def digest_of(asked: Asked) -> Digest:
    """P-256 and PSS are given the digest itself, RSA PKCS#1 a DigestInfo that ends with it."""
    sizes = {"CKM_RSA_PKCS": 32}
    return asked.key, asked.data[-sizes[asked.mechanism]:] if asked.mechanism in sizes else asked.data


def recorded(db: Database) -> Recorded:
    with db.read() as tx:
        made: dict[Digest, list[Any]] = {}
        for row in tx.execute(select(intent)):
            made.setdefault((object_id(row.key_id), bytes(row.to_sign)), []).append(row)
        keys = {object_id(row.id): row for row in tx.execute(select(key))}
        owners = {row.owner: name for name, row in keys.items()}
        values = {row.intent_id: bytes(row.value) for row in tx.execute(select(signature))}
        told = [json.loads(body) for body in tx.execute(
            select(entry.c.body).where(entry.c.event == Event.CERTIFICATE_REQUESTED.value)).scalars()]
    requests = Counter((owners[each["credential_id"]], bytes.fromhex(each["data"]["to_sign"])) for each in told)
    return Recorded(made, requests, keys, values, frozenset(to_sign for _, to_sign in made))


def joined(logs: Iterable[Path], db: Database, *, closed: bool = True) -> Truth:
    """Read all logs as streams and hold them against one database. `closed`: no intent may wait for its outcome."""
    record, truth = recorded(db), Truth()
    wrong: list[str] = []
    for log in logs:
        for asked in spy_log.signatures(log):
            _sort(asked, record, truth, wrong)
    counted = Counter(digest_of(each) for each in truth.by_credentials)
    wrong += [f"signed {times} times: {what}" for what, times in counted.items() if times != 1]
    wrong += _intents(record, counted, truth, closed=closed)
    wrong += _values(record, truth)
    assert not wrong, f"{len(wrong)} do not fit: {wrong[:SHOWN]}"
    return truth


def _sort(asked: Asked, record: Recorded, truth: Truth, wrong: list[str]) -> None:
    """Told apart by mechanism and key: HMACs, the service's own keys, requests for certificates, signatures."""
    if asked.is_hmac:
        truth.hmacs[asked.mechanism] += 1
        return
    held = record.keys.get(asked.key)
    if held is None or held.purpose != "credential":
        _sort_own(asked, held, record, truth, wrong)
    elif digest_of(asked) in record.requests:
        truth.requests.append(asked)
    else:
        truth.by_credentials.append(asked)
        wrong += _unrecorded(asked, held, record)


def _sort_own(asked: Asked, held: Any, record: Recorded, truth: Truth, wrong: list[str]) -> None:
    own = held.purpose if held is not None else OWN.get(asked.key, "")
    if own not in ("checkpoint", "self-test", "timestamp"):
        wrong.append(f"signed with a key that nobody knows: {asked}")
        return
    truth.own[own] += 1
    if asked.data in record.digests:
        wrong.append(f"the {own} key signed what an intent names: {asked}")


def _unrecorded(asked: Asked, held: Any, record: Recorded) -> list[str]:
    made = record.intents.get(digest_of(asked), [])
    if len(made) != 1:
        return [f"{len(made)} intents for {asked}"]
    problems = [f"signed before it was intended: {asked}"] if made[0].created_at > asked.at + CLOCK else []
    algorithm = record.algorithm(asked)
    if not holds(bytes(held.public_key), algorithm, made[0].to_sign, signature_value(algorithm, asked.value)):
        problems.append(f"signed by another key than {held.id}: {asked}")
    return problems


def _intents(record: Recorded, counted: Counter[Digest], truth: Truth, *, closed: bool) -> list[str]:
    """Each is closed, and what is `done` was signed, once."""
    wrong = []
    for what, rows in record.intents.items():
        row = rows[0]
        truth.outcomes[row.outcome or "open"] += 1
        truth.unused += what not in counted
        if len(rows) != 1 or (closed and row.outcome is None):
            wrong.append(f"{len(rows)} intents for {what}, the first is {row.outcome}")
        if (row.outcome == "done") > counted[what]:
            wrong.append(f"done, but the device never signed it: {row.id}")
    return wrong


def _values(record: Recorded, truth: Truth) -> list[str]:
    given = {digest_of(each): each for each in truth.by_credentials}
    wrong = []
    for what, rows in record.intents.items():
        stored, asked = record.values.get(rows[0].id), given.get(what)
        if stored is not None and (asked is None or signature_value(record.algorithm(asked), asked.value) != stored):
            wrong.append(f"a value that the device did not give: {rows[0].id}")
    return wrong

