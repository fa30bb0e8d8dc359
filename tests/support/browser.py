"""Chromium, and people who look at our pages through it. Whatever goes wrong on a page fails the story it is in.

    with Chromium.open() as chromium, chromium.visits(PHONE, base_url) as visitor:
        visitor.opens("/")
        visitor.looks("waiting-empty")       # layout, accessibility in both colour schemes, and a picture if wanted
        with visitor.told(403):              # an answer of this status belongs to the story
            visitor.presses("common.confirm")

Console errors, violations of the content security policy, requests that failed, answers of 400 and above that the
story did not expect, and pages without our headers are collected while it goes on and raised at its end. Texts are
found by their key in the words of the screens, so that one story is told in both languages.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Response, sync_playwright
from playwright.sync_api import Request as Asked

from signing_service.front.web import words

PROGRAM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium-headless-shell"))
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--renderer-process-limit=1",
    "--in-process-gpu", "--disable-site-isolation-trials", "--disable-breakpad", "--disable-extensions",
)
PATIENCE = 10_000  # milliseconds for anything to appear: two cores run everything else, too
ALBUM = "SIGNING_SCREENSHOTS"  # a directory; `make screenshots` sets it
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@dataclass(frozen=True)
class Glass:
    """What somebody looks through. `thumb`: targets must be large enough for one (44 px, WCAG 2.5.5)."""

    name: str
    options: Mapping[str, Any] = field(hash=False)
    thumb: bool


PHONE = Glass("phone", MappingProxyType({
    "viewport": {"width": 360, "height": 740}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}), True)
POCKET = replace(PHONE, thumb=False)  # a phone on which somebody looks at what was made for a desk (24 px, WCAG 2.5.8)
DESKTOP = Glass("desktop", MappingProxyType({"viewport": {"width": 1366, "height": 850}}), False)


@dataclass(frozen=True)
class Sight:
    """A glass and a language."""

    glass: Glass
    language: str

    def __str__(self) -> str:
        return f"{self.glass.name}-{self.language}"


# A story is told on a phone in Vietnamese and at a desk in English; for the album in all four ways.
EVERY_SIGHT = tuple(Sight(glass, language) for glass in (PHONE, DESKTOP) for language in ("vi", "en"))
SIGHTS = EVERY_SIGHT if os.environ.get(ALBUM) else (Sight(PHONE, "vi"), Sight(DESKTOP, "en"))
STAFF_SIGHTS = tuple(replace(each, glass=POCKET) if each.glass is PHONE else each for each in SIGHTS)

JUDGED: set[tuple[str, Glass]] = set()  # a state that many stories pass through is judged in the first of them


class Chromium:
    """One browser; every visitor has a profile of their own in it."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Chromium]:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=PROGRAM, args=list(FLAGS))
            try:
                yield cls(browser)
            finally:
                browser.close()

    @contextmanager
    def visits(self, glass: Glass, base_url: str, *, language: str = "vi", script: bool = True) -> Iterator[Visitor]:
        """Somebody new until the end of the block; what went wrong meanwhile fails it."""
        context = self._browser.new_context(
            base_url=base_url, locale="vi-VN", timezone_id="Asia/Ho_Chi_Minh", java_script_enabled=script,
            color_scheme="light", reduced_motion="reduce", **glass.options)
        context.set_default_timeout(PATIENCE)
        try:
            visitor = Visitor(context, glass, base_url, language, script)
            try:
                yield visitor
            except Exception as error:
                error.add_note(visitor.tells())
                raise
            visitor.closes()
        finally:
            context.close()


