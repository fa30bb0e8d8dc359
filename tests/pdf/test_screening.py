"""What a look refuses, what it warns of, and what it lets pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from signing_service.pdf.look import look
from signing_service.pdf.work import Limits, Refused
from tests.support.hostile_pdf import ACTIVE, LOOPS, WARNED
from tests.support.raw_pdf import document, one_page

REFUSED = Path(__file__).parents[1] / "documents" / "refused"

SIMPLE = document(one_page())

FRAMES = {
    "nothing at all": (b"", "not-a-pdf"),
    "a picture": ((REFUSED / "not-a-pdf.pdf").read_bytes(), "not-a-pdf"),
    "a program with a document behind it": (b"MZ\0\0" + SIMPLE, "not-a-pdf"),
    "only the first line": (b"%PDF-1.7\n", "truncated"),
    "a document cut off on its way": ((REFUSED / "truncated.pdf").read_bytes(), "truncated"),
    "a table of contents outside the file": (SIMPLE.replace(b"startxref\n", b"startxref\n99999"), "truncated"),
    "a table of contents that is a word": (SIMPLE.replace(b"startxref\n", b"startxref\nhere "), "truncated"),
    "an encrypted document": ((REFUSED / "encrypted.pdf").read_bytes(), "encrypted"),
    "a script": ((REFUSED / "javascript.pdf").read_bytes(), "active-content"),
    "a program to start": ((REFUSED / "launch.pdf").read_bytes(), "active-content"),
}


def refusal_of(content: bytes, folder: Path, limits: Limits | None = None) -> str:
    path = folder / "document.pdf"
    path.write_bytes(content)
    with pytest.raises(Refused) as refused:
        look(path, limits or Limits())
    assert refused.value.message.endswith(".")
    return refused.value.code


@pytest.mark.parametrize("case", FRAMES)
def test_what_is_not_a_whole_open_document_is_refused(case: str, tmp_path: Path) -> None:
    content, code = FRAMES[case]
    assert refusal_of(content, tmp_path) == code


@pytest.mark.parametrize("case", ACTIVE)
def test_active_content_is_refused(case: str, tmp_path: Path) -> None:
    assert refusal_of(ACTIVE[case], tmp_path) == "active-content"


@pytest.mark.parametrize("case", LOOPS)
def test_a_structure_that_goes_nowhere_is_refused(case: str, tmp_path: Path) -> None:
    assert refusal_of(LOOPS[case], tmp_path) == "broken"


@pytest.mark.parametrize("case", WARNED)
def test_what_deserves_a_look_becomes_a_warning(case: str, tmp_path: Path) -> None:
    content, warnings = WARNED[case]
    path = tmp_path / "document.pdf"
    path.write_bytes(content)
    assert look(path, Limits()).warnings == warnings


def test_embedded_files_are_refused_where_the_limits_say_so(tmp_path: Path) -> None:
    content, _ = WARNED["embedded files by name"]
    assert refusal_of(content, tmp_path, Limits(refuse_embedded_files=True)) == "embedded-files"


def test_a_document_with_more_pages_than_allowed_is_refused(tmp_path: Path) -> None:
    assert refusal_of(SIMPLE, tmp_path, Limits(pages=0)) == "too-many-pages"


def test_a_title_reaches_us_as_one_printable_line(tmp_path: Path) -> None:
    objects = one_page()
    objects[9] = b"<< /Title (Line one\\nLine \x1b[31mtwo\\r" + b"x" * 500 + b") >>"
    path = tmp_path / "document.pdf"
    path.write_bytes(document(objects, b"/Info 9 0 R"))
    title = look(path, Limits()).title
    assert title is not None
    assert title.startswith("Line one Line [31mtwo x")
    assert title.isprintable()
    assert len(title) == 200
