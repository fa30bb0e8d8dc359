"""Staff at the console: how auditors and operators sign in, and how long they stay so.

A sign-in takes a password and a one-time code. The password is looked at here, the code by the signer, and only
after the right password: otherwise anybody could lock a person's codes. Whatever was wrong, and whether there is
such a person at all, the answer is the same, costs the same work and comes no sooner.

A try is counted in the database before it is looked at; five wrong ones in a row lock the account for a quarter of
an hour, the next five for half an hour, and so on. A session is 256 random bits in a cookie, of which the hash is
kept: it ends after a quarter of an hour without a request, after eight hours in any case, and at once when the
person signs out, sets another password or is suspended.
"""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import Connection, case, delete, insert, literal, or_, select, update

from signing_service import passwords
from signing_service.access import hash_of
from signing_service.audit import Event, Fact, record
from signing_service.db.engine import Database
from signing_service.db.tables import Instant, account, auditor, operator, session
from signing_service.errors import NotAuthorized, NotFound, SigningError, Unauthenticated, Unavailable
from signing_service.inspection import EVERY_AGENCY
from signing_service.wire.messages import (
    CompleteAccount,
    Health,
    HealthReport,
    ProveCode,
    Proven,
    RedeemTicket,
    TicketRedeemed,
)

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

log = logging.getLogger(__name__)

Role = Literal["auditor", "operator"]
PEOPLE = {"auditor": auditor, "operator": operator}
SECRET = re.compile(r"[0-9a-f]{64}")
CODE = re.compile(r"[0-9]{6}", re.ASCII)
TICKET = re.compile(r"[A-Za-z0-9_-]{43}")

IDLE = timedelta(minutes=15)
LONGEST = timedelta(hours=8)
SEEN_EVERY = timedelta(minutes=1)  # a session's last use is written no more often
IN_A_ROW = 5
FIRST_LOCK, LONGEST_LOCK = timedelta(minutes=15), timedelta(hours=24)
REFUSED_AFTER = 0.6                # seconds: longer than the work of any refusal, so that the time taken tells nothing
NOT_ACCEPTED = "Name, password or code was not accepted."


@dataclass(frozen=True)
class Staff:
    """Somebody who is signed in. `agencies`: whose entries an auditor sees, those below included; `*` for all."""

    id: str
    name: str
    role: Role
    agencies: frozenset[str]

    @property
    def actor(self) -> str:
        """As entries name them."""
        return f"{self.role}:{self.id}"


@dataclass(frozen=True)
class _Try:
    """One sign-in that is counted already. `kept` is None where there is nobody, nothing or a lock."""

    staff: Staff | None
    kept: str | None


# -------------------------------------------------------------------------------------------------------- sign in


async def sign_in(rt: Runtime, name: str, password: str, code: str, address: str) -> str:
    """The secret of a fresh session. `name`: what the person is called, or their id.

    Raises NotAuthorized `sign-in` for whatever was wrong, always the same and never sooner than `REFUSED_AFTER`;
    TooMany where too many sign-ins from `address`, a place, failed; Unavailable where nobody could sign in just now.
    """
    due = asyncio.get_running_loop().time() + REFUSED_AFTER
    rt.doorkeeper.admit(address)
    await _signer_is_there(rt)
    tried = await rt.db.run(_count, rt, name, rt.clock())
    is_right = await rt.hashing.matches(tried.kept, password)
    if tried.staff is None or not is_right or not await _proves(rt, tried.staff.id, code):
        return await _refused(rt, tried.staff, due)
    fresh = await _renewed(rt, tried.kept, password)
    secret = await rt.db.run(_begin, rt, tried, fresh, rt.clock())
    if secret is None:  # suspended, or given another password, while we were looking
        return await _refused(rt, tried.staff, due)
    rt.doorkeeper.forgive(address)
    return secret


async def _signer_is_there(rt: Runtime) -> None:
    """Asked before anything else, of everybody: an outage that only the right password meets would tell it."""
    report = await rt.signer.ask(Health(), HealthReport, deadline=5.0)
    if any(not each.ok for each in report.conditions if each.name == "device"):
        raise Unavailable("The device does not answer.", code="device-away")


