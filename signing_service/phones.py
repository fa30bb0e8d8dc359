"""An official's phone: known by a secret in its cookie, enrolled with a ticket, stopped by its owner at any time.

What is decided here is only what a page shows. The signer looks at the phone again before it believes anything
that comes from it, and everything that changes a phone, a ticket or a credential is the signer's own act.
"""

from __future__ import annotations

import contextlib
import hmac
import math
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import Connection, select

from signing_service import signing_requests
from signing_service.access import hash_of
from signing_service.audit import Event, Fact, record
from signing_service.confirmation import check_code
from signing_service.db.tables import auditor, operator, phone, signatory, ticket
from signing_service.errors import NotAuthorized, NotFound, TooMany, Unauthenticated, WrongState
from signing_service.people import Official
from signing_service.wire import messages

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

COOKIE = re.compile("(ph_[0-9a-f]{32})[.]([0-9a-f]{64})")
TOKEN = re.compile("[A-Za-z0-9_-]{43}")
STOP_CODE = re.compile("[A-Z2-7]{20}")
NOBODY = "0" * 64       # compared with where there is no phone: as much work as for one that is there
LABEL = 100             # characters of what a browser says it is
NOT_ME = "not-me"       # the reason of a signing request that its official did not ask for

_OWNERS = {"sg": signatory, "au": auditor, "op": operator}


@dataclass(frozen=True)
class Opened:
    """A ticket that may be redeemed by whoever looks at it. Looking changes nothing."""

    owner: str
    name: str
    keeps_others: bool
    expires_at: datetime

    @property
    def is_officials(self) -> bool:
        return self.owner.startswith("sg_")


@dataclass(frozen=True)
class Redeemed:
    """A phone that waits for its first right code. The URI is shown once: neither kept nor logged by the front."""

    owner: str
    name: str
    cookie: str = field(repr=False)
    uri: str = field(repr=False)

    @property
    def seed(self) -> str:
        """For who types it: base32, in groups of four."""
        seed = parse_qs(urlsplit(self.uri).query)["secret"][0]
        return " ".join(seed[at:at + 4] for at in range(0, len(seed), 4))


# ------------------------------------------------------------------------------------------------------ who it is


async def official_of(rt: Runtime, cookie: str) -> Official:
    """The active official whose active phone carries this cookie. Unauthenticated (`phone`) for everything else."""
    return await rt.db.run(_official_of, rt, cookie)


def _official_of(rt: Runtime, cookie: str) -> Official:
    phone_id, secret = _parts(cookie)
    with rt.db.read() as tx:
        row = tx.execute(
            select(phone.c.secret_hash, phone.c.state, signatory.c.id, signatory.c.name, signatory.c.agency_code,
                   signatory.c.state.label("person"))
            .join(signatory, signatory.c.id == phone.c.signatory_id).where(phone.c.id == phone_id)).first()
    fits = hmac.compare_digest(row.secret_hash if row else NOBODY, hash_of(secret))
    if row is None or not fits or (row.state, row.person) != ("active", "active"):
        raise _unknown()
    return Official(row.id, row.name, row.agency_code, phone_id, secret)


def _parts(cookie: str) -> tuple[str, str]:
    found = COOKIE.fullmatch(cookie)
    if found is None:
        raise _unknown()
    return found[1], found[2]


def _unknown() -> Unauthenticated:
    return Unauthenticated("This phone is not enrolled, or was replaced.", code="phone")


# ------------------------------------------------------------------------------------------------------- enrolment


async def open_ticket(rt: Runtime, token: str, opened_by: str) -> Opened:
    """Whose ticket this is, for the browser that shows it. Nothing is used up: previews of links look, too.

    Raises NotFound (`ticket`) for one that never was, was voided or has ended; NotAuthorized (`ticket-used`) for one
    that another browser has opened; WrongState (`ticket-done`) when the enrolment is complete.
    """
    return await rt.db.run(_open_ticket, rt, token, opened_by)


def _open_ticket(rt: Runtime, token: str, opened_by: str) -> Opened:
    with rt.db.read() as tx:
        row = tx.execute(select(ticket).where(ticket.c.hash == hash_of(token))).first()
        if row is None or row.state == "void" or (row.state != "done" and row.expires_at <= rt.clock()):
            raise NotFound("This link is not, or no longer, good.", code="ticket")
        if row.state == "done":
            raise WrongState("This link has done its work.", code="ticket-done")
        if row.opened_by not in (None, opened_by):
            raise NotAuthorized("This link was opened somewhere else.", code="ticket-used")
        return Opened(row.owner, _name_of(tx, row.owner), row.keeps_others, row.expires_at)


def _name_of(tx: Connection, owner: str) -> str:
    people = _OWNERS[owner[:2]]
    return str(tx.execute(select(people.c.name).where(people.c.id == owner)).scalar_one())


