"""What is read in one pass is what pyHanko reads byte by byte, with the same cursor behind it and the same refusals."""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, BinaryIO

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyhanko.pdf_utils import filters, generic, reader, xref
from pyhanko.pdf_utils.generic import PdfObject

from signing_service.pdf import ascii85, objects, tables
from signing_service.pdf.look import look
from signing_service.pdf.work import Limits, Refused
from tests.support import raw_pdf
from tests.support.stock_pdf import stock

DOCUMENTS = sorted((Path(__file__).parents[1] / "documents").rglob("*.pdf"))


class Handler:
    """What an object belongs to, as far as reading asks: one length that stands elsewhere."""

    strict = False

    def get_object(self, reference: object) -> PdfObject:
        return generic.NumberObject(3)


OWNER = generic.Reference(7, 0, Handler())


def told(thing: Any) -> Any:
    """Everything that can be seen of an object, and in what order."""
    kind, owner = type(thing).__name__, thing.container_ref
    match thing:
        case generic.StreamObject():
            return kind, owner, [(str(key), told(value)) for key, value in dict.items(thing)], thing.encoded_data
        case generic.DictionaryObject():
            return kind, owner, [(type(key), str(key), told(value)) for key, value in dict.items(thing)]
        case generic.ArrayObject():
            return kind, owner, [told(value) for value in list.__iter__(thing)]
        case generic.TextStringObject():
            return kind, owner, str(thing), thing.autodetected_encoding
        case generic.IndirectObject():
            return kind, owner, thing.reference, thing.get_pdf_handler()
        case generic.BooleanObject():
            return kind, owner, thing.value
        case generic.NullObject():
            return kind, owner
        case _:
            return kind, owner, str(thing)


def answer(read: Callable[[BinaryIO], Any], stream: BinaryIO) -> tuple[Any, int]:
    """What was read and where the cursor is; of what was not read, only what kind of refusal it is."""
    try:
        return told(read(stream)), stream.tell()
    except Exception as error:  # whichever pyHanko raises
        return type(error), 0


def read(stream: BinaryIO) -> Any:
    return generic.read_object(stream, OWNER)


def agree(content: bytes) -> None:
    with stock():
        expected = answer(read, io.BytesIO(content))
    assert answer(read, io.BytesIO(content)) == expected
    assert answer(read, io.BufferedReader(io.BytesIO(content))) == expected     # type: ignore[type-var]


WORDS = st.sampled_from([
    b"/Name", b"/", b"/A#20b", b"/A#2", b"/T\xc3\xaan", b"/a.b-c_d", b"0", b"12", b"-3", b"+4", b"--5", b"1.5", b".5",
    b"6.", b".", b"-.5", b"1-2", b"1,2", b"0000000000000000000000007", b"4 0 R", b"4  0 R", b"0 0 R", b"4 0 Rx",
    b"4\x0b0\x0bR", b"R", b"123456789 0 R", b"1 99999 R", b"1 100000 R", b"true", b"false", b"null", b"nul",
    b"trueish", b"(text)", b"(a(b)c)", b"(\\(\\))", b"(\\101\\12\\0)", b"(\\8)", b"(\\477)", b"(\\18)", b"(\\\n)",
    b"(\\x)", b"(\xfe\xff\x00A)", b"(", b"(\\",
    b"<41>", b"<4 1\n4>", b"<4z>", b"<", b">", b"[", b"]", b"<<", b">>", b"<< >>", b"[ ]", b"{", b"}", b"%c\n", b"%",
    b"<< /K 1 >>", b"<< /K 1 /K 2 >>", b"<< 1 2 >>", b"<< << >> 2 >>", b"<< /K >>", b"<< /K 1 > >",
    b"[1 2 3]", b"[1.5 .5 -2]", b"[ 1 2 3 R ]", b"[1 2 0 R]", b"[[1] [2 [3]]]", b"[1 2", b"[1-2]", b"[\x001]",
    b"stream\nabc\nendstream", b"stream\r\nabcendstream", b"/Length 3", b"/Length 9 0 R", b"s", b"endobj", b"\x80",
])
BETWEEN = st.sampled_from([b"", b" ", b" ", b" ", b"\n", b"\r\n", b"\0", b"\t\f", b"\x0b"])
CONTENT = st.lists(st.tuples(WORDS, BETWEEN), max_size=12).map(lambda pairs: b"".join(map(b"".join, pairs)))


OPENINGS = st.sampled_from([b"[", b"<<", b"<< /A ", b"<< /A [", b"[ << /B ", b""])
ENDINGS = st.sampled_from([
    b"]", b">>", b" >>\nendobj", b"] >> 1", b">> ] 1", b"]\n>>stream\nabc\nendstream endobj", b"",
])


