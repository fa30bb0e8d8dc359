"""A font that has the letters. Looking right in the viewer of one's own machine proves nothing about this.

Liberation 1.07, still what Debian 12 installs as `fonts-liberation`, has no ế, ủ or ư: text extraction finds the
words and the reader sees boxes. So coverage is checked for the text at hand, and the next font is tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped]  # it ships no types

from signing_service.pdf.work import Refused

# In order of preference: the metrics of Times New Roman first, then what every Debian has.
_KNOWN: Final = tuple(
    Path("/usr/share/fonts/truetype") / name
    for name in (
        "liberation2/LiberationSerif-Regular.ttf",
        "liberation/LiberationSerif-Regular.ttf",
        "croscore/Tinos-Regular.ttf",
        "dejavu/DejaVuSerif.ttf",
        "dejavu/DejaVuSans.ttf",
    )
)


def font_for(text: str, asked: Path | None) -> Path:
    """The font asked for, or else the first known one, that has every character. Raises `Refused("no-font")`."""
    needed = {ord(character) for character in text if character != "\n"}
    candidates: Iterable[Path] = (asked, *_KNOWN) if asked is not None else _KNOWN
    for candidate in candidates:
        if needed <= _characters(candidate):
            return candidate
    raise Refused("no-font", "No font of this machine has all the letters of the visible signature.")


@lru_cache(maxsize=16)
def _characters(font: Path) -> frozenset[int]:
    try:
        with TTFont(font, lazy=True) as opened:
            return frozenset(opened.getBestCmap() or ())
    except (OSError, TTLibError):
        return frozenset()