async def redeem(rt: Runtime, token: str, opened_by: str, label: str, place: str) -> Redeemed:
    """Bind a new phone and draw a new seed for an official's ticket. The same browser may do it again until it is
    complete, each time with a new phone and seed: an answer that was lost harms nobody.

    Raises NotFound for what is no ticket, the signer's refusal (`ticket`), TooMany for a place with many of those.
    """
    await _within_limit(rt, place, Event.TICKET_LIMITED)
    if TOKEN.fullmatch(token) is None:
        raise NotFound("This link is not, or no longer, good.", code="ticket")
    secret = secrets.token_hex(32)
    asked = messages.RedeemTicket(ticket=token, opened_by=opened_by, phone_hash=hash_of(secret), label=label[:LABEL])
    try:
        made = await rt.signer.ask(asked, messages.TicketRedeemed)
    except (NotAuthorized, NotFound, WrongState):
        await _count(rt, place, Event.TICKET_LIMITED)
        raise
    if made.phone_id is None or made.uri is None:
        raise NotFound("This link is not for a phone.", code="ticket")
    return Redeemed(made.owner, made.name, f"{made.phone_id}.{secret}", made.uri)


async def complete(rt: Runtime, cookie: str, code: str) -> str:
    """The first right code makes the phone active. The answer is its stop code, which is shown this once.

    Raises Invalid, Unauthenticated, NotAuthorized (`tries_left`), WrongState (`phone-ready`: it was complete
    already), TooMany after many wrong codes.
    """
    check_code(code)
    phone_id, secret = _parts(cookie)
    if (wait := rt.wrong_codes.wait(phone_id)) > 0:
        raise TooMany("Too many wrong codes came from this phone.", code="wrong-codes", retry_after=math.ceil(wait))
    asked = messages.CompletePhone(phone=messages.PhoneProof(phone_id, secret), code=code)
    try:
        return (await rt.signer.ask(asked, messages.PhoneReady)).stop_code
    except NotAuthorized as error:
        if error.code != "phone":  # whoever knows no more than a phone's id must not fill its measure
            rt.wrong_codes.add(phone_id)
        raise


# -------------------------------------------------------------------------------------------------------- stopping


async def suspend_oneself(rt: Runtime, official: Official, why: str) -> tuple[str, ...]:
    """Suspend all of one's own credentials, because of `own-wish` or `lost-phone` (which retires the phones, too).

    It takes no code: stopping cannot do harm. Answers the credentials that were active until now.
    """
    return await _suspend(rt, official, why, None)


async def not_me(rt: Runtime, official: Official, request_id: str) -> signing_requests.SigningRequest:
    """The official did not ask for this: alarm, credentials suspended, and then the request refused for that reason.

    If we die between the two the request is left, which no suspended credential can sign. One that was confirmed
    already, or has ended, is answered as it is. Raises NotFound before anything else.
    """
    found = await signing_requests.get(rt, official, request_id)
    await _suspend(rt, official, NOT_ME, found.id)
    with contextlib.suppress(WrongState):
        return await signing_requests.refuse(rt, official, request_id, NOT_ME)
    return await signing_requests.get(rt, official, request_id)


async def stop(rt: Runtime, typed: str, place: str) -> tuple[str, ...]:
    """A lost phone, from anywhere, with its stop code: credentials suspended, phones retired.

    Blanks, hyphens and small letters are forgiven. Raises NotAuthorized (`stop-code`), and TooMany for a place
    with many wrong ones.
    """
    await _within_limit(rt, place, Event.STOP_LIMITED)
    letters = re.sub(r"[\s-]", "", typed).upper()
    try:
        if STOP_CODE.fullmatch(letters) is None:
            raise NotAuthorized("This is no stop code that is good.", code="stop-code")
        code = "-".join(letters[at:at + 5] for at in range(0, len(letters), 5))
        return (await rt.signer.ask(messages.Stop(stop_code=code), messages.Suspended)).credential_ids
    except (NotAuthorized, NotFound):
        await _count(rt, place, Event.STOP_LIMITED)
        raise


async def _suspend(rt: Runtime, official: Official, why: str, request_id: str | None) -> tuple[str, ...]:
    proof = messages.PhoneProof(official.phone_id, official.phone_secret)
    asked = messages.SuspendOneself(phone=proof, why=why, signing_request_id=request_id)
    return (await rt.signer.ask(asked, messages.Suspended)).credential_ids


# --------------------------------------------------------------------------------------------------------- limits


async def _within_limit(rt: Runtime, place: str, event: Event) -> None:
    wait = rt.wrong_codes.wait(f"{event} {place}")
    if wait > 0:
        raise TooMany("Too many tries came from this place.", code="place-limited", retry_after=math.ceil(wait))


async def _count(rt: Runtime, place: str, event: Event) -> None:
    """One more that was refused; the one that fills the measure is on record, those after it are only sent away."""
    key = f"{event} {place}"
    rt.wrong_codes.add(key)
    if rt.wrong_codes.wait(key) > 0:
        await rt.db.run(_record_limited, rt, place, event)


def _record_limited(rt: Runtime, place: str, event: Event) -> None:
    data: dict[str, Any] = {"place": place}
    with rt.db.write() as tx:
        record(tx, rt.clock(), Fact(event, "front:phones", "limited", data=data))
