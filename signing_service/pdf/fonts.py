"""A font that has the letters, in the measure that PDF wants.

Liberation 1.07, still what Debian 12 installs as `fonts-liberation`, has no ế, ủ or ư: text extraction finds the
words and the reader sees boxes. So coverage is checked for the text at hand, and the next font is tried.

PDF measures glyphs in thousandths of the size (ISO 32000-2 9.7.4.3), TrueType fonts mostly in 1/2048, and pyHanko
writes down the font's own numbers: letters stand twice as far apart as they should. So the font is scaled to 1000
units first, once in a worker's life, and reduced to the letters anybody may need here, which also makes every
stamp five times cheaper.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]  # it ships no types
from fontTools.ttLib import TTFont, TTLibError  # type: ignore[import-untyped]  # as above
from fontTools.ttLib.scaleUpem import scale_upem  # type: ignore[import-untyped]  # as above

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


# Latin with all that Vietnamese adds to it, combining marks, punctuation, currency signs, №.
_KEPT: Final = frozenset((*range(0x20, 0x250), *range(0x300, 0x330), *range(0x1E00, 0x2070), *range(0x20A0, 0x2120)))
_UNITS: Final = 1000


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
            return frozenset(opened.getBestCmap() or ()) & _KEPT
    except (OSError, TTLibError):
        return frozenset()


@lru_cache(maxsize=4)
def embeddable(font: Path) -> bytes:
    """The font, reduced to the letters of `_KEPT` and scaled to 1000 units per em, without hints."""
    options = Options(hinting=False, notdef_outline=True, layout_features=["kern", "ccmp", "mark", "mkmk"])
    options.drop_tables += ["FFTM"]
    with TTFont(font) as opened:
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=_KEPT)
        subsetter.subset(opened)
        scale_upem(opened, _UNITS)
        small = io.BytesIO()
        opened.save(small)
    return small.getvalue()
