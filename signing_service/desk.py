"""Operators at their desk: find a person, see how they stand, enrol, suspend, unlock; and how the server stands.

Looking is done here. Every act is the signer's: it goes there with the operator's own code, one code for one act, and
is recorded as at the terminal. Of the closed set (`DeskCommand`) nothing makes operators, keys or policies.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Connection, func, select

from signing_service import errors
from signing_service.accounts import Staff
from signing_service.audit import Event
from signing_service.db.tables import (
    agency,
    code_state,
    credential,
    entry,
    intent,
    outbox,
    phone,
    seed,
    signatory,
    signing_request,
    ticket,
)
from signing_service.errors import Invalid, NotAuthorized, NotFound, SigningError, WrongState
from signing_service.inspection import is_below
from signing_service.wire import messages as m

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

MOST_FOUND = 50
ALARM_DAYS, MOST_ALARMS = 7, 50
CODE = re.compile(r"[0-9]{6}", re.ASCII)
ALARMING = (
    Event.SUSPENDED_ONESELF, Event.STOP_USED, Event.CODE_LOCKED, Event.TAMPERED, Event.ENTRY_UNPROVEN,
    Event.UNKNOWN_OUTCOME,
)
KINDS: dict[str, type[SigningError]] = {kind.code: kind for kind in (NotFound, NotAuthorized, errors.Denied, Invalid)}


# --------------------------------------------------------------------------------------------------------- looking


@dataclass(frozen=True)
class Listed:
    """A person in a list."""

    id: str
    name: str
    agency_code: str
    agency: str
    office: str
    reference: str | None
    state: str


@dataclass(frozen=True)
class People:
    """Who was found; `is_cut` where there are more than are shown."""

    found: tuple[Listed, ...]
    is_cut: bool


@dataclass(frozen=True)
class Codes:
    """How somebody's one-time codes stand. `locked_until` is None while they are good."""

    is_enrolled: bool
    is_hard_locked: bool
    locked_until: datetime | None

    @property
    def is_locked(self) -> bool:
        return self.is_hard_locked or self.locked_until is not None


@dataclass(frozen=True)
class Desk:
    """Everything that the desk shows of one person."""

    person: Listed
    credentials: tuple[Any, ...]
    phones: tuple[Any, ...]
    tickets: tuple[Any, ...]
    codes: Codes
    waiting: int


async def agencies(rt: Runtime) -> tuple[Any, ...]:
    """The agencies that exist now, by code."""
    return await rt.db.run(_agencies, rt)


def _agencies(rt: Runtime) -> tuple[Any, ...]:
    now = rt.clock()
    with rt.db.read() as tx:
        rows = tx.execute(select(agency).where(agency.c.valid_from <= now).order_by(agency.c.code)).all()
    return tuple(row for row in rows if row.valid_to is None or now < row.valid_to)


async def find_people(rt: Runtime, text: str, agency_code: str) -> People:
    """Signatories by a part of the name (accents and case forgiven), of the reference or of the id; of one agency
    and those below it where one is named. By name, at most `MOST_FOUND`."""
    return await rt.db.run(_find_people, rt, _plain(text), agency_code)


def _find_people(rt: Runtime, wanted: str, agency_code: str) -> People:
    found: list[Listed] = []
    with rt.db.read() as tx:
        for row in tx.execute(_people().order_by(signatory.c.name, signatory.c.id)):
            if agency_code and not is_below(row.agency_code, agency_code):
                continue
            if any(wanted in _plain(each or "") for each in (row.name, row.reference, row.id)):
                found.append(_listed(row))
            if len(found) > MOST_FOUND:
                break
    return People(tuple(found[:MOST_FOUND]), len(found) > MOST_FOUND)


def _people() -> Any:
    return (select(signatory, agency.c.name.label("agency"))
            .join(agency, agency.c.code == signatory.c.agency_code, isouter=True))


def _listed(row: Any) -> Listed:
    return Listed(row.id, row.name, row.agency_code, row.agency or row.agency_code, row.office, row.reference,
                  row.state)


