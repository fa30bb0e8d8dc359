"""The mark of a state secret is found where it stands alone, and a word in a sentence is not a mark."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from signing_service.pdf.look import look
from signing_service.pdf.work import Limits
from tests.support.printed import Piece, printed
from tests.support.raw_pdf import document, one_page, stream

MARKED: dict[str, tuple[list[Piece], str | None]] = {
    "secret": ([(60, 780, "MẬT"), (60, 700, "Số: 01/BC")], "MẬT"),
    "top secret": ([(60, 780, "TỐI MẬT")], "TỐI MẬT"),
    "of the highest degree": ([(60, 780, "TUYỆT MẬT")], "TUYỆT MẬT"),
    "in two pieces side by side": ([(60, 780, "TUYỆT"), (110, 780, "MẬT")], "TUYỆT MẬT"),
    "with its letters apart": ([(60, 780, "T Ố I   M Ậ T")], "TỐI MẬT"),
    "letters in pieces": ([(60, 780, "MA\u0323\u0302T")], "MẬT"),
    "a word of a heading": ([(60, 780, "QUY CHẾ BẢO VỆ BÍ MẬT NHÀ NƯỚC")], None),
    "a word of a heading that is shown word by word": (
        [(60, 780, "BẢO"), (90, 780, "VỆ"), (120, 780, "BÍ"), (140, 780, "MẬT")], None
    ),
    "a word in small letters": ([(60, 780, "mật")], None),
    "nothing of the kind": ([(60, 780, "BÁO CÁO")], None),
}


@pytest.mark.parametrize("case", MARKED)
def test_a_mark_is(case: str, tmp_path: Path) -> None:
    pieces, mark = MARKED[case]
    assert look(printed(tmp_path / "document.pdf", pieces), Limits()).secret_mark == mark


UTF16 = {letter: letter.encode("utf-16-be").hex().upper().encode() for letter in "MẬTQ"}
LETTERS = b"".join(b"<%02X> <%s>\n" % (at, UTF16[each]) for at, each in enumerate("MẬTQ", 1))
MAP = b"beginbfchar\n" + LETTERS + b"endbfchar"
SHOWN: dict[str, tuple[bytes, bytes, str | None]] = {
    "by a map of letters": (MAP, b"/F1 12 Tf <010203> Tj", "MẬT"),
    "in octal": (MAP, b"/F1 12 Tf (\\1\\002\\03) Tj", "MẬT"),
    "by a map of ranges": (
        b"beginbfrange <01> <01> <004D> <02> <03> [<1EAC> <0054>] endbfrange", b"/F1 12 Tf <010203> Tj", "MẬT"
    ),
    "by a map with a pair of halves in it": (
        MAP.replace(b"<04> <0051>", b"<04> <D83DDE00>"), b"/F1 12 Tf <010203> Tj", "MẬT"
    ),
    "by a map with half a pair in it": (
        MAP.replace(b"<04> <0051>", b"<04> <D83D>"), b"/F1 12 Tf <010203> Tj", "MẬT"
    ),
    "by a map in codes of three digits": (re.sub(rb"<(0.)>", rb"<0\1>", MAP), b"/F1 12 Tf <010203> Tj", "MẬT"),
    "on the next line": (MAP, b"/F1 12 Tf <04> Tj 0 -14 Td <010203> Tj", "MẬT"),
    "on a line whose number stands far before": (
        MAP, b"/F1 12 Tf <04> Tj 0 -14" + b" " * 500 + b"Td <010203> Tj", "MẬT"
    ),
    "on a line with a long number": (MAP, b"/F1 12 Tf <04> Tj 0 -14." + b"0" * 500 + b" Td <010203> Tj", "MẬT"),
    "beside another letter": (MAP, b"/F1 12 Tf <04> Tj 14 0 Td <010203> Tj", None),
    "where no number moves the line": (MAP, b"/F1 12 Tf <04> Tj Td <010203> Tj", None),
    "in a font that cannot be read, unless another is used": (MAP, b"/F1 12 Tf <010203> Tj % /F2", "MẬT"),
}


@pytest.mark.parametrize("case", SHOWN)
def test_a_mark_is_found_that_is_shown(case: str, tmp_path: Path) -> None:
    cmap, content, mark = SHOWN[case]
    objects = one_page(
        page=b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << "
             b"/F1 << /Type /Font /Subtype /Type1 /ToUnicode 9 0 R >> /F2 8 0 R >> >> >>",
        content=b"BT " + content + b" ET",
    )
    broken = b"<< /Type /Font /ToUnicode 7 0 R >>"
    unreadable = b"<< /Length 1 /Filter /LZWDecode >>\nstream\nx\nendstream"
    path = tmp_path / "document.pdf"
    path.write_bytes(document(objects | {7: unreadable, 8: broken, 9: stream(cmap)}))
    assert look(path, Limits()).secret_mark == mark


APPETITE = {
    "brackets": b"(" * 500_000,
    "brackets that almost close": b"((a)" * 100_000,
    "digits": b"1" * 500_000,
    "numbers": b"1 " * 250_000,
    "escapes": b"(" + b"\\" * 500_000,
    "hexadecimal": b"<" + b"4 " * 250_000,
    "slashes": b"/a " * 160_000,
}


@pytest.mark.parametrize("case", APPETITE)
def test_content_made_to_be_slow_to_search_is_searched_quickly(case: str, tmp_path: Path) -> None:
    path = tmp_path / "document.pdf"
    path.write_bytes(document(one_page(content=APPETITE[case])))
    started = time.process_time()
    assert look(path, Limits()).secret_mark is None
    assert time.process_time() - started < Limits().look_cpu_seconds
