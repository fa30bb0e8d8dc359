"""Auditors and operators at the console: people with a session, and what their browser sends.

    auditor = world.auditor(agencies=("H26",))
    auditor.sees("/console/figures")                 # the page's text; anything but 200 fails the test
    auditor.posts("/console/sign-out", on="/console")  # a form of that page, with its token

They are seated without a sign-in, which has tests of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from argon2 import PasswordHasher
from argon2.low_level import Type
from sqlalchemy import insert

from signing_service import accounts, passwords
from signing_service.db.tables import auditor
from signing_service.front.web import visitors
from signing_service.ids import draw

if TYPE_CHECKING:
    from tests.support.world import World

PASSWORD = "ba con mèo ngủ trưa"
# Real ones are slow on purpose. These cost nothing; a test of `test_passwords.py` signs in under the real ones.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1, hash_len=32, salt_len=16, type=Type.ID)
HASHED, NOBODY = CHEAP.hash(PASSWORD), CHEAP.hash("nobody has this password")
TOKEN = re.compile(r'name="csrf" value="([0-9a-f]{64})"')
BROWSER = {"accept": "text/html", "sec-fetch-site": "same-origin"}


def passwords_cost_little(patch: pytest.MonkeyPatch) -> None:
    """Hash with parameters that no attacker would mind, for whoever is there and for whoever is not."""
    patch.setattr(passwords, "HASHER", CHEAP)
    patch.setattr(passwords, "NOBODY", NOBODY)


@dataclass
class Seat:
    """A browser at the console; with an empty `session` nobody is signed in."""

    world: World
    id: str = ""
    name: str = ""
    session: str = ""
    cookies: dict[str, str] = field(default_factory=lambda: {visitors.VISIT: "5" * 32})

    def asks(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """One request, with the cookies that this browser holds; it keeps those it is given."""
        held = self.cookies | ({visitors.SESSION: self.session} if self.session else {})
        sent = BROWSER | {"cookie": "; ".join(f"{name}={value}" for name, value in held.items())} | (headers or {})
        answer = self.world.asks(method, path, headers=sent, **more)
        for line in answer.headers.get_list("set-cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            if name == visitors.SESSION:
                self.session = value.strip('"')
            else:
                self.cookies[name] = value
        return answer

    def gets(self, path: str, **more: Any) -> httpx.Response:
        return self.asks("GET", path, **more)

    def sees(self, path: str, **more: Any) -> str:
        answer = self.gets(path, **more)
        assert answer.status_code == 200, f"{path} answered {answer.status_code}: {answer.text[:2000]}"
        return answer.text

    def posts(self, path: str, *, on: str, **fields: str) -> httpx.Response:
        """Send a form that stands on the page `on`."""
        return self.sends(path, self.sees(on), **fields)

    def sends(self, path: str, page: str, **fields: str) -> httpx.Response:
        """Send a form with the token of a page that was answered before."""
        return self.asks("POST", path, data={"csrf": token_of(page)} | fields)


def token_of(page: str) -> str:
    found = TOKEN.search(page)
    assert found is not None, "the page has no form"
    return found[1]


def seated(world: World, owner: str, name: str) -> Seat:
    """Somebody with the password of these tests, signed in."""
    _, session = accounts.keep_password(world.rt, owner, HASHED, world.clock())
    return Seat(world, owner, name, session)


def auditor_of(world: World, agencies: tuple[str, ...] = ("*",), name: str = "Phạm Thị Dung") -> Seat:
    """An auditor who is signed in; no seed, no code."""
    owner = draw("au")
    with world.city.rt.db.write() as tx:
        tx.execute(insert(auditor).values(
            id=owner, name=name, agencies=list(agencies), state="active", created_at=world.clock()))
    return seated(world, owner, name)


def operator_of(world: World) -> Seat:
    """The city's operator, signed in; codes come from `world.city.operator`."""
    return seated(world, world.city.operator.id, "Operator")
