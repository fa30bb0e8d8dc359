"""What stands in the search form, as a search; and what is wrong with it, field by field.

The form is sent by GET, so its address is the saved search. Days are the city's days, both of them included.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from policies.decision import DOCUMENT_TYPES
from signing_service.audit import Event
from signing_service.errors import Invalid
from signing_service.filters import Order, Wanted, spelled
from signing_service.front.forms import one_line

OUTCOMES = ("ok", "denied", "refused", "rejected", "locked", "limited", "failed", "unknown-outcome", "alarm")
TEXTS = {"number": 11, "symbol": 30, "signatory": 200, "agency": 200, "client": 200, "request": 40}
CHOICES: Mapping[str, frozenset[str]] = {
    "event": frozenset(Event), "outcome": frozenset(OUTCOMES), "type": frozenset(DOCUMENT_TYPES),
    "order": frozenset(Order),
}
FIELDS = ("from", "from_time", "to", "to_time", *TEXTS, "digest", "certificate", *CHOICES)
SAME = {"number": "number", "symbol": "symbol", "signatory": "signatory", "agency": "agency", "client": "client",
        "request": "signing_request", "event": "event", "outcome": "outcome", "type": "document_type"}
CURSORS = ("after", "before")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
LONGEST = 500  # characters of any field before anybody looks at it


@dataclass(frozen=True)
class Question:
    """A filled form: what was typed, by the names of its fields, and what is wrong (field to word)."""

    said: Mapping[str, str]
    wanted: Wanted | None
    wrong: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_asked(self) -> bool:
        """An empty form that nobody has sent asks nothing."""
        return bool(self.said)

    @property
    def has_more(self) -> bool:
        """Is something filled in that stands behind "more conditions"?"""
        shown = {"from", "to", "number", "symbol", "signatory", "agency", "order"}
        return any(name not in shown for name in self.said)

    def query(self, **more: str | None) -> str:
        """This search as a query, with other values for some fields."""
        pairs = dict(self.said) | {name: value for name, value in more.items() if value}
        return urlencode(pairs)


def read(params: Mapping[str, str], zone: ZoneInfo) -> Question:
    """The question in a query string. Never raises: what is wrong is named."""
    said = {name: value.strip()[:LONGEST] for name in FIELDS if (value := params.get(name, "")).strip()}
    wrong: dict[str, str] = {}
    asked: dict[str, Any] = {SAME[name]: said[name] for name in SAME if name in said}
    for name, longest in TEXTS.items():
        if name in said and not _is_line(said[name], longest):
            wrong[name] = "text"
    wrong |= {name: "choice" for name, known in CHOICES.items() if name in said and said[name] not in known}
    asked |= _digests(said, wrong) | _times(said, zone, wrong)
    order = Order.OLDEST if said.get("order") == Order.OLDEST else Order.NEWEST
    if wrong:
        return Question(said, None, wrong)
    cursors: dict[str, Any] = {name: params[name][:40] for name in CURSORS if params.get(name)}
    return Question(said, Wanted(**asked, **cursors, order=order))


def _is_line(text: str, longest: int) -> bool:
    try:
        return len(one_line(text)) <= longest
    except ValueError:
        return False


def _digests(said: Mapping[str, str], wrong: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    if "digest" in said:
        found["digest"] = re.sub(r"[\s:]", "", said["digest"]).lower()
        if not DIGEST.fullmatch(found["digest"]):
            wrong["digest"] = "digest"
    if "certificate" in said:
        try:
            found["certificate"] = spelled(said["certificate"])
        except Invalid:
            wrong["certificate"] = "certificate"
    return found


def _times(said: Mapping[str, str], zone: ZoneInfo, wrong: dict[str, str]) -> dict[str, datetime]:
    """A day without a time begins with midnight, and ends with the next. A time without a day says nothing."""
    found: dict[str, datetime] = {}
    begins = _moment(said, "from", zone, wrong)
    ends = _moment(said, "to", zone, wrong)
    if begins is not None:
        found["begins"] = begins
    if ends is not None:
        found["ends"] = ends if "to_time" in said else ends + timedelta(days=1)
    if len(found) == 2 and found["begins"] >= found["ends"]:
        wrong["to"] = "order"
    return found


def _moment(said: Mapping[str, str], name: str, zone: ZoneInfo, wrong: dict[str, str]) -> datetime | None:
    if name not in said:
        return None
    try:
        day = datetime.strptime(said[name], "%Y-%m-%d").date() if DAY.fullmatch(said[name]) else None  # noqa: DTZ007
    except ValueError:
        day = None
    if day is None or not 2000 <= day.year <= 9000:
        wrong[name] = "day"
        return None
    at = _time(said, f"{name}_time", wrong)
    return datetime.combine(day, at, zone)


def _time(said: Mapping[str, str], name: str, wrong: dict[str, str]) -> time:
    try:
        return time.fromisoformat(said[name]).replace(tzinfo=None) if name in said else time()
    except ValueError:
        wrong[name] = "time"
        return time()
