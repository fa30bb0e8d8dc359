"""A receipt convinces a third party who has only the file, the log's key and the document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from signing_service.errors import Invalid
from signing_service.tlog import note
from signing_service.tlog.entries import EntryLine
from signing_service.tlog.findings import Kind
from signing_service.tlog.note import CheckpointKey, Verifier
from signing_service.tlog.receipts import make_receipt, verify_receipt
from tests.support.log_campaign import ORIGIN, a_log, sealed

DOCUMENT = b"%PDF-1.7 signed"
DIGEST = hashlib.sha256(DOCUMENT).hexdigest()
REFUSED = hashlib.sha256(b"refused").hexdigest()

PRIVATE = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
KEY = CheckpointKey(
    "ed25519",
    PRIVATE.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    ),
)
VERIFIER = Verifier(ORIGIN, KEY)
STRANGER = Verifier(ORIGIN, CheckpointKey("ed25519", KEY.public_key[:12] + bytes.fromhex("aa" * 32)))

INTENT = EntryLine.of(5, {"action": "signature:intent", "facts": [{"document": DIGEST}]})
DONE = EntryLine.of(6, {"action": "signing-request:finish", "signed_document": DIGEST})
OTHER = EntryLine.of(7, {"action": "signing-request:submit:denied", "document": REFUSED})
LOG = sealed([*a_log(5, 5).lines, INTENT, DONE, OTHER], 8)
NOTE = note.sign_note(LOG.checkpoint.body(), ORIGIN, KEY, PRIVATE.sign)


def receipt(*entries: EntryLine, **digests: str) -> dict[str, Any]:
    made = make_receipt(entries or (INTENT, DONE), NOTE, LOG.node_at(), digests or {"signed_document": DIGEST})
    copy: dict[str, Any] = json.loads(json.dumps(made))  # as it arrives: out of a file
    return copy


def test_a_receipt_shows_offline_where_the_documents_digest_stands() -> None:
    report = verify_receipt(receipt(), VERIFIER, DOCUMENT)
    assert report.ok
    assert report.not_proven == ()
    assert report.proven == (
        "Entry 5 is in the log of 8 entries.",
        "Entry 6 is in the log of 8 entries.",
        f"The checkpoint of {ORIGIN} is signed by {ORIGIN}.",
        "The digest signed_document stands in entry 5 at facts[0].document.",
        "The digest signed_document stands in entry 6 at signed_document.",
        "The document's sha256 stands in entry 5 at facts[0].document.",
        "The document's sha256 stands in entry 6 at signed_document.",
    )


def test_without_key_and_document_the_receipt_says_what_is_open() -> None:
    report = verify_receipt(receipt(), None)
    assert report.ok
    assert report.not_proven == (
        "Who signed the checkpoint was not verified: no key was given.",
        "No document was given: only the digests named in the receipt were compared.",
    )


@pytest.mark.parametrize("algorithm", ["sha256", "sha384", "sha512"])
def test_documents_are_found_by_every_digest_the_log_uses(algorithm: str) -> None:
    digest = hashlib.new(algorithm, DOCUMENT).hexdigest()
    log = sealed([EntryLine.of(0, {"document": digest})], 1)
    text = note.sign_note(log.checkpoint.body(), ORIGIN, KEY, PRIVATE.sign)
    made = make_receipt(log.lines, text, log.node_at(), {"document": digest})
    assert verify_receipt(made, VERIFIER, DOCUMENT).ok


def test_another_document_is_not_the_one_in_the_receipt() -> None:
    report = verify_receipt(receipt(), VERIFIER, DOCUMENT + b"\n")
    assert [finding.kind for finding in report.findings] == [Kind.NOT_IN_LOG]


def test_a_strangers_key_does_not_vouch_for_the_receipt() -> None:
    report = verify_receipt(receipt(), STRANGER, DOCUMENT)
    assert [finding.kind for finding in report.findings] == [Kind.BAD_NOTE]
    assert report.proven == ()


def test_a_checkpoint_of_another_log_does_not_vouch_even_with_the_right_key() -> None:
    body = LOG.checkpoint.body().replace(ORIGIN, "log.example/test")
    made = {**receipt(), "checkpoint": note.sign_note(body, ORIGIN, KEY, PRIVATE.sign)}
    report = verify_receipt(made, VERIFIER, DOCUMENT)
    assert [finding.kind for finding in report.findings] == [Kind.BAD_NOTE]


def change(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Sets the value at a path such as `entries.0.body.action`."""

    def apply(made: Any) -> None:
        *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
        for step in steps:
            made = made[step]
        made[last] = value

    return apply


