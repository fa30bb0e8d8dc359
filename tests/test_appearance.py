"""What a signature shows on the page."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from signing_service.appearance import PLACES, stamp

CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a person's signature names the person": (
        {}, ("Ký bởi: Nguyễn Văn A", "Thời gian ký: 02/08/2023; 16:12:47 +07:00")),
    "a seal names the agency": (
        {"is_seal": True}, ("Cơ quan ký: UBND phường Hoa Sen", "Thời gian ký: 02/08/2023; 16:12:47 +07:00")),
    "a seal on an appendix names the document it belongs to": (
        {"is_seal": True, "document_type": "PL"}, ("Số: 201/KH-UBND; 02/08/2023; 16:12:47 +07:00",)),
    "an appendix without a number says that it has none": (
        {"is_seal": True, "document_type": "PL", "number": None, "symbol": None},
        ("Số: …; 02/08/2023; 16:12:47 +07:00",)),
    "a seal on a copy names the kind of copy and who made it": (
        {"is_seal": True, "document_type": "SY"}, ("SAO Y; UBND phường Hoa Sen; 02/08/2023; 16:12:47 +07:00",)),
    "a person who signs a copy is named as on any document": (
        {"document_type": "TrS"}, ("Ký bởi: Nguyễn Văn A", "Thời gian ký: 02/08/2023; 16:12:47 +07:00")),
}
ORDINARY: dict[str, Any] = {
    "document_type": "KH", "number": "201", "symbol": "KH-UBND", "is_seal": False, "signatory": "Nguyễn Văn A",
    "agency": "UBND phường Hoa Sen", "earlier": 0, "moment": datetime(2023, 8, 2, 9, 12, 47, tzinfo=UTC),
    "zone": ZoneInfo("Asia/Ho_Chi_Minh"), "font": Path("font.ttf"),
}


@pytest.mark.parametrize(("more", "lines"), CASES.values(), ids=CASES)
def test_the_text_says_who_signed_and_when(more: dict[str, Any], lines: tuple[str, ...]) -> None:
    shown = stamp(**ORDINARY | more)
    assert shown is not None
    assert shown.lines == lines


def test_later_signatures_take_other_margins_and_those_after_them_are_invisible() -> None:
    shown = [stamp(**ORDINARY | {"earlier": earlier}) for earlier in range(len(PLACES) + 1)]
    assert [each.box for each in shown if each] == list(PLACES)
    assert shown[-1] is None


def test_no_two_places_overlap_and_all_are_on_a_page_of_a4() -> None:
    for at, one in enumerate(PLACES):
        assert 0 <= one.left < one.right <= 595
        assert 0 <= one.bottom < one.top <= 842
        for other in PLACES[at + 1:]:
            is_beside = one.right <= other.left or other.right <= one.left
            assert is_beside or one.top <= other.bottom or other.top <= one.bottom
