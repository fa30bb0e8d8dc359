"""Make the documents in this folder: `python -m tests.documents.make`.

Each comes from another producer, because each producer has its own idea of PDF; `refused/` holds what the service
must not accept. The results are committed, so that the tests need none of these programs. What a program that is
not installed would make is left as it is.

Debian: ghostscript groff librsvg2-bin qpdf mupdf-tools libreoffice-writer-nogui chromium weasyprint
fonts-liberation2.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pikepdf
from PIL import Image, ImageDraw
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from tests.documents import administrative
from tests.support import raw_pdf

HERE: Final = Path(__file__).parent
REFUSED: Final = HERE / "refused"

_TEXT: Final = "Báo cáo tình hình ký số tháng 11 năm 2026 của phường Hoa Sen"
_HTML: Final = f"""<!doctype html><html lang="vi"><head><meta charset="utf-8"><title>Báo cáo</title>
<style>@page {{ size: A4 }} body {{ font-family: "Liberation Serif" }}</style></head>
<body><h1>BÁO CÁO</h1><p>{_TEXT}.</p></body></html>"""
_ODF: Final = "urn:oasis:names:tc:opendocument:xmlns"
_FODT: Final = f"""<?xml version="1.0" encoding="UTF-8"?>
<office:document xmlns:office="{_ODF}:office:1.0" xmlns:text="{_ODF}:text:1.0" office:version="1.3"
 office:mimetype="application/vnd.oasis.opendocument.text"><office:body><office:text>
<text:p>BÁO CÁO</text:p><text:p>{_TEXT}.</text:p></office:text></office:body></office:document>"""
_SVG: Final = f"""<svg xmlns="http://www.w3.org/2000/svg" width="595" height="842">
<rect x="40" y="40" width="515" height="2"/>
<text x="60" y="90" font-family="Liberation Serif" font-size="16">{_TEXT}</text></svg>"""
_POSTSCRIPT: Final = """%!PS-Adobe-3.0
/Times-Roman findfont 14 scalefont setfont 72 700 moveto (Bao cao thang 11) show showpage
72 700 moveto (Trang 2) show showpage
"""
_ROFF: Final = ".fam T\n.ps 14\nBao cao thang 11 nam 2026\n"


def _run(*command: str, stdin: str = "") -> bytes:
    return subprocess.run(command, input=stdin.encode(), check=True, capture_output=True).stdout


def reportlab(path: Path) -> None:
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.drawString(72, 700, "Bao cao thang 11")
    canvas.save()


def ghostscript(path: Path) -> None:
    path.write_bytes(_run("gs", "-q", "-sDEVICE=pdfwrite", "-o", "-", "-", stdin=_POSTSCRIPT))


def groff(path: Path) -> None:
    path.write_bytes(_run("groff", "-Tpdf", stdin=_ROFF))


def cairo(path: Path) -> None:
    path.write_bytes(_run("rsvg-convert", "-f", "pdf", stdin=_SVG))


def weasyprint(path: Path) -> None:
    path.write_bytes(_run("weasyprint", "-q", "-", "-", stdin=_HTML))


def libreoffice(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.fodt"
        source.write_text(_FODT)
        _run("soffice", f"-env:UserInstallation=file://{folder}/profile", "--headless", "--convert-to", "pdf",
             "--outdir", folder, str(source))
        shutil.copyfile(Path(folder) / "source.pdf", path)


def chromium(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.html"
        source.write_text(_HTML)
        _run("chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
             "--no-pdf-header-footer", f"--print-to-pdf={path}", source.as_uri())


def mupdf(path: Path) -> None:
    """Written anew by MuPDF, which numbers and packs the objects its own way."""
    _run("mutool", "clean", "-gggg", "-z", str(HERE / "weasyprint.pdf"), str(path))


def qpdf_object_streams(path: Path) -> None:
    _run("qpdf", "--object-streams=generate", "--deterministic-id", str(HERE / "ghostscript.pdf"), str(path))


def qpdf_linearized(path: Path) -> None:
    _run("qpdf", "--linearize", "--deterministic-id", str(HERE / "ghostscript.pdf"), str(path))


def scan(path: Path) -> None:
    """A page that is nothing but a picture, as a scanner makes it."""
    picture = Image.new("L", (620, 877), 250)
    pen = ImageDraw.Draw(picture)
    pen.text((60, 60), "Scan 27/KH-UBND", fill=20)
    pen.line((60, 90, 560, 92), fill=60, width=2)
    picture.save(path, "PDF", resolution=75, quality=40)


def form(path: Path) -> None:
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.drawString(72, 740, "Phieu tiep nhan")
    canvas.acroForm.textfield(name="ho-ten", x=72, y=700, width=200, height=20)
    canvas.acroForm.checkbox(name="dong-y", x=72, y=660)
    canvas.save()


def metadata_not_utf8(path: Path) -> None:
    """XMP in the encoding of the author's old system: pyHanko alone stops at such files, viewers do not care."""
    xmp = "<x:xmpmeta xmlns:x='adobe:ns:meta/'>Báo cáo</x:xmpmeta>".encode("latin-1")
    objects = raw_pdf.one_page(catalogue=raw_pdf.catalogue(b"/Metadata 5 0 R"))
    objects[5] = raw_pdf.stream(xmp, b"/Type /Metadata /Subtype /XML")
    objects[6] = b"<< /Title (B\xe1o c\xe1o \xff\x01) /Producer (\xfe\xff\xd8\x00) >>"
    path.write_bytes(raw_pdf.document(objects, b"/Info 6 0 R"))