async def _refused(rt: Runtime, staff: Staff | None, due: float) -> str:
    await rt.db.run(_record_refusal, rt, staff, rt.clock())
    await asyncio.sleep(due - asyncio.get_running_loop().time())
    raise NotAuthorized(NOT_ACCEPTED, code="sign-in")


def _count(rt: Runtime, name: str, now: datetime) -> _Try:
    """Count one more failure, which a success takes back. Nothing is looked at while the account is locked."""
    with rt.db.write() as tx:
        staff = _find(tx, name)
        owner = staff.id if staff is not None else "nobody"
        counted = tx.execute(
            update(account)
            .where(account.c.owner == owner, or_(account.c.locked_until.is_(None), account.c.locked_until <= now))
            .values(failures=account.c.failures + 1, locked_until=_lock(now)))
        kept = tx.execute(select(account.c.password_hash).where(account.c.owner == owner)).scalar()
    return _Try(staff, kept if counted.rowcount == 1 else None)


def _lock(now: datetime) -> Any:
    """Until when the account is locked by one more failure: every fifth one doubles the time."""
    steps = [FIRST_LOCK * 2**times for times in range(7)]  # 15 minutes to 16 hours
    ends = [((times + 1) * IN_A_ROW, now + step) for times, step in enumerate(steps)]
    failures = account.c.failures + 1
    return case(
        *((failures == count, literal(end, Instant)) for count, end in ends),
        (failures % IN_A_ROW == 0, literal(now + LONGEST_LOCK, Instant)), else_=None)


def _find(tx: Connection, name: str) -> Staff | None:
    """The one active person of this name or id. A name that an auditor and an operator share is nobody's."""
    spellings = {name.strip(), passwords.spelled(name.strip())}
    found = [
        _staff(role, row) for role, table in PEOPLE.items()
        for row in tx.execute(select(table).where(
            or_(table.c.id.in_(spellings), table.c.name.in_(spellings)), table.c.state == "active")).all()
        if "\x00" not in name]
    return found[0] if len(found) == 1 else None


def _staff(role: str, row: Any) -> Staff:
    if role == "operator":
        return Staff(row.id, row.name, "operator", frozenset({EVERY_AGENCY}))
    return Staff(row.id, row.name, "auditor", frozenset(row.agencies))


async def _proves(rt: Runtime, owner: str, code: str) -> bool:
    """Does the signer accept the code? An outage now, after the right password, must look like a wrong code."""
    digits = code.replace(" ", "")
    if not CODE.fullmatch(digits):
        return False
    try:
        answer = await rt.signer.ask(ProveCode(owner, digits), Proven)
    except SigningError as error:
        log.info("a code of %s was not accepted: %s", owner, error.code)
        return False
    return answer.owner == owner


async def _renewed(rt: Runtime, kept: str | None, password: str) -> str | None:
    """The password under today's parameters, where it is kept under others."""
    return await rt.hashing.hash(password) if kept is not None and passwords.is_outdated(kept) else kept


def _begin(rt: Runtime, tried: _Try, fresh: str | None, now: datetime) -> str | None:
    """The new session, if the person is still active and the password still theirs: a change meanwhile wins."""
    if tried.staff is None:
        return None
    with rt.db.write() as tx:
        active = find_staff(tx, tried.staff.id, tried.staff.role)
        unchanged = active is not None and tx.execute(
            update(account).where(account.c.owner == tried.staff.id, account.c.password_hash == tried.kept)
            .values(failures=0, locked_until=None, password_hash=fresh)).rowcount == 1
        if not unchanged:
            return None
        return _open(tx, tried.staff, now, Event.SIGNED_IN)


def _open(tx: Connection, staff: Staff, now: datetime, event: Event) -> str:
    """A session under a fresh secret: whatever a browser had before is never taken over."""
    secret = secrets.token_hex(32)
    tx.execute(insert(session).values(
        hash=hash_of(secret), owner=staff.id, role=staff.role, created_at=now, seen_at=now, expires_at=now + LONGEST))
    record(tx, now, Fact(event, staff.actor))
    return secret


