"""How moments, sizes, digests and codes are written on the screens."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from markupsafe import Markup

MIB, KIB = 1 << 20, 1 << 10


def moment(value: datetime, zone: ZoneInfo) -> str:
    """22/11/2026 15:04:05, in the city's time."""
    return value.astimezone(zone).strftime("%d/%m/%Y %H:%M:%S")


def day(value: datetime, zone: ZoneInfo) -> str:
    """22/11/2026."""
    return value.astimezone(zone).strftime("%d/%m/%Y")


def size(count: int, language: str) -> str:
    """1.4 MiB; Vietnamese writes a comma."""
    text = f"{count / MIB:.1f} MiB" if count >= MIB else f"{max(1, round(count / KIB))} KiB"
    return text.replace(".", ",") if language == "vi" else text


def short(digest: str) -> Markup:
    """The ends of a digest, with the whole of it for whoever asks."""
    return Markup('<code class="digest" title="{0}">{1}…{2}</code>').format(digest, digest[:8], digest[-8:])


def matching(code: str) -> str:
    """482 915: groups that are compared at a glance."""
    return f"{code[:3]} {code[3:]}"


def remaining(until: datetime, now: datetime) -> tuple[str, int]:
    """What is left, in the largest unit that says enough: ("days", 3), ("hours", 5), ("minutes", 12)."""
    left = max(until - now, timedelta())
    if left >= timedelta(days=2):
        return "days", left.days
    if left >= timedelta(hours=2):
        return "hours", int(left.total_seconds() // 3600)
    return "minutes", int(left.total_seconds() // 60)
