"""Is this the log that the checkpoints vouch for? Reads the lines once; memory does not grow with the log.

What can be found depends on what is trusted. With a checkpoint kept outside, nothing at or below it can be
changed, removed, reordered, inserted or cut off without a finding. With only the log's own checkpoint, a log
that was rolled back, or rewritten and signed again, looks sound. With the stored hashes of the tree a finding
names the entry; without them it names the stretch between two checkpoints. The report says which it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from signing_service.errors import Invalid
from signing_service.tlog.entries import EntryInvalid, EntryLine, canonical, entry_hash
from signing_service.tlog.findings import Finding, Findings, Kind, Report
from signing_service.tlog.leaves import TrustedLeaves
from signing_service.tlog.note import Checkpoint
from signing_service.tlog.reading import Line, Mark, Reading
from signing_service.tlog.receipts import make_receipt, verify_receipt
from signing_service.tlog.tree import NodeAt, ProofInvalid, verify_consistency

# The whole of verification under one import.
__all__ = [
    "Checkpoint",
    "EntryInvalid",
    "EntryLine",
    "Finding",
    "Kind",
    "Report",
    "canonical",
    "entry_hash",
    "make_receipt",
    "verify_checkpoints",
    "verify_entries",
    "verify_log",
    "verify_range",
    "verify_receipt",
]


def verify_entries(lines: Iterable[Line], start_index: int = 0) -> Report:
    """Do the lines agree with themselves: readable, each body with its leaf hash, indexes without a gap?

    Proves nothing about the log: whoever wrote the lines can have made all of them.
    """
    reading = Reading(start_index, start_index, (), TrustedLeaves(None, ()))
    reading.run(lines)
    return _report(reading, start_index, ["No checkpoint was given: the lines only agree with themselves."])


def verify_log(
    lines: Iterable[Line],
    checkpoint: Checkpoint,
    *,
    outside: Checkpoint | None = None,
    history: Sequence[Checkpoint] = (),
    node_at: NodeAt | None = None,
) -> Report:
    """Verify the whole log, from entry 0, against its newest checkpoint and those kept elsewhere.

    `outside` is a checkpoint from beyond the reach of whoever could change the log, older or newer than
    `checkpoint`. `history` are more of the log's own checkpoints; they narrow down where a difference lies.
    `node_at` gives the tree's stored hashes, believed only where they lead to a checkpoint. Lines that wait for
    their index (null) may come anywhere.
    """
    findings, marks = _compare(checkpoint, outside, history)
    leaves = TrustedLeaves(node_at, _anchors(marks))
    reading = Reading(0, max(mark.size for mark in marks), marks, leaves)
    reading.findings = findings
    reading.run(lines)
    return _report(reading, 0, _open_questions(checkpoint, outside, 0, reading.reached))


def verify_range(
    lines: Iterable[Line],
    start: int,
    end: int,
    checkpoint: Checkpoint,
    node_at: NodeAt,
    *,
    outside: Checkpoint | None = None,
) -> Report:
    """Verify the entries [start, end) and the stored hashes around them, without reading other entries.

    `Invalid` unless 0 <= start <= end <= the size of `checkpoint`: what lies above it cannot be proven.
    """
    if not 0 <= start <= end <= checkpoint.size:
        raise Invalid(f"{start} to {end} is not a range of a log of {checkpoint.size} entries")
    findings, marks = _compare(checkpoint, outside, ())
    above = [mark for mark in marks if mark.size > start or mark.checkpoint is checkpoint]
    reading = Reading(start, end, above, TrustedLeaves(node_at, _anchors(above)), node_at)
    reading.findings = findings
    reading.run(lines)
    return _report(reading, start, _open_questions(checkpoint, outside, start, reading.reached))


def verify_checkpoints(older: Checkpoint, newer: Checkpoint, proof: Sequence[bytes]) -> Report:
    """Does the log at `newer` continue the log at `older`? A consistency proof shows it without any entry."""
    findings = Findings()
    if older.origin != newer.origin:
        findings.add(Kind.OTHER_LOG, f"{older.origin} and {newer.origin} are two logs")
    elif older.size > newer.size:
        findings.add(Kind.ROLLED_BACK, _shorter(newer, older), newer.size, older.size - 1)
    else:
        _check_proof(older, newer, proof, findings)
    if findings.named:
        return Report(tuple(findings.named), newer.size)
    shown = f"The log of {newer.size} entries begins with the {older.size} entries of the older checkpoint."
    return Report((), newer.size, older.size, (shown, *_signed(newer, older)), _unsigned(newer, older))


def _check_proof(older: Checkpoint, newer: Checkpoint, proof: Sequence[bytes], findings: Findings) -> None:
    try:
        verify_consistency(older.size, older.root, newer.size, newer.root, proof)
    except ProofInvalid as error:
        forked = older.size == newer.size and older.root != newer.root
        kind = Kind.FORKED if forked else Kind.REWRITTEN
        findings.add(kind, error.message, 0, max(older.size - 1, 0))


def _compare(
    own: Checkpoint, outside: Checkpoint | None, history: Sequence[Checkpoint]
) -> tuple[Findings, list[Mark]]:
    """What the checkpoints say about each other, and those of this log, the most trusted first."""
    findings = Findings()
    held = [Mark(outside, "outside")] if outside else []
    held += [Mark(own, "log's own"), *(Mark(older, "log's earlier") for older in history)]
    for mark in held:
        if mark.checkpoint.origin != own.origin:
            text = f"{mark} is one of {mark.checkpoint.origin}, not of {own.origin}"
            findings.add(Kind.OTHER_LOG, text)
        elif mark.size == own.size and mark.checkpoint.root != own.root:
            findings.add(Kind.FORKED, f"{mark} has another root than the log's own", 0, max(own.size - 1, 0))
        elif mark.size > own.size:
            findings.add(Kind.ROLLED_BACK, _shorter(own, mark.checkpoint), own.size, mark.size - 1)
    return findings, [mark for mark in held if mark.checkpoint.origin == own.origin]


def _shorter(own: Checkpoint, seen: Checkpoint) -> str:
    return f"the log's checkpoint covers {own.size} entries, but one of {seen.size} is already known"


def _anchors(marks: Sequence[Mark]) -> list[Checkpoint]:
    """Stored hashes are judged by the outside checkpoint and the log's own; earlier ones add nothing."""
    return [mark.checkpoint for mark in marks if mark.held != "log's earlier"]


