"""A person stops what is done in their name: with their phone, or with the stop code they were given with it.

It needs no one-time code, because it takes power away and gives none; only an operator gives it back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from hsm.errors import Tampered
from signing_service.audit import Event, record
from signing_service.credentials import State
from signing_service.db.tables import credential, signing_request
from signing_service.errors import NotAuthorized, WrongState
from signing_service.metrics import ALARMS
from signing_service.signer import custody, phones, refusals, tickets
from signing_service.signer.acting import By
from signing_service.signer.intents import report_tampering
from signing_service.signer.rows import Revision, store
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

NOT_ME, LOST = "not-me", "lost-phone"
TRIES = 3  # a credential that an operator changes at the same moment is looked at again


@dataclass(frozen=True)
class Stopping:
    """What is to be stopped of one person, made ready outside any transaction."""

    by: By
    signatory_id: str
    why: str
    event: Event
    retires: bool
    data: dict[str, Any]
    signing_request_id: str | None = None


def suspend_oneself(rt: Runtime, asked: m.SuspendOneself) -> m.Suspended:
    """Suspend all the person's active credentials; their phones are retired with them when one is lost.

    After `not-me` the phone stays, so that the person can look at what happened. Links to enrol with are void then,
    as they are when a phone is lost: whoever acts in the person's name may hold one. Repeatable.
    """
    with refusals.device_errors(rt):
        known = phones.recognize(rt, asked.phone)
        stopping = Stopping(
            By(f"person:{known.signatory_id}"), known.signatory_id, asked.why, Event.SUSPENDED_ONESELF,
            asked.why == LOST, {"phone": known.id}, asked.signing_request_id)
        return _stop(rt, stopping, lambda tx: phones.check_still(rt, tx, known))


def stop(rt: Runtime, asked: m.Stop) -> m.Suspended:
    """The same as a lost phone. NotAuthorized `stop-code` for a code of no active phone, whatever the reason."""
    with refusals.device_errors(rt):
        row = phones.of_stop_code(rt, asked.stop_code)
        if row is not None and row["state"] == phones.State.RETIRED and _is_stopped(rt, row["signatory_id"]):
            return m.Suspended(())  # pressed twice
        if row is None or row["state"] != phones.State.ACTIVE:
            refusals.put_on_record(rt, Event.STOP_REFUSED)
            raise NotAuthorized("This stop code is not known here, or no longer.", code="stop-code")
        person = row["signatory_id"]
        stopping = Stopping(By(f"person:{person}"), person, "stop-code", Event.STOP_USED, True, {"phone": row["id"]})
        return _stop(rt, stopping, lambda _tx: None)


def _is_stopped(rt: Runtime, signatory_id: str) -> bool:
    with rt.db.read() as tx:
        return not phones.active_ids(tx, signatory_id) and not _active(tx, signatory_id)


def _stop(rt: Runtime, stopping: Stopping, check: Callable[[Connection], None]) -> m.Suspended:
    for last in (False,) * (TRIES - 1) + (True,):
        try:
            return _try_to_stop(rt, stopping, check)
        except WrongState:
            if last:
                raise
    raise AssertionError("unreachable")


def _try_to_stop(rt: Runtime, stopping: Stopping, check: Callable[[Connection], None]) -> m.Suspended:
    changes, broken = _suspensions(rt, stopping)
    retired, lost = _retirements(rt, stopping) if stopping.retires else ([], set())
    void = _voided(rt, stopping) if stopping.retires or stopping.why == NOT_ME else []
    with rt.db.write() as tx:
        check(tx)
        for change in changes:
            custody.write(tx, change)
        if set(_active(tx, stopping.signatory_id)) - broken:
            raise WrongState("A credential became active at this moment.", code="credential-changed")
        store(tx, void)
        _record(rt, tx, stopping, changes, void)
        phones.write_retired(rt, tx, stopping.by, retired, stopping.why)
        if stopping.retires and phones.active_ids(tx, stopping.signatory_id) - lost:
            raise WrongState("A phone became active at this moment.", code="phone-changed")
    _remember(rt, changes, retired + void)
    if stopping.why == NOT_ME or stopping.retires:
        ALARMS.labels(stopping.why).inc()
    return m.Suspended(tuple(change.row["id"] for change in changes))


def _suspensions(rt: Runtime, stopping: Stopping) -> tuple[list[custody.Change], set[str]]:
    """Every active credential, suspended; and those whose row was tampered with, which sign nothing anyway."""
    with rt.db.read() as tx:
        ids = _active(tx, stopping.signatory_id)
    changes, broken = [], set()
    for credential_id in ids:
        try:
            row = custody.credential_row(rt, credential_id)
        except Tampered as error:
            report_tampering(rt, error, credential_id=credential_id, signatory_id=stopping.signatory_id)
            broken.add(credential_id)
            continue
        changes.append(custody.revise(rt, row, state=State.SUSPENDED.value, reason=stopping.why))
    return changes, broken


def _retirements(rt: Runtime, stopping: Stopping) -> tuple[list[Revision], set[str]]:
    """Every active phone, retired; and those whose row was tampered with, which confirm nothing anyway."""
    with rt.db.read() as tx:
        ids = phones.active_ids(tx, stopping.signatory_id)
    retired, broken = [], set()
    for phone_id in sorted(ids):
        try:
            change = phones.retirement(rt, phone_id)
        except Tampered as error:
            report_tampering(rt, error, signatory_id=stopping.signatory_id)
            broken.add(phone_id)
            continue
        retired.extend([change] if change is not None else [])
    return retired, broken


def _voided(rt: Runtime, stopping: Stopping) -> list[Revision]:
    """The links that the person could still be enrolled with, and half-enrolled phones; tampered ones open nothing."""
    void: list[Revision] = []
    for row in tickets.unfinished(rt, stopping.signatory_id):
        try:
            void.extend(tickets.voided(rt, row))
        except Tampered as error:
            report_tampering(rt, error, signatory_id=stopping.signatory_id)
    return void


def _active(tx: Connection, signatory_id: str) -> list[str]:
    return list(tx.execute(select(credential.c.id).where(
        credential.c.signatory_id == signatory_id, credential.c.state == State.ACTIVE)).scalars())


def _record(
    rt: Runtime, tx: Connection, stopping: Stopping, changes: list[custody.Change], void: list[Revision],
) -> None:
    now, person = rt.now(), stopping.signatory_id
    outcome = "alarm" if stopping.why == NOT_ME else "ok"
    about = _request_of(tx, person, stopping.signing_request_id)
    record(tx, now, stopping.by.fact(
        stopping.event, outcome, signatory_id=person, signing_request_id=about,
        data=stopping.data | {"why": stopping.why, "credentials": [change.row["id"] for change in changes],
                              "voids": [each.row["id"] for each in void]},
    ), mac=rt.entry_mac)
    for change in changes:
        record(tx, now, stopping.by.fact(
            Event.CREDENTIAL_STATE, credential_id=change.row["id"], signatory_id=person,
            agency_code=change.row["agency_code"], data={"state": State.SUSPENDED.value, "reason": stopping.why},
        ), mac=rt.entry_mac)


def _request_of(tx: Connection, person: str, signing_request_id: str | None) -> str | None:
    """Named in the entry only where it is this person's: stopping must work whatever the front sent along."""
    return tx.execute(select(signing_request.c.id).where(
        signing_request.c.id == signing_request_id, signing_request.c.signatory_id == person)).scalar_one_or_none()


def _remember(rt: Runtime, changes: list[custody.Change], revisions: list[Revision]) -> None:
    for change in changes:
        rt.verified.wrote("credential", change.row)
    for each in revisions:
        rt.verified.wrote(each.table, each.row)
