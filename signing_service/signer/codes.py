"""One-time codes (RFC 6238): counted before they are looked at, computed in the device, accepted once, ever.

Three steps, each a transaction or none:

1. `attempt` (W2a) raises the counter. If we die after this, a try is lost and nothing else.
2. `evaluate` asks the device for the codes of three time steps and compares. No transaction is open. Where the
   device does not answer, `give_back` undoes the count: an outage must not lock people out.
3. `accept` (W2b) takes the step by a conditional UPDATE in the transaction that records what the code confirms,
   or `reject` records that it was not accepted.

The chance to guess: a code is one of 10^6 and three are valid at a time, so a try succeeds with 3e-6. Five wrong
ones in a row lock (1.5e-5 per lock). Wrong codes also fill a bucket that forgets one in 36 hours and locks hard at
20: at most 20 + 365*24/36 = 263 tries a year, 8e-4.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, bindparam, case, insert, select, update

from hsm.device import Device, SecretRef
from hsm.errors import DeviceError, Tampered
from signing_service.audit import Event, Fact, record
from signing_service.db.compiled import Compiled, CompiledList
from signing_service.db.tables import code_state, seed
from signing_service.errors import NotAuthorized, SigningError
from signing_service.facts import local_day
from signing_service.metrics import CODES
from signing_service.signer import rows
from signing_service.signer.runtime import Runtime
from signing_service.signer.together import Unfit, together

PERIOD = 30            # seconds; what authenticator apps speak
DIGITS = 6
WINDOW = (-1, 0, 1)    # steps of drift between a phone's clock and ours
IN_A_ROW = 5
PER_DAY = 10
BUCKET = 20.0
FORGET = timedelta(hours=36)
FIRST_LOCK = timedelta(minutes=15)
LONGEST_LOCK = timedelta(hours=24)
LEFT_FOR_THE_TERMINAL = 2  # of an operator's tries: what comes through the front cannot lock an operator out

NOT_ACCEPTED = "The code was not accepted."

_COUNTERS = ("attempts", "failures", "failures_today", "today", "suspicion", "suspicion_at", "locks", "locked_until",
             "hard_locked")
_SEEDS = CompiledList(lambda owners: select(seed).where(seed.c.owner.in_(owners), seed.c.state == bindparam("state")))
_STATES = CompiledList(lambda owners: select(code_state).where(code_state.c.owner.in_(owners)))
_COUNT = Compiled(update(code_state).where(
    code_state.c.owner == bindparam("who"), code_state.c.attempts == bindparam("was"),
).values({name: bindparam(name) for name in _COUNTERS}))
_TAKE = Compiled(update(code_state).where(
    code_state.c.owner == bindparam("who"), code_state.c.last_step < bindparam("step"),
).values(
    attempts=code_state.c.attempts + 1,  # what another signer is counting from the row before must fail
    last_step=bindparam("step"), failures=0, locks=0, locked_until=None, hard_locked=False,
    failures_today=case((code_state.c.failures_today > 0, code_state.c.failures_today - 1), else_=0),
    suspicion=case((code_state.c.suspicion > 1, code_state.c.suspicion - 1), else_=0.0),
))


@dataclass(frozen=True)
class Attempt:
    """The right to look at one code, counted already. `seed` is None where there is nobody to look it up for."""

    owner: str
    seed: Any
    tries_left: int
    at: datetime


def step_of(now: datetime) -> int:
    """The time step T of RFC 6238 4.2."""
    return int(now.timestamp()) // PERIOD


def attempt(rt: Runtime, tx: Connection, owner: str, now: datetime, seed_state: str = "active",
            leave: int = 0) -> Attempt:
    """W2a for one code. NotAuthorized when locked: then nothing is evaluated."""
    counted = attempts(rt, tx, [owner], now, seed_state, leave)[0]
    if isinstance(counted, SigningError):
        raise counted
    return counted


def attempts(rt: Runtime, tx: Connection, owners: Sequence[str], now: datetime, seed_state: str = "active",
             leave: int = 0) -> list[Attempt | SigningError]:
    """W2a: raise the counters before any code is looked at. Who is locked has the refusal in the place of the try.

    Somebody named twice is counted twice. `leave`: refuse, and count nothing, where fewer than so many tries would
    be left afterwards.
    """
    def count(whose: Sequence[str]) -> list[Attempt | SigningError]:
        return _count(rt, tx, whose, now, seed_state, leave)

    def refused(_owner: str, error: Unfit) -> SigningError:
        if isinstance(error, SigningError):
            return error
        raise error

    return together(tx, owners, count, refused=refused)


def _count(rt: Runtime, tx: Connection, owners: Sequence[str], now: datetime, seed_state: str,
           leave: int) -> list[Attempt | SigningError]:
    seeds = {row.owner: row._asdict() for row in _SEEDS.all(tx, owners, {"state": seed_state})}
    states: dict[str, Any] = {row.owner: row._asdict() for row in _STATES.all(tx, owners)}
    today = local_day(now, rt.settings.timezone)
    counts: list[dict[str, Any]] = []
    answers: list[Attempt | SigningError] = []
    for owner in owners:
        if owner not in seeds or owner not in states:
            answers.append(Attempt(owner, None, IN_A_ROW - 1, now))
            continue
        try:
            counted = _counted(states[owner], now, today)
            _check_left(counted, leave)
        except NotAuthorized as error:
            answers.append(error)
            continue
        counts.append({"who": owner, "was": states[owner]["attempts"], **counted})
        states[owner] = counted  # who is there twice is counted on from here
        answers.append(Attempt(owner, seeds[owner], _tries_left(counted), now))
    if _COUNT.many(tx, counts) != len(counts):
        # another signer counted at the same moment: its count stands, this try is not made
        raise NotAuthorized(NOT_ACCEPTED, code="code-busy")
    return answers


def _check_left(counted: dict[str, Any], leave: int) -> None:
    if leave and (_tries_left(counted) < leave or counted["suspicion"] > BUCKET - leave):
        raise NotAuthorized("Too many wrong codes through the web. At the terminal the code is still good.",
                            code="code-locked", tries_left=0)


def _tries_left(counted: dict[str, Any]) -> int:
    if counted["locked_until"] is not None or counted["hard_locked"]:
        return 0
    left: int = min(IN_A_ROW - counted["failures"], PER_DAY - counted["failures_today"])
    return left


def _counted(state: Any, now: datetime, today: str) -> dict[str, Any]:
    """The row after one more try that is taken for wrong until it proves right."""
    if state["hard_locked"]:
        raise NotAuthorized("Codes of this person are locked. An operator must unlock them.", code="code-locked",
                            tries_left=0)
    if state["locked_until"] is not None and now < state["locked_until"]:
        raise NotAuthorized("Too many wrong codes: locked for now.", code="code-locked", tries_left=0)
    failures = 1 + (0 if state["failures"] >= IN_A_ROW else state["failures"])  # a lock that ended starts a new row
    failures_today = 1 + (state["failures_today"] if state["today"] == today else 0)
    suspicion = 1 + max(0.0, state["suspicion"] - (now - state["suspicion_at"]) / FORGET)
    locks, locked_until = state["locks"], None
    if failures >= IN_A_ROW or failures_today >= PER_DAY:
        locks += 1
        locked_until = now + min(LONGEST_LOCK, FIRST_LOCK * 2 ** min(locks - 1, 10))
    return {
        "attempts": state["attempts"] + 1, "failures": failures, "failures_today": failures_today, "today": today,
        "suspicion": suspicion, "suspicion_at": now, "locks": locks, "locked_until": locked_until,
        "hard_locked": suspicion >= BUCKET,
    }


def evaluate(rt: Runtime, attempt: Attempt, code: str) -> int | None:
    """The time step whose code this is, or None. Asks the device; unknown persons cost the same comparison.

    Raises Tampered when the seed's row does not carry its MAC, WrongState when it was exchanged at this moment, and
    DeviceError.
    """
    check_seed(rt, attempt)
    step, = steps(rt, [(attempt, code)])
    if isinstance(step, Exception):
        raise step
    return step


def is_new(rt: Runtime, attempt: Attempt) -> bool:
    """Must the device be asked whether the seed's row carries its MAC?"""
    return attempt.seed is not None and not rt.verified.knows("seed", attempt.seed)


