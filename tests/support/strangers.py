"""Everybody who has no business with somebody else's documents, each with the best right they could have.

A `Stranger` asks one thing at a time, as what it is: with a token, a phone's cookie or a session, and with the form
token that its own pages would carry.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from sqlalchemy import update

from signing_service.db.tables import access_token, client, phone, session
from signing_service.front.callers import Role
from signing_service.front.web import visitors
from signing_service.front.web.audience import Audience
from signing_service.register import NewAgency, add_agency
from tests.support.world import World

ELSEWHERE = ("H99",)  # an agency that has nothing here
VISIT = "7" * 32


@dataclass(frozen=True)
class Stranger:
    """A caller. `role` and `audience`: what it may be admitted as; none where nobody may admit it any more."""

    world: World
    name: str
    role: Role | None = None
    audience: Audience | None = None
    token: str = ""
    cookies: Mapping[str, str] = field(default_factory=dict)

    def asks(self, method: str, path: str, **more: Any) -> httpx.Response:
        held = {visitors.VISIT: VISIT} | dict(self.cookies)
        headers = {"sec-fetch-site": "same-origin", "cookie": "; ".join(f"{key}={each}" for key, each in held.items())}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        if "data" in more:
            more["data"] = {"csrf": self._form_token()} | more["data"]
        return self.world.asks(method, path, headers=headers, **more)

    def _form_token(self) -> str:
        """What the forms of this visitor's own pages carry (`front.web.forgery`)."""
        key = hmac.digest(self.world.rt.secret, b"signing-service forgery", "sha256")
        own = (VISIT, self.cookies.get(visitors.PHONE, ""), self.cookies.get(visitors.SESSION, ""))
        return hmac.new(key, "\0".join(own).encode(), hashlib.sha256).hexdigest()


def strangers(world: World) -> list[Stranger]:
    """Nobody, other clients of every role, other people, and those whose right has ended."""
    add_agency(world.rt.db, "operator:test", world.clock(), NewAgency(ELSEWHERE[0], "Elsewhere", "commune"))
    now_ended = _ended(world)
    auditor, operator = world.auditor(ELSEWHERE, "Auditor Elsewhere"), world.operator_at_console()
    other = world.city.enrols_phone(world.official("Phan Văn Khác"))
    return [
        Stranger(world, "nobody"),
        Stranger(world, "a token that never was", token="t" * 43),
        *(Stranger(world, f"another {role}", role=role, token=world.client(role, ELSEWHERE, f"Other {role}").token)
          for role in Role),
        Stranger(world, "another official's phone", audience=Audience.OFFICIAL, cookies={visitors.PHONE: other.cookie}),
        Stranger(world, "an auditor of another agency", audience=Audience.AUDITOR,
                 cookies={visitors.SESSION: auditor.session}),
        Stranger(world, "an operator", audience=Audience.OPERATOR, cookies={visitors.SESSION: operator.session}),
        *now_ended,
    ]


def _ended(world: World) -> list[Stranger]:
    """Rights that would have been enough for everything, until they ended."""
    suspended, expired = (world.client("submitter", ("*",), name) for name in ("Suspended", "Expired"))
    auditor = world.auditor()
    retired = world.city.enrols_phone(world.official("Vũ Thị Cũ"))
    past = world.clock().replace(year=2020)
    with world.rt.db.write() as tx:
        tx.execute(update(client).where(client.c.id == suspended.id).values(state="suspended"))
        tx.execute(update(access_token).where(access_token.c.client_id == expired.id).values(expires_at=past))
        tx.execute(update(phone).where(phone.c.id == retired.id).values(state="retired"))
        tx.execute(update(session).where(session.c.owner == auditor.id).values(expires_at=past))
    return [
        Stranger(world, "a client that is suspended", token=suspended.token),
        Stranger(world, "a token that expired", token=expired.token),
        Stranger(world, "a phone that is retired", cookies={visitors.PHONE: retired.cookie}),
        Stranger(world, "a session that is over", cookies={visitors.SESSION: auditor.session}),
    ]
