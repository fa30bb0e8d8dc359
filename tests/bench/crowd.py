"""Many signatories at once, as honest rows: codes, keys, credentials, certificates, each with its MAC of the device.

    people = crowd.move_in(city, 2_000, "p-256")     # some 1.5 ms each; before the service starts

What an operator would do for each of them takes the signer some 60 ms, most of it spent waiting for the disk; here
everything is written in few transactions, and nothing of it is in the log. Of RSA one key is made and held by all of
them under their own ids (making one takes half a second): the device unwraps and keeps a key of its own for each.
`fill` makes those who only have to be there: each has its own rows with their MACs, but they share one wrapped key,
one wrapped seed and one certificate.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cryptography import x509
from sqlalchemy import insert

from hsm.algorithms import KeyKind
from hsm.device import Custody, KeyRef, SecretRef
from signing_service.db.tables import code_state, credential, key, seed, signatory
from signing_service.ids import draw
from signing_service.signer.rows import mac_of
from tests.support.city import City, Person

TOGETHER = 2_000  # people of one transaction
ALGORITHM = {"p-256": "ecdsa-sha256", "rsa-2048": "rsa-sha256"}


@dataclass(frozen=True)
class _Household:
    """The rows of one person, by table."""

    person: Person
    rows: dict[str, dict[str, Any]]


def move_in(city: City, count: int, kind: str = "p-256") -> list[Person]:
    """So many more signatories of the city's agency, each with an active code and an active credential."""
    shared = _made(city, KeyKind(kind)) if kind.startswith("rsa") else None
    return _settle([city], (_household(city, number, kind, shared) for number in range(count)))


def fill(cities: Sequence[City], count: int) -> None:
    """So many who never sign, the same in each of these cities on one device."""
    first = cities[0]
    ref, seed_ref = _made(first, KeyKind.P256), first.rt.device.generate_seed(draw("sd"))[0]
    certificate = first.ca.issue(ref.public_key, "Người không ký")
    _settle(cities, (_sleeper(first, number, ref, seed_ref, certificate) for number in range(count)))


def _settle(cities: Sequence[City], households: Iterator[_Household]) -> list[Person]:
    people: list[Person] = []
    while some := list(itertools.islice(households, TOGETHER)):
        for city in cities:
            with city.rt.db.write() as tx:
                for table in (signatory, key, credential, seed, code_state):
                    tx.execute(insert(table), [each.rows[table.name] for each in some])
        people += [each.person for each in some]
    return people


def _household(city: City, number: int, kind: str, shared: KeyRef | None) -> _Household:
    name, ref = f"Người thứ {number}", shared or _made(city, KeyKind(kind))
    seed_ref, value = city.rt.device.generate_seed(draw("sd"))
    return _rows(city, name, ref, seed_ref, city.ca.issue(ref.public_key, name), base64.b32encode(value).decode())


def _sleeper(city: City, number: int, ref: KeyRef, seed_ref: SecretRef, certificate: bytes) -> _Household:
    return _rows(city, f"Người thứ {number}", ref, seed_ref, certificate, "")


def _rows(city: City, name: str, ref: KeyRef, seed_ref: SecretRef, certificate: bytes, secret: str) -> _Household:
    at, signatory_id, credential_id = city.clock.at, draw("sg"), draw("cr")
    held = _key(city, ref, credential_id)
    rows: dict[str, dict[str, Any]] = {
        "signatory": {"id": signatory_id, "name": name, "agency_code": "H26.1", "office": "chairman",
                      "state": "active", "created_at": at},
        "key": held, "credential": _credential(city, signatory_id, credential_id, held, certificate),
        "seed": _seed(city, seed_ref, signatory_id),
        "code_state": {
            "owner": signatory_id, "last_step": 0, "attempts": 0, "failures": 0, "failures_today": 0, "today": "",
            "locks": 0, "suspicion": 0.0, "suspicion_at": datetime.fromtimestamp(0, UTC), "hard_locked": False},
    }
    return _Household(Person(signatory_id, secret, credential_id), rows)


def _made(city: City, kind: KeyKind) -> KeyRef:
    return city.rt.device.generate_key(draw("key"), kind, Custody.WRAPPED)


def _key(city: City, ref: KeyRef, owner: str) -> dict[str, Any]:
    row = {"id": draw("key"), "purpose": "credential", "kind": ref.kind.value, "custody": ref.custody.value,
           "public_key": ref.public_key, "blob": ref.blob, "owner": owner, "created_at": city.clock.at,
           "destroyed_at": None}
    return row | {"mac": mac_of(city.rt.device, "key", row)}


@lru_cache(maxsize=1)  # those who never sign share one
def _serial(certificate: bytes) -> str:
    return f"{x509.load_der_x509_certificate(certificate).serial_number:x}"


def _credential(city: City, signatory_id: str, credential_id: str, held: dict[str, Any],
                certificate: bytes) -> dict[str, Any]:
    at = city.clock.at
    row = {"id": credential_id, "kind": "personal", "signatory_id": signatory_id, "agency_code": "H26.1",
           "key_id": held["id"], "key_kind": held["kind"], "algorithm": ALGORITHM[held["kind"]], "custody": "wrapped",
           "state": "active", "reason": None, "certificate": certificate,
           "chain": city.ca.root, "not_before": at - timedelta(days=1), "not_after": at + timedelta(days=300),
           "serial": _serial(certificate), "fingerprint": sha256(certificate).hexdigest(), "replaces": None,
           "created_at": at, "version": 1}
    return row | {"mac": mac_of(city.rt.device, "credential", row)}


def _seed(city: City, ref: SecretRef, owner: str) -> dict[str, Any]:
    row = {"id": draw("sd"), "owner": owner, "state": "active", "blob": ref.blob, "created_at": city.clock.at,
           "version": 1}
    return row | {"mac": mac_of(city.rt.device, "seed", row)}
