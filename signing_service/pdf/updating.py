"""pyHanko's incremental writer, as we use it: what it writes is the tail alone, for any document it understands."""

from __future__ import annotations

import io
import os

from pyhanko.pdf_utils.incremental_writer import IncrementalPdfFileWriter
from pyhanko.pdf_utils.reader import PdfFileReader


class Update(IncrementalPdfFileWriter):
    """pyHanko's incremental writer, with three differences that concern what it writes."""

    def __init__(self, reader: PdfFileReader) -> None:
        super().__init__(reader.stream, prev=reader)
        # /Size is the document's own claim. Were it too small, our objects would replace some of the document's.
        self._lastobj_id = max(self._lastobj_id, _highest_object(reader))

    def _update_meta(self) -> None:
        """Leave the metadata as its author wrote it: it is theirs, and may not even be clean UTF-8."""

    @property
    def highest_object(self) -> int:
        """The largest number that is taken, by the document or by what was added."""
        return int(self._lastobj_id)

    def tail(self, border: int) -> Tail:
        """Write what is new as it will stand after the first `border` bytes."""
        stream = Tail(border)
        self._prep_dom_for_writing()  # type: ignore[no-untyped-call]  # as the two below: not annotated
        self._write_updated_section(stream)  # type: ignore[no-untyped-call]
        return stream


class Tail(io.BytesIO):
    """A stream that believes it continues a file of `border` bytes, so that every offset in it comes out right."""

    def __init__(self, border: int) -> None:
        super().__init__()
        self._border = border

    def tell(self) -> int:
        return super().tell() + self._border

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        moved = super().seek(offset - self._border if whence == os.SEEK_SET else offset, whence)
        return moved + self._border


def _highest_object(reader: PdfFileReader) -> int:
    revisions = range(reader.xrefs.total_revisions)
    named = (each.idnum for at in revisions for each in reader.xrefs.explicit_refs_in_revision(at))
    return max(named, default=0)