FORGERIES = {
    "another body": (change("entries.0.body.action", "x"), Kind.BAD_PROOF),
    "one more field in a body": (change("entries.1.body.extra", 1), Kind.BAD_PROOF),
    "another index": (change("entries.0.index", 4), Kind.BAD_PROOF),
    "an index beyond the log": (change("entries.0.index", 8), Kind.BAD_PROOF),
    "a negative index": (change("entries.0.index", -1), Kind.BAD_PROOF),
    "another hash in a proof": (change("entries.0.proof.1", "00" * 32), Kind.BAD_PROOF),
    "no proof": (change("entries.0.proof", []), Kind.BAD_PROOF),
    "a digest that is in no entry": (change("digests.signed_document", REFUSED), Kind.NOT_IN_LOG),
    "a word of an entry called a digest": (change("digests.signed_document", "signature:intent"), Kind.NOT_IN_LOG),
    "nothing called a digest": (change("digests.signed_document", None), Kind.NOT_IN_LOG),
    "another root": (change("checkpoint", NOTE.replace("\n8\n", "\n9\n")), Kind.BAD_NOTE),
    "a checkpoint without a signature": (change("checkpoint", LOG.checkpoint.body()), Kind.BAD_NOTE),
    "another format": (change("format", "signing-service-receipt/2"), Kind.MALFORMED),
    "an unknown field": (change("comment", "trust me"), Kind.MALFORMED),
    "no entries": (change("entries", []), Kind.MALFORMED),
    "entries of another shape": (change("entries", ["x"]), Kind.MALFORMED),
    "true for an index": (change("entries.0.index", True), Kind.MALFORMED),
    "a fraction in a body": (change("entries.0.body.n", 1.5), Kind.MALFORMED),
    "a list for a body": (change("entries.0.body", []), Kind.MALFORMED),
    "text for a proof": (change("entries.0.proof", "00" * 32), Kind.MALFORMED),
    "a proof that is not hex": (change("entries.0.proof.0", "zz" * 32), Kind.MALFORMED),
    "a list for digests": (change("digests", [DIGEST]), Kind.MALFORMED),
    "a number for the checkpoint": (change("checkpoint", 8), Kind.MALFORMED),
}


@pytest.mark.parametrize(("forge", "kind"), FORGERIES.values(), ids=list(FORGERIES))
def test_a_forged_receipt_is_refused_for(forge: Callable[[dict[str, Any]], None], kind: Kind) -> None:
    made = receipt()
    forge(made)
    report = verify_receipt(made, VERIFIER, DOCUMENT)
    assert kind in {finding.kind for finding in report.findings}


def test_what_an_unproven_entry_says_counts_for_nothing() -> None:
    made = receipt()
    made["entries"] = [{**item, "proof": []} for item in made["entries"]]
    report = verify_receipt(made, VERIFIER, DOCUMENT)
    assert not any("stands in" in line for line in report.proven)
    assert Kind.NOT_IN_LOG in {finding.kind for finding in report.findings}


def test_a_report_about_a_hostile_receipt_is_safe_to_print() -> None:
    log = sealed([EntryLine.of(0, {"\x1b[2J\u202e": DIGEST})], 1)
    text = note.sign_note(log.checkpoint.body(), ORIGIN, KEY, PRIVATE.sign)
    made = make_receipt(log.lines, text, log.node_at(), {"\x9b2J\n": DIGEST})
    report = verify_receipt(made, None, DOCUMENT)
    assert report.ok
    assert all(line.isprintable() for line in report.proven)
    made["digests"]["\r\u2066"] = REFUSED
    findings = verify_receipt(made, None).findings
    assert findings
    assert all(finding.text.isprintable() for finding in findings)


def test_something_else_than_an_object_is_no_receipt() -> None:
    things: list[Any] = [[], "x", None, {}]
    for thing in things:
        report = verify_receipt(thing, VERIFIER)
        assert [finding.kind for finding in report.findings] == [Kind.MALFORMED]


UNMAKEABLE = {
    "an entry without an index": ((EntryLine.of(None, {"d": DIGEST}),), {"d": DIGEST}),
    "an entry above the checkpoint": ((EntryLine.of(8, {"d": DIGEST}),), {"d": DIGEST}),
    "an entry that is not in the log": ((EntryLine.of(5, {"d": DIGEST}),), {"d": DIGEST}),
    "a digest that is in none of them": ((INTENT,), {"d": REFUSED}),
    "no entry": ((), {"d": DIGEST}),
}


@pytest.mark.parametrize(("entries", "digests"), UNMAKEABLE.values(), ids=list(UNMAKEABLE))
def test_no_receipt_is_made_for(entries: tuple[EntryLine, ...], digests: dict[str, str]) -> None:
    with pytest.raises(Invalid):
        make_receipt(entries, NOTE, LOG.node_at(), digests)
