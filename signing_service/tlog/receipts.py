"""Receipts: one JSON file that shows a third party, offline, that a document's entries are in the log.

A receipt holds the entries with their indexes and inclusion proofs, the signed checkpoint they lead to, and the
digests they speak of. Verifying it needs the file, the log's public key and, if at hand, the document.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from signing_service.errors import Invalid
from signing_service.tlog.entries import EntryInvalid, EntryLine, Json, entry_hash, parse_hash, visible
from signing_service.tlog.findings import Findings, Kind, Report
from signing_service.tlog.note import Checkpoint, NoteInvalid, Verifier, open_note, read_unverified
from signing_service.tlog.tree import NodeAt, ProofInvalid, inclusion_proof, verify_inclusion

FORMAT = "signing-service-receipt/1"
_FIELDS = {"format", "entries", "checkpoint", "digests"}
_DIGEST = re.compile("[0-9a-f]{64,128}")  # or any word of an entry could be called a digest
_DIGESTS = ("sha256", "sha384", "sha512")


def make_receipt(
    entries: Sequence[EntryLine], checkpoint_note: str, node_at: NodeAt, digests: Mapping[str, str]
) -> dict[str, Json]:
    """The receipt for these entries under this checkpoint.

    `digests` names what the entries speak of, in hex: {"signed_document": "9f86…"}; each must stand in one of
    the bodies. `Invalid` when an entry has no index yet, is not below the checkpoint, or a digest is in none.
    """
    checkpoint = read_unverified(checkpoint_note)
    receipt: dict[str, Json] = {
        "format": FORMAT,
        "entries": [_proven(entry, checkpoint, node_at) for entry in entries],
        "checkpoint": checkpoint_note,
        "digests": dict(digests),
    }
    wrong = verify_receipt(receipt, None).findings
    if wrong:
        raise Invalid(f"this receipt would not verify: {wrong[0].text}", code="receipt-invalid")
    return receipt


def verify_receipt(receipt: Mapping[str, Json], verifier: Verifier | None, document: bytes | None = None) -> Report:
    """Check a receipt offline; never raises for what the receipt holds, the report names it.

    The verifier's name must be the log's origin. Without a verifier the report says that the signer is not
    proven; without the document, that only the digests were compared. `size` and `proven_size` count the
    receipt's entries.
    """
    findings, not_proven = Findings(), list[str]()
    try:
        entries = _entries(receipt)
        checkpoint = _checkpoint(receipt, verifier)
    except NoteInvalid as error:
        findings.add(Kind.BAD_NOTE, error.message)
        return Report(tuple(findings.named), 0)
    except Invalid as error:
        findings.add(Kind.MALFORMED, error.message)
        return Report(tuple(findings.named), 0)
    shown = [entry for entry, proof in entries if _is_included(entry, proof, checkpoint, findings)]
    proven = [f"Entry {entry.index} is in the log of {checkpoint.size} entries." for entry in shown]
    if checkpoint.signed_by:
        proven.append(f"The checkpoint of {checkpoint.origin} is signed by {', '.join(checkpoint.signed_by)}.")
    else:
        not_proven.append("Who signed the checkpoint was not verified: no key was given.")
    proven += _check_digests(receipt["digests"], shown, findings)
    if document is None:
        not_proven.append("No document was given: only the digests named in the receipt were compared.")
    else:
        proven += _check_document(document, shown, findings)
    return Report(
        tuple(findings.named), len(entries), len(shown), tuple(proven), tuple(not_proven), findings.more
    )


def _proven(entry: EntryLine, checkpoint: Checkpoint, node_at: NodeAt) -> dict[str, Json]:
    if entry.index is None:
        raise Invalid("an entry has no receipt before it has its place in the log", code="receipt-invalid")
    path = inclusion_proof(entry.index, checkpoint.size, node_at)
    return {"index": entry.index, "body": dict(entry.body), "proof": [digest.hex() for digest in path]}


def _entries(receipt: Mapping[str, Json]) -> list[tuple[EntryLine, list[bytes]]]:
    if not isinstance(receipt, Mapping) or receipt.keys() != _FIELDS or receipt["format"] != FORMAT:
        raise EntryInvalid(f"this is not a receipt of the form {FORMAT}")
    if not isinstance(receipt["digests"], Mapping) or not isinstance(receipt["checkpoint"], str):
        raise EntryInvalid("a receipt holds a checkpoint and digests")
    if not isinstance(receipt["entries"], list) or not receipt["entries"]:
        raise EntryInvalid("a receipt holds at least one entry")
    return [_entry(item) for item in receipt["entries"]]


def _entry(item: Json) -> tuple[EntryLine, list[bytes]]:
    if not isinstance(item, Mapping) or item.keys() != {"index", "body", "proof"}:
        raise EntryInvalid("an entry of a receipt has index, body and proof")
    index, body, proof = item["index"], item["body"], item["proof"]
    if type(index) is not int or not isinstance(body, Mapping) or not isinstance(proof, list):
        raise EntryInvalid("an entry of a receipt has a number, an object and a list of hashes")
    return EntryLine(index, entry_hash(body), body), [parse_hash(digest) for digest in proof]


def _checkpoint(receipt: Mapping[str, Json], verifier: Verifier | None) -> Checkpoint:
    text = receipt["checkpoint"]
    return open_note(text, [verifier], origin=verifier.name) if verifier else read_unverified(text)


def _is_included(entry: EntryLine, proof: list[bytes], checkpoint: Checkpoint, findings: Findings) -> bool:
    index = -1 if entry.index is None else entry.index
    try:
        verify_inclusion(entry.leaf_hash, index, checkpoint.size, proof, checkpoint.root)
    except ProofInvalid as error:
        findings.add(Kind.BAD_PROOF, error.message, index)
        return False
    return True


def _check_digests(digests: Mapping[str, Json], shown: Sequence[EntryLine], findings: Findings) -> list[str]:
    proven = []
    for key, digest in digests.items():
        name = visible(str(key))
        is_digest = isinstance(digest, str) and _DIGEST.fullmatch(digest)
        where = list(_places(digest, shown)) if is_digest else []
        proven += [f"The digest {name} stands in {place}." for place in where]
        if not where:
            findings.add(Kind.NOT_IN_LOG, f"the digest {name} stands in none of the proven entries")
    return proven


def _check_document(document: bytes, shown: Sequence[EntryLine], findings: Findings) -> list[str]:
    proven = []
    for algorithm in _DIGESTS:
        digest = hashlib.new(algorithm, document).hexdigest()
        proven += [f"The document's {algorithm} stands in {place}." for place in _places(digest, shown)]
    if not proven:
        findings.add(Kind.NOT_IN_LOG, "the digest of this document stands in none of the proven entries")
    return proven


def _places(digest: Json, shown: Sequence[EntryLine]) -> Iterator[str]:
    """Where exactly a digest stands, so that nobody takes the digest of a refused document for a signed one."""
    for entry in shown:
        for path in _paths(entry.body, digest):
            yield f"entry {entry.index} at {visible(path)}"


def _paths(value: Json, wanted: Json, path: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _paths(item, wanted, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _paths(item, wanted, f"{path}[{position}]")
    elif isinstance(value, str) and value == wanted:
        yield path
