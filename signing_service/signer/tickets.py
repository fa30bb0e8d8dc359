"""Tickets: the right to enrol, once, issued by an operator to one person as a link.

    open --redeem--> used --complete--> done          void: another was issued meanwhile

The browser that opens a ticket first keeps it: it may repeat the opening until the enrolment is complete, because
answers get lost, and everybody else is refused with one and the same answer. What a ticket gives depends on its
owner. An official: a phone and a new seed. An auditor: a new seed, and then a password. An operator: a password, under
the present code; operators' seeds never pass the front. Only the token's hash is kept, and the row carries a MAC.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select

from signing_service.audit import Event, record
from signing_service.db.tables import phone, ticket
from signing_service.errors import Invalid, NotAuthorized, WrongState
from signing_service.ids import draw
from signing_service.signer import persons, phones, refusals, rows, seeds
from signing_service.signer.acting import By
from signing_service.signer.phones import secret_hash
from signing_service.signer.rows import Revision, mac_of, revised, store
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

MOST_OPENINGS = 50  # of one ticket: each draws a seed


class State(StrEnum):
    """`OPEN` until a browser opened it, `USED` until the enrolment is complete; `DONE` and `VOID` are for ever."""

    OPEN = "open"
    USED = "used"
    DONE = "done"
    VOID = "void"


# ------------------------------------------------------------------------------------------------------- issuing


def issue(rt: Runtime, by: By, command: m.IssueTicket) -> m.Result:
    """An operator's act. The token is in `data`, this once. The owner's earlier tickets are void from now on."""
    owner = persons.find(rt, command.owner)
    if not owner.is_active:
        raise WrongState(f"{owner.name} is suspended.", code="suspended")
    token, now = secrets.token_urlsafe(32), rt.now()
    row = _new(rt, by, command, token, now)
    void = [each for row in unfinished(rt, command.owner) for each in voided(rt, row)]
    with rt.db.write() as tx:
        store(tx, void)
        tx.execute(insert(ticket).values(row))
        record(tx, now, by.fact(Event.TICKET_ISSUED, signatory_id=owner.signatory_id, data={
            "ticket": row["id"], "owner": owner.id, "hours": command.hours, "keeps_others": command.keeps_others,
            "voids": [each.row["id"] for each in void if each.table == "ticket"]}), mac=rt.entry_mac)
    seeds.remember(rt, void)
    return m.Result(row["id"], data=token)


def _new(rt: Runtime, by: By, command: m.IssueTicket, token: str, now: datetime) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": draw("ti"), "owner": command.owner, "hash": secret_hash(token), "keeps_others": command.keeps_others,
        "state": State.OPEN.value, "opened_by": None, "phone_id": None, "created_by": by.actor.partition(":")[2],
        "created_at": now, "expires_at": now + timedelta(hours=command.hours), "version": 1,
    }
    return row | {"mac": mac_of(rt.device, "ticket", row)}


def unfinished(rt: Runtime, owner: str) -> list[Any]:
    """The rows of the owner's tickets that could still be used."""
    with rt.db.read() as tx:
        return list(tx.execute(select(ticket).where(
            ticket.c.owner == owner, ticket.c.state.in_((State.OPEN, State.USED)))).mappings())


def voided(rt: Runtime, row: Any) -> list[Revision]:
    """What makes a ticket void, and retires the phone that was being enrolled with it. Asks the device."""
    rows.check(rt.verified, rt.db, "ticket", row)
    return [revised(rt.device, "ticket", row, state=State.VOID.value), *_dropped(rt, row["phone_id"])]


def _dropped(rt: Runtime, phone_id: str | None) -> list[Revision]:
    """A phone whose enrolment came to nothing."""
    change = phones.retirement(rt, phone_id) if phone_id is not None else None
    return [] if change is None else [change]


# ------------------------------------------------------------------------------------------------------- opening


@dataclass(frozen=True)
class Usable:
    """A ticket that this browser may use now, its row checked, and whose it is."""

    row: Any
    owner: persons.Found


def redeem(rt: Runtime, asked: m.RedeemTicket) -> m.TicketRedeemed:
    """Open a ticket: exactly one browser ever does. NotAuthorized `ticket` for everybody else, whatever the reason."""
    with refusals.device_errors(rt):
        try:
            return _redeem(rt, asked)
        except WrongState:  # somebody was faster with this ticket: perhaps this same browser, pressed twice
            try:
                return _redeem(rt, asked)
            except WrongState as error:
                raise _refused(rt, "race") from error


