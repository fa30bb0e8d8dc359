"""Pages as pictures: drawn from exactly the bytes that are hashed, as other viewers show them, within limits."""

from __future__ import annotations

import hashlib
import io
import random
import subprocess
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pikepdf
import pytest
from PIL import Image, ImageChops, ImageStat

from signing_service.errors import Invalid
from signing_service.pdf import Limits, Pool
from signing_service.pdf.draw import LARGEST, LONGEST, MOST_PIXELS, draw, survey
from signing_service.pdf.work import PageOrder, PictureOrder, Refused, Width
from tests.support.endless_page import forms_in_forms
from tests.support.pdf_pool import with_pool
from tests.support.printed import long_document

DOCUMENTS = sorted((Path(__file__).parents[1] / "documents").glob("*.pdf"))
PLAN = Path(__file__).parents[1] / "documents" / "ke-hoach.pdf"


def seen(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def by_poppler(document: Path, page: int, width: int) -> Image.Image:
    made = subprocess.run(
        ["pdftoppm", "-png", "-f", str(page), "-l", str(page), "-cropbox", "-scale-to-x", str(width), "-scale-to-y",
         "-1", str(document)], capture_output=True, check=True).stdout
    return seen(made)


def difference(one: Image.Image, other: Image.Image) -> float:
    """0 for the same, 1 for black instead of white; small pictures, so that a hair's shift does not count."""
    small = [each.convert("L").resize((100, 140), Image.Resampling.BOX) for each in (one, other)]
    return float(ImageStat.Stat(ImageChops.difference(*small)).mean[0]) / 255


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.stem)
def test_every_producers_pages_look_as_another_viewer_shows_them(document: Path) -> None:
    surveyed = survey(document.read_bytes())
    assert surveyed.digest == hashlib.sha256(document.read_bytes()).hexdigest()
    for page in range(1, len(surveyed.pages) + 1):
        drawn = draw(document.read_bytes(), PageOrder(page, Width.LIST))
        picture = seen(drawn.content)
        assert (drawn.digest, picture.size) == (surveyed.digest, (480, drawn.height))
        assert difference(picture, by_poppler(document, page, 480)) < 0.02


def changed(path: Path, change: Callable[[pikepdf.Pdf], None]) -> Path:
    with pikepdf.open(PLAN) as pdf:
        change(pdf)
        pdf.save(path)
    return path


def test_a_page_is_shown_turned_and_cropped_as_it_says(tmp_path: Path) -> None:
    def turn_and_crop(pdf: pikepdf.Pdf) -> None:
        pdf.pages[0].Rotate = 90
        pdf.pages[0].CropBox = pikepdf.Array([0, 0, 300, 600])

    document = changed(tmp_path / "turned.pdf", turn_and_crop)
    assert survey(document.read_bytes()).pages[0] == (600.0, 300.0)
    drawn = draw(document.read_bytes(), PageOrder(1, Width.PAGE))
    assert (drawn.width, drawn.height) == (960, 480)
    assert difference(seen(drawn.content), by_poppler(document, 1, 960)) < 0.02


def test_what_lies_over_the_text_is_seen(tmp_path: Path) -> None:
    def cover(pdf: pikepdf.Pdf) -> None:
        black = pdf.make_stream(b"0 g 0 0 400 400 re f", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form,
                                BBox=[0, 0, 400, 400])
        pdf.pages[0].Annots = pdf.make_indirect(pikepdf.Array([pdf.make_indirect(pikepdf.Dictionary(
            Type=pikepdf.Name.Annot, Subtype=pikepdf.Name.Stamp, Rect=[100, 300, 500, 700], F=4,
            AP=pikepdf.Dictionary(N=black)))]))

    picture = seen(draw(changed(tmp_path / "covered.pdf", cover).read_bytes(), PageOrder(1, Width.LIST)).content)
    assert picture.getpixel((240, 300)) == (0, 0, 0)
    assert seen(draw(PLAN.read_bytes(), PageOrder(1, Width.LIST)).content).getpixel((5, 5)) == (255, 255, 255)


def test_a_grey_page_is_drawn_without_loss_and_a_coloured_one_with_its_colours_sharp(tmp_path: Path) -> None:
    grey = draw(PLAN.read_bytes(), PageOrder(1, Width.LIST))
    assert (grey.media_type, Image.open(io.BytesIO(grey.content)).mode) == ("image/png", "L")
    red = draw(page_of(tmp_path / "red.pdf", b"1 0 0 rg 0 0 300 300 re f").read_bytes(), PageOrder(1, Width.LIST))
    assert red.media_type == "image/jpeg"
    assert seen(red.content).getpixel((100, 600))[1] < 8  # type: ignore[index]  # three channels