@settings(deadline=None)    # the long ones take pyHanko a while
@given(opening=OPENINGS, content=CONTENT, ending=ENDINGS)
@example(opening=b"<<", content=b"/Length 3", ending=b">>stream\nabc\nendstream\nendobj")
@example(opening=b"<<", content=b"/Length 9 0 R /A << >>", ending=b">> stream\nabc\nendstream\nendobj")
@example(opening=b"[", content=b"[" * 30 + b"1" + b"]" * 30, ending=b"] 1")
@example(opening=b"[", content=b"1 " * 3_000, ending=b"] 1")
@example(opening=b"[", content=b"/A 1.25 4 0 R " * 1_000, ending=b"] 1")
@example(opening=b"[", content=b"/A" * 40_000, ending=b"] 1")
@example(opening=b"<<", content=b"/A (" + b"a" * 9000 + b")", ending=b">> 1")
def test_an_object_is_read_as_pyhanko_reads_it(opening: bytes, content: bytes, ending: bytes) -> None:
    agree(opening + content + ending)


def test_what_is_plain_is_read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the tests above would compare pyHanko with itself."""
    monkeypatch.setattr(objects, "_stock", None)
    plain = b"<< /A [1 -2.5 (b\\051) <FEFF0041> true null /C 4 0 R << /D [ 0 1 ] >>] >> 1"
    assert answer(read, io.BytesIO(plain))[1] == len(plain) - 2
    monkeypatch.undo()
    agree(plain)


ENTRIES = st.sampled_from([
    b"0000000000 65535 f \n", b"0000000123 00000 n \n", b"0000000123 00000 n\r\n", b"0000000123 00002 n \r",
    b"0000000123 00000 n\n", b"       123     0 n \n", b"0000000123 00000 x \n", b"\n0000000123 00000 n \n",
    b"12 0 n\n",
])
class Finite(io.BytesIO):
    """pyHanko goes round for ever in some tables that end too early; in a worker its processor time ends."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > 2000:
            raise EOFError
        return super().read(size)


TABLES = st.lists(st.tuples(st.sampled_from([b"0 1\n", b"3 2\n", b"0 0\n", b"  7   1 \r\n", b"%c\n1 1\n"]),
                            st.lists(ENTRIES, max_size=3)), max_size=3)


TRAILERS = st.sampled_from([b"trailer\n<< >>", b"trailer<<", b"trailer", b"%c\ntrailer <<", b"", b"9"])


@given(sections=TABLES, ending=TRAILERS)
@example(sections=[(b"0 2\n", [b"0000000000 65535 f \n", b"0000000123 00000 n \n"])], ending=b"trailer\n<< >>")
@example(sections=[(b"0 1\n", [b"0000000000 65535 f \n"])], ending=b"%c\ntrailer <<")
@example(sections=[(b"0 1\n", [b"0000000000 65535 f \n"]), (b"3 2\n", [])], ending=b"trailer <<")
def test_a_table_is_read_as_pyhanko_reads_it(sections: list[tuple[bytes, list[bytes]]], ending: bytes) -> None:
    content = b"\n" + b"".join(head + b"".join(rows) for head, rows in sections) + ending

    def entries(table: Callable[[BinaryIO, bool], Any]) -> Any:
        stream = Finite(content)
        found = []
        try:
            found.extend(table(stream, False))
        except Exception as error:  # whichever pyHanko raises
            return type(error)
        return found, stream.tell()

    assert entries(tables.table) == entries(tables._stock_table)


PIECES = st.sampled_from([b"1", b"23", b" ", b"\n", b"0", b"obj", b"%c\n", b"<<", b"x", b"\0", b"99999999999"])


@given(content=st.lists(PIECES, max_size=10).map(b"".join))
@example(content=b"12 0 obj\n<<")
@example(content=b" 12  0 obj<<")
def test_a_header_is_read_as_pyhanko_reads_it(content: bytes) -> None:
    def header(of: Callable[[BinaryIO, bool], Any]) -> Any:
        stream = io.BytesIO(content)
        try:
            return of(stream, False), stream.tell()
        except Exception as error:  # whichever pyHanko raises
            return type(error)

    assert header(tables.object_header) == header(tables._stock_header)


LINES = st.sampled_from([b"startxref", b"\n", b"\r\n", b"\r", b"123", b"0", b"%%EOF", b" ", b"x"])


@given(parts=st.lists(LINES, max_size=9))
@example(parts=[b"\n", b"startxref", b"\r\n", b"123", b"\r\n", b"%%EOF", b"\r\n"])
@example(parts=[b"\r", b"startxref", b"\r", b"123", b"\r", b"%%EOF"])
@example(parts=[b"\n", b"startxref", b"\n", b"123", b"\n", b"%%EOF", b"\n"])
def test_the_end_is_read_as_pyhanko_reads_it(parts: list[bytes]) -> None:
    content = b"%PDF-1.7 and more" + b"".join(parts)

    def last(of: Callable[[BinaryIO], int]) -> Any:
        stream = io.BytesIO(content)
        stream.seek(-1, os.SEEK_END)
        try:
            return of(stream)
        except Exception as error:  # whichever pyHanko raises
            return type(error)

    assert last(tables.last_reference) == last(tables._stock_last)


def decoding(decode: Callable[..., bytes], data: bytes) -> Any:
    try:
        return decode(filters.ASCII85Decode(), data)
    except Exception as error:  # whichever pyHanko raises
        return type(error)


