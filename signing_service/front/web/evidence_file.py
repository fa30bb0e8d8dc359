"""The parts of an evidence file that people read: the story in both languages, and how to check the rest offline."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Any

from markupsafe import Markup

from policies.decision import DOCUMENT_TYPES
from signing_service import evidence
from signing_service.evidence import Evidence
from signing_service.front.settings import FrontSettings
from signing_service.front.web import assets, formats, words
from signing_service.front.web.pages import environment
from signing_service.front.web.visitors import LANGUAGES


def made(gathered: Evidence, settings: FrontSettings) -> bytes:
    """The ZIP that an auditor takes away. The same signing request, the same bytes."""
    pages = {"README.txt": _read_me(gathered)}
    pages |= {f"story.{language}.html": _story(gathered, settings, language) for language in LANGUAGES}
    return evidence.packed(gathered, pages)


def _story(gathered: Evidence, settings: FrontSettings, language: str) -> str:
    """A page that needs nothing around it: opened from a disk or printed in ten years."""
    sheet = Markup("<style>{}</style>").format(_sheet())
    return environment().get_template("console/story_on_paper.html").render(
        _always(settings, language), sheet=sheet, story=gathered.story, document_types=DOCUMENT_TYPES,
        service_name=settings.service_name)


def _sheet() -> Markup:
    return Markup(assets.assets()["evidence.css"].content.decode())  # noqa: S704 - a file of our own


def span(length: timedelta) -> tuple[str, str]:
    """A length of time in the unit that people would use: ("minutes", "3")."""
    seconds = max(0.0, length.total_seconds())
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return unit, str(int(seconds // size))
    return "seconds", f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.1f}"


def _always(settings: FrontSettings, language: str) -> dict[str, Any]:
    zone = settings.zone
    return {
        "t": partial(words.say, language), "has_words": words.has, "lang": language, "span": span,
        "moment": lambda value: formats.moment(value, zone), "iso": datetime.isoformat,
        "size": lambda count: formats.size(count, language), "matching": formats.matching,
    }


def _read_me(gathered: Evidence) -> str:
    """Plain text: what is here, what each command shows, and what it does not."""
    return environment().get_template("console/read_me.txt").render(
        story=gathered.story, policies=sorted(gathered.policies), size=gathered.checkpoint_size,
        has_certificate=gathered.certificate is not None, has_timestamp=gathered.timestamp is not None,
        value_digest=gathered.value_digest)
