"""What a verification found, and in plain words what it did and did not prove."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

_KEPT = 100  # findings a report names; the rest is only counted


class Kind(StrEnum):
    """What happened to the log, as far as it can be told."""

    MALFORMED = "malformed"  # a line is not an entry
    CHANGED = "changed"  # another content in the place of an entry
    REMOVED = "removed"
    INSERTED = "inserted"  # a line that does not belong there, or an entry given twice
    REORDERED = "reordered"  # the entry is there, in another place
    TRUNCATED = "truncated"  # the log ends before a checkpoint says it may
    REWRITTEN = "rewritten"  # other content than a checkpoint vouches for, the entry cannot be singled out
    ROLLED_BACK = "rolled-back"  # the log's own checkpoint is older than one already seen
    FORKED = "forked"  # two checkpoints of one size with different roots
    OTHER_LOG = "other-log"  # a checkpoint of another origin
    BAD_HASHES = "bad-hashes"  # the stored tree does not lead to the checkpoint
    BAD_PROOF = "bad-proof"  # a receipt's proof does not lead to its checkpoint
    BAD_NOTE = "bad-note"  # the checkpoint is not signed by the key it should be signed by
    NOT_IN_LOG = "not-in-log"  # the document's digest is in none of the entries


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `first` and `last` are the leaf indexes it concerns, both included."""

    kind: Kind
    text: str
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True)
class Report:
    """The result: `ok` means that nothing was found, `proven` and `not_proven` say how much that is worth.

    `size` is the number of sequenced entries read, `proven_size` how many of them, from the first one read,
    are shown to be what a checkpoint covers. `more` counts findings beyond those that are named.
    """

    findings: tuple[Finding, ...]
    size: int
    proven_size: int = 0
    proven: tuple[str, ...] = ()
    not_proven: tuple[str, ...] = ()
    more: int = 0

    @property
    def ok(self) -> bool:
        return not self.findings


@dataclass
class Findings:
    """Collects findings; keeps the first ones and counts the rest, so that memory stays bounded."""

    named: list[Finding] = field(default_factory=list)
    more: int = 0

    def add(self, kind: Kind, text: str, first: int | None = None, last: int | None = None) -> None:
        if len(self.named) < _KEPT:
            self.named.append(Finding(kind, text, first, first if last is None else last))
        else:
            self.more += 1
