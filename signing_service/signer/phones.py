"""Officials' phones: recognized by a secret, retired, and what a person may do with one without a code.

A phone's row carries a MAC of a device key and its secret only as a hash: who can write to the database can neither
add a phone nor revive one. The proof is checked before the person's code is counted, so that nobody without the phone
can touch the counters through it; and inside the transaction that acts the row must still be the one that was checked,
so that a phone retired a moment ago confirms nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, select

from signing_service.audit import Event, record
from signing_service.db.tables import phone
from signing_service.errors import NotAuthorized, NotFound, WrongState
from signing_service.signer import refusals, rows
from signing_service.signer.acting import By
from signing_service.signer.rows import Revision, revised, store
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

UNKNOWN = "This phone is not known here, or no longer."
NOBODYS = "0" * 64  # compared with where there is no row, so that it costs the same
_PHONES = select(phone).where(phone.c.id.in_(bindparam("ids", expanding=True)))


class State(StrEnum):
    """`ENROLLING` until the first right code; `RETIRED` for ever."""

    ENROLLING = "enrolling"
    ACTIVE = "active"
    RETIRED = "retired"


@dataclass(frozen=True)
class Recognized:
    """A phone whose row carries its MAC and whose secret was shown: the right to act as its person's phone."""

    row: Any

    @property
    def id(self) -> str:
        return str(self.row["id"])

    @property
    def signatory_id(self) -> str:
        return str(self.row["signatory_id"])


def secret_hash(secret: str) -> str:
    """What is kept of a secret, a ticket or a stop code: a plain hash will do, there are too many bits to guess."""
    return sha256(secret.encode()).hexdigest()


def recognize(rt: Runtime, proof: m.PhoneProof, *, of: str | None = None, state: State = State.ACTIVE) -> Recognized:
    """The phone that shows this proof, in this state, of this person where one is named.

    Asks the device when the row is new to us: call it outside transactions. NotAuthorized `phone` whatever is wrong,
    on record within bounds; WrongState `phone-ready` for an active phone that was expected to be enrolling still.
    Raises Tampered and DeviceError.
    """
    return recognized(rt, proof, _row(rt, phone.c.id == proof.id), of=of, state=state)


def rows_of(rt: Runtime, ids: Iterable[str]) -> dict[str, Any]:
    """The rows of these phones, by id: one query for all who wait."""
    with rt.db.read() as tx:
        return {row["id"]: row for row in tx.execute(_PHONES, {"ids": list(ids)}).mappings()}


def recognized(
    rt: Runtime, proof: m.PhoneProof, row: Any, *, of: str | None = None, state: State = State.ACTIVE,
) -> Recognized:
    """As `recognize`, of a row that was just read; None where there is none."""
    is_right = hmac.compare_digest(secret_hash(proof.secret), row["secret_hash"] if row else NOBODYS)
    if row is None or not is_right or (of is not None and row["signatory_id"] != of):
        raise _refused(rt, proof, of)
    rows.check(rt.verified, rt.db, "phone", row)
    if state is State.ENROLLING and row["state"] == State.ACTIVE:
        raise WrongState("This phone is enrolled already.", code="phone-ready")
    if row["state"] != state:
        raise _refused(rt, proof, of)
    return Recognized(row)


def _refused(rt: Runtime, proof: m.PhoneProof, of: str | None) -> NotAuthorized:
    refusals.put_on_record(rt, Event.PHONE_REFUSED, {"phone": proof.id}, signatory_id=of)
    return NotAuthorized(UNKNOWN, code="phone")


def check_still(rt: Runtime, tx: Connection, known: Recognized) -> None:
    """Inside the transaction that acts: NotAuthorized `phone` unless the row is, byte for byte, the one recognized."""
    if known.id not in still(rt, tx, [known]):
        raise NotAuthorized(UNKNOWN, code="phone")


def still(rt: Runtime, tx: Connection, known: Sequence[Recognized]) -> set[str]:
    """Which of these phones are, byte for byte, those that were recognized: for the transaction that acts."""
    were = {each.id: each.row["mac"] for each in known}
    return {row["id"] for row in tx.execute(_PHONES, {"ids": list(were)}).mappings()
            if row["mac"] == were[row["id"]] and rt.verified.knows("phone", row)}


def retirements(rt: Runtime, signatory_id: str, *, but: str | None = None) -> list[Revision]:
    """What retires every active phone of a person, except one. Asks the device."""
    with rt.db.read() as tx:
        found = tx.execute(select(phone).where(
            phone.c.signatory_id == signatory_id, phone.c.state == State.ACTIVE)).mappings().all()
    return [_retirement(rt, row) for row in found if row["id"] != but]


def retirement(rt: Runtime, phone_id: str) -> Revision | None:
    """What retires one phone; None where it is retired already. NotFound for an unknown one. Asks the device."""
    row = _row(rt, phone.c.id == phone_id)
    if row is None:
        raise NotFound(f"There is no phone {phone_id!r}.")
    return None if row["state"] == State.RETIRED else _retirement(rt, row)


def _retirement(rt: Runtime, row: Any) -> Revision:
    rows.check(rt.verified, rt.db, "phone", row)
    return revised(rt.device, "phone", row, state=State.RETIRED.value, ended_at=rt.now())


def write_retired(rt: Runtime, tx: Connection, by: By, retired: Iterable[Revision], why: str) -> None:
    """Store retirements, each with its entry."""
    for each in retired:
        store(tx, [each])
        record(tx, rt.now(), by.fact(Event.PHONE_RETIRED, signatory_id=each.row["signatory_id"], data={
            "phone": each.row["id"], "why": why}), mac=rt.entry_mac)


def active_ids(tx: Connection, signatory_id: str) -> set[str]:
    return set(tx.execute(select(phone.c.id).where(
        phone.c.signatory_id == signatory_id, phone.c.state == State.ACTIVE)).scalars())


def retire(rt: Runtime, by: By, command: m.RetirePhone) -> m.Result:
    """An operator's act: from this moment the phone confirms nothing. WrongState where it is retired already."""
    change = retirement(rt, command.phone_id)
    if change is None:
        raise WrongState("This phone is retired already.", code="phone-retired")
    with rt.db.write() as tx:
        write_retired(rt, tx, by, [change], command.reason)
    rt.verified.wrote("phone", change.row)
    return m.Result(command.phone_id)


def _row(rt: Runtime, condition: Any) -> Any:
    with rt.db.read() as tx:
        return tx.execute(select(phone).where(condition)).mappings().first()


def of_stop_code(rt: Runtime, stop_code: str) -> Any:
    """The phone that a stop code was given with, its MAC checked; None where there is none. Asks the device."""
    row = _row(rt, phone.c.stop_hash == secret_hash(stop_code))
    if row is not None:
        rows.check(rt.verified, rt.db, "phone", row)
    return row
