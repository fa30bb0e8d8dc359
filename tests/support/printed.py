"""Pages with pieces of Vietnamese text at given places."""

from __future__ import annotations

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