def _report(reading: Reading, start: int, not_proven: Sequence[str]) -> Report:
    waiting = f"{reading.waiting} entries wait for their place in the log; nothing is proven of them."
    return Report(
        findings=tuple(reading.findings.named),
        size=reading.count,
        proven_size=reading.sound - start,
        proven=tuple(line for mark in reading.passed for line in _shown(mark, start, reading.sound)),
        not_proven=(*not_proven, *((waiting,) if reading.waiting else ())),
        more=reading.findings.more,
    )


def _shown(mark: Mark, start: int, sound: int) -> list[str]:
    last = min(mark.size, sound) - 1
    if last < start:
        return [f"{mark} covers none of these entries."]
    return [f"Entries {start} to {last} are exactly those under {mark}.", *_signed(mark.checkpoint)]


def _open_questions(own: Checkpoint, outside: Checkpoint | None, start: int, reached: int) -> list[str]:
    questions = list(_unsigned(own, outside) if outside else _unsigned(own))
    if outside is None:
        questions.append(
            "Without a checkpoint kept outside it is not proven that the log was not rolled back, or rewritten"
            " and signed again."
        )
    covered = outside.size if outside else own.size
    if max(start, covered) < min(reached, own.size):
        text = "are covered only by the log's own checkpoint, not by the one kept outside."
        questions.append(f"Entries {max(start, covered)} to {min(reached, own.size) - 1} {text}")
    top = max(own.size, covered)
    if top < reached:
        questions.append(f"Entries {top} to {reached - 1} are above every checkpoint; nothing is proven of them.")
    return questions


def _signed(*checkpoints: Checkpoint) -> tuple[str, ...]:
    return tuple(
        f"The checkpoint of {checkpoint.size} entries is signed by {', '.join(checkpoint.signed_by)}."
        for checkpoint in checkpoints
        if checkpoint.signed_by
    )


def _unsigned(*checkpoints: Checkpoint) -> tuple[str, ...]:
    return tuple(
        f"Who signed the checkpoint of {checkpoint.size} entries was not verified: no key was given."
        for checkpoint in checkpoints
        if not checkpoint.signed_by
    )