def check_seed(rt: Runtime, attempt: Attempt) -> None:
    """Tampered or WrongState, as `evaluate` raises them. Asks the device where the row is new to us."""
    if attempt.seed is not None:
        rows.check(rt.verified, rt.db, "seed", attempt.seed)


def steps(rt: Runtime, tried: Sequence[tuple[Attempt, str]]) -> Iterator[int | Exception | None]:
    """`evaluate` for many whose seeds were checked, side by side: the step, None, or what the device raised."""
    return rt.device.side_by_side([partial(_step, attempt, code) for attempt, code in tried])


def _step(attempt: Attempt, code: str, device: Device) -> int | None:
    now_step = step_of(attempt.at)
    if attempt.seed is None:
        for drift in WINDOW:  # as much work as for somebody known
            device.mac((now_step + drift).to_bytes(8, "big"))
        return None
    secret = SecretRef(attempt.seed["id"], attempt.seed["blob"])
    matched = None
    for drift in WINDOW:  # all of them, whichever matches: the time taken tells nothing
        expected = truncated(device.hmac_sha1(secret, (now_step + drift).to_bytes(8, "big")))
        if hmac.compare_digest(expected.encode(), code.encode()):
            matched = now_step + drift
    return matched


def truncated(digest: bytes) -> str:
    """RFC 4226 5.3: dynamic truncation to six digits."""
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset:offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}d}"


