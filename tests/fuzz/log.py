"""What auditors hand in to be verified: keys, notes, receipts, lines of an export, proofs.

Nothing that nobody signed is believed, and a line that is read is written as it was read.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ed25519

from signing_service.errors import SigningError
from signing_service.tlog import note, tree
from signing_service.tlog.entries import EntryLine, canonical, entry_hash, parse
from signing_service.tlog.receipts import FORMAT, verify_receipt
from signing_service.tlog.verify import verify_checkpoints, verify_entries, verify_log
from tests.fuzz import trees
from tests.fuzz.havoc import havoc
from tests.fuzz.target import Target

ORIGIN: Final = "signing.test/log"
PRIVATE: Final = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BODIES: Final = tuple(
    {"id": f"en_{number}", "event": "signing-request:signed", "data": {"document": f"{number:064x}", "pages": number}}
    for number in range(7))


def run(data: bytes) -> str:
    text = data.decode("utf-8", "surrogateescape")
    return " ".join(word for kind in KINDS if (word := _tried(kind, text)))


def _tried(kind: Callable[[str], str], text: str) -> str:
    try:
        return kind(text)
    except SigningError:
        return ""


def _key(text: str) -> str:
    verifier = note.parse_verifier(text)
    assert note.parse_verifier(note.verifier_string(verifier.name, verifier.key)) == verifier
    return "key"


def _note(text: str) -> str:
    claimed = note.read_unverified(text)
    report = verify_checkpoints(claimed, OWN, PROOF)
    assert not report.ok or claimed.size == 0 or (claimed.origin, claimed.size, claimed.root) == OLDER
    try:
        opened = note.open_note(text, [VERIFIER])
    except SigningError:
        return "claim"
    assert (opened.origin, opened.size, opened.root) in CHECKPOINTS
    return "note"


def _entry(text: str) -> str:
    body = parse(text)
    assert parse(canonical(body)) == body
    return "entry"


def _lines(text: str) -> str:
    lines = text.encode("utf-8", "surrogateescape").splitlines()
    read = [EntryLine.parse(line) for line in lines]
    assert [EntryLine.parse(line.text()) for line in read] == read
    verify_entries(lines)
    report = verify_log(lines, OWN)
    whole = [line for line in read if line.index is not None]
    assert not report.ok or report.proven_size < len(BODIES) or [each.body for each in whole] == list(BODIES)
    return "lines"


def _receipt(text: str) -> str:
    try:
        receipt = json.loads(text)
    except (ValueError, RecursionError):  # as whoever reads the file does
        return ""
    report = verify_receipt(receipt, VERIFIER, b"a document")
    alone = verify_receipt(receipt, None)
    if report.proven_size:
        bodies = [each["body"] for each in receipt["entries"]]
        assert any(body in BODIES for body in bodies)
        assert not report.ok or all(body in BODIES for body in bodies)
    return "receipt" if alone.ok else "no receipt"


KINDS: Final = (_key, _note, _entry, _lines, _receipt)


def mutate(data: bytes, rng: Random) -> bytes:
    """JSON stays JSON, one line or many; a text is shaken by the line."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    try:
        lines[at] = json.dumps(trees.mutate(json.loads(lines[at]), rng), ensure_ascii=rng.random() < 0.5).encode()
    except (ValueError, RecursionError):
        lines[at] = havoc(lines[at], rng)
    if rng.random() < 0.2:
        lines[rng.randrange(len(lines))] = rng.choice(lines)
    return b"\n".join(lines) if rng.random() < 0.9 else havoc(data, rng)


def _root(size: int) -> bytes:
    return tree.root([entry_hash(body) for body in BODIES[:size]])


def _node_at(level: int, index: int) -> bytes:
    return tree.root([entry_hash(body) for body in BODIES[index << level: (index + 1) << level]])


def _signed(size: int) -> str:
    return note.sign_note(note.Checkpoint(ORIGIN, size, _root(size)).body(), ORIGIN, KEY, PRIVATE.sign)


def seeds() -> list[bytes]:
    lines = "\n".join(EntryLine.of(at, body).text() for at, body in enumerate(BODIES))
    receipt = {
        "format": FORMAT, "checkpoint": _signed(7), "digests": {"document": f"{2:064x}"},
        "entries": [{"index": at, "body": BODIES[at], "proof": [
            step.hex() for step in tree.inclusion_proof(at, 7, _node_at)]} for at in (2, 5)],
    }
    texts = [note.verifier_string(ORIGIN, KEY), _signed(7), _signed(3), lines, lines.splitlines()[3],
             json.dumps(BODIES[1]), json.dumps(receipt)]
    return [text.encode() for text in texts]


KEY: Final = note.CheckpointKey("ed25519", bytes.fromhex("302a300506032b6570032100") + PRIVATE.public_key(
    ).public_bytes_raw())
VERIFIER: Final = note.Verifier(ORIGIN, KEY)
CHECKPOINTS: Final = {(ORIGIN, size, _root(size)) for size in (3, 7)}
OWN: Final = note.Checkpoint(ORIGIN, 7, _root(7))
OLDER: Final = (ORIGIN, 3, _root(3))
PROOF: Final = tree.consistency_proof(3, 7, _node_at)
TARGET: Final = Target(run, seeds, mutate, largest=16_384)
