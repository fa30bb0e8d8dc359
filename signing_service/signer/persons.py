"""Signatories, operators and auditors: entered and changed by operators' acts, each on record."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from signing_service.audit import Event, record
from signing_service.db.tables import agency, auditor, operator, seed, signatory
from signing_service.errors import NotFound, WrongState
from signing_service.ids import draw
from signing_service.people import find_agency
from signing_service.signer import codes, refusals, seeds
from signing_service.signer.acting import By
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

TABLES = {"sg": signatory, "op": operator, "au": auditor}  # by the prefix of the id
EVERY_AGENCY = "*"


@dataclass(frozen=True)
class Found:
    """Somebody who can have codes."""

    id: str
    name: str
    is_active: bool

    @property
    def is_operator(self) -> bool:
        return self.id.startswith("op_")

    @property
    def signatory_id(self) -> str | None:
        """The id where it is an official's: what entries are found by."""
        return self.id if self.id.startswith("sg_") else None


def find(rt: Runtime, owner: str) -> Found:
    """By id. NotFound for anybody else's, and for ids of things."""
    table = TABLES.get(owner.partition("_")[0])
    if table is not None:
        with rt.db.read() as tx:
            row = tx.execute(select(table.c.name, table.c.state).where(table.c.id == owner)).first()
        if row is not None:
            return Found(owner, row.name, row.state == "active")
    raise NotFound("There is no signatory, operator or auditor with that id.")


def add_operator(rt: Runtime, by: By, command: m.AddOperator) -> m.Result:
    """With their seed: shown to them on the terminal, this once."""
    operator_id, now = draw("op"), rt.now()
    try:
        with rt.db.write() as tx:
            tx.execute(insert(operator).values(id=operator_id, name=command.name, state="active", created_at=now))
            record(tx, now, by.fact(Event.OPERATOR_ADDED, data={"operator": operator_id}), mac=rt.entry_mac)
    except IntegrityError as error:
        raise WrongState(f"There is an operator {command.name!r} already.", code="exists") from error
    return m.Result(operator_id, uri=seeds.enrol(rt, by.actor, operator_id, command.name))


def set_operator_state(rt: Runtime, by: By, command: m.SetOperatorState) -> m.Result:
    with rt.db.write() as tx:
        tx.execute(update(operator).values(state=operator.c.state))  # another signer's suspension waits for ours
        changed = tx.execute(update(operator).where(operator.c.id == command.operator_id)
                             .values(state=command.state))
        if changed.rowcount != 1:
            raise NotFound("There is no such operator.")
        if not who_can_act(tx):
            raise WrongState("The last operator who can act cannot be suspended.", code="last-operator")
        record(tx, rt.now(), by.fact(Event.OPERATOR_CHANGED, data={
            "operator": command.operator_id, "state": command.state}), mac=rt.entry_mac)
    return m.Result(command.operator_id)


def who_can_act(tx: Connection) -> list[str]:
    """The active operators who have proven a code: the others cannot do anything yet."""
    return list(tx.execute(select(operator.c.id).where(
        operator.c.state == "active", operator.c.id.in_(select(seed.c.owner).where(seed.c.state == "active")),
    )).scalars())


def add_signatory(rt: Runtime, by: By, command: m.AddSignatory) -> m.Result:
    signatory_id, now = draw("sg"), rt.now()
    try:
        with rt.db.write() as tx:
            if not find_agency(tx, command.agency_code).is_active(now):
                raise WrongState(f"The agency {command.agency_code} is not active.", code="agency-ended")
            tx.execute(insert(signatory).values(
                id=signatory_id, name=command.name, agency_code=command.agency_code, office=command.office,
                reference=command.reference, state="active", created_at=now))
            record(tx, now, by.fact(Event.SIGNATORY_ADDED, signatory_id=signatory_id,
                                    agency_code=command.agency_code, data={"office": command.office}),
                   mac=rt.entry_mac)
    except IntegrityError as error:
        raise WrongState(f"There is a signatory with the reference {command.reference!r} already.",
                         code="exists") from error
    return m.Result(signatory_id)


def set_signatory_state(rt: Runtime, by: By, command: m.SetSignatoryState) -> m.Result:
    with rt.db.write() as tx:
        changed = tx.execute(update(signatory).where(signatory.c.id == command.signatory_id)
                             .values(state=command.state))
        if changed.rowcount != 1:
            raise NotFound("There is no such signatory.")
        record(tx, rt.now(), by.fact(Event.SIGNATORY_CHANGED, signatory_id=command.signatory_id, data={
            "state": command.state, "reason": command.reason}), mac=rt.entry_mac)
    return m.Result(command.signatory_id)


def add_auditor(rt: Runtime, by: By, command: m.AddAuditor) -> m.Result:
    """Somebody who may read. They sign in after they have opened the ticket that an operator issues to them."""
    auditor_id, now = draw("au"), rt.now()
    try:
        with rt.db.write() as tx:
            _check_agencies(tx, command.agencies)
            tx.execute(insert(auditor).values(id=auditor_id, name=command.name, agencies=list(command.agencies),
                                              state="active", created_at=now))
            record(tx, now, by.fact(Event.AUDITOR_ADDED, data={
                "auditor": auditor_id, "agencies": list(command.agencies)}), mac=rt.entry_mac)
    except IntegrityError as error:
        raise WrongState(f"There is an auditor {command.name!r} already.", code="exists") from error
    return m.Result(auditor_id)


def _check_agencies(tx: Connection, codes_: tuple[str, ...]) -> None:
    named = {code for code in codes_ if code != EVERY_AGENCY}
    known = set(tx.execute(select(agency.c.code).where(agency.c.code.in_(named))).scalars())
    if named - known:
        raise NotFound(f"There is no agency {', '.join(map(repr, sorted(named - known)))}.")


def set_auditor_state(rt: Runtime, by: By, command: m.SetAuditorState) -> m.Result:
    with rt.db.write() as tx:
        changed = tx.execute(update(auditor).where(auditor.c.id == command.auditor_id).values(state=command.state))
        if changed.rowcount != 1:
            raise NotFound("There is no such auditor.")
        record(tx, rt.now(), by.fact(Event.AUDITOR_CHANGED, data={
            "auditor": command.auditor_id, "state": command.state}), mac=rt.entry_mac)
    return m.Result(command.auditor_id)


def unlock(rt: Runtime, by: By, command: m.Unlock) -> m.Result:
    with rt.db.write() as tx:
        if not codes.unlock(tx, command.owner, rt.now()):
            raise NotFound("There is nobody with codes under that id.")
        record(tx, rt.now(), by.fact(Event.CODE_UNLOCKED, data={"owner": command.owner}), mac=rt.entry_mac)
    return m.Result(command.owner)


def prove(rt: Runtime, asked: m.ProveCode) -> m.Proven:
    """The code of a sign-in. Somebody unknown or suspended is answered, and costs, as with a wrong code.

    The last tries of an operator are left for the terminal: what comes through the front cannot lock them out there.
    """
    with refusals.device_errors(rt):
        try:
            owner = find(rt, asked.owner)
        except NotFound:
            owner = Found(asked.owner, "", False)

        def along(_seed_id: str) -> codes.Writing:
            return lambda tx: record(tx, rt.now(), By(f"person:{owner.id}").fact(
                Event.CODE_PROVEN, data={"owner": owner.id}), mac=rt.entry_mac)

        codes.spend(rt, owner.id, asked.code, rt.now(), along=along, barred=not owner.is_active,
                    leave=codes.LEFT_FOR_THE_TERMINAL if owner.is_operator else 0)
        return m.Proven(owner.id)
