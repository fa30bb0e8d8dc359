"""The judge of our pages is judged first: what it is meant to find on a page, it finds."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from playwright.sync_api import Route

from signing_service.front.web.pages import HEADERS
from tests.support.browser import DESKTOP, PHONE, Chromium, Visitor, unguarded
from tests.support.town import Town

GOOD = '<main><h1>Chờ tôi ký</h1><p>Không có văn bản nào.</p>{}</main>'
PAGE = '<!doctype html><html lang="vi"><head><title>Chờ tôi ký – Ký số</title>{}</head><body>{}</body></html>'
PHONE_SIZED = '<meta name="viewport" content="width=device-width, initial-scale=1">'
NOBODY = "http://127.0.0.1:9"  # every answer is made up here
STYLES = "/styles.css"
SENT = dict(HEADERS) | {"content-type": "text/html; charset=utf-8", "x-content-type-options": "nosniff"}

FAULTS = {
    "an inline script": ("<script>1</script>", "", "Content Security Policy"),
    "a style of its own": ('<p style="color: red">!</p>', "", "Content Security Policy"),
    "a script that fails": ('<script src="/script.js"></script>', "", "a script failed"),
    "a picture that is not there": ('<img src="/missing.png" alt="">', "", "answered 404"),
    "a script that cannot be had": ('<script src="/gone.js"></script>', "", "failed: net::"),
    "a picture without a text": ('<img src="/icon.png">', "", "image-alt"),
    "a field without a name": ('<input name="code" class="big">', ".big { min-height: 48px }", "label"),
    "pale letters": ('<p class="pale">Đã ký</p>', ".pale { color: #ccc }", "(light): color-contrast"),
    "letters that are pale at night": (
        '<p class="pale">Đã ký</p>', "@media (prefers-color-scheme: dark) { .pale { color: #ddd } }",
        "(dark): color-contrast"),
    "a button for a needle": ("<button>Ký</button>", "button { font-size: 10px }", "px for <button>"),
    "a table wider than the screen": ('<p class="far">…</p>', ".far { width: 500px }", "px wide on a screen of 360"),
    "two headings of the first order": ("<h1>Chờ tôi ký</h1>", "", "not exactly one h1"),
}


def visits(visitor: Visitor, body: str, styles: str = "", headers: Mapping[str, str] = SENT) -> None:
    """Look at a page that our own would have sent like this."""
    files: dict[str, tuple[int, str, str]] = {
        STYLES: (200, styles, "text/css"), "/script.js": (200, "throw new Error('no')", "text/javascript"),
        "/missing.png": (404, "", "image/png"),
        "/icon.png": (200, "", "image/svg+xml"), "/favicon.ico": (204, "", "image/png"),
    }

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix(visitor.base_url)
        if path == "/gone.js":
            route.abort()
        elif path in files:
            status, content, kind = files[path]
            route.fulfill(status=status, body=content, content_type=kind)
        else:
            head = f'{PHONE_SIZED}<link rel="stylesheet" href="{STYLES}">'
            route.fulfill(body=PAGE.format(head, GOOD.format(body)), headers=dict(headers))

    visitor.page.route("**/*", answer)
    visitor.opens("/page")
    visitor.judge("page")


def test_nothing_is_found_where_nothing_is_wrong(chromium: Chromium) -> None:
    with chromium.visits(PHONE, NOBODY) as visitor:
        visits(visitor, '<p>Xem <a href="/page">trang này</a> hoặc:</p><button>Xác nhận</button>',
               "button { min-width: 44px; min-height: 44px; font-size: 17px }")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_story(chromium: Chromium, fault: str) -> None:
    body, styles, found = FAULTS[fault]
    with pytest.raises(AssertionError) as failure, chromium.visits(PHONE, NOBODY) as visitor:
        visits(visitor, body, styles)
    assert found in str(failure.value)


def test_a_page_without_our_headers_fails_the_story(chromium: Chromium) -> None:
    with pytest.raises(AssertionError, match="the policy lacks default-src") as failure, \
            chromium.visits(DESKTOP, NOBODY) as visitor:
        visits(visitor, "", headers={"content-type": "text/html; charset=utf-8"})
    assert "its type may be guessed" in str(failure.value)


@pytest.mark.parametrize("policy", ["script-src 'self' 'unsafe-inline'", "default-src *", "script-src 'unsafe-eval'"])
def test_a_policy_with_a_hole_is_named(policy: str) -> None:
    assert any("allows" in each for each in unguarded({"content-security-policy": policy}))


def test_an_unexpected_answer_fails_the_story(chromium: Chromium, town: Town) -> None:
    with pytest.raises(AssertionError, match="answered 404"), chromium.visits(DESKTOP, town.url) as visitor:
        visitor.opens("/nowhere")
