"""A browser without a screen: it keeps cookies, reads the forms of a page and sends them, as somebody's phone would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from types import MappingProxyType
from urllib.parse import urljoin

import httpx

from signing_service.cli.demo.proofs import Untrue

SECONDS = 60.0
VOID = frozenset({"submit", "image", "reset", "button", "file"})


@dataclass
class Form:
    """One form of a page, with what it holds already."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """What a page says, and what can be done on it."""

    url: str
    status: int
    text: str = ""
    forms: list[Form] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)

    def form(self, ending: str) -> Form:
        """The form whose address ends so. Untrue when there is none."""
        for form in self.forms:
            if form.action.endswith(ending):
                return form
        raise Untrue(f"{self.url} ({self.status}) has no form for …{ending}: {self.text[:300]}")

    def link(self, beginning: str) -> str:
        """The first link that begins so. Untrue when there is none."""
        for link in self.links:
            if link.startswith(beginning):
                return link
        raise Untrue(f"{self.url} has no link to {beginning}…")


class _Reader(HTMLParser):
    """Forms, links and words of a page."""

    def __init__(self, page: Page) -> None:
        super().__init__()
        self.page = page
        self._form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(urljoin(self.page.url, found.get("action", "")))
            self.page.forms.append(self._form)
        elif tag == "a" and "href" in found:
            self.page.links.append(found["href"])
        elif tag == "img":
            self.page.pictures.append(found.get("src", ""))
        elif self._form is not None and tag in ("input", "textarea", "select", "button") and "name" in found:
            self._add(self._form, tag, found)

    def _add(self, form: Form, tag: str, found: dict[str, str]) -> None:
        """What a browser would send; a button counts only when it is pressed, and is then named by who presses."""
        kind = found.get("type", "submit" if tag == "button" else "text")
        unchecked = kind in ("checkbox", "radio") and "checked" not in found
        form.fields.setdefault(found["name"], "" if kind in VOID or unchecked else found.get("value", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.page.text += f"{data.strip()} "


class Handset:
    """Somebody's browser at one server.

    It keeps its cookies itself: browsers send Secure cookies to this machine over plain HTTP, too, and Python's jar
    does not.
    """

    def __init__(self, url: str, cookies: Mapping[str, str] = MappingProxyType({})) -> None:
        self.cookies = dict(cookies)
        self.http = httpx.Client(
            base_url=url, timeout=SECONDS, trust_env=False, follow_redirects=True,
            event_hooks={"request": [self._carry], "response": [self._keep]})

    def _carry(self, request: httpx.Request) -> None:
        request.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def _keep(self, answer: httpx.Response) -> None:
        for line in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
                if morsel["max-age"] == "0":
                    del self.cookies[name]

    def close(self) -> None:
        self.http.close()

    def open(self, path: str) -> Page:
        return _read(self.http.get(path))

    def send(self, page: Page, ending: str, **filled: str) -> Page:
        """Fill the form whose address ends so, and send it. Untrue when the page has none."""
        form = page.form(ending)
        origin = str(self.http.base_url).rstrip("/")
        body = {name: value for name, value in form.fields.items() if value} | filled
        return _read(self.http.post(form.action, data=body, headers={"Origin": origin}))

    def picture(self, path: str) -> bytes:
        """Untrue when what is there is no picture."""
        answer = self.http.get(path)
        if not answer.headers.get("content-type", "").startswith("image/"):
            raise Untrue(f"{path} is no picture but {answer.status_code}, {answer.headers.get('content-type')}")
        return answer.content


def _read(answer: httpx.Response) -> Page:
    page = Page(str(answer.url), answer.status_code)
    _Reader(page).feed(answer.text)
    return page
