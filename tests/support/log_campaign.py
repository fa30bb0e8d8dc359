"""Attacks on a log, each with the answer that verification must give.

An `Attack` says what a forger does and how thorough he is; `expected` says, from the sizes alone, whether it
can be found with and without a checkpoint kept outside. `apply` carries it out on an exported log; a campaign
over a database carries out the same attacks with its own statements and expects the same answers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from signing_service.tlog import tiles, tree
from signing_service.tlog.entries import EntryLine
from signing_service.tlog.findings import Kind
from signing_service.tlog.note import Checkpoint

_NEARBY = 256  # entries: how far verification looks for one that is not in its place
ORIGIN = "log.example/agency"


class StoredTiles:
    """Tiles in a dict."""

    def __init__(self, stored: Mapping[tiles.TileKey, bytes] | None = None) -> None:
        self.stored = dict(stored or {})

    def read(self, level: int, index: int) -> bytes:
        return self.stored.get((level, index), b"")


class Deed(StrEnum):
    CHANGE = "change"
    SWAP = "swap"
    DELETE = "delete"
    INSERT = "insert"
    REPEAT = "repeat"
    TRUNCATE = "truncate"
    ROLL_BACK = "roll back"


class Forger(StrEnum):
    CARELESS = "edits rows, leaves numbers and hashes as they were"
    CAREFUL = "makes numbers and hashes of the rows agree"
    OWNER = "also rebuilds the tree and signs a new checkpoint with the log's key"


@dataclass(frozen=True)
class Attack:
    """`at` is the first entry touched; `other` the second one of a swap, or the one repeated."""

    deed: Deed
    forger: Forger
    at: int
    other: int
    salt: int


@dataclass(frozen=True)
class Exported:
    """A log as a verifier gets it."""

    lines: tuple[EntryLine, ...]
    checkpoint: Checkpoint
    stored: Mapping[tiles.TileKey, bytes]

    def node_at(self) -> tree.NodeAt:
        return tiles.node_at(StoredTiles(self.stored))


@dataclass(frozen=True)
class Expected:
    """`alone`: found without an outside checkpoint; `outside`: with one."""

    alone: bool
    outside: bool


def a_log(size: int, covered: int) -> Exported:
    """`size` entries, the first `covered` of them under the log's checkpoint."""
    lines = tuple(EntryLine.of(index, body_of(index)) for index in range(size))
    return sealed(lines, covered)