def test_a_scan_whose_noise_would_be_too_large_without_loss_is_a_photograph(tmp_path: Path) -> None:
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        noise = pdf.make_stream(random.Random(1).randbytes(1_000_000), Type=pikepdf.Name.XObject, Height=1000,
                                Subtype=pikepdf.Name.Image, Width=1000, ColorSpace=pikepdf.Name.DeviceGray,
                                BitsPerComponent=8)
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=noise))
        page.Contents = pdf.make_stream(b"q 595 0 0 842 0 0 cm /I Do Q")
        pdf.save(tmp_path / "noise.pdf")
    drawn = draw((tmp_path / "noise.pdf").read_bytes(), PageOrder(1, Width.ENLARGED))
    assert (drawn.media_type, drawn.width) == ("image/jpeg", 1920)
    assert len(drawn.content) <= LARGEST


def test_a_page_that_is_not_there_is_refused() -> None:
    for page in (0, -1, 10_000):
        with pytest.raises(Refused, match="cannot be drawn"):
            draw(PLAN.read_bytes(), PageOrder(page, Width.LIST))


def test_what_is_no_document_is_refused() -> None:
    broken = b"%PDF-1.7\nnothing more"
    for refused in (lambda: survey(broken), lambda: draw(broken, PageOrder(1, Width.LIST))):
        with pytest.raises(Refused, match="cannot be drawn"):
            refused()


SIZES = {"a thread": (1, 14_400), "a banner": (14_400, 1), "a wall": (14_400, 14_400), "a crumb": (1, 1),
         "larger than any page": (1e7, 1e7)}


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_a_page_of_any_shape_stays_within_bounds(tmp_path: Path, size: tuple[float, float]) -> None:
    def stretch(pdf: pikepdf.Pdf) -> None:
        pdf.pages[0].MediaBox = pikepdf.Array([0, 0, *size])

    drawn = draw(changed(tmp_path / "shape.pdf", stretch).read_bytes(), PageOrder(1, Width.ENLARGED))
    assert drawn.width * drawn.height <= MOST_PIXELS * 1.01
    assert 1 <= drawn.width <= LONGEST + 1
    assert 1 <= drawn.height <= LONGEST + 1


def page_of(path: Path, content: bytes, **resources: object) -> Path:
    """One page with this content stream."""
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        page.Contents = pdf.make_stream(content)
        page.Resources = pikepdf.Dictionary(**resources)
        pdf.save(path)
    return path


def huge_image(path: Path) -> Path:
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        bomb = zlib.compress(zlib.compress(bytes(50_000_000), 9), 9)
        image = pdf.make_stream(bomb, Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Image, Width=60_000,
                                Height=60_000, ColorSpace=pikepdf.Name.DeviceRGB, BitsPerComponent=8,
                                Filter=[pikepdf.Name.FlateDecode, pikepdf.Name.FlateDecode])
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(I=image))
        page.Contents = pdf.make_stream(b"q 595 0 0 842 0 0 cm /I Do Q")
        pdf.save(path)
    return path


def itself(path: Path) -> Path:
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        form = pdf.make_stream(b"/F Do /F Do", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form, BBox=[0, 0, 9, 9])
        form.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(F=form))
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(F=form))
        page.Contents = pdf.make_stream(b"/F Do")
        pdf.save(path)
    return path


def tiles(path: Path) -> Path:
    """A pattern whose tile is a hair's breadth, over the whole page, in a mask of a mask."""
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        pattern = pdf.make_stream(b"0 0 .01 .01 re f", Type=pikepdf.Name.Pattern, PatternType=1, PaintType=1,
                                  TilingType=1, BBox=[0, 0, 1, 1], XStep=0.001, YStep=0.001,
                                  Resources=pikepdf.Dictionary())
        page.Resources = pikepdf.Dictionary(Pattern=pikepdf.Dictionary(P=pattern))
        page.Contents = pdf.make_stream(b"/Pattern cs /P scn 0 0 595 842 re f " * 50)
        pdf.save(path)
    return path


def glyphs_that_draw_themselves(path: Path) -> Path:
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        font = pdf.make_indirect(pikepdf.Dictionary(
            Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type3, FontBBox=[0, 0, 1000, 1000],
            FontMatrix=[0.001, 0, 0, 0.001, 0, 0], FirstChar=97, LastChar=97, Widths=[1000],
            Encoding=pikepdf.Dictionary(Type=pikepdf.Name.Encoding, Differences=[97, pikepdf.Name.a])))
        font.CharProcs = pikepdf.Dictionary(a=pdf.make_stream(b"1000 0 d0 BT /T 500 Tf (aaaaaaaaaa) Tj ET"))
        font.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(T=font))
        page.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(T=font))
        page.Contents = pdf.make_stream(b"BT /T 12 Tf 50 700 Td (aaaaaaaaaaaaaaaaaaaa) Tj ET")
        pdf.save(path)
    return path


