"""Prepare the tail: what will be appended to the document, with the place for the signature in it.

Only ever an incremental update, and only the tail is written: a document of hundreds of megabytes is read for its
digests and never copied. What the device will sign follows from document, tail and certificate alone.

Where the document is plain (`ground`: no form yet, so nobody has signed), the tail is written directly from what
pyHanko read. Everywhere else pyHanko writes it, and the result is tried before anybody asks the device: the document
with its tail is read again, our field must be in its form, and every earlier signature must stand as well as it did.
That /ByteRange covers the whole file is arithmetic, and done in `place`.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import BinaryIO, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader
from pyhanko.sign.fields import SigSeedSubFilter
from pyhanko.sign.signers.cms_embedder import PdfCMSEmbedder, SigObjSetup
from pyhanko.sign.signers.pdf_byterange import SignatureObject

from signing_service.pdf import appearance, cms
from signing_service.pdf.certificate import check_fit
from signing_service.pdf.direct import Wanted, tail_of
from signing_service.pdf.files import appearing
from signing_service.pdf.ground import ground_of
from signing_service.pdf.place import Digests, digests, place_in
from signing_service.pdf.reading import entry, joined, reader_of, refusing, resolved
from signing_service.pdf.signatures import Standing, signed_fields, standings, unharmed
from signing_service.pdf.stamp import Stamp
from signing_service.pdf.updating import Update
from signing_service.pdf.work import Ground, Level, Prepared, PrepareOrder, Refused

_FIELD_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_WORDS: Final = 500  # characters of a reason or a location
_LARGEST_RESERVE: Final = 1 << 20


def prepare(order: PrepareOrder) -> Prepared:
    """Write the tail, whole; it is durable when the store has taken it. Raises `Refused`; then no tail is there.

    The tail's /ID is random, as ISO 32000-2 14.4 wants it: it is the *stored* tail that counts from here on.
    """
    reserved = _checked_reserve(order)
    with order.document.open("rb") as document:
        name, tail = _tail(document, order, reserved)
        measured = _measured(document, tail, order)
        if order.ground is not None and order.ground.digest != measured.document:   # read of another document
            return prepare(replace(order, ground=None))
    attributes = cms.signed_attributes(order.certificate, measured.message)
    with appearing(order.tail) as file:
        file.write(tail)
    return Prepared(
        document_digest=measured.document,
        tail_digest=measured.tail,
        tail_size=len(tail),
        to_sign=cms.to_sign(order.algorithm, attributes),
        reserved=reserved,
        field_name=name,
    )


def _checked_reserve(order: PrepareOrder) -> int:
    """The order's own mistakes, found before the document is opened; returns the bytes to reserve."""
    if not _FIELD_NAME.fullmatch(order.field_name):
        raise Refused("wrong-order", "A field name has 1 to 64 letters, digits, hyphens or underscores.")
    if any(len(words) > _WORDS for words in (order.reason or "", order.location or "")):
        raise Refused("wrong-order", f"A reason or location has at most {_WORDS} characters.")
    if order.signing_time.tzinfo is None:
        raise Refused("wrong-order", "The signing time has no time zone.")
    check_fit(order.certificate, order.chain, order.algorithm, order.signing_time)
    needed = cms.reserve(order.certificate, order.chain, order.algorithm, order.level is Level.B_T)
    reserved = order.reserved or needed
    if not needed <= reserved <= _LARGEST_RESERVE:
        raise Refused("wrong-order", f"{reserved} bytes for the signature; at least {needed} are needed.")
    return reserved


def _free_name(reader: PdfFileReader, wanted: str) -> str:
    """Always a field of our own: one that is already there may carry its maker's locks and seed values."""
    form = entry(reader.root, "/AcroForm")
    fields = entry(form, "/Fields") if isinstance(form, generic.DictionaryObject) else None
    kept = map(resolved, fields if isinstance(fields, generic.ArrayObject) else ())
    taken = {str(entry(each, "/T")) for each in kept if isinstance(each, generic.DictionaryObject)}
    candidates = (wanted, *(f"{wanted}_{at}" for at in range(2, len(taken) + 3)))
    return next(name for name in candidates if name not in taken)


def _measured(document: BinaryIO, tail: bytes, order: PrepareOrder) -> Digests:
    place = place_in(tail, document.seek(0, os.SEEK_END))
    return digests(document, tail, place, order.algorithm.digest)


def _tail(document: BinaryIO, order: PrepareOrder, reserved: int) -> tuple[str, bytes]:
    """The field's name, and the tail: written directly where that is possible."""
    stamp, page = appearance.stamp_for(order.appearance), order.appearance.box.page if order.appearance else 1
    if order.ground is not None and order.ground.page_number == page and _is_simple(order, stamp):
        return _directly(document, order, reserved, order.ground, stamp)
    reader = reader_of(document)
    with refusing():
        pages = int(reader.root["/Pages"]["/Count"])
        appearance.field_for(order.field_name, order.appearance, pages)     # refuses a place that is not there
        ground = ground_of(reader, page) if _is_simple(order, stamp) else None
        if ground is not None:
            return _directly(document, order, reserved, ground, stamp)
        return _written_by_pyhanko(reader, document, order, reserved)


def _is_simple(order: PrepareOrder, stamp: Stamp | None) -> bool:
    return order.reason is None and order.location is None and (stamp is None) == (order.appearance is None)


def _directly(
    document: BinaryIO, order: PrepareOrder, reserved: int, ground: Ground, stamp: Stamp | None
) -> tuple[str, bytes]:
    field = appearance.field_for(order.field_name, order.appearance, ground.page_number)
    wanted = Wanted(order.field_name, order.signing_time, reserved, field.box or (0, 0, 0, 0), stamp)
    return order.field_name, tail_of(ground, document.seek(0, os.SEEK_END), wanted)


def _written_by_pyhanko(
    reader: PdfFileReader, document: BinaryIO, order: PrepareOrder, reserved: int
) -> tuple[str, bytes]:
    name, earlier = _free_name(reader, order.field_name), standings(reader)
    writer = Update(reader)
    field = appearance.field_for(name, order.appearance, int(reader.root["/Pages"]["/Count"]))
    signature = SignatureObject(
        timestamp=order.signing_time,
        subfilter=SigSeedSubFilter.PADES,
        reason=order.reason,
        location=order.location,
        bytes_reserved=2 * reserved,  # pyHanko counts hexadecimal digits
    )
    embedding = PdfCMSEmbedder(field).write_cms(name, writer)
    next(embedding)
    embedding.send(
        SigObjSetup(signature, appearance_setup=appearance.drawn(order.appearance, order.signing_time))
    )
    # pyHanko would now copy the document and hash the copy; the last step of its protocol is ours.
    border = document.seek(0, os.SEEK_END)
    stream = writer.tail(border)
    start, end = signature.contents.offsets
    signature.byte_range.fill_offsets(stream, start, end, stream.tell())  # type: ignore[no-untyped-call]
    tail = stream.getvalue()
    _try_out(joined(document, tail), name, earlier)
    return name, tail


def _try_out(signed: io.BufferedReader, name: str, earlier: Mapping[str, Standing]) -> None:
    after = reader_of(signed)
    if name not in signed_fields(after):
        raise Refused("broken", "The document cannot carry a signature: its form does not take another field.")
    if not unharmed(earlier, after):
        raise Refused("earlier-signatures", "One more signature would break a signature the document carries.")
