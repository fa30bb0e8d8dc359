"""The proofs of the log in its database, and what it takes to fool who verifies it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from signing_service import verification
from signing_service.db.tables import checkpoint, entry, tile
from signing_service.errors import Invalid, Unavailable
from signing_service.tlog import note, tree
from signing_service.tlog.findings import Kind
from signing_service.tlog.note import NoteInvalid
from tests.support import databases
from tests.support.auditing import AUDITOR, fact, happened, search, tell
from tests.support.hall import Hall

# --------------------------------------------------------------------------------------------------------- proofs


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_proofs_verify(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        it.sequence()
        older = note.read_unverified(verification.checkpoint_note(it.rt.db))
        happened(it, *(fact(number) for number in range(600)))
        it.sequence()
        newest = note.read_unverified(verification.checkpoint_note(it.rt.db))
        for each in search(it, event="signing-request:submit", limit=5).entries:
            proof = verification.prove_inclusion(it.rt.db, AUDITOR, it.clock(), each.id)
            assert (proof.size, bytes.fromhex(proof.root)) == (newest.size, newest.root)
            tree.verify_inclusion(bytes.fromhex(each.leaf_hash), proof.index, proof.size,
                                  [bytes.fromhex(step) for step in proof.proof], newest.root)
        grown = verification.prove_consistency(it.rt.db, older.size)
        tree.verify_consistency(older.size, older.root, newest.size, newest.root,
                                [bytes.fromhex(step) for step in grown.proof])
        with pytest.raises(Invalid):
            verification.prove_consistency(it.rt.db, older.size, newest.size + 1)
        with pytest.raises(Invalid):
            verification.prove_consistency(it.rt.db, newest.size + 1)
        waiting = it.entries("audit:read")[-1].id
        with pytest.raises(Unavailable):
            verification.prove_inclusion(it.rt.db, AUDITOR, it.clock(), waiting)

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


def test_without_a_checkpoint_there_is_nothing_to_prove(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        with pytest.raises(Unavailable):
            verification.checkpoint_note(it.rt.db)
        with pytest.raises(Unavailable):
            verification.prove_consistency(it.rt.db, 0)

    tell(tmp_path, story)


# --------------------------------------------------------------------------------------------------- verification


def verify(it: Hall, **more: Any) -> verification.Verified:
    return verification.verify_stored(it.rt.db, AUDITOR, it.clock(), **more)


def three_hundred(it: Hall) -> tuple[str, str]:
    """A log with a checkpoint that an auditor has taken away, and its key."""
    happened(it, *(fact(number) for number in range(300)))
    it.sequence()
    (key,) = verification.verifier_keys(it.rt.db)
    return verification.checkpoint_note(it.rt.db), key


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_an_untouched_log_verifies_whole_and_in_part(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        outside, key = three_hundred(it)
        whole = verify(it, outside=outside, verifier=key)
        assert whole.ok, whole
        assert whole.report.proven_size == note.read_unverified(outside).size
        assert verify(it, outside=outside, verifier=key, start=100, end=140).ok
        alone = verify(it)
        assert alone.ok
        assert any("same database" in each for each in alone.report.not_proven)
        assert any("outside" in each for each in alone.report.not_proven)

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


Tampering = Callable[[Hall], object]


def change(it: Hall, statement: Any) -> None:
    with it.rt.db.write() as tx:
        tx.execute(statement)


def _swap(it: Hall) -> None:
    with it.rt.db.write() as tx:
        for old, new in ((50, 10_050), (51, 50), (10_050, 51)):
            tx.execute(update(entry).where(entry.c.leaf_index == old).values(leaf_index=new))


def _insert(it: Hall) -> None:
    happened(it, fact(999))
    with it.rt.db.write() as tx:
        tx.execute(text("UPDATE entry SET leaf_index = leaf_index + 100000 WHERE leaf_index >= 60"))
        tx.execute(text("UPDATE entry SET leaf_index = leaf_index - 99999 WHERE leaf_index >= 100060"))
        tx.execute(update(entry).where(entry.c.actor == "client:999").values(leaf_index=60))


TAMPERED: dict[str, tuple[Tampering, set[Kind]]] = {
    "an entry's text": (lambda it: change(it, update(entry).where(entry.c.leaf_index == 50).values(
        body=entry.c.body.op("||")(" "))), {Kind.CHANGED, Kind.MALFORMED}),
    "an entry's text, well made": (lambda it: change(it, text(
        "UPDATE entry SET body = replace(body, '\"ok\"', '\"no\"') WHERE leaf_index = 50")), {Kind.CHANGED}),
    "an entry removed": (lambda it: change(it, delete(entry).where(entry.c.leaf_index == 50)), {Kind.REMOVED}),
    "two entries swapped": (_swap, {Kind.REORDERED}),
    "an entry put in": (_insert, {Kind.INSERTED}),
    "the end cut off": (lambda it: change(it, delete(entry).where(entry.c.leaf_index > 200)), {Kind.TRUNCATED}),
    "the stored tree": (lambda it: change(it, update(tile).where(tile.c.level == 0, tile.c.tile_index == 0).values(
        hashes=b"\0" * 8192)), {Kind.BAD_HASHES}),
}


@pytest.mark.parametrize(("tamper", "kinds"), TAMPERED.values(), ids=TAMPERED.keys())
def test_tampering_is_found_and_named(tmp_path: Path, tamper: Tampering, kinds: set[Kind]) -> None:
    async def story(it: Hall) -> None:
        outside, key = three_hundred(it)
        tamper(it)
        for held in (outside, None):
            found = verify(it, outside=held, verifier=key)
            assert not found.ok
            assert {each.kind for each in found.report.findings} & kinds, found.report.findings

    tell(tmp_path, story)


def test_a_log_rolled_back_is_found_only_with_the_checkpoint_held_outside(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        three_hundred(it)
        size = note.read_unverified(verification.checkpoint_note(it.rt.db)).size
        happened(it, fact(1000))
        it.sequence()
        outside = verification.checkpoint_note(it.rt.db)
        (key,) = verification.verifier_keys(it.rt.db)
        with it.rt.db.write() as tx:  # everything since is gone, the checkpoint with it
            tx.execute(delete(checkpoint).where(checkpoint.c.size > size))
            tx.execute(delete(entry).where(entry.c.leaf_index >= size))
            tx.execute(delete(entry).where(entry.c.leaf_index.is_(None)))
        assert verify(it, verifier=key).report.ok
        found = verify(it, verifier=key, outside=outside)
        assert {each.kind for each in found.report.findings} & {Kind.ROLLED_BACK, Kind.TRUNCATED}

    tell(tmp_path, story)


def test_a_column_that_was_changed_is_found_although_the_tree_does_not_cover_it(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        _, key = three_hundred(it)
        change(it, update(entry).where(entry.c.leaf_index == 50).values(actor="client:nobody"))
        found = verify(it, verifier=key)
        assert found.report.ok
        assert not found.ok
        assert len(found.columns) == 1
        assert "the column actor" in found.columns[0]

    tell(tmp_path, story)


def test_a_checkpoint_of_another_key_is_refused(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        outside, key = three_hundred(it)
        name, _, rest = key.partition("+")
        with pytest.raises(NoteInvalid):
            verify(it, outside=outside, verifier=f"{name}.other+{rest}")
        with it.rt.db.write() as tx:
            row = tx.execute(select(checkpoint).order_by(checkpoint.c.size.desc()).limit(1)).one()
            forged = row.note.replace(f"\n{row.size}\n", f"\n{row.size + 1}\n")
            tx.execute(insert(checkpoint).values(id="cp_forged", size=row.size + 1, root=row.root, note=forged,
                                                 at=datetime.now(UTC)))
        with pytest.raises(NoteInvalid):
            verify(it, verifier=key)

    tell(tmp_path, story)