def _record_refusal(rt: Runtime, staff: Staff | None, now: datetime) -> None:
    """Anybody can fail here as often as they like; the log does not grow with it for ever."""
    actor = staff.actor if staff is not None else "staff:unknown"
    if rt.doorkeeper.is_worth_recording(actor):
        with rt.db.write() as tx:
            record(tx, now, Fact(Event.SIGN_IN_REFUSED, actor, "refused"))


# ------------------------------------------------------------------------------------------------------- sessions


async def staff_of(rt: Runtime, cookie: str) -> Staff:
    """Whose session this is; using it keeps it alive. Unauthenticated `session` for one that is not, or has ended."""
    if not SECRET.fullmatch(cookie):
        raise _ended()
    return await rt.db.run(_staff_of, rt, hash_of(cookie), rt.clock())


def _staff_of(rt: Runtime, hashed: str, now: datetime) -> Staff:
    with rt.db.read() as tx:
        row = tx.execute(select(session).where(session.c.hash == hashed, ~_is_over(now))).first()
        staff = find_staff(tx, row.owner, row.role) if row is not None else None
    if row is None:
        raise _ended()
    if staff is None:  # suspended since
        _end_all(rt, row.owner, row.role, "suspended", now)
        raise _ended()
    if now - row.seen_at >= SEEN_EVERY:
        with rt.db.write() as tx:
            tx.execute(update(session).where(session.c.hash == hashed, session.c.seen_at < now).values(seen_at=now))
    return staff


def _is_over(now: datetime) -> Any:
    return or_(session.c.expires_at <= now, session.c.seen_at <= now - IDLE)


def find_staff(tx: Connection, owner: str, role: str) -> Staff | None:
    """An active auditor or operator by id."""
    table = PEOPLE[role]
    row = tx.execute(select(table).where(table.c.id == owner, table.c.state == "active")).first()
    return _staff(role, row) if row is not None else None


def open_lock(db: Database, owner: str) -> None:
    """After an operator unlocked somebody's codes, which is on record: their password is looked at again, too."""
    with db.write() as tx:
        tx.execute(update(account).where(account.c.owner == owner).values(failures=0, locked_until=None))


async def sign_out(rt: Runtime, cookie: str) -> None:
    """End the session under this secret, if there is one."""
    await rt.db.run(_end, rt, hash_of(cookie), rt.clock())


async def end_all(rt: Runtime, staff: Staff, why: str) -> int:
    """End every session of a person, in all browsers; how many there were."""
    return await rt.db.run(_end_all, rt, staff.id, staff.role, why, rt.clock())


def _end(rt: Runtime, hashed: str, now: datetime) -> None:
    with rt.db.write() as tx:
        row = tx.execute(select(session.c.owner, session.c.role).where(session.c.hash == hashed)).first()
        if row is not None and tx.execute(delete(session).where(session.c.hash == hashed)).rowcount == 1:
            record(tx, now, _end_of(row, "signed out"))


def _end_of(row: Any, why: str, sessions: int = 1) -> Fact:
    return Fact(Event.SESSION_ENDED, f"{row.role}:{row.owner}", data={"why": why, "sessions": sessions})


def _end_all(rt: Runtime, owner: str, role: str, why: str, now: datetime) -> int:
    with rt.db.write() as tx:
        return _close(tx, owner, role, why, now)


def _close(tx: Connection, owner: str, role: str, why: str, now: datetime) -> int:
    ended = int(tx.execute(delete(session).where(session.c.owner == owner)).rowcount)
    if ended:
        record(tx, now, Fact(Event.SESSION_ENDED, f"{role}:{owner}", data={"why": why, "sessions": ended}))
    return ended


def sweep_sessions(rt: Runtime, now: datetime) -> int:
    """Remove sessions whose time is over, on record; how many."""
    with rt.db.write() as tx:
        over = tx.execute(select(session.c.hash, session.c.owner, session.c.role).where(_is_over(now)).limit(500)).all()
        ended = [row for row in over if tx.execute(delete(session).where(session.c.hash == row.hash)).rowcount == 1]
        record(tx, now, *(_end_of(row, "over") for row in ended))
    return len(ended)


