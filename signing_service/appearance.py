"""What a signature shows on the page: the text that Decree 30/2020 asks for, in a margin where it hides nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from policies.decision import APPENDIX, COPIES, DOCUMENT_TYPES
from signing_service.pdf import Appearance, Box

# Points on a page of A4 (595 x 842), on its first page. Decree 30/2020, Annex I, III.1.d puts the text of seals on
# appendices and copies at the top right; later signatures take the other margins, and those after are invisible.
PLACES = (
    Box(page=1, left=325, bottom=797, right=560, top=832),
    Box(page=1, left=60, bottom=797, right=295, top=832),
    Box(page=1, left=325, bottom=10, right=560, top=45),
    Box(page=1, left=60, bottom=10, right=295, top=45),
)


def stamp(
    *, document_type: str, number: str | None, symbol: str | None, is_seal: bool, signatory: str, agency: str,
    earlier: int, moment: datetime, zone: ZoneInfo, font: Path,
) -> Appearance | None:
    """The visible text of a signature, or None when the margins are full. `earlier` counts signatures before it."""
    if earlier >= len(PLACES):
        return None
    when = _when(moment.astimezone(zone))
    lines: tuple[str, ...]
    if is_seal and document_type == APPENDIX:
        lines = (f"Số: {_number(number, symbol)}; {when}",)
    elif is_seal and document_type in COPIES:
        lines = (f"{DOCUMENT_TYPES[document_type].upper()}; {agency}; {when}",)
    else:
        lines = (f"Cơ quan ký: {agency}" if is_seal else f"Ký bởi: {signatory}", f"Thời gian ký: {when}")
    return Appearance(box=PLACES[earlier], lines=lines, font=font)


def _number(number: str | None, symbol: str | None) -> str:
    return "/".join(part for part in (number, symbol) if part) or "…"


def _when(local: datetime) -> str:
    """Day, time and zone (ISO 8601), such as `02/08/2023; 16:12:47 +07:00`."""
    offset = local.strftime("%z")
    return f"{local:%d/%m/%Y; %H:%M:%S} {offset[:3]}:{offset[3:]}"