def masks_of_masks(path: Path) -> Path:
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        group = pikepdf.Dictionary(S=pikepdf.Name.Transparency, CS=pikepdf.Name.DeviceGray)
        form = pdf.make_stream(b"1 g 0 0 595 842 re f", Type=pikepdf.Name.XObject, Subtype=pikepdf.Name.Form,
                               BBox=[0, 0, 595, 842], Group=group)
        for _ in range(40):
            state = pikepdf.Dictionary(SMask=pikepdf.Dictionary(S=pikepdf.Name.Luminosity, G=form))
            form = pdf.make_stream(b"/G gs 1 g 0 0 595 842 re f " * 3, Type=pikepdf.Name.XObject,
                                   Subtype=pikepdf.Name.Form, BBox=[0, 0, 595, 842], Group=group,
                                   Resources=pikepdf.Dictionary(ExtGState=pikepdf.Dictionary(G=state)))
        page.Resources = pikepdf.Dictionary(XObject=pikepdf.Dictionary(F=form))
        page.Contents = pdf.make_stream(b"/F Do")
        pdf.save(path)
    return path


def a_function_in_loops(path: Path) -> Path:
    """A shading whose colour is a program for each dot."""
    with pikepdf.new() as pdf:
        page = pdf.add_blank_page(page_size=(595, 842))
        program = b"{ " + b"dup mul sin cos " * 20_000 + b"pop pop 0 0 0 }"
        function = pdf.make_stream(program, FunctionType=4, Domain=[0, 1, 0, 1], Range=[0, 1, 0, 1, 0, 1])
        shading = pikepdf.Dictionary(ShadingType=1, ColorSpace=pikepdf.Name.DeviceRGB, Function=function,
                                     Matrix=[595, 0, 0, 842, 0, 0])
        page.Resources = pikepdf.Dictionary(Shading=pikepdf.Dictionary(S=shading))
        page.Contents = pdf.make_stream(b"/S sh " * 50)
        pdf.save(path)
    return path


BOMBS: dict[str, Callable[[Path], Path]] = {
    "an image of sixty thousand by sixty thousand": huge_image,
    "forms in forms, ten to the power of twenty": forms_in_forms,
    "a form that draws itself": itself,
    "a pattern finer than dust": tiles,
    "letters that write themselves": glyphs_that_draw_themselves,
    "masks of masks of masks": masks_of_masks,
    "a program for every dot": a_function_in_loops,
    "two million curves": lambda path: page_of(path, b"0 0 m " + b"9 9 50 80 300 400 c " * 2_000_000 + b"S"),
    "dashes without number": lambda path: page_of(path, b"[.0001 .0001] 0 d 0 0 m 595 842 l S " * 200),
    "a hundred thousand nested states": lambda path: page_of(path, b"q 1 0 0 1 0 0 cm " * 100_000 + b"0 0 9 9 re f"),
    "clips in clips": lambda path: page_of(path, b"q 0 0 m 9 9 50 80 300 400 c W n " * 50_000 + b"0 0 9 9 re f"),
    "a stroke wider than the world": lambda path: page_of(path, b"1e9 w 1 J 1 j 0 0 m 595 842 l S " * 20_000),
    "brackets that never end": lambda path: page_of(path, b"[" * 1_000_000),
}


def test_a_page_that_would_never_be_ready_costs_its_viewer_and_nobody_else(tmp_path: Path) -> None:
    """Each is drawn or refused within the limits of a worker, and the next order finds the pool at work."""
    documents = {name: make(tmp_path / f"{number}.pdf") for number, (name, make) in enumerate(BOMBS.items())}

    async def story(pool: Pool) -> dict[str, str]:
        return {name: await _outcome(pool.picture(PictureOrder(document, 1, Width.PAGE), "hostile"), pool)
                for name, document in documents.items()}

    outcomes = with_pool(story, Limits(draw_cpu_seconds=1))
    assert set(outcomes.values()) <= {"drawn", "page-too-costly", "page-not-drawn"}, outcomes
    assert outcomes["forms in forms, ten to the power of twenty"] == "page-too-costly"


async def _outcome(asked: Awaitable[object], pool: Pool) -> str:
    try:
        await asked
        said = "drawn"
    except Invalid as error:
        said = error.code
    after = await pool.picture(PictureOrder(PLAN, 1, Width.LIST), "friendly")
    assert after.digest == hashlib.sha256(PLAN.read_bytes()).hexdigest()
    return said


def test_a_long_document_is_surveyed_whole_and_drawn_page_by_page(tmp_path: Path) -> None:
    document = tmp_path / "long.pdf"
    document.write_bytes(long_document(200))

    async def story(pool: Pool) -> None:
        surveyed = await pool.survey(document, "viewer")
        assert len(surveyed.pages) == 200
        first, last = [(await pool.picture(PictureOrder(document, page, Width.PAGE), "viewer")).content
                       for page in (1, 200)]
        assert first != last

    with_pool(story)
