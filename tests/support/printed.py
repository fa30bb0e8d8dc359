"""Pages with pieces of Vietnamese text at given places."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

from reportlab.lib.pagesizes import A4
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from signing_service.pdf.fonts import font_for

Piece = tuple[float, float, str]  # left, bottom, text


@cache
def _font() -> str:
    pdfmetrics.registerFont(TTFont("Vietnamese", str(font_for("MẬT TỐI TUYỆT BẢO VỆ QUY CHẾ NƯỚC", None))))
    return "Vietnamese"


def printed(path: Path, pieces: list[Piece]) -> Path:
    canvas = Canvas(str(path), pagesize=A4, invariant=1)
    canvas.setFont(_font(), 14)
    for left, bottom, text in pieces:
        canvas.drawString(left, bottom, text)
    canvas.save()
    return path


def long_document(pages: int) -> bytes:
    """So many pages of ordinary text."""
    buffer = io.BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    for page in range(1, pages + 1):
        canvas.setFont(_font(), 12)
        for line in range(45):
            text = f"Trang {page}, dòng {line}: QUY CHẾ BẢO VỆ NƯỚC, mục {line * page}."
            canvas.drawString(70, 780 - 16 * line, text)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()