def _redeem(rt: Runtime, asked: m.RedeemTicket) -> m.TicketRedeemed:
    opened = _usable(rt, asked.ticket, asked.opened_by, states=(State.OPEN, State.USED))
    owner = opened.owner
    drawn = seeds.new(rt, owner.id, owner.name) if not owner.is_operator else None
    added = _new_phone(rt, opened, asked) if owner.signatory_id is not None else None
    changes = [revised(rt.device, "ticket", opened.row, state=State.USED.value, opened_by=asked.opened_by,
                       phone_id=added["id"] if added else None)]
    changes += _dropped(rt, opened.row["phone_id"])
    by = By(f"person:{owner.id}")
    with rt.db.write() as tx:
        store(tx, changes)
        if added is not None:
            tx.execute(insert(phone).values(added))
        if drawn is not None:
            seeds.keep(rt, tx, by.actor, drawn)
        _record_opening(rt, tx, by, opened, added)
    seeds.remember(rt, changes + (drawn.replaces if drawn else []))
    return m.TicketRedeemed(owner.id, owner.name, added["id"] if added else None, drawn.uri if drawn else None)


def _new_phone(rt: Runtime, opened: Usable, asked: m.RedeemTicket) -> dict[str, Any]:
    if asked.phone_hash is None:
        raise Invalid("An official's ticket needs a phone to enrol.", code="phone-missing")
    row: dict[str, Any] = {
        "id": draw("ph"), "signatory_id": opened.owner.id, "secret_hash": asked.phone_hash, "label": asked.label,
        "state": phones.State.ENROLLING.value, "ticket_id": opened.row["id"], "stop_hash": None,
        "created_at": rt.now(), "ended_at": None, "version": 1,
    }
    return row | {"mac": mac_of(rt.device, "phone", row)}


def _record_opening(rt: Runtime, tx: Connection, by: By, opened: Usable, added: dict[str, Any] | None) -> None:
    now, whose = rt.now(), opened.owner.signatory_id
    record(tx, now, by.fact(Event.TICKET_REDEEMED, signatory_id=whose, data={
        "ticket": opened.row["id"], "owner": opened.owner.id, "again": opened.row["state"] == State.USED,
    }), mac=rt.entry_mac)
    if added is not None:
        record(tx, now, by.fact(Event.PHONE_ENROLLING, signatory_id=whose, data={
            "phone": added["id"], "label": added["label"], "ticket": opened.row["id"]}), mac=rt.entry_mac)


def _usable(rt: Runtime, token: str, opened_by: str, *, states: tuple[State, ...]) -> Usable:
    """The ticket with this token, its row's MAC checked, if this browser may use it now. Asks the device."""
    row = _row(rt, ticket.c.hash == secret_hash(token))
    if row is None:
        raise _refused(rt, "unknown")
    rows.check(rt.verified, rt.db, "ticket", row)
    owner = persons.find(rt, row["owner"])
    why = _objection(row, opened_by, states, rt.now()) or ("" if owner.is_active else "suspended")
    if why:
        raise _refused(rt, why, row)
    return Usable(row, owner)


def _objection(row: Any, opened_by: str, states: tuple[State, ...], now: datetime) -> str:
    """Why a ticket cannot be used; empty where it can."""
    if row["state"] not in states:
        return str(row["state"])
    if row["state"] == State.USED and not secrets.compare_digest(row["opened_by"], opened_by):
        return "another-browser"
    if row["expires_at"] <= now:
        return "expired"
    return "too-often" if row["version"] > MOST_OPENINGS else ""


def _refused(rt: Runtime, why: str, row: Any = None) -> NotAuthorized:
    """One answer; the record says more."""
    which = {"ticket": row["id"], "owner": row["owner"]} if row is not None else {}
    refusals.put_on_record(rt, Event.TICKET_REFUSED, {"why": why} | which)
    return NotAuthorized("This link is not good, or no longer. Ask an operator for a new one.", code="ticket")


def _row(rt: Runtime, condition: Any) -> Any:
    with rt.db.read() as tx:
        return tx.execute(select(ticket).where(condition)).mappings().first()


# ---------------------------------------------------------------------------------------------- what others need


def of_phone(rt: Runtime, known: phones.Recognized) -> Usable:
    """The ticket that this enrolling phone came with, while it may still be completed. Asks the device."""
    row = _row(rt, ticket.c.id == known.row["ticket_id"])
    if row is None or row["phone_id"] != known.id:
        raise _refused(rt, "phone", row)
    rows.check(rt.verified, rt.db, "ticket", row)
    owner = persons.find(rt, row["owner"])
    why = _objection(row, row["opened_by"] or "", (State.USED,), rt.now()) or ("" if owner.is_active else "suspended")
    if why:
        raise _refused(rt, why, row)
    return Usable(row, owner)


def of_account(rt: Runtime, token: str, opened_by: str) -> Usable:
    """An opened ticket of an auditor or an operator."""
    opened = _usable(rt, token, opened_by, states=(State.USED,))
    if opened.owner.signatory_id is not None:
        raise _refused(rt, "owner", opened.row)
    return opened


def done(rt: Runtime, opened: Usable) -> Revision:
    """Asks the device."""
    return revised(rt.device, "ticket", opened.row, state=State.DONE.value)
