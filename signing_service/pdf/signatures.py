"""The signatures a document carries, as they stand: intact, valid, and what was appended after each.

One way to ask, used three times: by `look` (what is there already), by `prepare` and `complete` (do the earlier
ones stand as they did before ours) and by `judge` (with trust).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from asn1crypto import x509
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import MDPPerm, enumerate_sig_fields
from pyhanko.sign.validation import async_validate_pdf_signature, async_validate_pdf_timestamp
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.settings import KeyUsageConstraints
from pyhanko.sign.validation.status import ModificationInfo, SignatureCoverageLevel, SignatureStatus
from pyhanko_certvalidator import ValidationContext

from signing_service.pdf.changes import PERMITTED_CHANGES
from signing_service.pdf.reading import refusing
from signing_service.pdf.work import Changes, Limits, Refused

# A seal's certificate may have either bit (RFC 5280 4.2.1.3); pyHanko's default insists on non-repudiation.
SIGNING_USAGE = KeyUsageConstraints(
    key_usage={"digital_signature", "non_repudiation"}, match_all_key_usages=False
)

_DOCUMENT_TIMESTAMP = "/DocTimeStamp"
_ORDER = (Changes.NONE, Changes.PERMITTED, Changes.NOT_PERMITTED)


@dataclass(frozen=True)
class Standing:
    """How one signature stands. `intact`: its bytes are unchanged and its value fits its certificate's key."""

    field: str
    signer: str
    intact: bool
    covers_whole_file: bool
    changes_after: Changes
    locks_document: bool    # DocMDP or its lock forbids every change (ISO 32000-2 12.8.2.2)

    def stands_as_well_as(self, before: Standing) -> bool:
        """Is it no worse than it was before we appended?"""
        return self.intact >= before.intact and (
            _ORDER.index(self.changes_after) <= max(1, _ORDER.index(before.changes_after))
        )


def signed_fields(reader: PdfFileReader) -> dict[str, object]:
    """The filled signature fields by name, in the form's order; their signatures are not read yet."""
    with refusing():
        return {str(name): field for name, _, field in enumerate_sig_fields(reader, filled_status=True)}


def embedded_signatures(reader: PdfFileReader) -> Iterator[tuple[str, EmbeddedPdfSignature | None]]:
    """Every signature, in the form's order; None where its content cannot be read at all."""
    for name, field in signed_fields(reader).items():
        yield name, _read(reader, field, name)


def _read(reader: PdfFileReader, field: object, name: str) -> EmbeddedPdfSignature | None:
    try:
        return EmbeddedPdfSignature(reader, field, name)  # type: ignore[arg-type]  # takes references too
    except MemoryError:
        raise
    except Exception:  # a broken CMS raises whatever the ASN.1 library met; it is "not intact"
        return None


def standings(reader: PdfFileReader, at_most: int = Limits().earlier_signatures) -> dict[str, Standing]:
    """Each signature by its field's name, without asking whom to trust. Every one costs a pass over the file."""
    if len(signed_fields(reader)) > at_most:
        raise Refused("too-many-signatures", f"The document carries more than {at_most} signatures.")
    return {name: _standing(name, embedded) for name, embedded in embedded_signatures(reader)}


def unharmed(before: Mapping[str, Standing], after: PdfFileReader) -> bool:
    """Do all signatures of before stand as well in the document with its tail?"""
    fields = signed_fields(after) if before else {}
    return before.keys() <= fields.keys() and all(
        _standing(name, _read(after, fields[name], name)).stands_as_well_as(standing)
        for name, standing in before.items()
    )


def _standing(name: str, embedded: EmbeddedPdfSignature | None) -> Standing:
    unreadable = Standing(name, "", False, False, Changes.NOT_PERMITTED, False)
    if embedded is None:
        return unreadable
    try:
        status = status_of(embedded, untrusting())
    except MemoryError:
        raise
    except Exception:  # as above: pyHanko's validation lets library errors through
        return unreadable
    return Standing(
        field=name,
        signer=subject_of(embedded.signer_cert),
        intact=bool(status.intact and status.valid),
        covers_whole_file=covers_whole_file(embedded),
        changes_after=changes_after(embedded, status),
        locks_document=embedded.docmdp_level is MDPPerm.NO_CHANGES,
    )


def untrusting() -> ValidationContext:
    """A context that trusts nobody and fetches nothing: integrity only."""
    return ValidationContext(trust_roots=[], allow_fetching=False)


def status_of(
    embedded: EmbeddedPdfSignature, context: ValidationContext, timestamps: ValidationContext | None = None
) -> SignatureStatus:
    """pyHanko's opinion of one signature or document timestamp."""
    if embedded.sig_object_type == _DOCUMENT_TIMESTAMP:
        return asyncio.run(
            async_validate_pdf_timestamp(embedded, timestamps or context, diff_policy=PERMITTED_CHANGES)
        )
    return asyncio.run(
        async_validate_pdf_signature(
            embedded,
            context,
            timestamps or context,
            diff_policy=PERMITTED_CHANGES,
            key_usage_settings=SIGNING_USAGE,
        )
    )


def covers_whole_file(embedded: EmbeddedPdfSignature) -> bool:
    """Nothing of the file lies outside what this signature covers, but its own place."""
    return embedded.evaluate_signature_coverage() is SignatureCoverageLevel.ENTIRE_FILE


def changes_after(embedded: EmbeddedPdfSignature, status: SignatureStatus) -> Changes:
    """What follows the signed revision, measured against what the signature permits."""
    if covers_whole_file(embedded):
        return Changes.NONE
    permitted = isinstance(status, ModificationInfo) and status.docmdp_ok
    return Changes.PERMITTED if permitted else Changes.NOT_PERMITTED


def subject_of(certificate: x509.Certificate) -> str:
    """The subject for people: its common name if it has one, else the whole name."""
    names = certificate.subject.native
    common = names.get("common_name")
    return str(common) if isinstance(common, str) else str(certificate.subject.human_friendly)
