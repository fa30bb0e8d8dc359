"""The visible signature: Vietnamese that can be seen, searched and copied."""

from __future__ import annotations

import io
import unicodedata
from pathlib import Path

import pikepdf
import pytest
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from signing_service.pdf.fonts import font_for
from signing_service.pdf.work import Appearance, Box, Refused
from tests.support.other_readers import poppler_says, text_of
from tests.support.software_signatory import a_signatory

DOCUMENTS = Path(__file__).parents[1] / "documents"
DOCUMENT = DOCUMENTS / "ke-hoach.pdf"
LINES = (
    "Ký bởi: Nguyễn Thị Ngọc Ửng",
    "Cơ quan: ỦY BAN NHÂN DÂN PHƯỜNG HOA SEN",
    "Thời gian ký: 22/11/2026 16:12:47 +07:00",
)
BOX = Box(2, 330, 560, 555, 625)


def test_the_text_of_a_visible_signature_can_be_found_on_its_page(tmp_path: Path) -> None:
    signed = a_signatory().signs(DOCUMENT, tmp_path / "signed.pdf", appearance=Appearance(BOX, LINES))
    text = text_of(signed)
    for line in LINES:
        assert line in text
    assert text.index("PHÓ CHỦ TỊCH") < text.index(LINES[0]) < text.index("Nguyễn Văn A")
    assert "Signature is Valid" in poppler_says(signed)


@pytest.mark.parametrize("name", ["qpdf-object-streams", "cairo", "scan"])
def test_a_visible_signature_fits_documents_of_other_producers(name: str, tmp_path: Path) -> None:
    box = Box(1, 50, 50, 250, 110)
    signed = a_signatory().signs(
        DOCUMENTS / f"{name}.pdf", tmp_path / "signed.pdf", appearance=Appearance(box, LINES)
    )
    assert LINES[1] in text_of(signed)


def test_letters_that_come_in_pieces_are_put_together(tmp_path: Path) -> None:
    in_pieces = tuple(unicodedata.normalize("NFD", line) for line in LINES)
    signed = a_signatory().signs(DOCUMENT, tmp_path / "signed.pdf", appearance=Appearance(BOX, in_pieces))
    assert LINES[0] in text_of(signed)


def test_a_font_without_vietnamese_letters_is_passed_over(tmp_path: Path) -> None:
    poor = font_without_vietnamese(tmp_path)
    chosen = font_for("ỦY BAN NHÂN DÂN", poor)
    assert chosen != poor
    assert font_for("UBND", poor) == poor


def font_without_vietnamese(folder: Path) -> Path:
    with TTFont(font_for("UBND", None)) as font:
        options = Options()
        options.drop_tables += ["FFTM"]
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=range(0x20, 0x7F))
        subsetter.subset(font)
        font.save(folder / "poor.ttf")
    return folder / "poor.ttf"


def test_a_font_that_nobody_has_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        font_for("\U0010fffd", None)
    assert refused.value.code == "no-font"


def test_a_visible_signature_keeps_its_font_with_it(tmp_path: Path) -> None:
    signed = a_signatory().signs(DOCUMENT, tmp_path / "signed.pdf", appearance=Appearance(BOX, LINES))
    with pikepdf.open(signed) as document:
        field = document.Root.AcroForm.Fields[0]
        (font,) = field.AP.N.Resources.Font.values()
        assert "/FontFile2" in font.DescendantFonts[0].FontDescriptor
        assert "/ToUnicode" in font
        assert [float(each) for each in field.Rect] == [330, 560, 555, 625]


def test_letters_stand_as_far_apart_as_their_font_says(tmp_path: Path) -> None:
    signed = a_signatory().signs(DOCUMENT, tmp_path / "signed.pdf", appearance=Appearance(BOX, LINES))
    with pikepdf.open(signed) as document:
        (font,) = document.Root.AcroForm.Fields[0].AP.N.Resources.Font.values()
        descendant = font.DescendantFonts[0]
        widths = widths_of(list(descendant.W))
        file = io.BytesIO(descendant.FontDescriptor.FontFile2.read_bytes())
    with TTFont(file) as embedded:
        names, advances = embedded.getGlyphOrder(), embedded["hmtx"]
        thousandth = embedded["head"].unitsPerEm / 1000
        assert widths == {glyph: round(advances[names[glyph]][0] / thousandth) for glyph in widths}
    assert len(widths) > 30


def widths_of(entries: list[object]) -> dict[int, int]:
    """ISO 32000-2 9.7.4.3: a first glyph, then the widths from there on."""
    runs = zip(entries[::2], entries[1::2], strict=True)
    return {int(first) + at: int(width) for first, run in runs for at, width in enumerate(run)}  # type: ignore[call-overload]


def test_an_invisible_signature_draws_nothing(tmp_path: Path) -> None:
    signed = a_signatory().signs(DOCUMENT, tmp_path / "signed.pdf")
    assert text_of(signed) == text_of(DOCUMENT)
    with pikepdf.open(signed) as document:
        field = document.Root.AcroForm.Fields[0]
        assert [float(each) for each in field.Rect] == [0, 0, 0, 0]
        assert "/AP" not in field


WRONG = {
    "a page that is not there": (Appearance(Box(3, 0, 0, 100, 50), LINES), "wrong-place"),
    "page nought": (Appearance(Box(0, 0, 0, 100, 50), LINES), "wrong-place"),
    "a box without an inside": (Appearance(Box(1, 100, 0, 100, 50), LINES), "wrong-place"),
    "a box that is upside down": (Appearance(Box(1, 0, 50, 100, 0), LINES), "wrong-place"),
    "a box at the other end of the world": (Appearance(Box(1, 0, 0, 1e9, 50), LINES), "wrong-place"),
    "a box that is not a number": (Appearance(Box(1, float("nan"), 0, 100, 50), LINES), "wrong-place"),
    "no text": (Appearance(BOX, ()), "wrong-appearance"),
    "text made of nothing that can be seen": (Appearance(BOX, ("\u202e\x1b",)), "wrong-appearance"),
    "a speech": (Appearance(BOX, ("x",) * 40), "wrong-appearance"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_appearance_that_makes_no_sense_is_refused(case: str, tmp_path: Path) -> None:
    appearance, code = WRONG[case]
    with pytest.raises(Refused) as refused:
        a_signatory().prepares(DOCUMENT, tmp_path / "tail", appearance=appearance)
    assert refused.value.code == code


def test_a_percent_sign_is_a_percent_sign(tmp_path: Path) -> None:
    appearance = Appearance(BOX, ("Đạt 100 % (xem %(ts)s)",))
    signed = a_signatory().signs(DOCUMENT, tmp_path / "signed.pdf", appearance=appearance)
    assert "Đạt 100 % (xem %(ts)s)" in text_of(signed)