@dataclass
class Visitor:
    """Somebody at a browser: one page, and everything that went wrong on it."""

    context: BrowserContext
    glass: Glass
    base_url: str
    language: str
    script: bool
    troubles: list[str] = field(default_factory=list)
    _expected: set[int] = field(default_factory=set)
    _cut_off: bool = False

    def __post_init__(self) -> None:
        self.page: Page = self.context.new_page()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.troubles.append(f"a script failed: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    # ------------------------------------------------------------------------------------------- what they do

    def opens(self, path: str) -> None:
        """Go to a page of ours, in this visitor's language."""
        self.page.goto(path)
        self._speaks()

    def carries(self, cookie: str, value: str) -> None:
        """Have a cookie as if our server had set it. Chromium wants TLS to set it so, though not to send it here."""
        here = self.base_url.replace("http://", "https://")
        self.context.add_cookies([{"name": cookie, "value": value, "url": here, "secure": True, "httpOnly": True,
                                   "sameSite": "Lax"}])

    def _speaks(self) -> None:
        """One tap on the other language, where the page is not in ours yet."""
        if self.page.locator("html").get_attribute("lang") != self.language:
            self.page.locator("a.language").click()
            self.page.wait_for_selector(f"html[lang={self.language}]")

    def says(self, key: str, **values: object) -> str:
        """A sentence of the screens in this visitor's language."""
        return words.say(self.language, key, **values)

    def button(self, key: str, **values: object) -> Locator:
        return self.page.get_by_role("button", name=self.says(key, **values))

    def link(self, key: str, **values: object) -> Locator:
        return self.page.get_by_role("link", name=self.says(key, **values))

    def presses(self, key: str, **values: object) -> None:
        self.button(key, **values).click()

    def follows(self, key: str, **values: object) -> None:
        self.link(key, **values).click()

    def sees(self, key: str, **values: object) -> Locator:
        """Wait until a sentence stands on the page. Values that are not given may be anything."""
        sentence = words.catalogue()[key][self.language]
        pattern = "".join(
            part if number % 2 == 0 else re.escape(str(values[part_name(part)])) if part_name(part) in values else ".+?"
            for number, part in enumerate(_parts(sentence)))
        found = self.page.get_by_text(re.compile(pattern)).first
        found.wait_for()
        return found

    @property
    def text(self) -> str:
        """What stands in the page's main part."""
        return self.page.locator("main").inner_text()

    @contextmanager
    def told(self, *statuses: int) -> Iterator[None]:
        """Answers of these statuses belong to the story while the block lasts."""
        before, self._expected = self._expected, self._expected | set(statuses)
        try:
            yield
        finally:
            self.page.wait_for_load_state()
            self._expected = before

    @contextmanager
    def offline(self, *, cut: bool = True) -> Iterator[None]:
        """The network is away while the block lasts; or (`cut=False`) it loses what the story makes it lose."""
        self.context.set_offline(cut)
        self._cut_off = True
        try:
            yield
        finally:
            self.context.set_offline(False)
            self.page.wait_for_timeout(100)  # reports of what failed are still on their way
            self._cut_off = False

    # ------------------------------------------------------------------------------------------- how it looks

    def looks(self, name: str) -> None:
        """Judge a state by its name: all of it the first time that a story comes across it, its layout every time.

        Its night is judged through the first glass: the other brings other places and sizes, and hardly other colours.
        """
        self.page.wait_for_load_state()
        if (name, self.glass) in JUDGED and not os.environ.get(ALBUM):
            self._judge_layout(name)
            return
        is_new = os.environ.get(ALBUM) or all(name != judged for judged, _ in JUDGED)
        self.judge(name, SCHEMES if is_new else SCHEMES[:1])
        JUDGED.add((name, self.glass))

    def judge(self, name: str, schemes: tuple[Scheme, ...] = SCHEMES) -> None:
        """Layout and targets; accessibility, by day and by night; and a picture where there is an album."""
        self._judge_layout(name)
        for scheme in schemes:
            self.page.emulate_media(color_scheme=scheme)
            self._judge_access(name, scheme)
            self._pictured(name, scheme)
        self.page.emulate_media(color_scheme="light")

    def _judge_layout(self, name: str) -> None:
        for problem in self.page.evaluate(LAYOUT, self.glass.thumb) if self.script else ():
            self.troubles.append(f"{name}: {problem}")

    def _judge_access(self, name: str, scheme: Scheme) -> None:
        """All rules once; in the dark only what colours can change."""
        if not self.script:
            return
        self.page.evaluate(f"() => {{ if (!window.axe) {{ {AXE_SCRIPT} }} }}")
        rules = {"light": {"type": "tag", "values": RULES}, "dark": {"type": "rule", "values": ["color-contrast"]}}
        asked = {"runOnly": rules[scheme], "resultTypes": ["violations"]}
        found = self.page.evaluate("options => axe.run(options)", asked)
        for violation in found["violations"]:
            nodes = "; ".join(f"{node['target']} {node['html'][:160]}" for node in violation["nodes"][:4])
            self.troubles.append(f"{name} ({scheme}): {violation['id']}: {violation['help']}: {nodes}")

    def _pictured(self, name: str, scheme: Scheme) -> None:
        """For the album: everything by day, and by night in Vietnamese."""
        album = os.environ.get(ALBUM)
        if album and (scheme == "light" or self.language == "vi"):
            file = Path(album) / f"{name}.{self.glass.name}.{self.language}.{scheme}.png"
            self.page.screenshot(path=file, full_page=True, animations="disabled", scale="css")

    # ------------------------------------------------------------------------------------ what went wrong

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        if message.text.startswith("Failed to load resource"):  # `_answered` and `_failed` know which and why
            return
        self.troubles.append(f"console: {message.text}")

    def _failed(self, request: Asked) -> None:
        reason = request.failure or ""
        if "ERR_ABORTED" in reason:  # we went elsewhere meanwhile, or it became a download
            return
        if not self._cut_off:
            self.troubles.append(f"{request.method} {request.url} failed: {reason}")

    def _answered(self, response: Response) -> None:
        where = f"{response.request.method} {response.url}"
        if response.status >= 400 and response.status not in self._expected:
            self.troubles.append(f"{where} answered {response.status}")
        if not response.url.startswith(self.base_url):
            if not response.url.startswith(("data:", "blob:")):
                self.troubles.append(f"{where} is somewhere else")
            return
        if response.headers.get("content-type", "").startswith("text/html"):
            self.troubles += [f"{where}: {problem}" for problem in unguarded(response.headers)]

    def tells(self) -> str:
        """Where the visitor was and what was wrong there, for whoever reads of a story that broke off."""
        return "\n".join([self.page.url, self.page.locator("body").inner_text()[:2000], *self.troubles])

    def closes(self) -> None:
        """AssertionError that names everything that went wrong."""
        found, self.troubles = self.troubles, []
        assert not found, "\n" + "\n".join(found)


def unguarded(headers: Mapping[str, str]) -> list[str]:
    """What a page's headers leave open."""
    policy = {name: set(rest) for name, *rest in (
        part.split() for part in headers.get("content-security-policy", "").split(";") if part.strip())}
    found = [f"the policy allows {word}" for word in ("'unsafe-inline'", "'unsafe-eval'", "*", "https:", "http:")
             if any(word in allowed for allowed in policy.values())]
    wanted = {"default-src": {"'none'"}, "frame-ancestors": {"'none'"}, "base-uri": {"'none'"},
              "form-action": {"'self'"}, "script-src": {"'self'"}}
    found += [f"the policy lacks {name}" for name, allowed in wanted.items() if policy.get(name) != allowed]
    if headers.get("x-content-type-options") != "nosniff":
        found.append("its type may be guessed")
    if "no-store" not in headers.get("cache-control", ""):
        found.append("it may be kept")
    return found


def _parts(sentence: str) -> list[str]:
    """Literal text (escaped for a pattern) and fields, in turn."""
    return [re.escape(part) if number % 2 == 0 else part
            for number, part in enumerate(re.split(r"(\{[^}]*\})", sentence))]


def part_name(part: str) -> str:
    return re.split(r"[!:.\[]", part.strip("{}"))[0]


LAYOUT = """thumb => {
  const found = [];
  const seen = element => element.checkVisibility({checkOpacity: true, checkVisibilityCSS: true});
  const wide = document.scrollingElement.scrollWidth;
  if (wide > window.screen.width + 1 || wide > document.documentElement.clientWidth + 1)
    found.push(`it is ${wide} px wide on a screen of ${document.documentElement.clientWidth}`);
  if (document.querySelectorAll('h1').length !== 1) found.push('it has not exactly one h1');
  if (!document.title.trim() || document.title.trim().startsWith('–')) found.push('it has no title');
  if (!thumb) return found;
  const targets = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [role=button]';
  for (const element of document.querySelectorAll(targets)) {
    if (!seen(element)) continue;
    const label = ['checkbox', 'radio', 'file'].includes(element.type) && element.closest('label, .check');
    const box = (label || element).getBoundingClientRect();
    if (box.width <= 1 || box.height <= 1 || box.right <= 0) continue;     // for screen readers, or a skip link
    const around = element.parentElement.textContent.trim();
    const inText = getComputedStyle(element).display === 'inline' && around !== element.textContent.trim();
    if (element.tagName === 'A' && inText) continue;                      // WCAG 2.5.5: a link in a sentence
    if (box.width < 43.5 || box.height < 43.5)
      found.push(`${Math.round(box.width)} x ${Math.round(box.height)} px for ${element.outerHTML.slice(0, 140)}`);
  }
  return found;
}"""