def accept(tx: Connection, taken: Sequence[tuple[Attempt, int]]) -> None:
    """W2b: take the steps, each for exactly one caller, ever, on every process; older steps are gone with them.

    NotAuthorized, and the transaction is to be rolled back, where one of them was taken already. The tries that
    `attempt` took for wrong are given back.
    """
    steps = [{"who": each.owner, "step": step} for each, step in taken]
    if _TAKE.many(tx, steps) != len(steps):
        raise NotAuthorized(NOT_ACCEPTED, code="code-not-accepted")


def give_back(tx: Connection, attempt: Attempt) -> None:
    """Undo the count of a try that nobody could look at: the device did not answer, so nothing was learned from it.

    A lock that only this try made is open again. Where another signer counts at the same moment the try stays
    counted, as it does if we die before this.
    """
    state = tx.execute(select(code_state).where(code_state.c.owner == attempt.owner)).mappings().first()
    if attempt.seed is None or state is None:
        return
    failures, today = max(0, state["failures"] - 1), max(0, state["failures_today"] - 1)
    suspicion = max(0.0, state["suspicion"] - 1)
    is_opened = state["locked_until"] is not None and failures < IN_A_ROW and today < PER_DAY
    lock = {"locked_until": None, "locks": max(0, state["locks"] - 1)} if is_opened else {}
    tx.execute(
        update(code_state).where(code_state.c.owner == attempt.owner, code_state.c.attempts == state["attempts"])
        .values(attempts=state["attempts"] + 1, failures=failures, failures_today=today, suspicion=suspicion,
                hard_locked=state["hard_locked"] and suspicion >= BUCKET, **lock)
    )


@dataclass(frozen=True)
class Rejection:
    """A code that was not accepted: what goes on record, and what the person hears, which is the tries left."""

    facts: tuple[Fact, ...]
    refusal: NotAuthorized


def reject(attempt: Attempt, **where: Any) -> Rejection:
    """For a code that was wrong, or spent. Nothing is said of which."""
    facts = [Fact(Event.CODE_REJECTED, f"person:{attempt.owner}", "rejected", **where,
                  data={"tries_left": attempt.tries_left})]
    if attempt.seed is not None and attempt.tries_left == 0:
        facts.append(Fact(Event.CODE_LOCKED, f"person:{attempt.owner}", "locked", **where))
    return Rejection(tuple(facts), NotAuthorized(NOT_ACCEPTED, code="code-not-accepted",
                                                 tries_left=attempt.tries_left))


