"""The page on which an auditor's browser verifies the log: what is done on it, and what it says.

    with verifying(chromium, town, log) as (visitor, page):   # an auditor who has compared the log's key
        assert said(page, "proven") == ["proven-signed"]

With a `SmallLog` the page's questions are answered by that log, spoiled as a test wants; without one by the town.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from playwright.sync_api import Page, Route

from signing_service.front.web.visitors import SESSION
from tests.support.browser import DESKTOP, Chromium, Visitor
from tests.support.small_log import SmallLog
from tests.support.staff import Seat
from tests.support.town import Town

NUMBERS = itertools.count(1)
Spoil = Callable[[dict[str, Any]], dict[str, Any]]


def seated(visitor: Visitor, town: Town, agencies: tuple[str, ...] = ("*",)) -> Seat:
    """The visitor's browser is an auditor's who has signed in."""
    seat = town.world.auditor(agencies, f"Auditor {next(NUMBERS)}")
    visitor.carries(SESSION, seat.session)
    return seat


@contextmanager
def verifying(
    chromium: Chromium, town: Town, log: SmallLog | None = None, agencies: tuple[str, ...] = ("*",),
) -> Iterator[tuple[Visitor, Page]]:
    """An auditor at a desk who has just compared the key, until the end of the block."""
    with chromium.visits(DESKTOP, town.url) as visitor:
        seated(visitor, town, agencies)
        if log is not None:
            serves(visitor.page, log)
        page = opens(visitor)
        pins(page, log.verifier if log is not None else "")
        yield visitor, page


def opens(visitor: Visitor, path: str = "/console/trust") -> Page:
    visitor.opens(path)
    return _ready(visitor.page)


def _ready(page: Page) -> Page:
    page.wait_for_selector("html[data-trust=ready]", state="attached")
    return page


def said(page: Page, place: str) -> list[str]:
    """Which sentences stand in a list."""
    return [each.get_attribute("data-said") or "" for each in page.locator(f"#{place} li[data-said]").all()]


def pins(page: Page, key: str = "") -> None:
    """The key is compared: the one that the page shows, or another."""
    page.locator("#f-pin").fill(key)
    with page.expect_navigation():
        page.locator("#pin button").click()
    _ready(page)


def kept(page: Page) -> list[str]:
    """The checkpoints that this browser remembers."""
    found: list[str] = json.loads(page.evaluate("localStorage.getItem('trust.checkpoints') ?? '[]'"))
    return found


def proves_entry(page: Page, entry_id: str) -> str:
    """Have an entry proven; which sentence was the answer."""
    page.locator("#f-entry").fill(entry_id)
    page.locator("#entry-result").evaluate("place => { place.dataset.said = ''; }")
    page.locator("#entry button").click()
    page.wait_for_selector("#entry-result:not([data-said=''])")
    return page.locator("#entry-result").get_attribute("data-said") or ""


def serves(page: Page, log: SmallLog, **spoiled: Spoil) -> None:
    """From now on the page's questions are answered by this log, each answer spoiled as asked."""
    page.unroute_all()

    def answer(route: Route) -> None:
        parts = urlsplit(route.request.url)
        told = log.answers(parts.path, dict(parse_qsl(parts.query)))
        route.fulfill(json=spoiled.get(parts.path.rpartition("/")[2], lambda same: same)(told))

    page.route("**/console/proofs/**", answer)
