"""Where objects are: the end of a file, its tables of references and the headers of objects, each in one match.

As `objects`: what is written as ISO 32000-2 7.5.4 and 7.5.5 want it is read here, in pieces of bounded size, and
everything else by pyHanko, byte by byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from pyhanko.pdf_utils import reader, xref
from pyhanko.pdf_utils.xref import XRefEntry, XRefType

_WINDOW: Final = 64
_END_WINDOW: Final = 48
_ROW: Final = 20
_MOST_ROWS: Final = 1 << 17

_HEADER: Final = re.compile(
    rb"[\0\t\n\f\r ]*+(\d{1,10}+)[\0\t\n\f\r ]++(\d{1,5}+)[\0\t\n\f\r ]obj[\0\t\n\f\r ]*+(?=[^\0\t\n\f\r %])"
)
_END: Final = re.compile(rb"[\r\n]startxref(?:\r\n|\n|\r)(\d{1,10})(?:\r\n|\n|\r)%%EOF(?:\r\n|\n|\r)?\Z")
_SECTION: Final = re.compile(rb"[\0\t\n\f\r ]*+(\d{1,10}+)[\0\t\n\f\r ]++(\d{1,10}+)[\0\t\n\f\r ]++(?=\d{10} )")
_ENTRY: Final = re.compile(rb"(\d{10}) (\d{5}) ([nf])(?: \r| \n|\r\n)")
_TRAILER: Final = re.compile(rb"[\0\t\n\f\r ]*+trailer[\0\t\n\f\r ]*+(?=[^\0\t\n\f\r %])")
_KINDS: Final = {b"n": XRefType.STANDARD, b"f": XRefType.FREE}

# As they come, before `install`.
_stock_table: Final[Callable[[BinaryIO, bool], Iterator[XRefEntry]]] = xref.parse_xref_table
_stock_header: Final[Callable[[BinaryIO, bool], tuple[int, int]]] = xref.read_object_header
_stock_last: Final[Callable[[BinaryIO], int]] = reader.process_data_at_eof


def object_header(stream: BinaryIO, strict: bool) -> tuple[int, int]:
    """Number and generation of the object under the cursor, which is left at what it is."""
    start = stream.tell()
    found = _HEADER.match(stream.read(_WINDOW))
    stream.seek(start if found is None else start + found.end())
    if found is None:
        return _stock_header(stream, strict)
    return int(found[1]), int(found[2])


def last_reference(stream: BinaryIO) -> int:
    """What stands after the last `startxref`; the cursor is at the last byte, and left anywhere."""
    start = stream.tell()
    stream.seek(max(0, start + 1 - _END_WINDOW))
    found = _END.search(stream.read(_END_WINDOW))
    if found is not None:
        return int(found[1])
    stream.seek(start)
    return _stock_last(stream)


def table(stream: BinaryIO, strict: bool) -> Iterator[XRefEntry]:
    """The entries of the table under the cursor, which is left at the trailer's dictionary."""
    at = stream.tell()
    while True:
        section = _section(stream, at)
        if section is None:
            stream.seek(at)
            yield from _stock_table(stream, strict)
            return
        yield from section.entries()
        at = section.end
        if section.is_last:
            stream.seek(at)
            return


@dataclass(frozen=True)
class Section:
    """Rows one after the other, and what comes behind them: the trailer, or another section."""

    first: int
    rows: list[tuple[bytes, bytes, bytes]]
    end: int
    is_last: bool

    def entries(self) -> Iterator[XRefEntry]:
        for number, (location, generation, kind) in enumerate(self.rows, self.first):
            yield XRefEntry(_KINDS[kind], int(location) if kind == b"n" else None, number, int(generation))


def _section(stream: BinaryIO, at: int) -> Section | None:
    """None where anything in it or behind it is unusual: whoever reads it must begin at its beginning."""
    stream.seek(at)
    head = _SECTION.match(stream.read(_WINDOW))
    if head is None or int(head[2]) > _MOST_ROWS:
        return None
    begin, size = at + head.end(), _ROW * int(head[2])
    stream.seek(begin)
    rows, behind = stream.read(size), stream.read(_WINDOW)
    found = _ENTRY.findall(rows)
    trailer = _TRAILER.match(behind)
    if len(rows) != size or _ROW * len(found) != size or not (trailer or _SECTION.match(behind)):
        return None
    return Section(int(head[1]), found, begin + size + (trailer.end() if trailer else 0), trailer is not None)


def install() -> None:
    """Have pyHanko read tables and headers this way, in this process."""
    xref.parse_xref_table = table
    xref.read_object_header = object_header
    reader.read_object_header = object_header   # type: ignore[attr-defined]  # imported there under its name
    reader.process_data_at_eof = last_reference