def _plain(text: str) -> str:
    """Without accents and case: nguyen finds Nguyễn. Đ is a letter of its own and not a D with an accent."""
    if text.isascii():
        return text.strip().lower()  # the same, and of a hundred thousand people it is most of what is read
    spread = unicodedata.normalize("NFD", text.strip().casefold().replace("đ", "d"))
    return "".join(each for each in spread if not unicodedata.combining(each))


async def look_at(rt: Runtime, person: str) -> Desk:
    """One signatory, by id. NotFound for anybody else."""
    return await rt.db.run(_look_at, rt, person)


def _look_at(rt: Runtime, person: str) -> Desk:
    with rt.db.read() as tx:
        row = tx.execute(_people().where(signatory.c.id == person)).first()
        if row is None:
            raise NotFound("There is no such person.")
        columns = [each for each in credential.columns if each.name not in ("certificate", "chain", "mac")]
        return Desk(
            _listed(row),
            credentials=_of(tx, select(*columns).where(credential.c.signatory_id == person), credential),
            phones=_of(tx, select(phone.c.id, phone.c.label, phone.c.state, phone.c.created_at, phone.c.ended_at)
                       .where(phone.c.signatory_id == person), phone),
            tickets=_of(tx, select(ticket.c.id, ticket.c.state, ticket.c.created_at, ticket.c.expires_at).where(
                ticket.c.owner == person, ticket.c.state.in_(("open", "used")),
                ticket.c.expires_at > rt.clock()), ticket),
            codes=_codes(tx, person, rt.clock()),
            waiting=tx.execute(select(func.count()).select_from(signing_request).where(
                signing_request.c.signatory_id == person, signing_request.c.state == "pending")).scalar_one(),
        )


def _of(tx: Connection, query: Any, table: Any) -> tuple[Any, ...]:
    return tuple(tx.execute(query.order_by(table.c.id.desc())).all())


def _codes(tx: Connection, owner: str, now: datetime) -> Codes:
    state = tx.execute(select(code_state).where(code_state.c.owner == owner)).first()
    enrolled = tx.execute(select(seed.c.id).where(seed.c.owner == owner, seed.c.state == "active")).first()
    until = state.locked_until if state is not None else None
    return Codes(enrolled is not None, state is not None and state.hard_locked,
                 until if until is not None and now < until else None)


@dataclass(frozen=True)
class Alarm:
    """Something of the last days that an operator should know of."""

    at: datetime
    event: str
    outcome: str
    signatory_id: str | None
    name: str | None
    signing_request_id: str | None


@dataclass(frozen=True)
class Work:
    """What stands open at this moment."""

    pending: int
    signing: int
    finishing: int
    notices: int


async def alarms(rt: Runtime) -> tuple[Alarm, ...]:
    """Of the last `ALARM_DAYS` days, newest first, at most `MOST_ALARMS`."""
    return await rt.db.run(_alarms, rt)


def _alarms(rt: Runtime) -> tuple[Alarm, ...]:
    query = (select(entry, signatory.c.name).join(signatory, signatory.c.id == entry.c.signatory_id, isouter=True)
             .where(entry.c.event.in_(ALARMING), entry.c.at >= rt.clock() - timedelta(days=ALARM_DAYS))
             .order_by(entry.c.id.desc()).limit(MOST_ALARMS))
    with rt.db.read() as tx:
        return tuple(Alarm(row.at, row.event, row.outcome, row.signatory_id, row.name, row.signing_request_id)
                     for row in tx.execute(query))


async def open_work(rt: Runtime) -> Work:
    return await rt.db.run(_open_work, rt)


def _open_work(rt: Runtime) -> Work:
    with rt.db.read() as tx:
        pending, finishing = (tx.execute(select(func.count()).select_from(signing_request).where(
            signing_request.c.state == state)).scalar_one() for state in ("pending", "finishing"))
        signing = tx.execute(select(func.count()).select_from(intent).where(intent.c.outcome.is_(None))).scalar_one()
        notices = tx.execute(select(func.count()).select_from(outbox).where(outbox.c.done_at.is_(None))).scalar_one()
    return Work(pending, signing, finishing, notices)


# ---------------------------------------------------------------------------------------------------------- acting


@dataclass(frozen=True)
class Link:
    """A ticket's link: shown once, to be given to its person and to nobody else."""

    address: str = field(repr=False)
    until: datetime


