"""The evidence of one signature as a file that can be handed on, and be checked where nothing of this server is.

Whoever opens it needs the log's key, from elsewhere, and the document, which is not in it. What the receipt proves
is proven; the story and the read-me are for people. The same signing request always gives the same bytes: the
receipt stands under the first checkpoint that covers it, and what happened after the signature is not told.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, select

from signing_service import credentials, receipts
from signing_service.db.tables import intent, policy, timestamp_token
from signing_service.histories import Place, Story, request_of, tell
from signing_service.inspection import Known, note_reading, snapshot, stored_line
from signing_service.tlog import note
from signing_service.tlog.entries import canonical

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

WHEN = (1980, 1, 1, 0, 0, 0)  # the first day of ZIP: a file's age would make the same evidence other bytes
MODE = 0o100644 << 16         # a plain file; the upper half is the Unix mode


@dataclass(frozen=True)
class Evidence:
    """What is known of one signature, ready to be packed. Nothing of the document but its digests."""

    story: Story
    receipt: Mapping[str, Any]
    entries: str                  # one `EntryLine` a line
    certificate: str | None       # PEM
    chain: str                    # PEM, the issuer first; without the root
    policies: Mapping[str, str]   # TOML by its SHA-256
    timestamp: bytes | None       # RFC 3161 token
    checkpoint: str
    keys: tuple[str, ...]

    @property
    def checkpoint_size(self) -> int:
        return note.read_unverified(self.checkpoint).size

    @property
    def value_digest(self) -> str | None:
        """SHA-256 of the signature value, as the log has it: what a timestamp covers."""
        told = (detail.value for step in self.story.steps for detail in step.details if detail.name == "value_digest")
        return next(told, None)


async def gather(rt: Runtime, reader: Known, request_id: str) -> Evidence:
    """All of it, on record as taken away before anything is read.

    NotFound also for a signing request outside the reader's agencies. Unavailable where the log does not cover the
    latest entry within a moment.
    """
    await rt.db.run(note_reading, rt.db, reader, rt.clock(), "evidence", {"signing_request": request_id[:40]})
    return await receipts.patiently(rt, _gathered, rt, reader, request_id)


def _gathered(rt: Runtime, reader: Known, request_id: str) -> Evidence | None:
    with snapshot(rt.db) as tx:
        row = request_of(tx, reader, request_id)
        receipt = receipts.receipt_for_auditor(tx, row)
        if receipt is None:
            return None
        under = receipt[receipts.PROOF]["checkpoint"]
        held = credentials.find(tx, row.credential_id)
        return Evidence(
            _story(tx, reader, row, under), receipt, _entries(tx, row),
            _pem(held.certificate) if held.certificate else None, "".join(map(_pem, held.chain)),
            _policies(tx, row), _timestamp(tx, row.id), under, tuple(receipt["log_keys"]))


def _story(tx: Connection, reader: Known, row: Any, under: str) -> Story:
    """As it stands under that checkpoint, so that it does not change when the log grows."""
    told = tell(tx, reader, row, receipts.AFTERWARDS)
    place = told.place
    return replace(told, place=Place(place.first, place.last, place.waiting, note.read_unverified(under).size))


def _entries(tx: Connection, row: Any) -> str:
    return "".join(f"{stored_line(each)}\n" for each in receipts.entries_for_auditor(tx, row))


def _pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def _policies(tx: Connection, row: Any) -> dict[str, str]:
    """The policy of the submission and, if another was in force by then, that of the signature."""
    at_intent = tx.execute(select(intent.c.policy_hash).where(intent.c.signing_request_id == row.id)).scalars()
    rows = tx.execute(select(policy.c.hash, policy.c.text).where(policy.c.hash.in_({row.policy_hash, *at_intent})))
    return {each.hash: each.text.replace("\r\n", "\n") for each in rows}  # these are the bytes that the hash is over


def _timestamp(tx: Connection, request_id: str) -> bytes | None:
    return tx.execute(select(timestamp_token.c.token).where(
        timestamp_token.c.signing_request_id == request_id)).scalar_one_or_none()


def packed(evidence: Evidence, pages: Mapping[str, str]) -> bytes:
    """A ZIP of all that, with `pages` for people (a file's name and its text). The same content, the same bytes."""
    files = {
        **{name: text.encode() for name, text in pages.items()},
        "receipt.json": canonical(evidence.receipt) + b"\n",
        "entries.jsonl": evidence.entries.encode(),
        "checkpoint.txt": evidence.checkpoint.encode(),
        "log.key": "".join(f"{key}\n" for key in evidence.keys[:1]).encode(),
        **{f"policy-{digest}.toml": text.encode() for digest, text in evidence.policies.items()},
    }
    if evidence.certificate is not None:
        files |= {"certificate.pem": evidence.certificate.encode(), "chain.pem": evidence.chain.encode()}
    if evidence.timestamp is not None:
        files["timestamp.tst"] = evidence.timestamp
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # stored: compressors differ from version to version
        for name in sorted(files):
            info = zipfile.ZipInfo(name, WHEN)
            info.create_system, info.external_attr = 3, MODE
            archive.writestr(info, files[name])
    return out.getvalue()
