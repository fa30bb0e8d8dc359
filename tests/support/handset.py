"""A phone in somebody's hand, over HTTP: it keeps cookies, reads the forms of a page and sends them as they stand.

    phone = world.phone(official)                   # enrolled; `world.browser()` is one that nobody knows
    page = phone.opens(f"/requests/{made['id']}")
    page = phone.sends(page, "/confirm", code=phone.code())  # the form whose address ends so, with what it holds
    page = phone.follows(page)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import httpx
from starlette.types import ASGIApp

from signing_service.front.web import visitors
from tests.support.city import Phone

if TYPE_CHECKING:
    from tests.support.world import World

SAME_SITE = {"sec-fetch-site": "same-origin"}


@dataclass
class Form:
    """One form of a page, with what it holds already."""

    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Read:
    """What a program finds in a page: forms, links, pictures, and all of its text."""

    forms: list[Form] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    text: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.read = Read()
        self._form: Form | None = None
        self._hidden = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self._hidden = tag in ("script", "style")
        if tag == "form":
            self._form = Form(found.get("action", ""), found.get("method", "get"))
            self.read.forms.append(self._form)
        elif tag == "input" and self._form is not None and found.get("type") in ("hidden", None):
            self._form.fields.append((found["name"], found.get("value", "")))
        elif tag == "a" and "href" in found:
            self.read.links.append(found["href"])
        elif tag == "img":
            self.read.pictures.append(found["src"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        self._hidden = False

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.read.text += data


def read(answer: httpx.Response) -> Read:
    """The page of an answer, read."""
    reader = _Reader()
    reader.feed(answer.text)
    return reader.read


def spaced(code: str) -> str:
    """A matching code as pages show it."""
    return f"{code[:3]} {code[3:]}"


class Handset:
    """A browser; with a phone of the city, somebody's enrolled one."""

    def __init__(self, world: World, phone: Phone | None = None, app: ASGIApp | None = None) -> None:
        self.world, self.phone = world, phone
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app or world.app, raise_app_exceptions=False),
            base_url="https://signing.test", headers={"accept": "text/html"})
        if phone is not None:
            self.http.cookies.set(visitors.PHONE, phone.cookie, domain="signing.test")

    def code(self) -> str:
        """A code of this phone's person that was never used."""
        assert self.phone is not None
        return self.world.fresh_code(self.phone.person)

    def opens(self, path: str) -> httpx.Response:
        return self.world.stage.run(self.http.get(path))

    def looks_at(self, made: dict[str, Any]) -> httpx.Response:
        """The page of a signing request."""
        return self.opens(f"/requests/{made['id']}")

    def follows(self, answer: httpx.Response) -> httpx.Response:
        """The page that an answer sends the browser to."""
        assert answer.status_code == 303, (answer.status_code, read(answer).text)
        return self.opens(answer.headers["location"])

    def form(self, page: httpx.Response, ending: str) -> Form:
        """The form whose address ends so and that changes something."""
        found = [each for each in read(page).forms if each.action.endswith(ending) and each.method == "post"]
        assert found, f"no form to …{ending} in {[each.action for each in read(page).forms]}: {read(page).text}"
        return found[0]

    def sends(self, page: httpx.Response, ending: str, **typed: str) -> httpx.Response:
        """Send that form with what it holds and what was typed."""
        return self.world.stage.run(self.send(self.form(page, ending), **typed))

    def asks(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self.world.stage.run(self.http.request(method, path, **more))

    async def send(self, form: Form, **typed: str) -> httpx.Response:
        data: dict[str, list[str]] = {}
        for name, value in [*form.fields, *typed.items()]:
            data.setdefault(name, []).append(value)
        return await self.http.post(form.action, data=data, headers=SAME_SITE)
