"""Documents that must not be signed, and documents that try to cost more than they weigh.

`BOMBS` are small files with a large appetite: for time, for memory, for the stack. None of them is a bug of a
library that will be mended; each is a thing that a lenient reader of PDF has to try.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from tests.support.raw_pdf import catalogue, document, one_page, page, revision, stream

_JAVASCRIPT: Final = b"<< /S /JavaScript /JS (app.alert\\(1\\)) >>"
_ELSEWHERE: Final = b"9 0 R"  # the same thing behind a reference: a screening that looks only at the surface misses it


def _with(root: bytes = b"", leaf: bytes = b"", extra: dict[int, bytes] | None = None) -> bytes:
    return document({**one_page(catalogue=catalogue(root), page=page(leaf)), **(extra or {})})


ACTIVE: Final[dict[str, bytes]] = {
    "a script when it is opened": _with(b"/OpenAction " + _JAVASCRIPT),
    "a script when it is opened, behind a reference": _with(b"/OpenAction 9 0 R", extra={9: _JAVASCRIPT}),
    "a script behind a reference to a reference": _with(
        b"/OpenAction 9 0 R", extra={9: b"10 0 R", 10: _JAVASCRIPT}
    ),
    "a link that is followed when it is opened": _with(b"/OpenAction << /S /URI /URI (http://a.example) >>"),
    "a script after a harmless action": _with(
        b"/OpenAction << /S /GoTo /D [3 0 R /Fit] /Next [ 9 0 R ] >>", extra={9: _JAVASCRIPT}
    ),
    "scripts by name": _with(b"/Names << /JavaScript << /Names [(a) 9 0 R] >> >>", extra={9: _JAVASCRIPT}),
    "a script when it is printed": _with(b"/AA 8 0 R", extra={8: b"<< /WP 9 0 R >>", 9: _JAVASCRIPT}),
    "a script when a page is seen": _with(leaf=b"/AA << /O 9 0 R >>", extra={9: _JAVASCRIPT}),
    "a program that is started": _with(b"/OpenAction << /S /Launch /F (calc.exe) >>"),
    "a program started by a click": _with(
        leaf=b"/Annots 8 0 R",
        extra={8: b"[9 0 R]", 9: b"<< /Subtype /Link /Rect [0 0 9 9] /A << /S /Launch /F (calc.exe) >> >>"},
    ),
    "a form that sends itself": _with(
        b"/AcroForm << /Fields [9 0 R] >>",
        extra={9: b"<< /FT /Btn /T (b) /A << /S /SubmitForm /F (http://a.example) >> >>"},
    ),
    "a field that imports data, two levels down": _with(
        b"/AcroForm 7 0 R",
        extra={
            7: b"<< /Fields [8 0 R] >>",
            8: b"<< /T (a) /Kids [9 0 R] >>",
            9: b"<< /FT /Tx /T (b) /AA << /K << /S /ImportData /F (x) >> >> >>",
        },
    ),
    "an XFA form": _with(b"/AcroForm << /Fields [] /XFA 9 0 R >>", extra={9: stream(b"<xdp/>")}),
    "rich media": _with(leaf=b"/Annots [<< /Subtype /RichMedia /Rect [0 0 9 9] >>]"),
    "a bookmark that hides a layer": _with(
        b"/Outlines 8 0 R",
        extra={8: b"<< /First 9 0 R >>", 9: b"<< /Title (x) /A << /S /SetOCGState /State [/OFF] >> >>"},
    ),
    "an action nobody has heard of": _with(b"/OpenAction << /S /Surprise >>"),
}

WARNED: Final[dict[str, tuple[bytes, tuple[str, ...]]]] = {
    "layers": (_with(b"/OCProperties << /OCGs [] >>"), ("optional-content",)),
    "embedded files by name": (_with(b"/Names << /EmbeddedFiles << /Names [] >> >>"), ("embedded-files",)),
    "a portfolio": (_with(b"/Collection << >>"), ("embedded-files",)),
    "a file pinned to a page": (
        _with(leaf=b"/Annots [<< /Subtype /FileAttachment /Rect [0 0 9 9] >>]"), ("embedded-files",)
    ),
    "a note laid over the text": (
        _with(leaf=b"/Annots [<< /Subtype /FreeText /Rect [0 0 500 500] >>]"), ("annotations",)
    ),
    "a field to fill": (
        _with(b"/AcroForm << /Fields [9 0 R] >>", extra={9: b"<< /FT /Tx /T (so) >>"}), ("form-fields",)
    ),
    "links are nothing to warn of": (
        _with(leaf=b"/Annots [<< /Subtype /Link /Rect [0 0 9 9] /A << /S /URI /URI (http://a.example) >> >>]"), ()
    ),
    "going to a page when opened is nothing to warn of": (_with(b"/OpenAction [3 0 R /Fit]"), ()),
}

LOOPS: Final[dict[str, bytes]] = {
    "a page tree that contains itself": document({**one_page(), 2: b"<< /Type /Pages /Kids [2 0 R] /Count 1 >>"}),
    "a page that is there twice": document({**one_page(), 2: b"<< /Type /Pages /Kids [3 0 R 3 0 R] /Count 2 >>"}),
    "a page tree without a page": document({**one_page(), 2: b"<< /Type /Pages /Kids [] /Count 0 >>"}),
    "a page tree whose root is a number": document({**one_page(), 2: b"17"}),
    "a form that contains itself": _with(
        b"/AcroForm << /Fields [9 0 R] >>", extra={9: b"<< /T (a) /Kids [9 0 R] >>"}
    ),
    "bookmarks in a circle": _with(
        b"/Outlines << /First 9 0 R >>", extra={9: b"<< /Title (a) /Next 10 0 R >>", 10: b"<< /Next 9 0 R >>"}
    ),
    "a reference that refers to itself": _with(b"/OpenAction 9 0 R", extra={9: b"9 0 R"}),
}


def _packed(content: bytes, times: int = 1) -> bytes:
    filters = b" ".join([b"/FlateDecode"] * times)
    for _ in range(times):
        content = zlib.compress(content, 9)
    return stream(content, b"/Filter [%s]" % filters)


def _xref_stream(entries: bytes, content: bytes) -> bytes:
    """A file whose table of contents is the given stream."""
    head = b"%PDF-1.7\n"
    body = b"1 0 obj\n<< /Type /XRef /Size 9 /Root 2 0 R %s /Length %d >>\nstream\n%s\nendstream\nendobj\n"
    return head + body % (entries, len(content), content) + b"startxref\n%d\n%%%%EOF\n" % len(head)


def _many_revisions(count: int) -> bytes:
    content = document(one_page())
    for _ in range(count):
        previous = int(content.rpartition(b"startxref\n")[2].split()[0])
        content += revision({4: stream(b"")}, len(content), b"/Prev %d" % previous, size=5)
    return content


def _own_predecessor() -> bytes:
    content = document(one_page())
    return content + revision({4: stream(b"")}, len(content), b"/Prev %d" % (len(content) + 49))


def _deep_page_tree(depth: int) -> bytes:
    objects = one_page()
    for level in range(depth):
        objects[10 + level] = b"<< /Type /Pages /Count 1 /Kids [%d 0 R] >>" % (11 + level)
    objects[2] = b"<< /Type /Pages /Count 1 /Kids [10 0 R] >>"
    objects[10 + depth] = page(b"")
    return document(objects)


def _objects_in_one_stream(count: int) -> bytes:
    """Each object of an object stream costs a pass over all that stand before it."""
    inner = b"".join(b"<< /Type /Page /Parent 2 0 R >> " for _ in range(count))
    index = b"".join(b"%d %d " % (100 + at, at * 32) for at in range(count))
    objects = one_page()
    kids = b" ".join(b"%d 0 R" % (100 + at) for at in range(count))
    objects[2] = b"<< /Type /Pages /Count %d /Kids [%s] >>" % (count, kids)
    objects[9] = stream(index + inner, b"/Type /ObjStm /N %d /First %d" % (count, len(index)))
    head = b"%PDF-1.7\n"
    body, entries = bytearray(head), bytearray()
    for number, content in objects.items():
        entries += number.to_bytes(3, "big") + b"\1" + len(body).to_bytes(4, "big") + b"\0\0"
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    rows = [entries[at + 3 : at + 10] for at in range(0, len(entries), 10)]
    rows += [b"\2" + (9).to_bytes(4, "big") + at.to_bytes(2, "big") for at in range(count)]
    index_of = b" ".join(b"%d 1" % number for number in objects) + b" 100 %d" % count
    table = stream(
        b"".join(rows), b"/Type /XRef /W [1 4 2] /Index [%s] /Size %d /Root 1 0 R" % (index_of, 100 + count)
    )
    at = len(body)
    return bytes(body) + b"99 0 obj\n%s\nendobj\nstartxref\n%d\n%%%%EOF\n" % (table, at)


_ENTRY: Final = b"\1\0\0\0\1\0\0"
BOMBS: Final[dict[str, Callable[[], bytes]]] = {
    "arrays nested half a million deep": lambda: _with(b"/X " + b"[" * 500_000),
    "dictionaries nested a hundred thousand deep": lambda: _with(b"/X " + b"<</A " * 100_000),
    "brackets of a string nested a million deep": lambda: _with(b"/X " + b"(" * 1_000_000),
    "a number with five million digits": lambda: _with(b"/OpenAction " + b"9" * 5_000_000),
    "a fraction with a million digits": lambda: _with(b"/X 0." + b"9" * 1_000_000 + b"e"),
    "a hexadecimal string of eight megabytes that ends in nonsense": lambda: _with(
        b"/X <" + b"41" * 4_000_000 + b"z"
    ),
    "a comment of eight megabytes in every value": lambda: _with(b"/X %" + b"x" * 8_000_000),
    "sixteen million blanks": lambda: _with(b"/X" + b" " * 16_000_000 + b"["),
    "a name of four million letters": lambda: _with(b"/" + b"#41" * 4_000_000),
    "a table of contents that unpacks to eighty megabytes": lambda: _xref_stream(
        b"/W [1 4 2] /Index [0 99999999] /Filter /FlateDecode", zlib.compress(_ENTRY * 12_000_000, 1)
    ),
    "a table of contents packed twice": lambda: _xref_stream(
        b"/W [1 4 2] /Index [0 99999999] /Filter [/FlateDecode /FlateDecode]",
        zlib.compress(zlib.compress(_ENTRY * 12_000_000, 9), 9),
    ),
    "a table of contents with entries of no width": lambda: _xref_stream(
        b"/W [0 0 0] /Index [0 2000000000]", b""
    ),
    "a table of contents that promises two thousand million lines": lambda: document(one_page()).replace(
        b"0 1\n0000000000 65535 f \n", b"0 2000000000\n0000000000 65535 f \n"
    ),
    "three thousand revisions": lambda: _many_revisions(3_000),
    "a revision that is its own predecessor": _own_predecessor,
    "a page tree a thousand levels deep": lambda: _deep_page_tree(1_000),
    "more pages than anybody reads": lambda: document(
        {**one_page(), 2: b"<< /Type /Pages /Count 1 /Kids [%s] >>" % (b"3 0 R " * 300_000)}
    ),
    "four thousand pages in one object stream": lambda: _objects_in_one_stream(4_000),
    "a page with three hundred thousand annotations": lambda: _with(
        leaf=b"/Annots [%s]" % (b"<< /Subtype /Link >> " * 300_000)
    ),
    "an array of ten million numbers": lambda: _with(leaf=b"/Annots [%s]" % (b"1 " * 10_000_000)),
    "a form a hundred thousand fields wide": lambda: _with(
        b"/AcroForm << /Fields [%s] >>" % (b"9 0 R " * 100_000), extra={9: b"<< /T (a) >>"}
    ),
    "actions that follow each other for ever": lambda: _with(
        b"/OpenAction 9 0 R", extra={9: b"<< /S /GoTo /D [3 0 R /Fit] /Next 9 0 R >>"}
    ),
    "actions that double at every step": lambda: _with(
        b"/OpenAction 9 0 R", extra={9: b"<< /S /GoTo /D [3 0 R /Fit] /Next [9 0 R 9 0 R] >>"}
    ),
    "a stream whose length is itself": lambda: _with(
        b"/AcroForm 9 0 R", extra={9: b"<< /Length 9 0 R >>\nstream\nx\nendstream"}
    ),
}
