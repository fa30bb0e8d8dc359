"""A page as a picture, as other viewers show it: annotations and filled fields included, nothing executed.

What is drawn and what is hashed are the same bytes: the file is read once. PDFium is built without a script engine
and without XFA here, which is checked when this module is loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pypdfium2 as pdfium

from signing_service.pdf.work import Picture, PictureOrder, Refused, Survey

MOST_PIXELS: Final = 12_000_000  # A4 at the largest width has 9.6 million; a longer page is drawn smaller
LONGEST: Final = 16_000          # pixels of one side: what WebP can hold is 16,383 (RFC 9649 2.7)
QUALITY: Final = 80              # measured: letters with two marks stay sharp, a page of text has 6 to 25 KB
LARGEST: Final = 3 << 20         # bytes of one picture; a photograph that needs more is drawn in half the size

if {"V8", "XFA"} & set(pdfium.PDFIUM_INFO.flags):
    raise ImportError("this PDFium could run scripts of a document")


def survey(path: Path) -> Survey:
    """The size of every page, in points, as it is shown (cropped and turned). Raises `Refused` (`page-not-drawn`)."""
    content = path.read_bytes()
    with _opened(content) as document:
        sizes = tuple(document.get_page_size(number) for number in range(len(document)))
    if not all(math.isfinite(side) and side > 0 for size in sizes for side in size):
        raise _not_drawn()
    return Survey(hashlib.sha256(content).hexdigest(), sizes)


def draw(order: PictureOrder) -> Picture:
    """One page. Raises `Refused` (`page-not-drawn`) for a page that is not there or cannot be drawn."""
    content = order.document.read_bytes()
    with _opened(content) as document:
        if not 1 <= order.page <= len(document):
            raise _not_drawn()
        picture, size = _drawn(document, order)
    return Picture(hashlib.sha256(content).hexdigest(), "image/webp", picture, *size)


def _drawn(document: pdfium.PdfDocument, order: PictureOrder) -> tuple[bytes, tuple[int, int]]:
    page = document[order.page - 1]
    scale = _scale(page.get_size(), order.width)
    while True:
        bitmap = page.render(scale=scale, may_draw_forms=True, draw_annots=True, rev_byteorder=True)
        image = bitmap.to_pil().convert("RGB")
        target = io.BytesIO()
        image.save(target, "WEBP", quality=QUALITY, method=0)
        if target.tell() <= LARGEST:
            return target.getvalue(), image.size
        scale /= 2


def _scale(size: tuple[float, float], width: int) -> float:
    """Pixels for a point: as wide as was asked, unless the page is too long for that."""
    wide, high = size
    if not (math.isfinite(wide) and math.isfinite(high) and wide > 0 and high > 0):
        raise _not_drawn()
    wanted = width / wide
    return min(wanted, math.sqrt(MOST_PIXELS / (wide * high)), LONGEST / wide, LONGEST / high)


@contextmanager
def _opened(content: bytes) -> Iterator[pdfium.PdfDocument]:
    """PDFium keeps no copy of the bytes: they live as long as the document."""
    try:
        document = pdfium.PdfDocument(content)
        try:
            document.init_forms()
            yield document
        finally:
            document.close()
    except (pdfium.PdfiumError, ctypes.ArgumentError, ValueError, OSError) as error:
        raise _not_drawn() from error


def _not_drawn() -> Refused:
    return Refused("page-not-drawn", "This page cannot be drawn.")
