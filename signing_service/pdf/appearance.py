"""The visible signature: lines of text in an embedded TrueType font.

The font is a subset of a real file with Vietnamese letters and the text is NFC, so that what is seen can also be
searched and read aloud. The text is fitted into its box; a box too small makes small letters, not lost ones.
"""

from __future__ import annotations

import io
import math
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Final

from pyhanko.pdf_utils import generic
from pyhanko.pdf_utils.font.api import FontEngineFactory
from pyhanko.pdf_utils.font.opentype import GlyphAccumulator
from pyhanko.pdf_utils.layout import AxisAlignment, Margins, SimpleBoxLayoutRule
from pyhanko.pdf_utils.text import TextBoxStyle
from pyhanko.pdf_utils.writer import BasePdfFileWriter
from pyhanko.pdf_utils.xref import ObjectStream
from pyhanko.sign.fields import SigFieldSpec
from pyhanko.sign.signers.cms_embedder import SigAppearanceSetup
from pyhanko.stamp import TextStampStyle

from signing_service.pdf.fonts import embeddable, font_for
from signing_service.pdf.stamp import OBJECTS, Stamp, stamp_of
from signing_service.pdf.work import Appearance, Box, Refused

_FONT_SIZE: Final = 10
_LEADING: Final = 12
_LARGEST_COORDINATE: Final = 14_400.0  # ISO 32000-2 annex C: 200 inches
_MARGINS: Final = Margins(2, 2, 2, 2)
_LINES: Final = 12
_LINE_LENGTH: Final = 200


def field_for(name: str, appearance: Appearance | None, pages: int) -> SigFieldSpec:
    """The signature field: in its box, or invisible on the first page."""
    if appearance is None:
        return SigFieldSpec(name)
    box = appearance.box
    if not 1 <= box.page <= pages:
        raise Refused("wrong-place", f"There is no page {box.page} to put the signature on.")
    return SigFieldSpec(name, on_page=box.page - 1, box=_rounded(box))


def _rounded(box: Box) -> tuple[int, int, int, int]:
    if not _sensible(box):
        raise Refused("wrong-place", "The box of the visible signature is empty or outside any page.")
    return round(box.left), round(box.bottom), round(box.right), round(box.top)


def _sensible(box: Box) -> bool:
    corners = (box.left, box.bottom, box.right, box.top)
    finite = all(math.isfinite(each) and abs(each) <= _LARGEST_COORDINATE for each in corners)
    return finite and box.right - box.left >= 1 and box.top - box.bottom >= 1


def stamp_for(appearance: Appearance | None) -> Stamp | None:
    """What the signature shows, ready to be written; None for nothing, or for what pyHanko must draw."""
    if appearance is None:
        return None
    text = _text(appearance.lines)
    left, bottom, right, top = _rounded(appearance.box)
    return stamp_of(tuple(text.split("\n")), font_for(text, appearance.font), right - left, top - bottom)


def drawn(appearance: Appearance | None, signing_time: datetime) -> SigAppearanceSetup | None:
    """What is drawn into the field by pyHanko's writer, or nothing for an invisible one."""
    if appearance is None:
        return None
    stamp, text = stamp_for(appearance), _text(appearance.lines)
    if stamp is not None:
        return _Ready(style=TextStampStyle(), timestamp=signing_time, name=None, stamp=stamp)
    return SigAppearanceSetup(
        style=_style(font_for(text, appearance.font)),
        timestamp=signing_time,
        name=None,
        text_params={"text": text},
    )


def _text(lines: tuple[str, ...]) -> str:
    printable = ["".join(c for c in unicodedata.normalize("NFC", line) if c.isprintable()) for line in lines]
    kept = [line.strip()[:_LINE_LENGTH] for line in printable if line.strip()]
    if not kept or len(kept) > _LINES:
        raise Refused("wrong-appearance", f"A visible signature has one to {_LINES} lines of text.")
    return "\n".join(kept)


@dataclass(frozen=True, kw_only=True)
class _Ready(SigAppearanceSetup):
    """A stamp whose objects are ready; the style that pyHanko asks for is not used."""

    stamp: Stamp

    def apply(self, sig_annot: generic.DictionaryObject, writer: BasePdfFileWriter) -> None:
        first, *others = (writer.allocate_placeholder() for _ in range(OBJECTS))
        for reference, body in zip((first, *others), self.stamp.objects(first.idnum), strict=True):
            writer.add_object(_Body(body), idnum=reference.idnum)
        shown = generic.DictionaryObject({generic.pdf_name("/N"): first})  # type: ignore[no-untyped-call]  # not annotated
        sig_annot["/AP"] = shown
        writer.update_container(sig_annot)


class _Body(generic.PdfObject):
    """An object that is written as these bytes."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self._body = body

    def write_to_stream(self, stream: BinaryIO, handler: object = None, container_ref: object = None) -> None:
        stream.write(self._body)


@dataclass(frozen=True)
class _Embedded(FontEngineFactory):
    """pyHanko's own factory leaves the font's file open; a worker may hold very few."""

    font: Path

    def create_font_engine(
        self, writer: BasePdfFileWriter, obj_stream: ObjectStream | None = None
    ) -> GlyphAccumulator:
        if obj_stream is None and writer.stream_xrefs:
            obj_stream = writer.prepare_object_stream()  # type: ignore[no-untyped-call]  # not annotated
        return GlyphAccumulator(
            writer=writer,
            font_handle=io.BytesIO(embeddable(self.font)),
            font_size=_FONT_SIZE,
            obj_stream=obj_stream,
        )


def _style(font: Path) -> TextStampStyle:
    return TextStampStyle(
        border_width=0,
        background=None,
        stamp_text="%(text)s",
        text_box_style=TextBoxStyle(
            font=_Embedded(font), font_size=_FONT_SIZE, leading=_LEADING
        ),
        inner_content_layout=SimpleBoxLayoutRule(
            x_align=AxisAlignment.ALIGN_MIN, y_align=AxisAlignment.ALIGN_MID, margins=_MARGINS
        ),
    )
