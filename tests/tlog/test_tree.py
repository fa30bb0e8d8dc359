"""The tree against RFC 6962 written down naively, and against published values."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signing_service.errors import Invalid
from signing_service.tlog import tree

LARGEST = 70

# The inputs and roots that Certificate Transparency implementations have been tested with since RFC 6962.
LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 2.1, word by word, over the data itself."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    k = naive_split(len(leaves))
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


def naive_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """RFC 6962 2.1.1, PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: Sequence[bytes], complete: bool) -> list[bytes]:
    """RFC 6962 2.1.2, SUBPROOF(m, D[n], b)."""
    if m == len(leaves):
        return [] if complete else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], complete), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], False), naive_root(leaves[:k])]


def naive_split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def data(size: int) -> list[bytes]:
    return [b"entry %d" % index for index in range(size)]


DATA = data(LARGEST)
NAIVE_ROOTS = [naive_root(DATA[:size]) for size in range(LARGEST + 1)]


def node_at(level: int, index: int) -> bytes:
    return naive_root(DATA[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", range(1, 9))
def test_the_published_roots_come_out(size: int) -> None:
    assert tree.root([tree.leaf_hash(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size - 1]
    assert naive_root(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert tree.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert tree.root_at(0, node_at) == tree.EMPTY_ROOT


def test_the_root_is_the_naive_one_at_every_size() -> None:
    for size in range(LARGEST + 1):
        assert tree.root([tree.leaf_hash(leaf) for leaf in DATA[:size]]) == NAIVE_ROOTS[size]
        assert tree.root_at(size, node_at) == NAIVE_ROOTS[size]


def test_every_inclusion_proof_is_the_naive_one_and_verifies() -> None:
    for size in range(1, LARGEST + 1):
        for index in range(size):
            proof = tree.inclusion_proof(index, size, node_at)
            assert proof == naive_path(index, DATA[:size])
            tree.verify_inclusion(tree.leaf_hash(DATA[index]), index, size, proof, NAIVE_ROOTS[size])


def test_every_consistency_proof_is_the_naive_one_and_verifies() -> None:
    for new in range(1, LARGEST + 1):
        for old in range(new + 1):
            proof = tree.consistency_proof(old, new, node_at)
            assert proof == (naive_subproof(old, DATA[:new], True) if old else [])
            tree.verify_consistency(old, NAIVE_ROOTS[old], new, NAIVE_ROOTS[new], proof)


def test_a_tree_goes_on_from_stored_hashes_as_if_it_had_read_the_leaves() -> None:
    for size in range(LARGEST + 1):
        frontier = tree.Frontier.at(size, node_at)
        for leaf in DATA[size:]:
            frontier.push(tree.leaf_hash(leaf))
        assert frontier.root() == NAIVE_ROOTS[LARGEST]


def test_a_subtree_cannot_be_added_where_it_does_not_begin() -> None:
    frontier = tree.Frontier.at(3, node_at)
    with pytest.raises(ValueError, match="multiple"):
        frontier.push(node_at(1, 2), level=1)


def flipped(digest: bytes, bit: int) -> bytes:
    at = bit % (len(digest) * 8)
    return (int.from_bytes(digest) ^ (1 << at)).to_bytes(len(digest))


MUTATIONS = st.sampled_from(["flip", "drop", "add", "swap", "short", "twice"])


def mutated(proof: list[bytes], how: str, at: int, bit: int) -> list[bytes]:
    """A proof that differs from the given one."""
    place = at % len(proof) if proof else 0
    match how:
        case "flip" if proof:
            return [*proof[:place], flipped(proof[place], bit), *proof[place + 1 :]]
        case "drop" if proof:
            return proof[:place] + proof[place + 1 :]
        case "swap" if len(proof) > 1:
            return [*proof[1:], proof[0]]
        case "short" if proof:
            return [*proof[:place], proof[place][:31], *proof[place + 1 :]]
        case "twice" if proof:
            return [*proof[:place], proof[place], *proof[place:]]
    return [*proof, hashlib.sha256(bytes([bit % 256])).digest()]


@given(st.data(), MUTATIONS, st.integers(0, 1 << 16), st.integers(0, 1 << 16))
@settings(deadline=None, max_examples=300)
def test_no_changed_inclusion_proof_is_accepted(draw: st.DataObject, how: str, at: int, bit: int) -> None:
    size = draw.draw(st.integers(1, LARGEST))
    index = draw.draw(st.integers(0, size - 1))
    proof = mutated(tree.inclusion_proof(index, size, node_at), how, at, bit)
    with pytest.raises(tree.ProofInvalid):
        tree.verify_inclusion(tree.leaf_hash(DATA[index]), index, size, proof, NAIVE_ROOTS[size])


@given(st.data(), MUTATIONS, st.integers(0, 1 << 16), st.integers(0, 1 << 16))
@settings(deadline=None, max_examples=300)
def test_no_changed_consistency_proof_is_accepted(draw: st.DataObject, how: str, at: int, bit: int) -> None:
    new = draw.draw(st.integers(1, LARGEST))
    old = draw.draw(st.integers(0, new))
    proof = mutated(tree.consistency_proof(old, new, node_at), how, at, bit)
    with pytest.raises(tree.ProofInvalid):
        tree.verify_consistency(old, NAIVE_ROOTS[old], new, NAIVE_ROOTS[new], proof)


def test_a_proof_for_one_place_shows_no_other_place() -> None:
    for size in (1, 2, 7, 8, 13):
        for index in range(size):
            proof = tree.inclusion_proof(index, size, node_at)
            for other in range(-1, size + 2):
                if other != index:
                    with pytest.raises(tree.ProofInvalid):
                        tree.verify_inclusion(
                            tree.leaf_hash(DATA[index]), other, size, proof, NAIVE_ROOTS[size]
                        )


def test_a_proof_shows_no_other_leaf_and_no_other_root() -> None:
    proof = tree.inclusion_proof(4, 13, node_at)
    for leaf, root in ((DATA[5], NAIVE_ROOTS[13]), (DATA[4], NAIVE_ROOTS[12])):
        with pytest.raises(tree.ProofInvalid):
            tree.verify_inclusion(tree.leaf_hash(leaf), 4, 13, proof, root)


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    """The second-preimage attack that RFC 6962's prefixes are there for."""
    inner = tree.node_hash(tree.leaf_hash(DATA[0]), tree.leaf_hash(DATA[1]))
    forged = tree.leaf_hash(tree.leaf_hash(DATA[0]) + tree.leaf_hash(DATA[1]))
    assert inner != forged
    with pytest.raises(tree.ProofInvalid):
        tree.verify_inclusion(forged, 0, 2, [node_at(1, 1)], NAIVE_ROOTS[4])


REFUSED_CONSISTENCY: dict[str, tuple[int, bytes, int, bytes, list[bytes]]] = {
    "a smaller new tree": (5, NAIVE_ROOTS[5], 4, NAIVE_ROOTS[4], []),
    "a negative size": (-1, NAIVE_ROOTS[0], 4, NAIVE_ROOTS[4], []),
    "the same size with two roots": (5, NAIVE_ROOTS[5], 5, NAIVE_ROOTS[4], []),
    "an empty tree with a root that is not the empty one": (0, NAIVE_ROOTS[1], 4, NAIVE_ROOTS[4], []),
    "two empty trees with a root that is not the empty one": (0, NAIVE_ROOTS[1], 0, NAIVE_ROOTS[1], []),
    "no proof where one is needed": (3, NAIVE_ROOTS[3], 4, NAIVE_ROOTS[4], []),
    "two empty trees, the new one with a root": (0, NAIVE_ROOTS[0], 0, NAIVE_ROOTS[1], []),
    "a grown tree that kept its root": (4, NAIVE_ROOTS[4], 8, NAIVE_ROOTS[4], []),
    "a root of the wrong length": (0, b"", 4, NAIVE_ROOTS[4], []),
}


@pytest.mark.parametrize("case", REFUSED_CONSISTENCY.values(), ids=list(REFUSED_CONSISTENCY))
def test_consistency_is_refused_for(case: tuple[int, bytes, int, bytes, list[bytes]]) -> None:
    with pytest.raises(tree.ProofInvalid):
        tree.verify_consistency(*case)


def test_a_proof_with_more_steps_than_the_tree_has_levels_is_refused_even_if_the_roots_fit() -> None:
    """Whoever makes the roots can make them fit; only the number of steps shows that the sizes are a lie."""
    leaf, a, b, c = (tree.leaf_hash(DATA[index]) for index in range(4))
    with pytest.raises(tree.ProofInvalid, match="too long"):
        tree.verify_inclusion(leaf, 0, 1, [a], tree.node_hash(a, leaf))
    old_root = tree.node_hash(c, tree.node_hash(b, leaf))
    new_root = tree.node_hash(c, tree.node_hash(b, tree.node_hash(leaf, a)))
    with pytest.raises(tree.ProofInvalid, match="too long"):
        tree.verify_consistency(3, old_root, 4, new_root, [leaf, a, b, c])


@pytest.mark.parametrize(("index", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_no_proof_is_made_for_an_entry_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(Invalid, match="is not in a log"):
        tree.inclusion_proof(index, size, node_at)


@pytest.mark.parametrize(("old", "new"), [(5, 4), (-1, 4)])
def test_no_consistency_proof_is_made_backwards(old: int, new: int) -> None:
    with pytest.raises(Invalid, match="cannot continue"):
        tree.consistency_proof(old, new, node_at)
