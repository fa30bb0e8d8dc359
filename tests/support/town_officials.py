"""What officials do on their phones: page objects over a `Visitor`.

    official = Official(visitor, town, town.official())
    stop_code = official.enrols(town.ticket(official.person))
    official.opens_waiting(made)                  # the list, then the document
    official.confirms(town.code(official.person))
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from playwright.sync_api import Locator

from tests.support.browser import Visitor
from tests.support.city import secret_of
from tests.support.town import Townsman

Visits = Callable[..., AbstractContextManager["Official"]]  # the fixture in tests/browser/conftest.py


class Codes(Protocol):
    """A town that knows what somebody's authenticator shows."""

    def code(self, person: Townsman) -> str: ...


@dataclass
class Official:
    """A signatory with a phone in hand."""

    visitor: Visitor
    town: Codes
    person: Townsman
    stop_code: str = ""

    # ------------------------------------------------------------------------------------------- enrolment

    def enrols(self, ticket: str) -> None:
        """From the link to a phone that confirms; the stop code is noted down."""
        self.visitor.opens(ticket)
        self.visitor.looks("ticket")
        self.binds(ticket)
        self.visitor.looks("seed")
        self.completes(self.town.code(self.person))
        self.visitor.looks("enrolled")

    def binds(self, ticket: str) -> None:
        """This phone, and the account in the authenticator: its seed is read where a person would tap."""
        self._sends(ticket)
        found = self.visitor.page.locator("a[href^='otpauth:']").get_attribute("href")
        assert found is not None
        self.person.seed = secret_of(found)

    def binds_after_opening(self, ticket: str) -> None:
        self.visitor.opens(ticket)
        self.binds(ticket)

    def completes(self, code: str) -> None:
        self.types("/complete", code)
        self.stop_code = self.visitor.page.locator("#stop-code").inner_text()

    # ------------------------------------------------------------------------------------- looking and saying

    def opens(self, made: dict[str, Any]) -> None:
        """A document, from the list."""
        self.visitor.opens("/waiting")
        self.waiting(made).click()
        self.matching_code.wait_for()

    def waiting(self, made: dict[str, Any]) -> Locator:
        return self.visitor.page.locator(f"a[href='/requests/{made['id']}']")

    @property
    def matching_code(self) -> Locator:
        return self.visitor.page.locator("#matching-code")

    def reads_matching_code(self) -> str:
        return "".join(self.matching_code.inner_text().split())

    def sees_pages(self) -> int:
        """Scroll through the document; how many pages there are. Each must be a picture that was drawn."""
        sheets = self.visitor.page.locator(".sheet img")
        for number in range(sheets.count()):
            sheets.nth(number).scroll_into_view_if_needed()
            self.visitor.page.wait_for_function(
                "number => { const image = document.querySelectorAll('.sheet img')[number];"
                " return image.complete && image.naturalWidth > 400 }", arg=number)
        return sheets.count()

    def types(self, action: str, code: str) -> None:
        """A code, and the button under it."""
        self.visitor.page.locator(f"form[action$='{action}'] [name=code]").fill(code)
        self._sends(action)

    def confirms(self, code: str) -> None:
        """The document that is open. What comes is the page of results, unless something was wrong."""
        self.types("/confirm", code)

    def refuses(self, reason: str) -> None:
        page = self.visitor.page
        page.locator("summary", has_text=self.visitor.says("phone.refuse")).click()
        page.locator("form[action$='/refuse'] [name=reason]").fill(reason)
        self._sends("/refuse")

    def chooses(self, *made: dict[str, Any]) -> None:
        """Several documents in the list, to be looked at together."""
        self.visitor.opens("/waiting")
        for each in made:
            self.visitor.page.locator(f"input[name=id][value={each['id']}]").check()
        self.visitor.page.locator("[data-chosen] button").click()
        self.visitor.page.wait_for_url("**/review?*")

    def takes_out(self, made: dict[str, Any]) -> None:
        self.visitor.page.locator(f"button[name=without][value={made['id']}]").click()
        self.visitor.page.locator(f"button[name=without][value={made['id']}]").wait_for(state="detached")

    def result_of(self, subject: str) -> Locator:
        """The card of one document on the page of results."""
        return self.visitor.page.locator("#results li", has_text=subject)

    def _sends(self, action: str) -> None:
        """The button of the form whose address ends so."""
        self.visitor.page.locator(f"form[action$='{action}'] button[type=submit]").click()
