"""What auditors and operators do at the console: page objects over a `Visitor`.

    auditor = Auditor(visitor, town, town.auditor())
    auditor.enrols(town.ticket(auditor.person))
    auditor.signs_in()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tests.support.browser import Visitor
from tests.support.city import secret_of
from tests.support.town import Town, Townsman

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


class Operator(Staff):
    """Works at the desk. The seed is the operator's already: the web never sees it."""

    home: ClassVar[str] = "/desk"

    def _scans(self) -> None:
        assert self.visitor.page.locator("a[href^='otpauth:']").count() == 0
