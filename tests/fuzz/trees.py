"""Mutations of what JSON and MessagePack carry: some value of a tree becomes another, or moves."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from tests.fuzz.havoc import havoc

VALUES: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, -(2**53), 2**63 - 1, 2**64 - 1, 0.0, -0.5, 1e308, "", "a", "\n", "\0",
    "x" * 300, "\u202e", "\u0660" * 6, "\ud7ff\U0001f600", "000000", "sha256", [], [[]], {}, {"type": "confirm"},
)


def mutate(tree: Any, rng: Random) -> Any:
    """One to four changes; the tree that was given stays as it is."""
    for _ in range(rng.randint(1, 4)):
        tree = _changed(tree, rng, 0)
    return tree


def _changed(tree: Any, rng: Random, depth: int) -> Any:
    if isinstance(tree, dict) and tree and rng.random() < 0.9:
        return _in_a_dict(tree, rng, depth)
    if isinstance(tree, list | tuple) and tree and rng.random() < 0.9:
        return _in_a_list(list(tree), rng, depth)
    return _instead_of(tree, rng)


def _in_a_dict(tree: dict[Any, Any], rng: Random, depth: int) -> dict[Any, Any]:
    key = rng.choice(list(tree))
    match rng.randrange(8):
        case 0:
            return {name: value for name, value in tree.items() if name != key}
        case 1:
            return tree | {str(_instead_of(key, rng)): tree[key]}
        case 2:
            return tree | {key: tree[rng.choice(list(tree))]}
        case _:
            return tree | {key: _changed(tree[key], rng, depth + 1)}


def _in_a_list(tree: list[Any], rng: Random, depth: int) -> list[Any]:
    at = rng.randrange(len(tree))
    match rng.randrange(8):
        case 0:
            return tree[:at] + tree[at + 1:]
        case 1:
            return tree[: at + 1] * rng.choice((1, 2, 200 if depth < 3 else 2)) + tree[at:]
        case 2:
            return tree[::-1]
        case _:
            return [*tree[:at], _changed(tree[at], rng, depth + 1), *tree[at + 1:]]


def _instead_of(value: Any, rng: Random) -> Any:
    if isinstance(value, str) and rng.random() < 0.6:
        return havoc(value.encode("utf-8", "replace"), rng).decode("utf-8", "replace")
    if isinstance(value, bytes) and rng.random() < 0.8:
        return havoc(value, rng)
    if isinstance(value, int) and rng.random() < 0.6:
        return value + rng.choice((-1, 1, 2**32))
    return rng.choice(VALUES)
