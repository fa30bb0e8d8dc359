"""Mutations that know nothing, drawn from a seeded source: bits, bytes, pieces, numbers that sit on an edge."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

EDGES: Final = (0, 1, 0x7F, 0x80, 0xFF)
NUMBERS: Final = (b"0", b"-1", b"1", b"65535", b"65536", b"2147483647", b"2147483648", b"-2147483649",
                  b"9223372036854775808", b"99999999999999999999", b"1e999", b"0x10", b"1.5")
LARGEST_PIECE: Final = 64


def havoc(data: bytes, rng: Random) -> bytes:
    """One to eight of the mutations below, one after the other."""
    changed = bytearray(data)
    for _ in range(1 << rng.randrange(4)):
        rng.choice(_MUTATIONS)(changed, rng)
    return bytes(changed)


def _place(data: bytearray, rng: Random) -> int:
    return rng.randrange(len(data) + 1)


def _flip(data: bytearray, rng: Random) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(data: bytearray, rng: Random) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.choice((*EDGES, rng.randrange(256)))


def _insert(data: bytearray, rng: Random) -> None:
    at = _place(data, rng)
    data[at:at] = rng.randbytes(rng.randint(1, 4))


def _remove(data: bytearray, rng: Random) -> None:
    at = _place(data, rng)
    del data[at: at + rng.randint(1, LARGEST_PIECE)]


def _repeat(data: bytearray, rng: Random) -> None:
    at = _place(data, rng)
    piece = bytes(data[at: at + rng.randint(1, LARGEST_PIECE)])
    data[at:at] = piece * rng.choice((1, 1, 2, 8))


def _move(data: bytearray, rng: Random) -> None:
    at, size = _place(data, rng), rng.randint(1, LARGEST_PIECE)
    piece = bytes(data[at: at + size])
    del data[at: at + size]
    to = _place(data, rng)
    data[to:to] = piece


def _number(data: bytearray, rng: Random) -> None:
    at = _place(data, rng)
    data[at: at + rng.randrange(4)] = rng.choice(NUMBERS)


def _cut(data: bytearray, rng: Random) -> None:
    del data[_place(data, rng):]


_MUTATIONS: Final[tuple[Callable[[bytearray, Random], None], ...]] = (
    _flip, _flip, _set, _set, _insert, _remove, _repeat, _move, _number, _cut,
)
