"""An enrolment becomes complete: seed, phone and ticket move under one right code, together or not at all."""

from __future__ import annotations

import base64
import secrets

from sqlalchemy import Connection

from signing_service.audit import Event, record
from signing_service.errors import WrongState
from signing_service.signer import codes, phones, refusals, seeds, tickets
from signing_service.signer.acting import By
from signing_service.signer.rows import Revision, revised, store
from signing_service.signer.runtime import Runtime
from signing_service.wire import messages as m

STOP_CHARACTERS, GROUP = 20, 5  # 100 bits in base32, in groups that can be read out on the telephone


def complete_phone(rt: Runtime, asked: m.CompletePhone) -> m.PhoneReady:
    """The first right code from the new phone: it is active, its seed is the only one, the ticket is done.

    The person's other phones are retired, unless the operator let them stay. If the answer is lost, the phone is
    ready all the same, and what is lost is the stop code.
    """
    with refusals.device_errors(rt):
        known = phones.recognize(rt, asked.phone, state=phones.State.ENROLLING)
        opened = tickets.of_phone(rt, known)
        stop_code = new_stop_code()
        ready: list[Revision] = []

        def along(seed_id: str) -> codes.Writing:
            moving = _Moving.of(rt, known, opened, seed_id, stop_code)
            ready.extend(moving.everything)
            return lambda tx: moving.write(rt, tx)

        codes.spend(rt, known.signatory_id, asked.code, rt.now(), seed_state="enrolling", along=along,
                    signatory_id=known.signatory_id)
        seeds.remember(rt, ready)
        return m.PhoneReady(stop_code)


class _Moving:
    """All that changes with the first right code of a phone, made ready outside the transaction."""

    def __init__(self, opened: tickets.Usable, phone: Revision, ticket: Revision, seeds_: list[Revision],
                 retired: list[Revision]) -> None:
        self.opened, self.phone, self.ticket, self.seeds, self.retired = opened, phone, ticket, seeds_, retired

    @classmethod
    def of(cls, rt: Runtime, known: phones.Recognized, opened: tickets.Usable, seed_id: str,
           stop_code: str) -> _Moving:
        active = revised(rt.device, "phone", known.row, state=phones.State.ACTIVE.value,
                         stop_hash=phones.secret_hash(stop_code))
        retired = [] if opened.row["keeps_others"] else phones.retirements(rt, known.signatory_id)
        return cls(opened, active, tickets.done(rt, opened), seeds.proven(rt, known.signatory_id, seed_id), retired)

    @property
    def everything(self) -> list[Revision]:
        return [self.phone, self.ticket, *self.seeds, *self.retired]

    def write(self, rt: Runtime, tx: Connection) -> None:
        """Each row only where it is still the one we saw: whatever moved meanwhile undoes it all, the code too."""
        owner, phone_id = self.opened.owner.id, self.phone.row["id"]
        by = By(f"person:{owner}")
        store(tx, [self.ticket, self.phone])
        seeds.enter(rt, tx, owner, self.seeds)
        phones.write_retired(rt, tx, by, self.retired, "another phone was enrolled")
        if not self.opened.row["keeps_others"] and phones.active_ids(tx, owner) != {phone_id}:
            raise WrongState("Another phone was enrolled at this moment.", code="phone-changed")
        record(tx, rt.now(), by.fact(Event.PHONE_READY, signatory_id=owner, data={
            "phone": phone_id, "ticket": self.ticket.row["id"]}), mac=rt.entry_mac)


def complete_account(rt: Runtime, asked: m.CompleteAccount) -> m.Proven:
    """The code that lets an auditor or an operator set a password; the ticket is done with it."""
    with refusals.device_errors(rt):
        opened = tickets.of_account(rt, asked.ticket, asked.opened_by)
        owner = opened.owner
        changes: list[Revision] = []

        def along(seed_id: str) -> codes.Writing:
            moved = [] if owner.is_operator else seeds.proven(rt, owner.id, seed_id)
            changes.extend([tickets.done(rt, opened), *moved])
            return lambda tx: _write_account(rt, tx, owner.id, changes[0], moved)

        codes.spend(rt, owner.id, asked.code, rt.now(), seed_state="active" if owner.is_operator else "enrolling",
                    along=along, leave=codes.LEFT_FOR_THE_TERMINAL if owner.is_operator else 0)
        seeds.remember(rt, changes)
        return m.Proven(owner.id)


def _write_account(rt: Runtime, tx: Connection, owner: str, ticket: Revision, moved: list[Revision]) -> None:
    store(tx, [ticket])
    if moved:
        seeds.enter(rt, tx, owner, moved)
    record(tx, rt.now(), By(f"person:{owner}").fact(Event.TICKET_DONE, data={
        "ticket": ticket.row["id"], "owner": owner}), mac=rt.entry_mac)


def new_stop_code() -> str:
    """100 random bits, such as ABCDE-FGHIJ-KLMNO-PQRST."""
    drawn = base64.b32encode(secrets.token_bytes(13)).decode()[:STOP_CHARACTERS]
    return "-".join(drawn[at:at + GROUP] for at in range(0, STOP_CHARACTERS, GROUP))
