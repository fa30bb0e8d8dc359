"""The objects of a visible signature, as bytes: its text in a form, and the font that the text is set in.

The text is laid out as pyHanko lays it out (`tests/pdf/test_stamp.py` compares the pictures): ten points with a
leading of twelve and a margin around it, shrunk into the box where it is too large, at the left, in the middle of
the height.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signing_service.pdf import lettering
from signing_service.pdf.lettering import Embedded, Line

_SIZE: Final = 10
_LEADING: Final = 12
_INNER: Final = 10      # points around the text, which shrink with it
_OUTER: Final = 2       # points inside the box

OBJECTS: Final = 6


@dataclass(frozen=True)
class Stamp:
    """A stamp that is ready to be written: `width` and `height` of its box in points."""

    content: bytes
    font: Embedded
    width: int
    height: int

    def objects(self, first: int) -> Iterator[bytes]:
        """The bodies of its objects, numbered from `first`, which is the form that an annotation shows."""
        font, descendant, descriptor, file, unicode = range(first + 1, first + OBJECTS)
        name, embedded = self.font.name, self.font
        yield _stream(
            b"/Type /XObject /Subtype /Form /BBox [ 0 0 %d %d ] /Resources << /Font << /F1 %d 0 R >> >>"
            % (self.width, self.height, font), self.content)
        yield (
            b"<< /Type /Font /Subtype /Type0 /BaseFont /%s-Identity-H /Encoding /Identity-H "
            b"/DescendantFonts [ %d 0 R ] /ToUnicode %d 0 R >>" % (name, descendant, unicode))
        yield (
            b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /%s /CIDToGIDMap /Identity /FontDescriptor %d 0 R "
            b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> /W [ %s ] >>"
            % (name, descriptor, embedded.widths))
        yield b"<< /Type /FontDescriptor /FontName /%s %s /FontFile2 %d 0 R >>" % (name, embedded.descriptor, file)
        yield _stream(b"/Filter /FlateDecode /Length1 %d" % embedded.file_size, embedded.file)
        yield _stream(b"/Filter /FlateDecode", embedded.to_unicode)


def stamp_of(lines: tuple[str, ...], font: Path, width: int, height: int) -> Stamp | None:
    """Set these lines (in NFC, printable) in a box of that size; None where pyHanko must do it."""
    letters = lettering.of(font)
    if letters is None:
        return None
    shaped = [letters.set_line(line) for line in lines]
    known = [line for line in shaped if line is not None]
    if len(known) < len(shaped):
        return None
    used = frozenset[int]().union(*(line.glyphs for line in known))
    return Stamp(_content(lines, known, width, height), letters.embedded(used), width, height)


def _content(texts: tuple[str, ...], lines: list[Line], width: int, height: int) -> bytes:
    text_width = max(round(line.width * _SIZE / 1000) for line in lines)
    wide, high = text_width + 2 * _INNER, len(lines) * _LEADING + 2 * _INNER
    scale = min((width - 2 * _OUTER) / wide, (height - 2 * _OUTER) / high, 1)
    bottom = (height - high * scale) // 2
    left = _OUTER + _INNER * scale
    first = bottom + (_INNER + (len(lines) - 1) * _LEADING) * scale
    shown = b" ".join(
        b"/Span << /ActualText <feff%s> >> BDC %s EMC 0 -%d Td" % (text.encode("utf-16-be").hex().encode(), line.shows,
                                                                 _LEADING)
        for text, line in zip(texts, lines, strict=True)
    )
    return b"q %g 0 0 %g %g %g cm /Tx BMC BT /F1 %d Tf %s ET EMC Q" % (scale, scale, left, first, _SIZE, shown)


def _stream(entries: bytes, content: bytes) -> bytes:
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (entries, len(content), content)
