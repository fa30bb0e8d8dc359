"""PDF files put together by hand, object by object: the ones no honest producer writes."""

from __future__ import annotations

from collections.abc import Mapping

_HEADER = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"

CATALOGUE = b"<< /Type /Catalog /Pages 2 0 R >>"
PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << >> >>"


def stream(content: bytes, entries: bytes = b"") -> bytes:
    """A stream object's body."""
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), entries, content)


def one_page(**changes: bytes) -> dict[int, bytes]:
    """A page with nothing wrong with it; `catalogue`, `pages`, `page` or `content` replace a part."""
    return {
        1: changes.get("catalogue", CATALOGUE),
        2: changes.get("pages", PAGES),
        3: changes.get("page", PAGE),
        4: stream(changes.get("content", b"0 0 m 100 100 l S")),
    }


def catalogue(entries: bytes) -> bytes:
    return b"<< /Type /Catalog /Pages 2 0 R %s >>" % entries


def page(entries: bytes) -> bytes:
    return b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << >> %s >>" % entries


def document(objects: Mapping[int, bytes], trailer: bytes = b"", *, size: int | None = None) -> bytes:
    """A whole file with a classical cross-reference table."""
    return _HEADER + revision(objects, len(_HEADER), trailer, size=size)


def revision(
    objects: Mapping[int, bytes], border: int, trailer: bytes = b"", *, size: int | None = None
) -> bytes:
    """What follows the first `border` bytes of a file: objects, table, trailer."""
    body = bytearray()
    offsets: dict[int, int] = {}
    for number, content in objects.items():
        offsets[number] = border + len(body)
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = border + len(body)
    body += table_of(offsets, free=b"/Prev" not in trailer)
    largest = size if size is not None else max(objects) + 1
    body += b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (largest, trailer, table)
    return bytes(body)


def table_of(offsets: Mapping[int, int], *, free: bool) -> bytes:
    """A cross-reference table with one subsection per object, and the free list's head in a first revision."""
    lines = [b"xref\n"]
    if free:
        lines.append(b"0 1\n0000000000 65535 f \n")
    lines += [b"%d 1\n%010d 00000 n \n" % (number, offsets[number]) for number in sorted(offsets)]
    return b"".join(lines)
