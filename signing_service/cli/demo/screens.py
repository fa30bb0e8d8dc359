"""What people do at the screens: an official with a phone; auditors and operators, who set a password first.

Run as a program it is the chairman of the tour, whose phone rests in a file between his acts:

    python -m signing_service.cli.demo.screens FILE SIGNING-REQUEST
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from signing_service.cli.demo.handset import Handset, Page
from signing_service.cli.demo.phones import Phone
from signing_service.cli.demo.proofs import Untrue


@dataclass
class OfficialsPhone:
    """An enrolled phone with its authenticator."""

    url: str
    handset: Handset
    codes: Phone

    @classmethod
    def enrol(cls, url: str, ticket: str) -> tuple[OfficialsPhone, str]:
        """From the link to the first right code. The second value is the stop code, which is shown this once."""
        handset = Handset(url)
        page = handset.send(handset.open(f"/enrol/{ticket}"), f"/enrol/{ticket}")
        codes = Phone(page.link("otpauth:"))
        page = handset.send(page, "/complete", code=codes.code())
        shown = re.search(r"\b[A-Z2-7]{5}(-[A-Z2-7]{5}){3}\b", page.text)
        if shown is None:
            raise Untrue(f"the phone was not enrolled: {page.text[:300]}")
        return cls(url, handset, codes), shown[0]

    def look(self, request_id: str) -> Page:
        """The document as the phone shows it, reached from the list of what waits. Untrue when it does not wait."""
        address = self.handset.open("/waiting").link(f"/requests/{request_id}")
        return self.handset.open(address)

    def pages_of(self, shown: Page, request_id: str) -> list[bytes]:
        """The pictures of the document's pages that stand on the page."""
        numbers = sorted({int(found) for link in shown.pictures
                          for found in re.findall(rf"^/requests/{request_id}/pages/(\d+)", link)})
        return [self.handset.picture(f"/requests/{request_id}/pages/{number}") for number in numbers]

    def confirm(self, shown: Page, code: str) -> Page:
        return self.handset.send(shown, "/confirm", code=code)

    # ---------------------------------------------------------------------------------- between two commands

    def put_away(self, file: Path) -> None:
        """Readable by nobody else: who has it can confirm in this person's name."""
        file.touch(mode=0o600)
        kept = {"url": self.url, "cookies": self.handset.cookies, "uri": self.codes.uri, "step": self.codes.last}
        file.write_text(json.dumps(kept), encoding="utf-8")

    @classmethod
    def taken_out(cls, file: Path) -> OfficialsPhone:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return cls(kept["url"], Handset(kept["url"], kept["cookies"]), Phone(kept["uri"], kept["step"]))


def matching_code(shown: Page) -> str:
    """The six digits that stand large on the page."""
    found = re.search(r"\b(\d{3})[ \u00a0\u202f](\d{3})\b", shown.text)
    if found is None:
        raise Untrue(f"{shown.url} shows no matching code: {shown.text[:300]}")
    return found[1] + found[2]


def set_password(url: str, ticket: str, password: str, codes: Phone | None) -> Phone:
    """What an auditor or operator does with their link. Operators keep their codes; auditors get their seed here."""
    with closing(Handset(url)) as handset:
        page = handset.send(handset.open(f"/enrol/{ticket}"), "/console/enrolment")
        codes = codes or Phone(page.link("otpauth:"))
        done = handset.send(page, "/console/enrolment/complete", new=password, again=password, code=codes.code())
    if done.status != 200 or "/enrolment" in done.url:
        raise Untrue(f"the password was not set: {done.text[:300]}")
    return codes


def main(file: Path, request_id: str) -> None:
    """Look, compare, confirm; the matching code and the state, as the phone shows them."""
    phone = OfficialsPhone.taken_out(file)
    shown = phone.look(request_id)
    print(f"on the phone: {matching_code(shown)}")
    code = phone.codes.code()
    phone.put_away(file)  # before the code is used: it is never used again, whatever happens now
    answer = phone.confirm(shown, code)
    if "/results" not in answer.url:
        raise SystemExit(f"not confirmed: {answer.text[:500]}")
    phone.put_away(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
