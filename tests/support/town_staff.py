"""What auditors and operators do at the console: page objects over a `Visitor`.

    auditor = Auditor(visitor, town, town.auditor())
    auditor.enrols(town.ticket(auditor.person))
    auditor.signs_in()
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.support.browser import Visitor
from tests.support.city import secret_of
from tests.support.town import Town, Townsman

Works = Callable[..., AbstractContextManager[Any]]  # the fixture in tests/browser/conftest.py
PASSWORD = "mùa thu Hà Nội có gió heo may"


@dataclass
class Staff:
    """Somebody with a password and a code."""

    visitor: Visitor
    town: Town
    person: Townsman
    password: str = PASSWORD
    home: ClassVar[str] = "/console"

    def enrols(self, ticket: str) -> None:
        """From the link to being signed in: the account in the authenticator, a password, a first code."""
        visitor = self.visitor
        visitor.opens(ticket)
        visitor.looks(f"staff-ticket-{self.home[1:]}")
        visitor.presses("session.ticket.button")
        visitor.sees("session.enrolment.title")
        self._scans()
        visitor.looks(f"staff-enrolment-{self.home[1:]}")
        visitor.page.locator("[name=new]").fill(self.password)
        visitor.page.locator("[name=again]").fill(self.password)
        visitor.page.locator("[name=code]").fill(self.town.code(self.person))
        visitor.presses("session.enrolment.button")
        visitor.page.wait_for_url(f"**{self.home}")

    def _scans(self) -> None:
        found = self.visitor.page.locator("a[href^='otpauth:']").get_attribute("href")
        assert found is not None
        self.person.seed = secret_of(found)

    def tries_to_sign_in(self, *, password: str | None = None, code: str | None = None) -> None:
        """Fill the form that is there, and send it."""
        page = self.visitor.page
        page.locator("[name=name]").fill(self.person.name)
        page.locator("[name=password]").fill(password or self.password)
        page.locator("[name=code]").fill(code or self.town.code(self.person))
        self.visitor.presses("session.sign-in.button")

    def signs_in(self) -> None:
        self.visitor.opens("/console/sign-in")
        self.tries_to_sign_in()
        self.visitor.page.wait_for_url(f"**{self.home}")

    def signs_out(self) -> None:
        self.visitor.presses("session.sign-out")
        self.visitor.sees("session.signed-out")


class Auditor(Staff):
    """Reads everything, changes nothing."""

    def searches(self, **conditions: str) -> None:
        """Fill in the form, where it has to be opened first, and send it."""
        page = self.visitor.page
        self.visitor.opens("/console/search")
        for name, value in conditions.items():
            field = page.locator(f"form.search [name={name}]")
            if not field.is_visible():
                page.locator("form.search summary").click()
            if field.evaluate("field => field.tagName") == "SELECT":
                field.select_option(value)
            else:
                field.fill(value)
        self.visitor.presses("console.search.button")
        page.locator("#results").wait_for()

    def opens_story(self, made: dict[str, Any]) -> None:
        """The story of a signing request, from the list of what was found."""
        self.visitor.page.locator(f"a[href='/console/signatures/{made['id']}']").first.click()
        self.visitor.sees("console.story.steps")

    def downloads(self, click: Callable[[], None], folder: Path) -> Path:
        """What a click brings, under the name that the server gave it."""
        with self.visitor.page.expect_download() as download:
            click()
        target = folder / download.value.suggested_filename
        download.value.save_as(target)
        return target

    def drops(self, document: Path) -> None:
        """Ask for a document's history."""
        self.visitor.opens("/console/document")
        self.visitor.page.locator("[name=file]").set_input_files(document)
        self.visitor.presses("console.document.button")
        self.visitor.sees("console.document.result")


class Operator(Staff):
    """Works at the desk. The seed is the operator's already: the web never sees it."""

    home: ClassVar[str] = "/desk"

    def _scans(self) -> None:
        assert self.visitor.page.locator("a[href^='otpauth:']").count() == 0

    def finds(self, person: Townsman) -> None:
        """Somebody's page, by their name."""
        self.visitor.opens("/desk")
        self.visitor.page.locator("main [name=q]").fill(person.name)
        self.visitor.presses("desk.find-button")
        self.visitor.page.get_by_role("link", name=person.name).click()
        self.visitor.sees("desk.credentials")

    def carries_out(self, word: str, reason: str | None = None) -> None:
        """An act on the person whose page is open: what it means is read, and a code is typed."""
        page = self.visitor.page
        self.visitor.follows(f"desk.act.{word}")
        self.visitor.sees(f"desk.means.{word}")
        self.visitor.looks(f"desk-act-{word}")
        if reason is not None:
            page.locator("[name=reason]").fill(reason)
        page.locator("[name=code]").fill(self.town.code(self.person))
        self.visitor.presses(f"desk.act.{word}")
        self.visitor.sees(f"desk.done.{word}")
