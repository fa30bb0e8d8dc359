"""RFC 6962 Merkle tree hashes and proofs, computed from complete subtrees.

A complete subtree is named (level, index): it covers the leaves [index * 2**level, (index + 1) * 2**level).
Its hash never changes once its last leaf is there, which is why a log can store it and a proof can be made from
stored hashes alone. `NodeAt` is the seam: it returns the hash of one complete subtree, or raises.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from signing_service.errors import Invalid

HASH_BYTES = 32  # SHA-256
EMPTY_ROOT = hashlib.sha256(b"").digest()  # RFC 6962 2.1: the hash of an empty list

NodeAt = Callable[[int, int], bytes]


class ProofInvalid(Invalid):
    """The proof does not show what it claims; nothing may be concluded from it."""

    code = "proof-invalid"


def leaf_hash(data: bytes) -> bytes:
    """The hash of one entry's canonical bytes (RFC 6962 2.1: prefix 0x00)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 6962 2.1: prefix 0x01, so that no node can pass for a leaf)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree being read from the left: its maximal complete subtrees and nothing else, O(log n) memory."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []

    @classmethod
    def at(cls, size: int, node_at: NodeAt) -> Frontier:
        """The tree of the first `size` leaves, from stored hashes; O(log size) look-ups."""
        frontier = cls()
        frontier.fill(size, node_at)
        return frontier

    def copy(self) -> Frontier:
        twin = Frontier()
        twin.size, twin._peaks = self.size, self._peaks.copy()
        return twin

    def push(self, digest: bytes, level: int = 0) -> None:
        """Add the next complete subtree; its level must fit where the tree ends (a leaf always fits)."""
        if self.size % (1 << level):
            raise ValueError("a subtree begins only at a multiple of its own width")
        self.size += 1 << level
        while self._peaks and self._peaks[-1][0] == level:
            digest = node_hash(self._peaks.pop()[1], digest)
            level += 1
        self._peaks.append((level, digest))

    def fill(self, size: int, node_at: NodeAt) -> None:
        """Go on to `size` leaves with stored hashes instead of leaves."""
        while self.size < size:
            level = _widest(self.size, size)
            self.push(node_at(level, self.size >> level), level)

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        digest = self._peaks[-1][1]
        for _, left in reversed(self._peaks[:-1]):
            digest = node_hash(left, digest)
        return digest


def root(leaf_hashes: Iterable[bytes]) -> bytes:
    """The Merkle tree hash over these leaf hashes (RFC 6962 2.1)."""
    frontier = Frontier()
    for digest in leaf_hashes:
        frontier.push(digest)
    return frontier.root()


def root_at(size: int, node_at: NodeAt) -> bytes:
    """The root of the first `size` leaves, from stored hashes."""
    return Frontier.at(size, node_at).root()


