"""A log of many entries, made in bulk: what five years of a city look like to a search.

    sown = long_log.sow(url, entries=1_000_000)     # less than a minute; the database is migrated, its log empty
    long_log.seal(rt, sown)                         # the checkpoint from which a signer goes on

It has the shape of real entries (sizes, events, how often each value occurs) and one rare value of each kind, and the
tree over them is the real one. The same seed gives the same log.
"""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Index, Table, insert, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex

from signing_service.db.tables import checkpoint, client, credential, entry, log_key, signing_request, tile
from signing_service.ids import draw
from signing_service.signer.runtime import Runtime
from signing_service.tlog import note, tiles, tree
from signing_service.tlog.entries import canonical

BEGINS = datetime(2022, 1, 1, tzinfo=UTC)
SPAN = timedelta(days=5 * 365)
ROUND = 10_000                     # rows of one INSERT or COPY
AGENCIES = [f"H26.{top}" for top in range(1, 41)] + [f"H26.{top}.{low}" for top in range(1, 21) for low in range(1, 9)]
EVENTS = ("signing-request:submit", "signing-request:show", "signing-request:confirm", "signature:intent",
          "signature:done", "timestamp:issue", "signing-request:signed", "signing-request:deliver")
TYPES = ("CV",) * 8 + ("QĐ",) * 5 + ("KH",) * 3 + ("TB",) * 3 + ("BC", "TTr", "GM")


@dataclass(frozen=True)
class Sown:
    """What is in it. The rare values occur in one signing request, in the middle of the time."""

    entries: int
    root: bytes
    begins: datetime
    ends: datetime
    common: dict[str, str]
    rare: dict[str, str]

    @property
    def middle(self) -> datetime:
        return self.begins + (self.ends - self.begins) / 2


def sow(url: str, entries: int = 1_000_000, seed: int = 1) -> Sown:
    """Fill the migrated database at `url`, whose log is empty, with so many entries and the rows they speak of.

    Indexes are made when everything is there, which takes a third of the time.
    """
    requests = entries // len(EVENTS)
    grown = _Tree()
    with _open(url) as sink:
        sink.drop_indexes(entry, signing_request)
        sink.write(client.name, (_client(number) for number in (*range(12), 9_999_999)))
        sink.write(credential.name, (_credential(number) for number in range(2_000)))
        sink.write(signing_request.name, (life.row for life in _lives(seed, requests)))
        sink.write(entry.name, grown.over(row for life in _lives(seed, requests) for row in life.entries()))
        sink.write(tile.name, grown.tiles())
        sink.make_indexes(entry, signing_request)
    rare = next(life.row for life in _lives(seed, requests) if life.is_rare)
    return Sown(requests * len(EVENTS), grown.root, BEGINS, BEGINS + SPAN, {
        "agency": "H26", "signatory": _id("sg", 0), "client": _id("cl", 0), "document_type": "CV", "number": "7",
        "symbol": "CV-UBND", "event": "signature:done", "outcome": "ok", "certificate": f"{_serial(0):x}",
    }, {
        "agency": "H26.99.1", "signatory": _id("sg", 9_999_999), "client": _id("cl", 9_999_999),
        "document_type": "HĐ", "number": "99999", "symbol": "HĐ-RARE", "event": "webhook:give-up",
        "outcome": "failed", "certificate": f"{_serial(1_999):x}", "digest": rare["document_digest"],
        "signing_request": rare["id"],
    })


def seal(rt: Runtime, sown: Sown) -> None:
    """Sign a checkpoint of what was sown with the device's key: the signer goes on from there."""
    held = rt.device.checkpoint_key()
    algorithm: Any = held.algorithm
    signing, name = note.CheckpointKey(algorithm, held.public_key), rt.settings.log_origin
    body = note.Checkpoint(name, sown.entries, sown.root).body()
    with rt.db.write() as tx:
        tx.execute(insert(checkpoint).values(
            id=draw("cp"), size=sown.entries, root=sown.root, at=rt.now(),
            note=note.sign_note(body, name, signing, rt.device.sign_checkpoint)))
        tx.execute(insert(log_key).values(verifier=note.verifier_string(name, signing), created_at=rt.now()))


