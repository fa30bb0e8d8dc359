"""Traps in a PDF's skeleton: tables of contents, object streams, trailers, trees, encryption and the file's frame.

Each is a function that makes the bytes, named by what is wrong with them. What must become of each stands in
`hostile_documents`.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from tests.support.raw_pdf import CATALOGUE, PAGES, catalogue, document, one_page, page, revision, stream

Make = Callable[[], bytes]
_HEAD: Final = b"%PDF-1.7\n"


def simple(**changes: bytes) -> bytes:
    return document(one_page(**changes))


def beside(root: bytes = b"", leaf: bytes = b"", trailer: bytes = b"", **extra: bytes) -> bytes:
    """An ordinary page, with entries in its catalogue, page and trailer; `o9=…` is object 9."""
    objects = {int(name[1:]): content for name, content in extra.items()}
    return document({**one_page(catalogue=catalogue(root), page=page(leaf)), **objects}, trailer)


def compressed(
    packed: Mapping[int, bytes], *, plain: Mapping[int, bytes] | None = None, entries: bytes = b"", table: bytes = b"",
    homes: Mapping[int, int] | None = None,
) -> bytes:
    """A file with a cross-reference stream, whose `packed` objects are in object stream 90.

    `entries` begin that stream's dictionary (of two entries with one name the first counts), `table` is the table's;
    `homes` says of some objects that they are in another stream.
    """
    index, inner = bytearray(), bytearray()
    for number, content in packed.items():
        index += b"%d %d " % (number, len(inner))
        inner += content + b" "
    own = stream(bytes(index + inner), b"%s /Type /ObjStm /N %d /First %d" % (entries, len(packed), len(index)))
    rows: dict[int, bytes] = {0: _row(0, 0, 255)}
    body = bytearray(_HEAD)
    for number, content in {**(plain or {}), 90: own}.items():
        rows[number] = _row(1, len(body), 0)
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    for at, number in enumerate(packed):
        rows[number] = _row(2, 90, at)
    rows |= {number: _row(2, home, 0) for number, home in (homes or {}).items()}
    rows[91] = _row(1, len(body), 0)
    index_of = b" ".join(b"%d 1" % number for number in sorted(rows))
    told = table or b"/W [1 4 2] /Index [%s] /Size 92 /Root 1 0 R" % index_of
    contents = stream(b"".join(rows[number] for number in sorted(rows)), b"/Type /XRef " + told)
    return bytes(body) + b"91 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (contents, len(body))


def _row(kind: int, second: int, third: int) -> bytes:
    return kind.to_bytes(1, "big") + second.to_bytes(4, "big") + third.to_bytes(2, "big")


def table_only(told: bytes, content: bytes = b"") -> bytes:
    """A file that is nothing but a table of contents."""
    packed = stream(content, b"/Type /XRef /Root 2 0 R " + told)
    return _HEAD + b"1 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (packed, len(_HEAD))


def _begins_at(content: bytes) -> int:
    return int(content.rpartition(b"startxref\n")[2].split()[0])


def with_trailer(trailer: bytes) -> bytes:
    """An ordinary file and a second trailer that says these things."""
    content = simple()
    return content + revision({4: stream(b"")}, len(content), trailer, size=5)


def predecessors_of_each_other() -> bytes:
    content = simple()
    first = _begins_at(content)
    second = revision({4: stream(b"")}, len(content), b"/Prev %d" % first, size=5)
    whole = content + second
    at = _begins_at(whole)
    return whole.replace(b"/Root 1 0 R  >>", b"/Root 1 0 R /Prev %d >>" % at, 1)


def many_revisions(count: int) -> bytes:
    """Each of them a few bytes that change nothing, which is all a reader needs to look at every one."""
    content = bytearray(simple())
    at = _begins_at(bytes(content))
    for _ in range(count):
        here = len(content)
        content += b"xref\n0 0\ntrailer\n<< /Size 5 /Root 1 0 R /Prev %d >>\nstartxref\n%d\n%%%%EOF\n" % (at, here)
        at = here
    return bytes(content)


def doubling_pages(levels: int) -> bytes:
    """A page tree in which each node has the same child twice: two to the power of `levels` pages."""
    objects = one_page()
    for level in range(levels):
        child = 11 + level if level + 1 < levels else 3
        objects[10 + level] = b"<< /Type /Pages /Count 2 /Kids [%d 0 R %d 0 R] >>" % (child, child)
    return document({**objects, 2: b"<< /Type /Pages /Count 2 /Kids [10 0 R 10 0 R] >>"})


def long_outline(count: int) -> bytes:
    objects = one_page(catalogue=catalogue(b"/Outlines 9 0 R"))
    objects[9] = b"<< /First 10 0 R >>"
    for at in range(count):
        objects[10 + at] = b"<< /Title (a) /Next %d 0 R >>" % (11 + at)
    objects[10 + count] = b"<< /Title (z) >>"
    return document(objects)


def deep_form(depth: int) -> bytes:
    objects = one_page(catalogue=catalogue(b"/AcroForm << /Fields [10 0 R] >>"))
    for at in range(depth):
        objects[10 + at] = b"<< /T (a) /Kids [%d 0 R] >>" % (11 + at)
    objects[10 + depth] = b"<< /FT /Tx /T (z) >>"
    return document(objects)


def encrypted_by(entries: bytes) -> bytes:
    return beside(trailer=b"/ID [(0123456789abcdef) (0123456789abcdef)] /Encrypt " + entries)


_STANDARD: Final = b"<< /Filter /Standard /V 2 /R 3 /Length 128 /P -44 /O (%s) /U (%s) >>"
_ONE_PAGE_PACKED: Final = {1: CATALOGUE, 2: PAGES, 3: page(b"")}

TABLES: Final[dict[str, Make]] = {
    "two tables that are each other's predecessor": predecessors_of_each_other,
    "a predecessor behind the end": lambda: with_trailer(b"/Prev 999999999"),
    "a predecessor before the beginning": lambda: with_trailer(b"/Prev -17"),
    "a predecessor of a thousand digits": lambda: with_trailer(b"/Prev " + b"9" * 1_000),
    "a predecessor that is a reference to itself": lambda: with_trailer(b"/Prev 4 0 R"),
    "a second table that is the first": lambda: with_trailer(b"/XRefStm 15 /Prev 15"),
    "fifty thousand revisions": lambda: many_revisions(50_000),
    "a table with four hundred thousand lines for one object": lambda: simple().replace(
        b"0 1\n0000000000 65535 f \n", b"0 1\n0000000000 65535 f \n" + b"4 1\n0000000015 00000 n \n" * 400_000),
    "a table with a line for each of a million objects": lambda: simple().replace(
        b"0 1\n0000000000 65535 f \n", b"0 1000000\n" + b"0000000015 00000 n \n" * 1_000_000),
    "a table whose columns are two thousand million bytes wide": lambda: table_only(
        b"/W [1 2000000000 2] /Index [0 9] /Size 9", b"x" * 100),
    "a table whose columns have a negative width": lambda: table_only(b"/W [1 -4 2] /Index [0 9] /Size 9", b"x" * 63),
    "a table with seventy columns": lambda: table_only(b"/W [%s] /Index [0 9] /Size 9" % (b"1 " * 70), b"x" * 700),
    "a table whose columns are names": lambda: table_only(b"/W [/A /B /C] /Size 9", b"x" * 63),
    "a table without columns": lambda: table_only(b"/Size 9", b"x" * 63),
    "a table of half a pair": lambda: table_only(b"/W [1 4 2] /Index [0] /Size 9", b"x" * 63),
    "a table that begins below nothing": lambda: table_only(b"/W [1 4 2] /Index [-9 9] /Size 9", b"x" * 63),
    "a table in a million pieces": lambda: table_only(b"/W [1 4 2] /Index [%s] /Size 9" % (b"0 1 " * 1_000_000),
                                                     b"\1\0\0\0\1\0\0"),
    "a table of a size beyond all numbers": lambda: table_only(b"/W [1 4 2] /Size " + b"9" * 4_000, b"x" * 63),
    "a table packed with a predictor two thousand million columns wide": lambda: table_only(
        b"/W [1 4 2] /Size 9 /Filter /FlateDecode /DecodeParms << /Predictor 12 /Columns 2000000000 >>",
        zlib.compress(b"\2" + b"x" * 500)),
    "a table packed with a predictor of no columns": lambda: table_only(
        b"/W [1 4 2] /Size 9 /Filter /FlateDecode /DecodeParms << /Predictor 12 /Columns 0 >>",
        zlib.compress(b"\2" * 500_000)),
    "a table packed with a predictor of a negative width": lambda: table_only(
        b"/W [1 4 2] /Size 9 /Filter /FlateDecode /DecodeParms << /Predictor 15 /Columns -5 >>",
        zlib.compress(b"\2" * 500)),
    "a table packed a hundred times": lambda: table_only(
        b"/W [1 4 2] /Size 9 /Filter [%s]" % (b"/FlateDecode " * 100), zlib.compress(b"x" * 63)),
    "a table through a hundred thousand filters": lambda: table_only(
        b"/W [1 4 2] /Size 9 /Filter [%s]" % (b"/ASCIIHexDecode " * 100_000), b"00>"),
    "a table that is a picture": lambda: table_only(b"/W [1 4 2] /Size 9 /Filter /JBIG2Decode", b"\x97JB2" * 100),
    "a table in another file": lambda: table_only(b"/W [1 4 2] /Size 9 /F (/etc/passwd)", b""),
    "a table with a filter nobody knows": lambda: table_only(b"/W [1 4 2] /Size 9 /Filter /Surprise", b"x" * 63),
}

OBJECT_STREAMS: Final[dict[str, Make]] = {
    "a page in an object stream": lambda: compressed(_ONE_PAGE_PACKED),
    "an object stream that is in itself": lambda: compressed(_ONE_PAGE_PACKED, homes={90: 90}),
    "two object streams, each in the other": lambda: compressed(
        _ONE_PAGE_PACKED, plain={80: stream(b"1 0 x", b"/Type /ObjStm /N 1 /First 4")}, homes={90: 80, 80: 90}),
    "an object stream of two thousand million objects": lambda: compressed(
        _ONE_PAGE_PACKED, entries=b"/N 2000000000"),
    "an object stream that begins behind its end": lambda: compressed(
        _ONE_PAGE_PACKED, entries=b"/First 2000000000"),
    "an object stream that begins before its beginning": lambda: compressed(
        _ONE_PAGE_PACKED, entries=b"/First -20"),
    "an object stream that goes on in itself": lambda: compressed(
        _ONE_PAGE_PACKED, entries=b"/Extends 90 0 R"),
    "an object stream that has in itself how many it has": lambda: compressed(
        _ONE_PAGE_PACKED | {7: b"4"}, entries=b"/N 7 0 R"),
    "an object stream that is a picture": lambda: compressed(
        _ONE_PAGE_PACKED, entries=b"/Filter /DCTDecode"),
    "an object in an object stream that is not there": lambda: compressed(_ONE_PAGE_PACKED, homes={3: 77}),
    "a catalogue that is a page": lambda: compressed(_ONE_PAGE_PACKED, table=b"/W [1 4 2] /Size 5 /Root 3 0 R"),
}

TREES: Final[dict[str, Make]] = {
    "a trailer without a catalogue": lambda: simple().replace(b"/Root 1 0 R", b"/Toor 1 0 R"),
    "a catalogue that is an array": lambda: simple(catalogue=b"[1 0 R]"),
    "a catalogue that refers to itself": lambda: simple(catalogue=b"1 0 R"),
    "a catalogue that is not there": lambda: simple().replace(b"/Root 1 0 R", b"/Root 77 0 R"),
    "a page tree that doubles at each of forty levels": lambda: doubling_pages(40),
    "a page tree with fewer pages than none": lambda: simple(pages=b"<< /Type /Pages /Kids [3 0 R] /Count -1 >>"),
    "a page tree that says it has two thousand million pages": lambda: simple(
        pages=b"<< /Type /Pages /Kids [3 0 R] /Count 2000000000 >>"),
    "a page that is its own parent": lambda: simple(
        page=b"<< /Type /Page /Parent 3 0 R /MediaBox [0 0 595 842] /Contents 4 0 R >>"),
    "a page that is its own parent and has no size": lambda: simple(
        page=b"<< /Type /Page /Parent 3 0 R /Contents 4 0 R >>"),
    "pages that are written where references belong": lambda: simple(
        pages=b"<< /Type /Pages /Count 1 /Kids [<< /Type /Page /MediaBox [0 0 9 9] >>] >>"),
    "a bookmark for each of sixty thousand places": lambda: long_outline(60_000),
    "a form a thousand levels deep": lambda: deep_form(1_000),
    "names that lead back to themselves": lambda: beside(
        b"/Names << /Dests 9 0 R >>", o9=b"<< /Kids [9 0 R 9 0 R] >>"),
    "embedded files by names that lead back to themselves": lambda: beside(
        b"/Names << /EmbeddedFiles 9 0 R >>", o9=b"<< /Kids [9 0 R] >>"),
    "page numbers that lead back to themselves": lambda: beside(b"/PageLabels 9 0 R", o9=b"<< /Kids [9 0 R 9 0 R] >>"),
    "a structure that contains itself": lambda: beside(
        b"/StructTreeRoot 9 0 R /MarkInfo << /Marked true >>",
        o9=b"<< /Type /StructTreeRoot /K [9 0 R 9 0 R] /ParentTree 9 0 R >>"),
    "layers in an order that contains itself": lambda: beside(
        b"/OCProperties 9 0 R", o9=b"<< /OCGs [] /D << /Order 10 0 R >> >>", o10=b"[10 0 R 10 0 R]"),
    "annotations that are their own list": lambda: beside(leaf=b"/Annots 9 0 R", o9=b"[9 0 R 9 0 R]"),
    "an annotation that is its own parent and popup": lambda: beside(
        leaf=b"/Annots [9 0 R]", o9=b"<< /Subtype /Popup /Rect [0 0 9 9] /Parent 9 0 R /Popup 9 0 R >>"),
    "a chain of a hundred thousand references": lambda: document({
        **one_page(catalogue=catalogue(b"/OpenAction 10 0 R")),
        **{10 + at: b"%d 0 R" % (11 + at) for at in range(100_000)}, 100_010: b"[3 0 R /Fit]"}),
    "requirements, extensions and pieces of others, all in circles": lambda: beside(
        b"/Extensions 9 0 R /PieceInfo 9 0 R /Requirements [9 0 R] /Legal 9 0 R", o9=b"<< /ADBE 9 0 R >>"),
}

ENCRYPTED: Final[dict[str, Make]] = {
    "the old encryption": lambda: encrypted_by(_STANDARD % (b"x" * 32, b"y" * 32)),
    "the new encryption with keys of a megabyte": lambda: encrypted_by(
        b"<< /Filter /Standard /V 5 /R 6 /O (%s) /U (%s) /OE (%s) /UE (%s) /Perms (x) /P -1 >>"
        % ((b"x" * 1_000_000,) * 4)),
    "encryption for a certificate": lambda: encrypted_by(
        b"<< /Filter /Adobe.PubSec /SubFilter /adbe.pkcs7.s5 /V 4 /Recipients [(x)] >>"),
    "encryption by somebody unknown": lambda: encrypted_by(b"<< /Filter /Surprise /V 99 >>"),
    "encryption behind a reference": lambda: beside(trailer=b"/Encrypt 9 0 R", o9=_STANDARD % (b"x" * 32, b"y" * 32)),
    "encryption behind a reference that leads nowhere": lambda: beside(trailer=b"/Encrypt 77 0 R"),
    "encryption that is a number": lambda: encrypted_by(b"17"),
    "encryption in the first revision only": lambda: (
        (content := encrypted_by(_STANDARD % (b"x" * 32, b"y" * 32)))
        + revision({4: stream(b"")}, len(content), b"/Prev %d" % _begins_at(content), size=5)),
}

FRAMES: Final[dict[str, Make]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"%",
    "a header alone": lambda: _HEAD,
    "a header and an end": lambda: _HEAD + b"startxref\n0\n%%EOF\n",
    "a web page that is a PDF further down": lambda: b"<html><script>alert(1)</script></html>\n" + simple(),
    "an archive that is a PDF further down": lambda: b"PK\3\4" + bytes(60) + simple(),
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(500),
    "a PDF in sixteen bits": lambda: simple().decode("latin-1").encode("utf-16"),
    "forty megabytes of zeros": lambda: bytes(40 << 20),
    "forty megabytes of noise in a frame": lambda: (
        _HEAD + random.Random(4).randbytes(8 << 20) * 5 + b"\nstartxref\n9\n%%EOF\n"),
    "a table of contents behind the end": lambda: (
        simple().rpartition(b"startxref")[0] + b"startxref\n99999999\n%%EOF\n"),
    "a table of contents at a place of fifteen hundred digits": lambda: (
        simple().rpartition(b"startxref")[0] + b"startxref\n" + b"1" * 1_500 + b"\n%%EOF\n"),
    "a table of contents at the beginning of the file": lambda: (
        simple().rpartition(b"startxref")[0] + b"startxref\n0\n%%EOF\n"),
    "a hundred thousand ends": lambda: simple() + b"startxref\n9\n%%EOF\n" * 100_000,
    "a document that was cut in half": lambda: (content := simple())[: len(content) // 2],
    "forty megabytes behind the end": lambda: simple() + bytes(40 << 20),
    "a version nobody has seen": lambda: simple().replace(b"%PDF-1.7", b"%PDF-9.9", 1),
    "a version that is no number": lambda: simple().replace(b"%PDF-1.7", b"%PDF-x.y", 1),
}
