"""A log of five million entries: appending, searching, proving, starting, against one that just began."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import select

from signing_service import verification
from signing_service.audit import Event, Fact, StoredTiles, record
from signing_service.db.engine import Database
from signing_service.db.tables import entry
from signing_service.signer import leases, sequencer
from signing_service.signer.runtime import Runtime
from signing_service.tlog import tiles, tree
from tests.bench import crowd, paper, searching
from tests.bench.figures import Figure, figure, quantile
from tests.bench.http_load import Load
from tests.bench.over_http import confirming
from tests.bench.scale.kept import Kept, databases
from tests.bench.scale.people import is_well
from tests.bench.served import Served
from tests.bench.short import less
from tests.support import postgres
from tests.support.city import Person
from tests.support.long_log import Sown
from tests.support.service import Service, until

SIZES = (0, less(5_000_000, 8_000))
ENTRIES = less(10_000, 200)     # appended
TOGETHER = 20                   # of one transaction
PROOFS = less(300, 10)
SIGNED = less(50, 3)            # over HTTP


def measure(kept: Kept, directory: Path) -> Iterator[Figure]:
    for size in SIZES:
        kept.make_logs(size)
        for name in databases():
            yield from _of_size(kept, directory / f"{name}-{size}", name, size)


def _of_size(kept: Kept, directory: Path, name: str, size: int) -> Iterator[Figure]:
    service, sown = kept.log(name, size) if size else (_new(directory, name), None)
    try:
        yield from _appended(name, size, service.city.rt)
        yield from _proven(name, size, service.city.rt)
        if sown is not None:
            yield _searched(name, service.url, sown)
        yield from _started(name, size, service)
    finally:
        service.close()


def _new(directory: Path, name: str) -> Service:
    directory.mkdir()
    url = f"sqlite:///{directory / 'signing.db'}" if name == "sqlite" else postgres.fresh_database(durable=True)
    return Served(directory, url)


def _appended(database: str, size: int, rt: Runtime) -> Iterator[Figure]:
    """Entries in transactions of twenty; then their places in the tree, under signed checkpoints."""
    leases.beat(rt)
    while sequencer.sequence(rt):
        pass  # what came before
    taken, begun = [], time.perf_counter()
    for _ in range(ENTRIES // TOGETHER):
        at = time.perf_counter()
        with rt.db.write() as tx:
            record(tx, rt.now(), *(Fact(Event.ALIVE, f"signer:{rt.id}") for _ in range(TOGETHER)), mac=rt.entry_mac)
        taken.append(time.perf_counter() - at)
    between = time.perf_counter()
    yield figure(f"{database}-append-{size}", f"{database}, {size} entries: one more, {TOGETHER} in a transaction",
                 ENTRIES, between - begun, taken)
    placed, rounds = 0, []
    while placed < ENTRIES:
        at = time.perf_counter()
        placed += sequencer.sequence(rt)
        rounds.append(time.perf_counter() - at)
    yield figure(f"{database}-place-{size}", f"{database}, {size} entries: one more finds its place", ENTRIES,
                 sum(rounds), rounds)


def _proven(database: str, size: int, rt: Runtime) -> Iterator[Figure]:
    """Inclusion and consistency, out of the stored tiles, each checked against the newest checkpoint."""
    chance, included, continued = random.Random(size), [], []
    with rt.db.read() as tx:
        newest = verification.latest_checkpoint(tx)
    assert newest is not None
    for _ in range(PROOFS):
        index = chance.randrange(1, newest.size)
        begun = time.perf_counter()
        with rt.db.read() as tx:
            body = tx.execute(select(entry.c.body).where(entry.c.leaf_index == index)).scalar_one()
            proof = tree.inclusion_proof(index, newest.size, tiles.node_at(StoredTiles(tx)))
        included.append(time.perf_counter() - begun)
        tree.verify_inclusion(tree.leaf_hash(body.encode()), index, newest.size, proof, newest.root)
        begun = time.perf_counter()
        with rt.db.read() as tx:
            older = tiles.root_at(StoredTiles(tx), index)
            proof = tree.consistency_proof(index, newest.size, tiles.node_at(StoredTiles(tx)))
        continued.append(time.perf_counter() - begun)
        tree.verify_consistency(index, older, newest.size, newest.root, proof)
    yield figure(f"{database}-included-{size}", f"{database}, {size} entries: proof that one is in it", PROOFS,
                 sum(included), included)
    yield figure(f"{database}-continued-{size}", f"{database}, {size} entries: proof that it continues an older one",
                 PROOFS, sum(continued), continued)


def _searched(database: str, url: str, sown: Sown) -> Figure:
    """All searches of `searching`, and how long the slowest took: the median of them all stands where p50 does."""
    db = Database(url)
    try:
        each = [searching.timed(database, f"{what} ({who})", db, reader, sown, wanted, rounds=2)
                for who, reader in searching.READERS.items() for what, wanted in searching.wanted(sown)]
    finally:
        db.close()
    slowest = max(each, key=lambda one: one.p50_ms)
    taken = [one.p50_ms / 1000 for one in each]
    what = f"{database}, {sown.entries} entries: {len(each)} searches; the slowest: {slowest.what}"
    return Figure(f"{database}-search-{sown.entries}", what, len(each) / sum(taken), quantile(taken, 0.5) * 1000,
                  max(taken) * 1000)


def _started(database: str, size: int, service: Service) -> Iterator[Figure]:
    """Signer, jobs and front: until they are ready; then all are killed at once, and started again."""
    officials = crowd.move_in(service.city, SIGNED)
    leases.release(service.city.rt)
    for how in ("start", "restart"):
        begun = time.perf_counter()
        for name in ("signer", "jobs", "front0"):
            service.run(name)
        until(lambda: is_well(service.directory / "sign.sock"), 180, "the signer is well")
        signer = time.perf_counter() - begun
        service.await_ready()
        ready = time.perf_counter() - begun
        told = f"{database}, {size} entries: {'start' if how == 'start' else 'after all were killed'}"
        yield figure(f"{database}-signer-{how}-{size}", f"{told}, the signer is well", 1, signer, [signer])
        yield figure(f"{database}-ready-{how}-{size}", f"{told}, all is ready", 1, ready, [ready])
        if how == "start":
            yield _signed(database, size, service, officials)
            _kill_all(service)


def _signed(database: str, size: int, service: Service, officials: list[Person]) -> Figure:
    """One document each over HTTP, one after the other."""
    load, taken = Load(service, 1), []
    for who in officials:
        target = f"signing-requests/{load.submit(who, paper.another(0), 'B-T')}"
        begun = time.perf_counter()
        confirming(load, who, target)()
        taken.append(time.perf_counter() - begun)
    what = f"{database}, {size} entries: a confirmation over HTTP, B-T"
    return figure(f"{database}-confirm-{size}", what, len(taken), sum(taken), taken)


def _kill_all(service: Service) -> None:
    for running in service.running.values():
        running.process.kill()
    for running in service.running.values():
        running.process.wait()
    service.running.clear()
