"""Traps in what a PDF shows and says of itself: page content, filters, fonts, pictures, metadata, letters."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from tests.support.hostile_structure import beside, simple
from tests.support.raw_pdf import document, one_page, stream

Make = Callable[[], bytes]


def _zeros(mebibytes: int) -> bytes:
    """So many of them, packed to a thousandth: one mebibyte, packed once, and said again and again (RFC 1950)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = ((mebibytes << 20) % 65_521) << 16 | 1
    return b"\x78\xda" + piece * mebibytes + b"\3\0" + checksum.to_bytes(4, "big")


def _page_of(content: bytes, entries: bytes = b"") -> bytes:
    """A page whose content is this stream, as it stands."""
    return document({**one_page(), 4: stream(content, entries)})


def _with_font(font: bytes, **extra: bytes) -> bytes:
    leaf = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /Font << /F 9 0 R >> >> >>"
    objects = {int(name[1:]): content for name, content in extra.items()}
    return document({**one_page(page=leaf, content=b"BT /F 9 Tf (A) Tj ET"), 9: font, **objects})


def _with_picture(content: bytes, entries: bytes) -> bytes:
    return _with_form(content, b"/Type /XObject /Subtype /Image " + entries)


def _with_form(content: bytes, entries: bytes, **extra: bytes) -> bytes:
    leaf = (b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R "
            b"/Resources << /XObject << /X 9 0 R >> >> >>")
    objects = {int(name[1:]): content for name, content in extra.items()}
    return document({**one_page(page=leaf, content=b"/X Do"), 9: stream(content, entries), **objects})


def _with_map(cmap: bytes, entries: bytes = b"") -> bytes:
    return _with_font(b"<< /Type /Font /Subtype /Type0 /BaseFont /A /ToUnicode 10 0 R >>", o10=stream(cmap, entries))


def _with_metadata(xmp: bytes, entries: bytes = b"") -> bytes:
    return beside(b"/Metadata 9 0 R", o9=stream(xmp, b"/Type /Metadata /Subtype /XML " + entries))


def _informed(information: bytes, **extra: bytes) -> bytes:
    return beside(trailer=b"/Info 9 0 R", o9=information, **extra)


_LAUGHS: Final = b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'ha'>%s]><x:xmpmeta xmlns:x='ns'>&z;</x:xmpmeta>" % (
    b"".join(b"<!ENTITY %c '%s'>" % (ord("b") + at, b"&%c;" % (ord("a") + at) * 10) for at in range(25)))
_OUTSIDE: Final = (b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>"
                   b"<!ENTITY b SYSTEM 'http://127.0.0.1:9/'>]><x>&a;&b;</x>")

