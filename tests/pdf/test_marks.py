"""The mark of a state secret is found where it stands alone, and a word in a sentence is not a mark."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from signing_service.pdf.look import look
from signing_service.pdf.work import Limits
from tests.support.printed import Piece, printed
from tests.support.raw_pdf import document, one_page

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