@given(content=st.binary(max_size=60), cut=st.integers(0, 80), breaks=st.integers(0, 20))
def test_a_stream_in_ascii85_is_decoded_as_pyhanko_decodes_it(content: bytes, cut: int, breaks: int) -> None:
    encoded = filters.ASCII85Decode().encode(content)
    encoded = encoded[:breaks] + b"\n " + encoded[breaks:]
    for data in (encoded, encoded[:cut] + b"~>"):
        assert decoding(ascii85.decode, data) == decoding(ascii85._stock, data)


@given(data=st.text(alphabet="!\"5suvz~> \n\0A", max_size=30), end=st.sampled_from(["~>", "~>~>", ""]))
@example(data="uuuuu", end="~>")
@example(data="s8W-!s8W-\"", end="~>")
@example(data="uu", end="~>")
def test_nonsense_in_ascii85_is_refused_as_pyhanko_refuses_it(data: str, end: str) -> None:
    assert decoding(ascii85.decode, (data + end).encode()) == decoding(ascii85._stock, (data + end).encode())


def test_a_long_stream_in_ascii85_is_decoded_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    content = Random(1).randbytes(50_001) + b"\0" * 8 + b"end"
    encoded = filters.ASCII85Decode().encode(content)
    monkeypatch.setattr(ascii85, "_stock", None)
    assert ascii85.decode(filters.ASCII85Decode(), encoded) == content


def test_this_process_reads_them_our_way() -> None:
    assert generic.read_object is objects.read_object
    assert filters.ASCII85Decode.decode is ascii85.decode
    assert xref.parse_xref_table is tables.table
    assert xref.read_object_header is reader.read_object_header is tables.object_header
    assert reader.process_data_at_eof is tables.last_reference


def seen(path: Path) -> Any:
    try:
        return look(path, Limits())
    except Refused as refused:
        return refused.code
    except Exception as error:  # whichever pyHanko raises: "broken" to whoever sent it
        return type(error)


def shaken(content: bytes, rng: Random) -> bytes:
    """A byte or two are others, as by a fault of the line; or a line is gone."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed))
        match rng.randrange(3):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at : at + rng.randrange(1, 9)] = b""
            case _:
                changed[at:at] = rng.choice([b" ", b"%\n", b"]", b"<<", b">>", b"(", b"/A", b"#", b"1", b"stream"])
    return bytes(changed)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_is_seen_as_pyhanko_alone_sees_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_bytes", lambda size: b"A" * size)     # an /ID is drawn where there is none
    monkeypatch.setattr(os, "urandom", lambda size: b"A" * size)
    rng, content = Random(path.stem), path.read_bytes()
    for each in (content, *(shaken(content, rng) for _ in range(5))):
        document = tmp_path / "document.pdf"
        document.write_bytes(each)
        with stock():
            expected = seen(document)
        assert seen(document) == expected


APPETITE = {
    "brackets": b"[" * 300_000,
    "dictionaries": b"<< /A " * 50_000,
    "numbers without an end": b"[" + b"1 " * 150_000,
    "names without an end": b"[" + b"/A " * 100_000,
    "strings without an end": b"[" + b"(a" * 150_000,
    "escapes": b"[(" + b"\\" * 300_000,
    "blanks": b"[" + b" " * 300_000,
    "digits": b"[" + b"1" * 300_000,
    "points": b"[" + b"1." * 150_000,
    "arrays that fail late": b"[" + b"[1 2 " * 6 + (b"[" + b"1 " * 100 + b"%\n]") * 1000,
}


@pytest.mark.parametrize("case", APPETITE)
def test_an_object_made_to_be_slow_to_read_is_given_up_quickly(case: str) -> None:
    """One try of ours may not cost what pyHanko's reading does not cost."""
    started = time.process_time()
    with pytest.raises(objects.NotPlain):
        objects.plainly(io.BytesIO(APPETITE[case]), OWNER, APPETITE[case][:2])
    assert time.process_time() - started < Limits().look_cpu_seconds


def test_a_long_string_is_read_to_its_end_once_however_deep_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[int] = []
    stock_string = generic.read_string_from_stream

    def counted(stream: BinaryIO) -> PdfObject:
        begun = stream.tell()
        try:
            return stock_string(stream)
        finally:
            ends.append(stream.tell() - begun)

    monkeypatch.setattr(generic, "read_string_from_stream", counted)
    string = b"((" + b"x" * (2 * objects._LARGEST) + b"))"
    nested = b"[" * 8 + string + b"]" * 8
    monkeypatch.setattr(generic, "read_object", objects.read_object)
    read(io.BytesIO(nested + b" "))
    assert ends.count(len(string)) == 1
    assert all(each <= objects._LARGEST for each in ends if each != len(string))


def test_a_document_in_a_window_is_read_like_one_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "document.pdf"
    path.write_bytes(raw_pdf.document(raw_pdf.one_page(content=b"(" + b"a" * 20_000 + b") Tj"), b"/ID [<41> <42>]"))
    expected = look(path, Limits())
    monkeypatch.setattr("signing_service.pdf.reading._IN_MEMORY", 0)
    assert look(path, Limits()) == expected