CONTENT: Final[dict[str, Make]] = {
    "a page that unpacks to a gigabyte": lambda: _page_of(_zeros(1_024), b"/Filter /FlateDecode"),
    "a page that unpacks to a gigabyte, packed twice": lambda: _page_of(
        zlib.compress(_zeros(1_024), 9), b"/Filter [/FlateDecode /FlateDecode]"),
    "a page packed as LZW that repeats itself": lambda: _page_of(b"\x80\x0b\x60\x50" * 500_000, b"/Filter /LZWDecode"),
    "a page of runs": lambda: _page_of(b"\x81x" * 2_000_000, b"/Filter /RunLengthDecode"),
    "a page of runs of runs": lambda: _page_of(
        b"\x81\x81" * 400_000, b"/Filter [/RunLengthDecode /RunLengthDecode /RunLengthDecode]"),
    "a page of zeros in base 85": lambda: _page_of(b"z" * 8_000_000 + b"~>", b"/Filter /ASCII85Decode"),
    "a page of zeros in base 85, four times over": lambda: _page_of(
        b"z" * 100_000 + b"~>", b"/Filter [%s]" % (b"/ASCII85Decode " * 4)),
    "a page in hexadecimal with blanks between": lambda: _page_of(
        b"4 1 \n" * 2_000_000 + b">", b"/Filter /ASCIIHexDecode"),
    "a page through ten thousand filters": lambda: _page_of(
        b"00>", b"/Filter [%s]" % (b"/ASCIIHexDecode " * 10_000)),
    "a page that is a picture": lambda: _page_of(b"\xff\xd8\xff" * 100, b"/Filter /DCTDecode"),
    "a page decrypted by nobody": lambda: _page_of(b"x", b"/Filter /Crypt /DecodeParms << /Name /StdCF >>"),
    "a page in another file": lambda: _page_of(b"", b"/F (/etc/passwd)"),
    "a page of a hundred thousand pieces that are one": lambda: beside(
        leaf=b"/Contents [%s]" % (b"4 0 R " * 100_000)),
    "pieces of a page that are their own list": lambda: simple(
        page=b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 9 0 R >>").replace(
            b"4 0 obj", b"9 0 obj\n[9 0 R 9 0 R]\nendobj\n4 0 obj", 1),
    "a page that opens four hundred thousand brackets": lambda: simple(content=b"(" * 400_000),
    "a page of strings that never close": lambda: simple(content=b"((\\" * 150_000),
    "a page that saves its state a quarter of a million times": lambda: simple(content=b"q " * 250_000),
    "a page of numbers without end": lambda: simple(content=b"-.1-.1-" * 70_000 + b" Td"),
    "a page that begins its pictures and ends none": lambda: simple(content=b"BI /W 9 /H 9 ID " * 30_000),
    "a form that draws itself": lambda: _with_form(
        b"/X Do /X Do", b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 9 0 R >> >>"),
    "a pattern that paints itself": lambda: _with_form(
        b"/Pattern cs /P scn",
        b"/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /Pattern << /P 9 0 R >> >>"),
}

FONTS: Final[dict[str, Make]] = {
    "a font that maps four thousand million letters": lambda: _with_map(
        b"1 beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange " * 1_000),
    "a font that maps to a letter of a megabyte": lambda: _with_map(
        b"1 beginbfchar <00> <" + b"0041" * 100_000 + b"> endbfchar"),
    "a font whose map unpacks to a gigabyte": lambda: _with_map(_zeros(1_024), b"/Filter /FlateDecode"),
    "a font whose map never ends": lambda: _with_map(b"beginbfrange" * 40_000),
    "a font whose map lists what it has not": lambda: _with_map(
        b"1 beginbfrange <00> <FF> [" + b"<0041> " * 60_000 + b"] endbfrange"),
    "a font that is its own descendant": lambda: _with_font(
        b"<< /Type /Font /Subtype /Type0 /DescendantFonts [9 0 R] /ToUnicode 9 0 R >>"),
    "a font with four million differences": lambda: _with_font(
        b"<< /Type /Font /Subtype /Type1 /Encoding << /Differences [%s] >> >>" % (b"0 /a " * 2_000_000)),
    "a font drawn by pages": lambda: _with_font(
        b"<< /Type /Font /Subtype /Type3 /CharProcs << /A 4 0 R >> /Resources << /Font << /F 9 0 R >> >> >>"),
    "a font whose file is all zeros": lambda: _with_font(
        b"<< /Type /Font /Subtype /TrueType /FontDescriptor << /FontFile2 10 0 R >> >>",
        o10=stream(_zeros(512), b"/Filter /FlateDecode")),
}

PICTURES: Final[dict[str, Make]] = {
    "a picture of four thousand million points": lambda: _with_picture(
        b"x", b"/Width 65535 /Height 65535 /BitsPerComponent 8 /ColorSpace /DeviceRGB"),
    "a picture with a negative width": lambda: _with_picture(b"x", b"/Width -9 /Height 9 /ColorSpace /DeviceGray"),
    "a picture that is its own mask": lambda: _with_picture(
        b"x", b"/Width 9 /Height 9 /BitsPerComponent 8 /ColorSpace /DeviceGray /SMask 9 0 R"),
    "a picture whose colours are defined by itself": lambda: _with_picture(
        b"x", b"/Width 9 /Height 9 /BitsPerComponent 8 /ColorSpace [/Indexed 9 0 R 255 9 0 R]"),
    "a bilevel picture that asks for everything": lambda: _with_picture(
        b"\0\0\0\0\x30\0\1\0\0\0\x13\xff\xff\xff\xff\xff\xff\xff\xff" + bytes(11),
        b"/Width 9 /Height 9 /BitsPerComponent 1 /ColorSpace /DeviceGray /Filter /JBIG2Decode"),
    "a wavelet picture that asks for everything": lambda: _with_picture(
        b"\xff\x4f\xff\x51\0\x29\0\0" + b"\xff" * 40,
        b"/Width 9 /Height 9 /Filter /JPXDecode"),
    "a facsimile a thousand million columns wide": lambda: _with_picture(
        b"x" * 100, b"/Width 9 /Height 9 /BitsPerComponent 1 /ColorSpace /DeviceGray /Filter /CCITTFaxDecode "
        b"/DecodeParms << /K -1 /Columns 1000000000 /Rows 1000000000 >>"),
    "a picture that unpacks to a gigabyte": lambda: _with_picture(
        _zeros(1_024), b"/Width 9 /Height 9 /BitsPerComponent 8 /ColorSpace /DeviceGray /Filter /FlateDecode"),
}

WORDS: Final[dict[str, Make]] = {
    "metadata that laughs a thousand million times": lambda: _with_metadata(_LAUGHS),
    "metadata that fetches files and pages": lambda: _with_metadata(_OUTSIDE),
    "metadata a hundred thousand elements deep": lambda: _with_metadata(b"<x>" * 100_000),
    "metadata of forty megabytes": lambda: _with_metadata(b"<x>" + b" " * (40 << 20) + b"</x>"),
    "metadata that unpacks to a gigabyte": lambda: _with_metadata(_zeros(1_024), b"/Filter /FlateDecode"),
    "metadata in no encoding": lambda: _with_metadata(b"<?xml version='1.0' encoding='UTF-8'?><x>\xff\xfe\xc3</x>"),
    "metadata in an encoding nobody knows": lambda: _with_metadata(b"<?xml version='1.0' encoding='surprise'?><x/>"),
    "metadata that is no stream": lambda: beside(b"/Metadata [1 2 3]"),
    "a title of twenty megabytes": lambda: _informed(b"<< /Title (" + b"x" * (20 << 20) + b") >>"),
    "a title with every control character": lambda: _informed(
        b"<< /Title (" + bytes(each for each in range(32) if each not in (10, 13))
        + b"\x1b[2J\\r\\nSet-Cookie: a=b) >>"),
    "a title that turns the direction of writing": lambda: _informed(
        b"<< /Title <FEFF" + "‮gnp.exe‭".encode("utf-16-be").hex().encode() + b"> >>"),
    "a title of half a letter": lambda: _informed(b"<< /Title <FEFFD800> /Producer <FEFFDC00D800> >>"),
    "a title that is markup": lambda: _informed(
        b"<< /Title (<script>alert\\(1\\)</script>) /Producer ('; DROP TABLE) >>"),
    "a title that refers to itself": lambda: _informed(b"<< /Title 10 0 R >>", o10=b"10 0 R"),
    "a title that is a stream": lambda: _informed(b"<< /Title 4 0 R /Producer [4 0 R] >>"),
    "information that refers to itself": lambda: _informed(b"9 0 R"),
    "information that is an array": lambda: _informed(b"[1 2 3]"),
    "a name of zero bytes": lambda: beside(b"/#00#00 1 /A#00B 2"),
    "names that are one": lambda: beside(b"/Lang (a) " * 100_000),
    "octal digits that mean too much": lambda: beside(b"/X (%s)" % (b"\\777\\8\\9" * 100_000)),
    "references written in huge numbers": lambda: beside(b"/X 99999999999999999999 0 R /Y 4 99999999999 R"),
    "an object that ends within a string": lambda: beside(b"/X (endobj endstream xref trailer startxref %%EOF)"),
}
