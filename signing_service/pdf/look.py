"""Look at a document: accept it with what a person and a policy should know, or refuse it with the reason."""

from __future__ import annotations

import hashlib
import unicodedata
from pathlib import Path
from typing import Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import MDPPerm
from pyhanko.sign.validation import read_certification_data

from signing_service.pdf.ground import ground_of
from signing_service.pdf.marks import secret_mark
from signing_service.pdf.reading import entry, feed, opened, reader_of, refusing
from signing_service.pdf.screen import Screening
from signing_service.pdf.signatures import Standing, standings
from signing_service.pdf.work import Changes, EarlierSignature, Ground, Limits, Look, Refused

_SHOWN: Final = 200  # characters of a title or producer: enough for a screen, not enough for a prank


def look(path: Path, limits: Limits) -> Look:
    """What is this file? Raises `Refused` with one of these codes:

    not-a-pdf, truncated, encrypted, broken, too-many-pages, too-many-revisions, too-many-signatures,
    active-content, embedded-files (only if the limits say so), certified-no-changes, document-too-costly.
    """
    with opened(path) as document:
        reader = reader_of(document)
        with refusing():
            screening = _screened(reader, limits)
            earlier = _earlier(reader, limits)
        mark = _mark(screening.first_page)
        fingerprint = hashlib.sha256()
        size = feed(document, fingerprint)
        digest = fingerprint.hexdigest()
        return Look(
            pages=screening.pages,
            size=size,
            digest=digest,
            pdf_version="{}.{}".format(*reader.input_version),
            producer=_information(reader, "/Producer"),
            title=_information(reader, "/Title"),
            signatures=tuple(_shown(each) for each in earlier),
            forms=screening.forms,
            warnings=tuple(sorted(screening.warnings | _signature_warnings(earlier))),
            secret_mark=mark,
            ground=_ground(reader, digest),
        )


def _screened(reader: PdfFileReader, limits: Limits) -> Screening:
    if reader.xrefs.total_revisions > limits.revisions:
        raise Refused("too-many-revisions", f"The document has more than {limits.revisions} revisions.")
    screening = Screening(reader, limits)
    screening.run()
    return screening


def _earlier(reader: PdfFileReader, limits: Limits) -> list[Standing]:
    certification = read_certification_data(reader)
    earlier = list(standings(reader, at_most=limits.earlier_signatures).values())
    locked = certification is not None and certification.permission is MDPPerm.NO_CHANGES
    if locked or any(each.locks_document for each in earlier):
        raise Refused(
            "certified-no-changes",
            "The document was certified so that nothing may be added, not even a signature.",
        )
    return earlier


def _mark(page: generic.DictionaryObject | None) -> str | None:
    """The search for a mark never refuses a document that is otherwise good: what it cannot read, it cannot find."""
    try:
        return secret_mark(page) if page is not None else None
    except MemoryError:
        raise
    except Exception:  # fonts and content streams of the wild; the document as a whole was read without trouble
        return None


def _ground(reader: PdfFileReader, digest: str) -> Ground | None:
    """It never refuses a document either: where it cannot be read, preparing says why."""
    try:
        return ground_of(reader, digest=digest)
    except MemoryError:
        raise
    except Exception:  # whatever a lenient reader meets on a second walk
        return None


def _shown(standing: Standing) -> EarlierSignature:
    return EarlierSignature(
        standing.field, standing.signer, standing.intact, standing.covers_whole_file
    )


def _signature_warnings(earlier: list[Standing]) -> set[str]:
    found = {"earlier-signature"} if earlier else set()
    if any(not each.intact for each in earlier):
        found.add("earlier-signature-broken")
    if any(each.changes_after is Changes.NOT_PERMITTED for each in earlier):
        found.add("changed-after-signature")
    return found


def _information(reader: PdfFileReader, key: str) -> str | None:
    information = entry(reader.trailer_view, "/Info")
    found = entry(information, key) if isinstance(information, generic.DictionaryObject) else None
    if isinstance(found, bytes):
        found = found.decode("latin-1")  # in no encoding that PDF knows: something to show, no more
    return clean(found) if isinstance(found, str) else None


def clean(text: str) -> str | None:
    """One printable line in NFC, or None: nothing from a document reaches a screen or a log as it came."""
    line = "".join(each if each.isprintable() else " " for each in unicodedata.normalize("NFC", text))
    return " ".join(line.split())[:_SHOWN] or None
