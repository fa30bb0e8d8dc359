"""The tree as it is stored: tiles of 256 hashes, the way C2SP tlog-tiles cuts it.

Tile (level, index) holds up to 256 hashes of 32 bytes; hash number i of level L is the hash of the complete
subtree over the leaves [i * 256**L, (i + 1) * 256**L). Level 0 holds the leaf hashes. A tile that is not full
never counts in the level above. Everything between two levels is computed when it is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from signing_service.errors import Unavailable
from signing_service.tlog import tree

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
TILE_BYTES = TILE_WIDTH * tree.HASH_BYTES
_CACHED = 64  # tiles one reading keeps: a proof touches two per level, a stream always the newest

TileKey = tuple[int, int]


class TilesDamaged(Unavailable):
    """The stored hashes are not those of a tree of this size; only an operator can say what happened."""

    code = "tiles-damaged"


class Tiles(Protocol):
    """Where tiles are kept."""

    def read(self, level: int, index: int) -> bytes:
        """The tile's hashes, concatenated; fewer than 256 for a partial tile, empty where there is none."""


@dataclass(frozen=True)
class Append:
    """A tree after more leaves: what to store, and the root to sign.

    `changed` holds whole tiles (also the partial rightmost ones) by (level, index). It must become durable
    before, or in one transaction with, the checkpoint that covers it.
    """

    new_size: int
    root: bytes
    changed: Mapping[TileKey, bytes]


def append(tiles: Tiles, size: int, leaf_hashes: Sequence[bytes]) -> Append:
    """Continue the tree of `size` leaves; reads at most one tile per level, O(leaves + log size) hashes.

    Tiles that reach beyond `size` (an earlier append whose checkpoint was never written) are cut back to it.
    Raises `TilesDamaged` where a tile holds too little.
    """
    edge = _Edge(tiles, size)
    for digest in leaf_hashes:
        edge.add(digest)
    new_size = size + len(leaf_hashes)
    return Append(new_size, root_at(edge, new_size), edge.changed())


def node_at(tiles: Tiles) -> tree.NodeAt:
    """Hashes of complete subtrees out of these tiles; raises `TilesDamaged` for what they do not hold.

    It remembers tiles it has read, so take a new one for every transaction.
    """
    read = lru_cache(maxsize=_CACHED)(tiles.read)

    def look_up(level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        first = index << height
        return _fold(_hashes(read(tile_level, first // TILE_WIDTH), first % TILE_WIDTH, 1 << height))

    return look_up


def root_at(tiles: Tiles, size: int) -> bytes:
    """The root of the first `size` leaves."""
    return tree.root_at(size, node_at(tiles))


class _Edge:
    """The right edge of the tree while leaves are added; itself readable as tiles."""

    def __init__(self, tiles: Tiles, size: int) -> None:
        self._tiles = tiles
        self._size = size
        self._counts: dict[int, int] = {}
        self._changed: dict[TileKey, bytearray] = {}

    def add(self, digest: bytes, level: int = 0) -> None:
        if len(digest) != tree.HASH_BYTES:
            raise ValueError(f"a leaf hash has {tree.HASH_BYTES} bytes")
        count = self._counts.get(level, self._size >> (TILE_HEIGHT * level))
        tile = self._open(level, count)
        tile += digest
        self._counts[level] = count + 1
        if len(tile) == TILE_BYTES:
            self.add(_fold(_hashes(tile, 0, TILE_WIDTH)), level + 1)

    def _open(self, level: int, count: int) -> bytearray:
        index, held = divmod(count, TILE_WIDTH)
        key = (level, index)
        if key not in self._changed:
            stored = self._tiles.read(level, index) if held else b""
            self._changed[key] = bytearray(b"".join(_hashes(stored, 0, held)))
        return self._changed[key]

    def read(self, level: int, index: int) -> bytes:
        changed = self._changed.get((level, index))
        return self._tiles.read(level, index) if changed is None else bytes(changed)

    def changed(self) -> dict[TileKey, bytes]:
        return {key: bytes(tile) for key, tile in self._changed.items()}


def _hashes(tile: bytes | bytearray, first: int, count: int) -> list[bytes]:
    begin, end = first * tree.HASH_BYTES, (first + count) * tree.HASH_BYTES
    if len(tile) < end:
        raise TilesDamaged("the stored tree does not hold the hashes a log of this size must have")
    return [bytes(tile[at : at + tree.HASH_BYTES]) for at in range(begin, end, tree.HASH_BYTES)]


def _fold(hashes: list[bytes]) -> bytes:
    """The hash of a complete subtree from 1, 2, 4, … 256 hashes of one level."""
    while len(hashes) > 1:
        hashes = [tree.node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]
