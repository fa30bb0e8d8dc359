"""A tail that is written directly says what pyHanko's would: to pyHanko, to qpdf, to poppler and to OpenSSL.

The two writers may differ in spelling, never in meaning. What is not plain is pyHanko's, and that is asked as well:
a document that the direct writer does not understand must not come near it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pikepdf
import pypdfium2
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from signing_service.pdf import appearance as drawing
from signing_service.pdf import prepare as preparing
from signing_service.pdf.complete import complete
from signing_service.pdf.ground import ground_of
from signing_service.pdf.judge import judge
from signing_service.pdf.prepare import prepare
from signing_service.pdf.reading import reader_of
from signing_service.pdf.work import Appearance, Box, Ground, JudgeOrder, Verdict
from tests.support import campaign
from tests.support.other_readers import (
    openssl_verifies_last_signature,
    poppler_says,
    qpdf_finds_nothing_wrong,
)
from tests.support.raw_pdf import document, one_page, page, revision
from tests.support.software_signatory import AUTHORITY, NOW, a_signatory

DOCUMENTS = Path(__file__).parents[1] / "documents"
PLAIN = ("ke-hoach", "cairo", "chromium", "ghostscript", "groff", "libreoffice", "mupdf", "qpdf-linearized",
         "qpdf-object-streams", "reportlab", "scan", "weasyprint")
NOT_PLAIN = ("form", "hybrid-references")
LINES = ("Ký bởi: Nguyễn Thị Ngọc Ửng", "Thời gian ký: 22/11/2026; 16:12:47 +07:00")
STAMP = Appearance(Box(1, 325, 20, 560, 55), LINES)
SIGNATORY = a_signatory("Nguyễn Thị Ngọc Ửng")


def ground(path: Path) -> Ground | None:
    with path.open("rb") as file:
        return ground_of(reader_of(file))


@dataclass(frozen=True)
class Pair:
    """The same document signed with both writers."""

    direct: Path
    pyhanko: Path


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Appearance | None], Pair]:
    def signed(path: Path, shown: Appearance | None) -> Pair:
        direct = SIGNATORY.signs(path, tmp_path / "direct.pdf", appearance=shown)
        with monkeypatch.context() as patched:
            patched.setattr(preparing, "ground_of", lambda reader, page: None)
            patched.setattr(drawing, "stamp_of", lambda *arguments: None)
            pyhanko = SIGNATORY.signs(path, tmp_path / "pyhanko.pdf", appearance=shown)
        assert b"/ByteRange [0 " in direct.read_bytes()
        return Pair(direct, pyhanko)

    return signed


def check_everything(pair: Pair, before: Path, folder: Path) -> None:
    """All that other readers say of the two is the same, and good."""
    wrong_before = not qpdf_finds_nothing_wrong(before)
    for each in (pair.direct, pair.pyhanko):
        assert qpdf_finds_nothing_wrong(each) or wrong_before
        assert "Signature is Valid" in poppler_says(each)
        assert "Total document signed" in poppler_says(each)
    assert "Verification successful" in openssl_verifies_last_signature(pair.direct, AUTHORITY.root, folder)
    (judgement,) = judge(JudgeOrder(pair.direct, (AUTHORITY.root,), NOW))
    (expected,) = judge(JudgeOrder(pair.pyhanko, (AUTHORITY.root,), NOW))
    assert judgement.verdict is Verdict.VALID
    assert judgement == expected
    assert meaning(pair.direct, before) == meaning(pair.pyhanko, before)


def meaning(path: Path, before: Path) -> Any:
    """What every object that the trailer leads to says, but where things stand and what is drawn at random."""
    with pikepdf.open(path) as opened, pikepdf.open(before) as original:
        trailer = opened.trailer
        said = {key: told(trailer[key], set()) for key in sorted(trailer.keys()) if key not in _ELSEWHERE}
        if "/ID" in original.trailer:
            assert bytes(trailer.ID[0]) == bytes(original.trailer.ID[0])
            assert bytes(trailer.ID[1]) != bytes(original.trailer.ID[1])
        return said


_ELSEWHERE = {"/Size", "/Prev", "/ID", "/W", "/Index", "/Length", "/Filter", "/DecodeParms", "/Type", "/XRefStm"}
_DRAWN = {"/Contents", "/ByteRange", "/AP"}  # the signature's own bytes; the stamp is compared as a picture


def told(thing: Any, met: set[Any]) -> Any:
    if isinstance(thing, pikepdf.Object) and thing.is_indirect:
        if thing.objgen in met:
            return thing.objgen
        met.add(thing.objgen)
    if isinstance(thing, pikepdf.Dictionary | pikepdf.Stream):
        is_ours = thing.get("/FT") == "/Sig" or thing.get("/Type") == "/Sig"
        keys = [key for key in sorted(thing.keys()) if not (is_ours and key in _DRAWN)]
        said = {key: told(thing[key], met) for key in keys}
        if isinstance(thing, pikepdf.Stream):
            said["content"] = thing.read_raw_bytes()
        return said
    if isinstance(thing, pikepdf.Array):
        return [told(each, met) for each in thing]
    return str(thing)


@pytest.mark.parametrize("name", PLAIN)
def test_both_writers_say_the_same_of_a_plain_document(
    name: str, both: Callable[[Path, Appearance | None], Pair], tmp_path: Path
) -> None:
    path = DOCUMENTS / f"{name}.pdf"
    assert ground(path) is not None
    check_everything(both(path, None), path, tmp_path)


STAMPS = {
    "in the margin": ("ke-hoach", STAMP),
    "in a document with streams of references": ("qpdf-object-streams", STAMP),
    "one line in a tall box": ("reportlab", Appearance(Box(1, 50, 50, 350, 350), ("SAO Y; ỦY BAN NHÂN DÂN XÃ",))),
    "four lines in a narrow box": ("reportlab", Appearance(Box(1, 50, 50, 120, 130), (*LINES, "AVAToTeTyV", "Số: …"))),
}


@pytest.mark.parametrize("case", STAMPS)
def test_a_stamp_looks_the_same_whoever_writes_it(
    case: str, both: Callable[[Path, Appearance | None], Pair], tmp_path: Path
) -> None:
    name, shown = STAMPS[case]
    path = DOCUMENTS / f"{name}.pdf"
    pair = both(path, shown)
    check_everything(pair, path, tmp_path)
    pictures = [picture(each) for each in (path, pair.direct, pair.pyhanko)]
    assert difference(pictures[0], pictures[1]) > 500      # there is something to see
    assert difference(pictures[1], pictures[2]) == 0


def picture(path: Path) -> Image.Image:
    opened = pypdfium2.PdfDocument(path)
    opened.init_forms()
    try:
        return opened[0].render(scale=3, may_draw_forms=True).to_pil().convert("L")
    finally:
        opened.close()


def difference(one: Image.Image, other: Image.Image) -> int:
    """How many points differ so that one could see it."""
    return sum(ImageChops.difference(one, other).histogram()[32:])


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_pyhanko(name: str) -> None:
    assert ground(DOCUMENTS / f"{name}.pdf") is None


NOT_PLAIN_EITHER = {
    "annotations that stand elsewhere": document({**one_page(page=page(b"/Annots 9 0 R")), 9: b"[ ]"}),
    "a form without fields": document(one_page(catalogue=b"<< /Type /Catalog /Pages 2 0 R /AcroForm << >> >>")),
    "permissions": document(one_page(catalogue=b"<< /Type /Catalog /Pages 2 0 R /Perms << >> >>")),
    "a catalogue of many kilobytes": document(
        one_page(catalogue=b"<< /Type /Catalog /Pages 2 0 R /X (%s) >>" % (b"x" * 20_000))),
}


@pytest.mark.parametrize("case", NOT_PLAIN_EITHER)
def test_this_is_not_plain(case: str, tmp_path: Path) -> None:
    path = tmp_path / "document.pdf"
    path.write_bytes(NOT_PLAIN_EITHER[case])
    assert ground(path) is None
    signed = SIGNATORY.signs(path, tmp_path / "signed.pdf")
    assert "Signature is Valid" in poppler_says(signed)


def test_an_end_that_is_only_tolerated_is_not_plain(tmp_path: Path) -> None:
    path, whole = tmp_path / "document.pdf", document(one_page())
    begins = whole.rindex(b"xref", 0, whole.rindex(b"startxref"))
    shifted = re.sub(rb"startxref\n\d+", b"startxref\n%d" % (begins + 1), whole)
    path.write_bytes(shifted)
    try:
        assert ground(path) is None
    except Exception as error:  # or it cannot be read at all, which is as good
        assert type(error).__name__ == "Refused"  # noqa: PT017 - either is right


_NAMES = st.from_regex(rb"/[A-Za-z]{1,8}", fullmatch=True).filter(lambda each: each not in (
    b"/Annots", b"/Type", b"/Parent", b"/Kids", b"/AA", b"/Perms", b"/AcroForm", b"/Pages", b"/Version", b"/Contents"))
_VALUES = st.one_of(
    st.integers(-999, 999).map(lambda each: b"%d" % each), st.just(b"true"), st.just(b"null"), st.just(b"[ 1 (a) /B ]"),
    st.binary(max_size=12).map(lambda each: b"<%s>" % each.hex().encode()), st.just(b"(ng\\303\\200y \\(a\\) b)"),
    st.just(b"<< /Nested << /Deep 4 0 R >> >>"), st.just(b"1.50"), st.just(b"/A#20b"),
)
_ENTRIES = st.dictionaries(_NAMES, _VALUES, max_size=5).map(
    lambda pairs: b" ".join(b"%s %s" % pair for pair in pairs.items()))
_NOTES = st.lists(st.just(b"<< /Type /Annot /Subtype /Link /Rect [ 0 0 9 9 ] >>"), max_size=3)


# Not shrunk: each example is two signatures and six readers.
@settings(max_examples=campaign.rounds(12, 1_500), deadline=None, phases=[Phase.explicit, Phase.generate])
@given(
    root=_ENTRIES, leaf=_ENTRIES, notes=_NOTES, revisions=st.integers(0, 2), gap=st.integers(0, 40),
    shown=st.booleans(),
)
def test_both_writers_say_the_same_of_generated_documents(
    root: bytes, leaf: bytes, notes: list[bytes], revisions: int, gap: int, shown: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("generated")
    path = folder / "document.pdf"
    content = document({
        **one_page(catalogue=b"<< /Type /Catalog /Pages 2 0 R %s >>" % root,
                   page=page(leaf + b" /Annots [ %s ]" % b" ".join(notes) if notes else leaf)),
        10 + gap: b"(far away)"})
    for each in range(revisions):
        previous = int(content.rsplit(b"startxref", 1)[1].split()[0])
        content += revision({10 + each: b"(later)"}, len(content), b"/Prev %d" % previous, size=11 + gap)
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patched:
        order = SIGNATORY.order(path, folder / "direct.tail", appearance=STAMP if shown else None)
        direct = prepare(order)
        patched.setattr(preparing, "ground_of", lambda reader, page: None)
        pyhanko = prepare(replace(order, tail=folder / "pyhanko.tail"))
    assert ground(path) is not None
    for name, prepared in (("direct", direct), ("pyhanko", pyhanko)):
        complete(SIGNATORY.completes(path, folder / f"{name}.tail", folder / f"{name}.pdf", prepared))
    (judgement,) = judge(JudgeOrder(folder / "direct.pdf", (AUTHORITY.root,), NOW))
    assert judgement.verdict is Verdict.VALID
    assert meaning(folder / "direct.pdf", path) == meaning(folder / "pyhanko.pdf", path)
    assert qpdf_finds_nothing_wrong(folder / "direct.pdf") == qpdf_finds_nothing_wrong(folder / "pyhanko.pdf")