def body_of(index: int) -> dict[str, object]:
    return {"action": "signature:done", "subject": f"sr_{index:04}", "batch": index // 7, "by": "Đỗ Thị Ánh"}


def sealed(lines: Sequence[EntryLine], covered: int) -> Exported:
    """These lines with the tree and the checkpoint of their first `covered` ones."""
    appended = tiles.append(StoredTiles(), 0, [line.leaf_hash for line in lines[:covered]])
    return Exported(tuple(lines), Checkpoint(ORIGIN, covered, appended.root), appended.changed)


def attacks(seed: int, count: int, size: int, covered: int) -> Iterator[Attack]:
    """`count` attacks, drawn from all deeds and forgers, on a log of this size; the same for the same seed."""
    draw = random.Random(seed)
    for salt in range(count):
        deed, forger = draw.choice(list(Deed)), draw.choice(list(Forger))
        at = draw.randrange(covered if deed is Deed.ROLL_BACK else size)
        other = draw.randrange(size)
        if other == at:  # neither a swap with itself nor a repetition in the very place does anything there
            other = (at + 1) % size
        if deed is Deed.SWAP:
            at, other = min(at, other), max(at, other)
        yield Attack(deed, forger, at, other, salt)


def expected(attack: Attack, size: int, covered: int, outside: int) -> Expected:
    """What must be found, for an outside checkpoint at `outside` entries, not more than `covered`."""
    touches_covered, touches_outside = attack.at < covered, attack.at < outside
    if attack.deed is Deed.ROLL_BACK or attack.forger is Forger.OWNER:
        return Expected(alone=False, outside=touches_outside)
    careless_shows = attack.forger is Forger.CARELESS and not _looks_like_growth(attack, size)
    found = touches_covered or careless_shows
    return Expected(alone=found, outside=found)


def _looks_like_growth(attack: Attack, size: int) -> bool:
    """Rows cut off above every checkpoint leave no trace even when nothing else is touched up."""
    return attack.deed is Deed.TRUNCATE or (attack.deed is Deed.DELETE and attack.at == size - 1)


def named(attack: Attack, size: int, covered: int) -> set[tuple[Kind, int]]:
    """What the findings must be, kind and first index, when the stored tree is whole and says which is which.

    Of two neighbours that were swapped it is enough to name the one that stands too early. What comes from
    above the checkpoint, or from far away, and is renumbered is a stranger: nothing says where it belongs.
    """
    at, other = attack.at, attack.other
    far = abs(other - at) > _NEARBY
    stranger = attack.forger is Forger.CAREFUL and (far or other >= covered)
    match attack.deed:
        case Deed.CHANGE:
            return {(Kind.CHANGED, at)}
        case Deed.DELETE:
            return {(_kind_of_removal(attack, size, covered), at)}
        case Deed.INSERT:
            return {(Kind.INSERTED, at)}
        case Deed.REPEAT:
            return {(Kind.INSERTED, at if stranger else other)}
        case Deed.TRUNCATE:
            return {(Kind.TRUNCATED, at)}
        case Deed.SWAP if stranger and other < covered:
            return {(Kind.INSERTED, at), (Kind.REORDERED, at), (Kind.REMOVED, other)}
        case Deed.SWAP if stranger:
            return {(Kind.CHANGED if other - at > 1 else Kind.INSERTED, at)}
        case Deed.SWAP:
            return {(Kind.REORDERED, other)} | ({(Kind.REORDERED, at)} if other - at > 1 else set())
        case Deed.ROLL_BACK:
            return {(Kind.ROLLED_BACK, at), (Kind.TRUNCATED, at)}


def _kind_of_removal(attack: Attack, size: int, covered: int) -> Kind:
    """Behind the last covered entry another one may move up: then that place has changed hands."""
    if attack.at < covered - 1:
        return Kind.REMOVED
    if size == covered:
        return Kind.TRUNCATED
    return Kind.CHANGED if attack.forger is Forger.CAREFUL else Kind.REMOVED


def apply(attack: Attack, log: Exported) -> Exported:
    """The log after the attack."""
    if attack.deed is Deed.ROLL_BACK:
        return sealed(log.lines[: attack.at], attack.at)
    lines = _edited(attack, list(log.lines))
    if attack.forger is Forger.CARELESS:
        return replace(log, lines=tuple(lines))
    lines = [_agreeing(place, line) for place, line in enumerate(lines)]
    if attack.forger is Forger.CAREFUL:
        return replace(log, lines=tuple(lines))
    cut = attack.deed in (Deed.TRUNCATE, Deed.DELETE)
    return sealed(lines, min(log.checkpoint.size, len(lines)) if cut else log.checkpoint.size)


def _edited(attack: Attack, lines: list[EntryLine]) -> list[EntryLine]:
    at, other = attack.at, attack.other
    match attack.deed:
        case Deed.CHANGE:
            lines[at] = replace(lines[at], body={**lines[at].body, "by": f"nobody {attack.salt}"})
        case Deed.SWAP:
            lines[at], lines[other] = lines[other], lines[at]
        case Deed.DELETE:
            del lines[at]
        case Deed.INSERT:
            lines.insert(at, EntryLine.of(at, {"action": "signature:done", "subject": f"forged {attack.salt}"}))
        case Deed.REPEAT:
            lines.insert(at, lines[other])
        case Deed.TRUNCATE:
            del lines[at:]
        case Deed.ROLL_BACK:
            raise AssertionError("a rollback restores a whole state")
    return lines


def _agreeing(place: int, line: EntryLine) -> EntryLine:
    """The same body with the number of its place and its own hash; untouched lines stay the same object."""
    if line.body.get("by", "").startswith("nobody "):
        return EntryLine.of(place, line.body)
    return line if line.index == place else replace(line, index=place)