def _ended() -> Unauthenticated:
    return Unauthenticated("The session has ended. Sign in again.", code="session")


# ------------------------------------------------------------------------------------------------------ passwords


@dataclass(frozen=True)
class Enrolling:
    """Somebody whose ticket was opened in this browser. `uri` (otpauth) is shown once; an operator has none."""

    owner: str
    name: str
    uri: str | None = field(repr=False)


async def open_enrolment(rt: Runtime, ticket: str, opened_by: str, address: str) -> Enrolling:
    """Redeem an auditor's or an operator's ticket; the same browser may repeat it, each time with a new seed.

    Raises the signer's refusal (`ticket`), TooMany where too much failed from `address`.
    """
    rt.doorkeeper.admit(address)
    if TICKET.fullmatch(ticket) is None:
        raise NotFound("This link is not, or no longer, good.", code="ticket")
    made = await rt.signer.ask(RedeemTicket(ticket, opened_by), TicketRedeemed)
    rt.doorkeeper.forgive(address)
    return Enrolling(made.owner, made.name, made.uri)


async def complete_enrolment(
    rt: Runtime, ticket: str, opened_by: str, owner: str, password: str, code: str, address: str
) -> tuple[Staff, str]:
    """The first password of somebody with an opened ticket, and a session for them. `owner`: whom the ticket is for.

    The password is judged before the code is spent. If we die after the signer said yes and before the password is
    kept, the ticket is used up and the operator issues another. Raises Invalid for a password that will not do, and
    what the signer says of ticket and code, TooMany where too much failed from `address`.
    """
    named = await rt.db.run(_named, rt, owner)
    passwords.check(password, named)
    digits = code.replace(" ", "")
    if CODE.fullmatch(digits) is None or TICKET.fullmatch(ticket) is None:
        raise NotAuthorized("The code was not accepted.", code="code-not-accepted")
    rt.doorkeeper.admit(address)  # a hash costs us more than it costs whoever asks for it without a ticket
    kept = await rt.hashing.hash(password)
    proven = await rt.signer.ask(CompleteAccount(ticket, opened_by, digits), Proven)
    rt.doorkeeper.forgive(address)
    return await rt.db.run(keep_password, rt, proven.owner, kept, rt.clock())


async def change_password(rt: Runtime, staff: Staff, old: str, new: str, code: str) -> str:
    """Another password, proven with the old one and a code. Every session ends; returns the secret of a new one.

    Wrong ones count like those of a sign-in, and the answer is the same. Raises Invalid for one that will not do.
    """
    due = asyncio.get_running_loop().time() + REFUSED_AFTER
    passwords.check(new, (staff.name, staff.id))
    await _signer_is_there(rt)
    tried = await rt.db.run(_count, rt, staff.id, rt.clock())
    if not await rt.hashing.matches(tried.kept, old) or not await _proves(rt, staff.id, code):
        return await _refused(rt, staff, due)
    kept = await rt.hashing.hash(new)
    _, secret = await rt.db.run(keep_password, rt, staff.id, kept, rt.clock())
    return secret


def _named(rt: Runtime, owner: str) -> tuple[str, ...]:
    with rt.db.read() as tx:
        staff = next((found for role in PEOPLE if (found := find_staff(tx, owner, role)) is not None), None)
    return (staff.name, staff.id) if staff is not None else ()


def keep_password(rt: Runtime, owner: str, kept: str, now: datetime) -> tuple[Staff, str]:
    """Keep a password; what was there before ends with it: failures, locks, sessions."""
    values = {"password_hash": kept, "changed_at": now, "failures": 0, "locked_until": None}
    with rt.db.write() as tx:
        staff = next((found for role in PEOPLE if (found := find_staff(tx, owner, role)) is not None), None)
        if staff is None:
            raise NotAuthorized(NOT_ACCEPTED, code="sign-in")
        if tx.execute(update(account).where(account.c.owner == owner).values(values)).rowcount == 0:
            tx.execute(insert(account).values(owner=owner, **values))
        _close(tx, owner, staff.role, "password set", now)
        return staff, _open(tx, staff, now, Event.PASSWORD_SET)