async def act(rt: Runtime, staff: Staff, code: str, *commands: m.DeskCommand) -> tuple[m.Result, ...]:
    """Carry out the commands through the signer, under one code of the operator's own, which is spent by it.

    Raises Invalid for what no command can hold, before any code is looked at; what the signer says of the code; and
    the first refusal of a command.
    """
    digits = code.replace(" ", "")
    if CODE.fullmatch(digits) is None:
        raise Invalid("A code has six digits, and nothing else.", code="code-format")
    asked = _checked(m.DeskAct(staff.id, digits, commands))
    results = (await rt.signer.ask(asked, m.Done)).results
    for result in results:
        if result.error is not None:
            raise _refusal(result)
    return results


def _checked(asked: m.DeskAct) -> m.DeskAct:
    """What the signer's decoder would refuse is refused here, where the form still stands."""
    try:
        return msgspec.convert(msgspec.to_builtins(asked), m.DeskAct)
    except msgspec.ValidationError as error:
        raise Invalid("Something in the form is missing, too long or not a line of text.", code="form") from error


def _refusal(result: m.Result) -> SigningError:
    kind = KINDS.get(result.error_code or "", WrongState)
    return kind(result.error or "The signer refused.", code=result.error_code)


async def enrol(rt: Runtime, staff: Staff, code: str, new: m.AddSignatory) -> str:
    """Enter a signatory; their id. They sign nothing before they have a credential and a phone."""
    return (await act(rt, staff, code, new))[0].id


async def issue_link(rt: Runtime, staff: Staff, code: str, asked: m.IssueTicket) -> Link:
    """A link with which its owner enrols a phone. Earlier ones of the same person are void."""
    token = (await act(rt, staff, code, asked))[0].data
    until = rt.clock() + timedelta(hours=asked.hours)
    return Link(f"{rt.settings.public_url.rstrip('/')}/enrol/{token}", until)


class Word(StrEnum):
    """What can be done with a person, or with a credential or a phone of theirs (the target)."""

    SUSPEND = "suspend"
    RESUME = "resume"
    UNLOCK = "unlock"
    SUSPEND_CREDENTIAL = "suspend-credential"
    RESUME_CREDENTIAL = "resume-credential"
    RETIRE_PHONE = "retire-phone"


COMMANDS: Mapping[Word, Callable[[str, str], m.DeskCommand]] = {  # of the person's or the target's id, and the reason
    Word.SUSPEND: lambda owner, reason: m.SetSignatoryState(owner, "suspended", reason),
    Word.RESUME: lambda owner, reason: m.SetSignatoryState(owner, "active", reason),
    Word.UNLOCK: lambda owner, _reason: m.Unlock(owner),
    Word.SUSPEND_CREDENTIAL: lambda target, reason: m.SuspendOrResume(target, "suspended", reason),
    Word.RESUME_CREDENTIAL: lambda target, reason: m.SuspendOrResume(target, "active", reason),
    Word.RETIRE_PHONE: lambda target, reason: m.RetirePhone(target, reason),
}


@dataclass(frozen=True)
class Chosen:
    """One act that an operator is about to carry out, upon something that is there."""

    word: Word
    desk: Desk
    target: Any  # the credential or the phone; None where it is the person

    @property
    def id(self) -> str:
        return str(self.target.id) if self.target is not None else self.desk.person.id


async def choose(rt: Runtime, person: str, word: str, target: str) -> Chosen:
    """NotFound for a word that is none, somebody who is not there, and a target that is not this person's."""
    if word not in set(Word):
        raise NotFound("There is no such act.")
    chosen, desk = Word(word), await look_at(rt, person)
    things = {Word.SUSPEND_CREDENTIAL: desk.credentials, Word.RESUME_CREDENTIAL: desk.credentials,
              Word.RETIRE_PHONE: desk.phones}.get(chosen)
    found = next((each for each in things or () if each.id == target), None)
    if things is not None and found is None:
        raise NotFound("This person has no such credential or phone.")
    return Chosen(chosen, desk, found)


async def carry_out(rt: Runtime, staff: Staff, code: str, chosen: Chosen, reason: str) -> None:
    """What was chosen, under the operator's code. Raises as `act` does."""
    await act(rt, staff, code, COMMANDS[chosen.word](chosen.id, reason))
