"""A page as a picture, as other viewers show it: annotations and filled fields included, nothing executed.

What is drawn and what is hashed are the same bytes, those that are handed in. PDFium is built without a script engine
and without XFA here, which is checked when this module is loaded.
"""

from __future__ import annotations

import ctypes
import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal

import pypdfium2 as pdfium
from PIL import Image

from signing_service.pdf.work import PageOrder, Picture, Refused, Survey

MOST_PIXELS: Final = 12_000_000  # A4 at the largest width has 9.6 million; a longer page is drawn smaller
LONGEST: Final = 16_000          # pixels of one side: browsers decode no more of it
QUALITY: Final = 85              # of a JPEG, its colours in full resolution: letters with two marks stay sharp
LEVEL: Final = 6                 # of a PNG: half the size of level 3 on a sparse page, and a few milliseconds
LARGEST_SHARP: Final = 1 << 20   # bytes; a grey page beyond that is a scan, whose noise nobody needs without loss
LARGEST: Final = 3 << 20         # bytes of one picture; a photograph that needs more is drawn in half the size

MediaType = Literal["image/png", "image/jpeg"]

if {"V8", "XFA"} & set(pdfium.PDFIUM_INFO.flags):
    raise ImportError("this PDFium could run scripts of a document")


def survey(content: bytes) -> Survey:
    """The size of every page, in points, as it is shown (cropped and turned). Raises `Refused` (`page-not-drawn`)."""
    with _opened(content) as document:
        sizes = tuple(document.get_page_size(number) for number in range(len(document)))
    if not all(math.isfinite(side) and side > 0 for size in sizes for side in size):
        raise _not_drawn()
    return Survey(hashlib.sha256(content).hexdigest(), sizes)


def draw(content: bytes, order: PageOrder) -> Picture:
    """One page. Raises `Refused` (`page-not-drawn`) for a page that is not there or cannot be drawn."""
    with _opened(content) as document:
        if not 1 <= order.page <= len(document):
            raise _not_drawn()
        media_type, picture, size = _drawn(document, order)
    return Picture(hashlib.sha256(content).hexdigest(), media_type, picture, *size)


def _drawn(document: pdfium.PdfDocument, order: PageOrder) -> tuple[MediaType, bytes, tuple[int, int]]:
    page = document[order.page - 1]
    scale = _scale(page.get_size(), order.width)
    while True:
        bitmap = page.render(scale=scale, may_draw_forms=True, draw_annots=True, rev_byteorder=True)
        image = bitmap.to_pil().convert("RGB")
        media_type, picture = _written(image)
        if len(picture) <= LARGEST:
            return media_type, picture, image.size
        scale /= 2


def _written(image: Image.Image) -> tuple[MediaType, bytes]:
    """Text, which is grey, without loss; what has colours, or is a scan, as a photograph."""
    red, green, blue = (each.tobytes() for each in image.split())
    if red != green or green != blue:
        return "image/jpeg", _saved(image, "JPEG", quality=QUALITY, subsampling=0)
    grey = image.getchannel(0)
    sharp = _saved(grey, "PNG", compress_level=LEVEL)
    if len(sharp) <= LARGEST_SHARP:
        return "image/png", sharp
    return "image/jpeg", _saved(grey, "JPEG", quality=QUALITY)


def _saved(image: Image.Image, form: str, **how: int) -> bytes:
    target = io.BytesIO()
    image.save(target, form, **how)
    return target.getvalue()


def _scale(size: tuple[float, float], width: int) -> float:
    """Pixels for a point: exactly as wide as was asked, unless the page is too long for that."""
    wide, high = size
    if not (math.isfinite(wide) and math.isfinite(high) and wide > 0 and high > 0):
        raise _not_drawn()
    exactly = width / wide
    while math.ceil(wide * exactly) > width:  # a hair too much, and the picture would be a pixel wider
        exactly = math.nextafter(exactly, 0)
    return min(exactly, math.sqrt(MOST_PIXELS / (wide * high)), LONGEST / wide, LONGEST / high)


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
