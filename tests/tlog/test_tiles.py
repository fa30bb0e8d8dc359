"""Tiles: any batches, one tree; what is stored is what C2SP tlog-tiles says."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing_service.tlog import tiles, tree
from tests.support.log_campaign import StoredTiles

LEAVES = [hashlib.sha256(b"%d" % number).digest() for number in range(70_000)]


class Counting(StoredTiles):
    """Counts reads."""

    reads = 0

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return super().read(level, index)


def grown(*batches: int) -> tuple[StoredTiles, tiles.Append]:
    store, size = StoredTiles(), 0
    for batch in batches:
        appended = tiles.append(store, size, LEAVES[size : size + batch])
        store.stored.update(appended.changed)
        size = appended.new_size
    return store, appended


@given(st.lists(st.integers(0, 300), min_size=1, max_size=6))
@settings(deadline=None, max_examples=60)
def test_any_batches_give_the_root_and_the_tiles_of_one_batch(batches: list[int]) -> None:
    store, appended = grown(*batches)
    once, _ = grown(sum(batches))
    assert appended.new_size == sum(batches)
    assert appended.root == tree.root(LEAVES[: sum(batches)]) == tiles.root_at(store, sum(batches))
    assert store.stored == once.stored


def test_70_000_leaves_fill_the_tiles_that_the_specification_names() -> None:
    store, appended = grown(70_000)
    widths = {key: len(tile) // 32 for key, tile in store.stored.items()}
    full = {(0, index): 256 for index in range(273)} | {(1, 0): 256}
    assert widths == full | {(0, 273): 112, (1, 1): 17, (2, 0): 1}
    assert appended.root == tree.root(LEAVES)


def test_256_leaves_make_a_full_tile_and_a_partial_one_above() -> None:
    store, _ = grown(256)
    assert {key: len(tile) // 32 for key, tile in store.stored.items()} == {(0, 0): 256, (1, 0): 1}
    assert store.stored[1, 0] == tree.root(LEAVES[:256])


def test_every_complete_subtree_can_be_looked_up() -> None:
    store, _ = grown(700)
    node_at = tiles.node_at(store)
    for level in range(10):
        for index in range(700 >> level):
            first = index << level
            assert node_at(level, index) == tree.root(LEAVES[first : first + (1 << level)])


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 65_535, 65_536, 65_537, 70_000])
def test_proofs_out_of_tiles_verify(size: int) -> None:
    store, _ = grown(70_000)
    node_at, root = tiles.node_at(store), tiles.root_at(store, size)
    for index in {0, size // 2, size - 1}:
        proof = tree.inclusion_proof(index, size, node_at)
        tree.verify_inclusion(LEAVES[index], index, size, proof, root)
    for old in {1, size // 3 + 1, size}:
        proof = tree.consistency_proof(old, size, node_at)
        tree.verify_consistency(old, tiles.root_at(store, old), size, root, proof)


def test_an_append_reads_and_writes_only_the_right_edge() -> None:
    store, _ = grown(69_999)
    counting = Counting(store.stored)
    appended = tiles.append(counting, 69_999, LEAVES[69_999:])
    assert set(appended.changed) == {(0, 273)}
    assert counting.reads <= 4


def test_an_empty_batch_changes_nothing() -> None:
    store, before = grown(300)
    after = tiles.append(store, 300, [])
    assert (after.new_size, after.root, dict(after.changed)) == (300, before.root, {})


def test_tiles_left_over_from_an_append_that_was_never_signed_are_cut_back() -> None:
    """The tiles of 600 leaves are stored, the head still says 300: other leaves may follow."""
    store, _ = grown(600)
    others = [hashlib.sha256(b"other %d" % number).digest() for number in range(400)]
    appended = tiles.append(store, 300, others)
    store.stored.update(appended.changed)
    assert appended.root == tree.root(LEAVES[:300] + others)
    assert tiles.root_at(store, 700) == appended.root


def test_a_tile_that_holds_too_little_is_reported_as_damage() -> None:
    store, _ = grown(300)
    store.stored[0, 1] = store.stored[0, 1][:-32]
    with pytest.raises(tiles.TilesDamaged):
        tiles.append(store, 300, LEAVES[300:301])
    with pytest.raises(tiles.TilesDamaged):
        tiles.root_at(store, 300)


def test_a_leaf_hash_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        tiles.append(StoredTiles(), 0, [b"short"])