def hybrid_references(path: Path) -> None:
    """A table for old readers and a stream for new ones, as word processors write them (ISO 32000-2 7.5.8.4)."""
    plain = raw_pdf.document(raw_pdf.one_page())
    number, border = 5, len(plain)
    hidden = b"6 0 << /Type /Note >>"
    inner = raw_pdf.stream(hidden, b"/Type /ObjStm /N 1 /First 4")
    holder = b"5 0 obj\n%s\nendobj\n" % inner
    entries = b"".join(
        kind.to_bytes(1, "big") + first.to_bytes(4, "big") + last.to_bytes(2, "big")
        for kind, first, last in ((1, border, 0), (2, number, 0), (1, border + len(holder), 0))
    )
    xref = raw_pdf.stream(entries, b"/Type /XRef /W [1 4 2] /Index [5 3] /Size 8 /Root 1 0 R")
    xref_at = border + len(holder)
    tail = holder + b"7 0 obj\n%s\nendobj\n" % xref
    table_at = border + len(tail)
    old = int(plain.rpartition(b"startxref\n")[2].split()[0])
    tail += b"xref\n0 0\ntrailer\n<< /Size 8 /Root 1 0 R /Prev %d /XRefStm %d >>\n" % (old, xref_at)
    path.write_bytes(plain + tail + b"startxref\n%d\n%%%%EOF\n" % table_at)


def encrypted(path: Path) -> None:
    with pikepdf.open(HERE / "reportlab.pdf") as source:
        source.save(path, encryption=pikepdf.Encryption(owner="owner", user=""), deterministic_id=False)


def truncated(path: Path) -> None:
    path.write_bytes((HERE / "cairo.pdf").read_bytes()[:-700])


def not_a_pdf(path: Path) -> None:
    picture = io.BytesIO()
    Image.new("L", (8, 8)).save(picture, "PNG")
    path.write_bytes(picture.getvalue())


def _with_catalogue(entries: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_bytes(raw_pdf.document(raw_pdf.one_page(catalogue=raw_pdf.catalogue(entries))))

    return make


ACCEPTED: Final[dict[str, Callable[[Path], None]]] = {
    "ke-hoach": administrative.write,
    "reportlab": reportlab,
    "ghostscript": ghostscript,
    "groff": groff,
    "cairo": cairo,
    "weasyprint": weasyprint,
    "libreoffice": libreoffice,
    "chromium": chromium,
    "mupdf": mupdf,
    "qpdf-object-streams": qpdf_object_streams,
    "qpdf-linearized": qpdf_linearized,
    "scan": scan,
    "form": form,
    "metadata-not-utf8": metadata_not_utf8,
    "hybrid-references": hybrid_references,
}

NOT_ACCEPTED: Final[dict[str, Callable[[Path], None]]] = {
    "encrypted": encrypted,
    "truncated": truncated,
    "not-a-pdf": not_a_pdf,
    "javascript": _with_catalogue(b"/OpenAction << /S /JavaScript /JS (app.alert\\(1\\)) >>"),
    "launch": _with_catalogue(b"/OpenAction << /S /Launch /F (calc.exe) >>"),
}


def main() -> None:
    REFUSED.mkdir(exist_ok=True)
    for folder, makers in ((HERE, ACCEPTED), (REFUSED, NOT_ACCEPTED)):
        for name, make in makers.items():
            try:
                make(folder / f"{name}.pdf")
            except FileNotFoundError as error:
                print(f"{name}: left as it is, {error.filename} is not installed", file=sys.stderr)


if __name__ == "__main__":
    main()