def inclusion_proof(index: int, size: int, node_at: NodeAt) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 2.1.1); `Invalid` if not in it."""
    if not 0 <= index < size:
        raise Invalid(f"entry {index} is not in a log of {size} entries", code="not-in-log")
    path: list[bytes] = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            path.append(_subtree(middle, end, node_at))
            end = middle
        else:
            path.append(_subtree(first, middle, node_at))
            first = middle
    return path[::-1]


def consistency_proof(old: int, new: int, node_at: NodeAt) -> list[bytes]:
    """The proof that the tree of `new` leaves begins with the tree of `old` leaves (RFC 6962 2.1.2).

    Empty when there is nothing to prove: `old` is 0 or equal to `new`. `Invalid` when `old` is the larger.
    """
    if not 0 <= old <= new:
        raise Invalid(f"a log of {new} entries cannot continue one of {old}", code="not-in-log")
    if old in (0, new):
        return []
    path: list[bytes] = []
    first, end = 0, new
    while old != end:
        middle = first + _split(end - first)
        if old <= middle:
            path.append(_subtree(middle, end, node_at))
            end = middle
        else:
            path.append(_subtree(first, middle, node_at))
            first = middle
    if first > 0:  # the old tree's last subtree is not the old tree itself, so the verifier must be told it
        path.append(_subtree(first, end, node_at))
    return path[::-1]


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> None:
    """Raise `ProofInvalid` unless the proof leads from the leaf hash at `index` to the root (RFC 9162 2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofInvalid(f"entry {index} is not in a log of {size} entries")
    _check_hashes(leaf, expected_root, *proof)
    fn, sn, digest = index, size - 1, leaf
    for step in proof:
        if sn == 0:
            raise ProofInvalid("the inclusion proof is too long")
        if fn & 1 or fn == sn:
            digest = node_hash(step, digest)
            fn, sn = _skip_missing_right(fn, sn)
        else:
            digest = node_hash(digest, step)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofInvalid("the inclusion proof is too short")
    if digest != expected_root:
        raise ProofInvalid(f"the inclusion proof of entry {index} does not lead to the root")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raise `ProofInvalid` unless the new tree is shown to continue the old one (RFC 9162 2.1.4.2)."""
    if not 0 <= old_size <= new_size:
        raise ProofInvalid(f"a log of {new_size} entries cannot continue one of {old_size}")
    _check_hashes(old_root, new_root, *proof)
    if old_size in (0, new_size):
        _verify_trivial(old_root, EMPTY_ROOT if old_size == 0 else new_root, proof)
        if new_size == 0:
            _verify_trivial(new_root, EMPTY_ROOT, proof)
        return
    seed, steps = (old_root, proof) if _is_power_of_two(old_size) else (b"", proof)
    if not seed:
        if not proof:
            raise ProofInvalid("the consistency proof is too short")
        seed, steps = proof[0], proof[1:]
    _verify_steps(old_size, old_root, new_size, new_root, seed, steps)


def _verify_steps(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, seed: bytes, steps: Sequence[bytes]
) -> None:
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    older = newer = seed
    for step in steps:
        if sn == 0:
            raise ProofInvalid("the consistency proof is too long")
        if fn & 1 or fn == sn:
            older, newer = node_hash(step, older), node_hash(step, newer)
            fn, sn = _skip_missing_right(fn, sn)
        else:
            newer = node_hash(newer, step)
        fn, sn = fn >> 1, sn >> 1
    if sn:
        raise ProofInvalid("the consistency proof is too short")
    if older != old_root:
        raise ProofInvalid(f"the consistency proof does not lead to the root at {old_size} entries")
    if newer != new_root:
        raise ProofInvalid(f"the consistency proof does not lead to the root at {new_size} entries")


def _verify_trivial(found: bytes, expected: bytes, proof: Sequence[bytes]) -> None:
    if proof:
        raise ProofInvalid("the consistency proof is too long")
    if found != expected:
        raise ProofInvalid("two trees of the same size have different roots")


def _skip_missing_right(fn: int, sn: int) -> tuple[int, int]:
    """Where the right edge has no sibling the proof has no step: climb until this node is a right child."""
    while not fn & 1 and fn:
        fn, sn = fn >> 1, sn >> 1
    return fn, sn


def _check_hashes(*hashes: bytes) -> None:
    if any(len(digest) != HASH_BYTES for digest in hashes):
        raise ProofInvalid(f"every hash of a proof has {HASH_BYTES} bytes")


def _subtree(first: int, end: int, node_at: NodeAt) -> bytes:
    """MTH(D[first:end]) for a range that RFC 6962's splitting makes: its own splitting is the same shape."""
    peaks: list[bytes] = []
    while first < end:
        level = _widest(first, end)
        peaks.append(node_at(level, first >> level))
        first += 1 << level
    digest = peaks.pop()
    while peaks:
        digest = node_hash(peaks.pop(), digest)
    return digest


def _widest(first: int, end: int) -> int:
    """The level of the widest complete subtree that begins at `first` and does not pass `end`."""
    fits = (end - first).bit_length() - 1
    return fits if first == 0 else min(fits, (first & -first).bit_length() - 1)


def _split(width: int) -> int:
    """The largest power of two smaller than `width` (RFC 6962 2.1: k < n <= 2k)."""
    return 1 << ((width - 1).bit_length() - 1)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
