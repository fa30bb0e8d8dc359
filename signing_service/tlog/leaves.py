"""Leaf hashes of a stored tree that may be believed, because they lead to a checkpoint.

The tree's hashes lie beside the entries, so whoever changes one can change the other. They are good for one
thing: where they still lead to a checkpoint, they say which entry belongs at which index.
"""

from __future__ import annotations

from collections.abc import Sequence

from signing_service.errors import Invalid, SigningError
from signing_service.tlog.note import Checkpoint
from signing_service.tlog.tree import Frontier, NodeAt

_CHUNK = 256  # one tile of leaf hashes: 255 hashes prove all of them at once
_KEPT = 4  # chunks in memory: the one being read, the next, and two for looking around


class TrustedLeaves:
    """`at(index)` is the leaf hash that a checkpoint vouches for, or None.

    Every index is judged by the first checkpoint in `anchors` that covers it, so the most trusted comes first.
    `damaged` is the first index found where stored hashes lead nowhere.
    """

    def __init__(self, node_at: NodeAt | None, anchors: Sequence[Checkpoint]) -> None:
        self._node_at = node_at or _no_hashes
        self._anchors = anchors if node_at else ()
        self._first, self._leaves = 0, list[bytes]()  # the chunk looked at last
        self._chunks: dict[tuple[int, int], list[bytes]] = {}
        self.damaged: int | None = None

    def at(self, index: int) -> bytes | None:
        if not self._first <= index < self._first + len(self._leaves):
            self._turn_to(index)
        return self._leaves[index - self._first] if self._leaves else None

    def _turn_to(self, index: int) -> None:
        anchor = self._anchor(index)
        first = index - index % _CHUNK
        leaves = [] if anchor is None or index < 0 else self._chunk(index // _CHUNK, anchor)
        # The start of this chunk may be for a more trusted, shorter anchor to judge.
        self._first = max([first, *(shorter.size for shorter in self._anchors if shorter.size <= index)])
        self._leaves = leaves[self._first - first :]

    def _anchor(self, index: int) -> Checkpoint | None:
        return next((anchor for anchor in self._anchors if index < anchor.size), None)

    def _chunk(self, number: int, anchor: Checkpoint) -> list[bytes]:
        key = (number, anchor.size)
        if key not in self._chunks:
            if len(self._chunks) >= _KEPT:
                del self._chunks[next(iter(self._chunks))]
            self._chunks[key] = self._read(number * _CHUNK, anchor)
        return self._chunks[key]

    def _read(self, first: int, anchor: Checkpoint) -> list[bytes]:
        """The chunk's leaf hashes if they lead to the checkpoint, else nothing."""
        try:
            leaves = [self._node_at(0, at) for at in range(first, min(first + _CHUNK, anchor.size))]
            frontier = Frontier.at(first, self._node_at)
            for leaf in leaves:
                frontier.push(leaf)
            frontier.fill(anchor.size, self._node_at)
        except SigningError:  # the store does not hold these hashes: the same as holding wrong ones
            leaves, root = [], b""
        else:
            root = frontier.root()
        if root == anchor.root:
            return leaves
        self.damaged = first if self.damaged is None else min(first, self.damaged)
        return []


def _no_hashes(level: int, index: int) -> bytes:
    raise Invalid(f"no stored hashes were given, so there is none at level {level}, index {index}")
