"""Words and file names of a form."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing_service.front.forms import clean_name, one_line

FILE_NAMES = {
    "an ordinary one": ("ke-hoach.pdf", "ke-hoach.pdf"),
    "Vietnamese letters": ("Kế hoạch số 201.pdf", "Kế hoạch số 201.pdf"),
    "letters and marks apart become letters with marks": (
        unicodedata.normalize("NFD", "Kế hoạch.pdf"), unicodedata.normalize("NFC", "Kế hoạch.pdf")),
    "a path": ("../../etc/passwd.pdf", "passwd.pdf"),
    "a path of another system": ("C:\\Users\\an\\ke hoach.pdf", "ke hoach.pdf"),
    "only dots": ("..", "document.pdf"),
    "nothing": ("", "document.pdf"),
    "a hidden file": (".pdf", "pdf"),
    "a direction mark that hides the suffix": ("ke-hoach\u202efdp.exe", "ke-hoachfdp.exe"),
    "a line break that would begin a header": ("a.pdf\r\nX-Evil: 1", "a.pdfX-Evil 1"),
    "three hundred characters": ("k" * 300 + ".pdf", "k" * 196 + ".pdf"),
}


@pytest.mark.parametrize(("name", "kept"), FILE_NAMES.values(), ids=FILE_NAMES)
def test_a_file_name_becomes_harmless(name: str, kept: str) -> None:
    assert clean_name(name) == kept


@given(st.text(max_size=400))
@pytest.mark.uncounted
def test_no_file_name_has_a_folder_a_control_character_or_no_length(name: str) -> None:
    kept = clean_name(name)
    assert 1 <= len(kept) <= 200
    assert kept not in (".", "..")
    assert not set(kept) & set('/\\<>:"|?*')
    assert not [each for each in kept if unicodedata.category(each)[0] == "C"]
    assert clean_name(kept) == kept


@given(st.text(max_size=100))
def test_a_line_is_taken_as_it_is_shown_or_refused(text: str) -> None:
    try:
        kept = one_line(text)
    except ValueError:
        return
    assert kept == unicodedata.normalize("NFC", text).strip()
    assert "\n" not in kept
    assert "\x00" not in kept