@dataclass
class _Tree:
    """The tree over rows that pass through it on their way into the database."""

    _kept: dict[tuple[int, int], bytes] = field(default_factory=dict)
    _size: int = 0
    root: bytes = b""

    def read(self, level: int, index: int) -> bytes:
        return self._kept.get((level, index), b"")

    def over(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The same rows with their places."""
        place = 0
        for some in _rounds(rows):
            grown = tiles.append(self, self._size, [tree.leaf_hash(row["body"].encode()) for row in some])
            self._kept.update(grown.changed)
            self._size, self.root = grown.new_size, grown.root
            for row in some:
                yield {**row, "leaf_index": place}
                place += 1

    def tiles(self) -> Iterator[dict[str, Any]]:
        for (level, index), hashes in self._kept.items():
            yield {"level": level, "tile_index": index, "hashes": hashes}


@dataclass(frozen=True)
class _Life:
    """One signing request and its entries."""

    row: dict[str, Any]
    at: datetime
    is_rare: bool

    def entries(self) -> Iterator[dict[str, Any]]:
        for step, event in enumerate(EVENTS):
            at = self.at + timedelta(seconds=7 * step)
            is_odd = self.is_rare and step == len(EVENTS) - 1
            yield _entry(self.row, step, at, "webhook:give-up" if is_odd else event, "failed" if is_odd else "ok")


def _lives(seed: int, requests: int) -> Iterator[_Life]:
    """All of them; the same each time they are asked for, so that they need not be held."""
    chance = random.Random(seed)
    return (_life(chance, number, requests) for number in range(requests))


def _life(chance: random.Random, number: int, requests: int) -> _Life:
    is_rare = number == requests // 2
    at = BEGINS + SPAN * (number / requests)  # the other way round five years times a million are too many days
    who = min(int(chance.expovariate(1 / 300)), 1_998)  # a few sign very much, most sign little
    kind = chance.choice(TYPES)
    row = {
        "id": _id("sr", number), "client_id": _id("cl", min(int(chance.expovariate(1 / 2)), 11)),
        "agency_code": chance.choice(AGENCIES), "signatory_id": _id("sg", who), "credential_id": _id("cr", who),
        "state": "signed", "document_type": kind, "number": str(chance.randint(1, 3_000)), "symbol": f"{kind}-UBND",
        "subject": f"Về việc thực hiện nhiệm vụ số {number}", "secrecy": "none", "urgency": "normal",
        "filename": f"van-ban-{number}.pdf", "document_digest": _digest("document", number), "document_size": 200_000,
        "pages": 3, "earlier_signatures": 0, "warnings": "[]", "level": "B-T", "algorithm": "ecdsa-sha256",
        "policy_hash": _digest("policy", 0), "decision": '{"policy": "default", "findings": [], "terms": null}',
        "created_at": at, "expires_at": at + timedelta(days=7), "signed_digest": _digest("signed", number),
        "finish_attempts": 0,
    }
    if is_rare:
        row |= {"client_id": _id("cl", 9_999_999), "agency_code": "H26.99.1", "signatory_id": _id("sg", 9_999_999),
                "credential_id": _id("cr", 1_999), "document_type": "HĐ", "number": "99999", "symbol": "HĐ-RARE"}
    return _Life(row, at, is_rare)


def _entry(about: dict[str, Any], step: int, at: datetime, event: str, outcome: str) -> dict[str, Any]:
    named = {name: about[name] for name in ("client_id", "signatory_id", "agency_code", "credential_id",
                                            "document_digest")} | {"signing_request_id": about["id"]}
    made = f"en_{int(at.timestamp() * 1000):012x}7{step:03x}8{about['id'][-15:]}"
    body = {"v": 1, "id": made, "at": at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), "event": event, "outcome": outcome,
            "actor": f"client:{about['client_id']}", "data": {"document_type": about["document_type"],
            "number": about["number"], "policy": about["policy_hash"], "size": 200_000, "pages": 3}, **named}
    return {"id": made, "at": at, "event": event, "actor": body["actor"], "outcome": outcome, **named,
            "body": _WRITTEN.encode(body)}


_WRITTEN = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_PLAIN = {"v": 1, "data": {"number": "7", "policy": "Kế hoạch"}}
if canonical(_PLAIN).decode() != _WRITTEN.encode(_PLAIN):  # what has nothing to hide is written the same, and faster
    raise AssertionError("entries are no longer written as plain JSON with sorted names")


def _client(number: int) -> dict[str, Any]:
    return {"id": _id("cl", number), "name": f"Hệ thống {number}", "role": "submitter", "agencies": "[]",
            "secret_hash": "", "state": "active", "created_at": BEGINS}


def _credential(number: int) -> dict[str, Any]:
    return {
        "id": _id("cr", number), "kind": "personal", "signatory_id": _id("sg", number), "agency_code": "H26.1",
        "key_kind": "p-256", "algorithm": "ecdsa-sha256", "custody": "wrapped", "state": "active",
        "serial": f"{_serial(number):x}", "fingerprint": _digest("certificate", number), "created_at": BEGINS,
        "version": 1, "mac": b"",
    }


def _id(prefix: str, number: int) -> str:
    return f"{prefix}_{number:032x}"


def _serial(number: int) -> int:
    return int(_digest("serial", number)[:32], 16) | 1 << 127


def _digest(what: str, number: int) -> str:
    return hashlib.sha256(f"{what} {number}".encode()).hexdigest()


# --------------------------------------------------------------------------------------------------- in bulk


def _indexes(tables: Sequence[Table]) -> list[Index]:
    return sorted((index for table in tables for index in table.indexes), key=lambda index: str(index.name))


class _Sink(ABC):
    """Where rows go, many at a time."""

    dialect: Any

    def __enter__(self) -> _Sink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(self, table: str, rows: Iterable[dict[str, Any]]) -> None:
        for some in _rounds(rows):
            self.insert(table, list(some[0]), [tuple(row.values()) for row in some])

    @abstractmethod
    def insert(self, table: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """One round of rows of one table."""

    def drop_indexes(self, *tables: Table) -> None:
        for index in _indexes(tables):
            self.say(f"DROP INDEX {index.name}")

    def make_indexes(self, *tables: Table) -> None:
        for index in _indexes(tables):
            self.say(str(CreateIndex(index).compile(dialect=self.dialect)))

    @abstractmethod
    def say(self, statement: str) -> None:
        """Change the tables."""

    @abstractmethod
    def close(self) -> None:
        """Keep what was written."""


class _Sqlite(_Sink):
    """Without waiting for the disk: what is lost when the machine stops is sown again."""

    dialect = sqlite.dialect()

    def __init__(self, path: str) -> None:
        self._made = sqlite3.connect(path, isolation_level=None)
        for pragma in ("synchronous=OFF", "cache_size=-400000", "temp_store=MEMORY", "threads=2",
                       "wal_autocheckpoint=20000"):
            self._made.execute(f"PRAGMA {pragma}")
        self._made.execute("BEGIN")

    def insert(self, table: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        marks = ", ".join("?" * len(names))
        self._made.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                               [tuple(map(_plain, row)) for row in rows])
        self._made.execute("COMMIT")  # so that what was written leaves the WAL by and by
        self._made.execute("BEGIN")

    def say(self, statement: str) -> None:
        self._made.execute(statement)

    def close(self) -> None:
        self._made.execute("COMMIT")
        self._made.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._made.close()


class _Postgres(_Sink):
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy gives it no types

    def __init__(self, url: str) -> None:
        self._made = psycopg.connect(url)
        self._made.execute("SET maintenance_work_mem = '512MB'")

    def insert(self, table: str, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        with self._made.cursor().copy(f"COPY {table} ({', '.join(names)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)

    def say(self, statement: str) -> None:
        self._made.execute(statement.encode())

    def close(self) -> None:
        self._made.commit()
        self._made.autocommit = True
        self._made.execute("VACUUM ANALYZE")  # as autovacuum would by and by
        self._made.close()


def _open(url: str) -> _Sink:
    read = make_url(url)
    return _Sqlite(str(read.database)) if read.get_backend_name() == "sqlite" else _Postgres(url)


def _plain(value: Any) -> Any:
    """As SQLAlchemy writes a moment into SQLite."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f") if isinstance(value, datetime) else value


def _rounds(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    for row in rows:
        some.append(row)
        if len(some) == ROUND:
            yield some
            some = []
    if some:
        yield some