def put_on_record(rt: Runtime, tx: Connection, now: datetime, rejections: Sequence[Rejection]) -> None:
    record(tx, now, *(fact for each in rejections for fact in each.facts), mac=rt.entry_mac)


def tell(rejections: Sequence[Rejection] = (), *, accepted: int = 0) -> None:
    """Count what is durable."""
    CODES.labels("accepted").inc(accepted)
    for fact in (fact for each in rejections for fact in each.facts):
        CODES.labels(fact.outcome).inc()


def new_state(tx: Connection, owner: str) -> None:
    """The counters of somebody who never had a code."""
    if tx.execute(select(code_state.c.owner).where(code_state.c.owner == owner)).first() is None:
        epoch = datetime.fromtimestamp(0, UTC)
        tx.execute(insert(code_state).values(
            owner=owner, last_step=0, attempts=0, failures=0, failures_today=0, today="", locks=0,
            suspicion=0.0, suspicion_at=epoch, hard_locked=False,
        ))


def unlock(tx: Connection, owner: str, now: datetime) -> bool:
    """An operator's act. Steps that were spent stay spent."""
    changed = tx.execute(update(code_state).where(code_state.c.owner == owner).values(
        failures=0, failures_today=0, locks=0, suspicion=0.0, suspicion_at=now, locked_until=None,
        hard_locked=False, attempts=code_state.c.attempts + 1,
    ))
    return changed.rowcount == 1


@dataclass(frozen=True)
class Spent:
    """A code that was accepted and can never be accepted again: the proof that an operator acts, or has a seed."""

    owner: str
    seed_id: str


Writing = Callable[[Connection], None]


def spend(
    rt: Runtime, owner: str, code: str, now: datetime, seed_state: str = "active", *,
    along: Callable[[str], Writing] | None = None, leave: int = 0, barred: bool = False, **where: Any,
) -> Spent:
    """All three steps for one code that confirms no document. NotAuthorized where it is not accepted.

    `along`, asked with the id of the seed whose code it was, outside any transaction, gives what is written together
    with the step: both become durable or neither. Where it cannot be done the code stays good and counts for nothing.
    `barred`: this person's codes are not accepted; the answer, the work and the counting are those of a wrong code.
    """
    with rt.db.write() as tx:
        tried = attempt(rt, tx, owner, now, seed_state, leave)
    try:
        step = evaluate(rt, tried, code)
    except Tampered:
        raise
    except (DeviceError, SigningError):
        _undo(rt, tried)
        raise
    if step is None or barred:
        raise _rejected(rt, tried, now, where)
    try:
        is_taken = _take(rt, tried, step, now, along(tried.seed["id"]) if along else None, where)
    except (SigningError, DeviceError):  # the code was right, but what it was for cannot be done now
        _undo(rt, tried)
        raise
    if not is_taken:
        raise _rejected(rt, tried, now, where)
    tell(accepted=1)
    return Spent(tried.owner, tried.seed["id"])


def _take(
    rt: Runtime, tried: Attempt, step: int, now: datetime, writing: Writing | None, where: dict[str, Any],
) -> bool:
    with rt.db.write() as tx:
        try:
            with tx.begin_nested():
                accept(tx, [(tried, step)])
        except NotAuthorized:
            return False
        record(tx, now, Fact(Event.CODE_ACCEPTED, f"person:{tried.owner}", **where), mac=rt.entry_mac)
        if writing is not None:
            writing(tx)
    return True


def _rejected(rt: Runtime, tried: Attempt, now: datetime, where: dict[str, Any]) -> NotAuthorized:
    wrong = reject(tried, **where)
    with rt.db.write() as tx:
        put_on_record(rt, tx, now, [wrong])
    tell([wrong])
    return wrong.refusal


def _undo(rt: Runtime, tried: Attempt) -> None:
    with rt.db.write() as tx:
        give_back(tx, tried)
