"""What a plain document gives an update to rest on, read by pyHanko: so little that a tail can be written from it.

Plain is what most documents are: no form yet, and so no signature; references in tables or in streams, not in both;
a page whose annotations stand in it. Everything else answers None, and pyHanko writes the update.
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.reader import PdfFileReader

from signing_service.pdf.reading import resolved
from signing_service.pdf.updating import Update
from signing_service.pdf.work import Ground

_LARGEST: Final = 16 << 10      # bytes; those met in practice have a few hundred
_TABLE: Final = re.compile(rb"\s*xref\s")
_STREAM: Final = re.compile(rb"\s*\d+\s+\d+\s+obj\b")
_OURS: Final = frozenset({"/Size", "/Prev", "/ID", "/Root"})


def ground_of(reader: PdfFileReader, page: int = 1, digest: str = "") -> Ground | None:
    """The ground for a signature on that page (from 1), or None. Raises what pyHanko raises about a broken document."""
    if reader.xrefs.hybrid_xrefs_present or not _ends_where_it_says(reader):
        return None
    update = Update(reader)     # which decides about the version, the numbers, and the first half of the /ID
    leaf = update.find_page_for_modification(page - 1)[0]  # type: ignore[no-untyped-call]  # not annotated
    root, content = reader.trailer.raw_get("/Root"), resolved(leaf)
    plain = "/AcroForm" not in update.root and "/Perms" not in update.root and _is_reference(root)
    if not plain or not _is_reference(leaf) or not isinstance(content, generic.DictionaryObject):
        return None
    if isinstance(dict.get(content, "/Annots"), generic.IndirectObject):
        return None
    ground = replace(_ground(reader, update, leaf, content), page_number=page, digest=digest)
    return ground if ground.size <= _LARGEST else None


def _ground(
    reader: PdfFileReader, update: Update, leaf: generic.IndirectObject, content: generic.DictionaryObject
) -> Ground:
    root, trailer = reader.trailer.raw_get("/Root"), reader.trailer.flatten()
    return Ground(
        digest="", page_number=1, last_reference=reader.last_startxref or 0, in_streams=reader.has_xref_stream,
        highest_object=update.highest_object, root=(root.idnum, root.generation),
        catalogue=_written(update.root, frozenset({"/AcroForm"})), page=(leaf.idnum, leaf.generation),
        page_entries=_written(content, frozenset({"/Annots"})), annotations=_items(dict.get(content, "/Annots")),
        first_id=_first_id(update), trailer=_written(trailer, _OURS),
    )


def _ends_where_it_says(reader: PdfFileReader) -> bool:
    """Is there a table or a stream of references, as everywhere in this file, where its end says there is?

    Lenient reading tolerates more than that; what follows such an end is for pyHanko to write.
    """
    reader.stream.seek(reader.last_startxref or 0)
    found: bytes = reader.stream.read(24)
    return (_STREAM if reader.has_xref_stream else _TABLE).match(found) is not None


def _is_reference(thing: object) -> bool:
    return isinstance(thing, generic.IndirectObject | generic.Reference)


def _written(owner: generic.DictionaryObject, without: frozenset[str]) -> bytes:
    """The entries as pyHanko writes them, without the brackets around them."""
    kept = {key: dict.get(owner, key) for key in owner if key not in without}
    return _inside(generic.DictionaryObject(kept), 2)  # type: ignore[no-untyped-call]  # not annotated


def _items(array: object) -> bytes:
    if not isinstance(array, generic.ArrayObject):
        return b""
    return _inside(array, 1)


def _inside(thing: generic.PdfObject, brackets: int) -> bytes:
    written = io.BytesIO()
    thing.write_to_stream(written, None)
    return written.getvalue().strip()[brackets:-brackets].strip()


def _first_id(update: Update) -> bytes:
    first = update._document_id[0]
    return bytes(first.original_bytes if isinstance(first, generic.TextStringObject) else first)
