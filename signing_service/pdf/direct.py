"""A tail written directly, where the document is plain (`ground`): the same objects as pyHanko's, in a fifth of a ms.

Six objects at most are new or replaced: the page (one more annotation), the catalogue (a form), the form, its field,
which is also its annotation, the signature, and a stamp's own. What pyHanko knew about the document stands in the
`Ground`; nothing of the document is read here. `tests/pdf/test_direct.py` holds both writers equal in what pyHanko,
qpdf, poppler and OpenSSL say of the result.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from signing_service.pdf.stamp import Stamp
from signing_service.pdf.work import Ground

_RANGE: Final = 60      # characters kept for /ByteRange, whose numbers are known last


@dataclass(frozen=True)
class Wanted:
    """The signature to make a place for. `box`: left, bottom, right, top in points, noughts where it is invisible."""

    name: str
    moment: datetime
    reserved: int       # bytes of DER
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    stamp: Stamp | None = None


def tail_of(ground: Ground, border: int, wanted: Wanted) -> bytes:
    """The tail for a document of `border` bytes that has this ground."""
    form, field, signature = (ground.highest_object + at for at in (1, 2, 3))
    bodies = {
        ground.page[0]: _page(ground, field),
        ground.root[0]: b"<<\n%s\n/AcroForm %d 0 R\n>>" % (ground.catalogue, form),
        form: b"<< /Fields [ %d 0 R ] /SigFlags 3 >>" % field,
        field: _field(ground, wanted, signature),
        signature: _signature(wanted),
    }
    if wanted.stamp is not None:
        bodies |= enumerate(wanted.stamp.objects(signature + 1), signature + 1)
    generations = dict.fromkeys(bodies, 0) | dict((ground.page, ground.root))
    tail, offsets = bytearray(b"\n"), {}
    for number in sorted(bodies):
        offsets[number] = border + len(tail)
        tail += b"%d %d obj\n%s\nendobj\n" % (number, generations[number], bodies[number])
    tail += _references(ground, offsets, generations, border + len(tail))
    return _with_range(bytes(tail), border, wanted.reserved)


def _page(ground: Ground, field: int) -> bytes:
    others = ground.annotations + b" " if ground.annotations else b""
    return b"<<\n%s\n/Annots [ %s%d 0 R ]\n>>" % (ground.page_entries, others, field)


def _field(ground: Ground, wanted: Wanted, signature: int) -> bytes:
    shown = b"/AP << /N %d 0 R >> " % (signature + 1) if wanted.stamp is not None else b""
    return (
        b"<< /FT /Sig /T (%s) /Type /Annot /Subtype /Widget /F 132 /Rect [ %d %d %d %d ] /P %d %d R %s/V %d 0 R >>"
        % (wanted.name.encode(), *wanted.box, *ground.page, shown, signature)
    )


def _signature(wanted: Wanted) -> bytes:
    """ISO 32000-2 12.8.1; PAdES has the time here (EN 319 142-1 6.3)."""
    return (
        b"<<\n/Contents <%s>\n/ByteRange %s\n/Type /Sig\n/Filter /Adobe.PPKLite\n/SubFilter /ETSI.CAdES.detached\n"
        b"/M (D:%sZ)\n>>"
        % (b"0" * (2 * wanted.reserved), b" " * _RANGE,
           wanted.moment.astimezone(UTC).strftime("%Y%m%d%H%M%S").encode())
    )


def _with_range(tail: bytes, border: int, reserved: int) -> bytes:
    start = tail.index(b"/Contents <" + b"0" * 2 * reserved + b">") + len(b"/Contents ")
    end = start + 2 * reserved + 2
    named = b"[0 %d %d %d]" % (border + start, border + end, len(tail) - end)
    at = end + len(b"\n/ByteRange ")
    return tail[:at] + named.ljust(_RANGE) + tail[at + _RANGE:]


def _references(ground: Ground, offsets: Mapping[int, int], generations: Mapping[int, int], at: int) -> bytes:
    """What ends the file: references to the new objects, in the document's own manner (ISO 32000-2 7.5.4, 7.5.8)."""
    entries = b"%s\n/Root %d %d R\n/ID [ <%s> <%s> ]\n/Prev %d" % (
        ground.trailer, *ground.root, ground.first_id.hex().encode(), os.urandom(16).hex().encode(),
        ground.last_reference,
    )
    written = _stream(entries, offsets, generations, at) if ground.in_streams else _table(entries, offsets, generations)
    return written + b"\nstartxref\n%d\n%%%%EOF\n" % at


def _table(entries: bytes, offsets: Mapping[int, int], generations: Mapping[int, int]) -> bytes:
    lines = [b"xref\n0 1\n0000000000 65535 f \n"]
    for first, count in _runs(sorted(offsets)):
        lines.append(b"%d %d\n" % (first, count))
        lines += [b"%010d %05d n \n" % (offsets[each], generations[each]) for each in range(first, first + count)]
    return b"".join(lines) + b"trailer\n<<\n%s\n/Size %d\n>>" % (entries, max(offsets) + 1)


def _stream(entries: bytes, offsets: Mapping[int, int], generations: Mapping[int, int], at: int) -> bytes:
    number = max(offsets) + 1
    places = {**offsets, number: at}
    packed = zlib.compress(b"".join(
        struct.pack(">BQH", 1, places[each], generations.get(each, 0)) for each in sorted(places)))
    index = b" ".join(b"%d %d" % run for run in _runs(sorted(places)))
    return (
        b"%d 0 obj\n<<\n/Type /XRef\n/W [ 1 8 2 ]\n/Index [ %s ]\n/Filter /FlateDecode\n/Length %d\n%s\n/Size %d\n>>\n"
        b"stream\n%s\nendstream\nendobj\n" % (number, index, len(packed), entries, number + 1, packed)
    )


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as the first of them and how many."""
    start = numbers[0]
    for number, following in zip(numbers, [*numbers[1:], None], strict=True):
        if following != number + 1:
            yield start, number + 1 - start
            start = following or 0

