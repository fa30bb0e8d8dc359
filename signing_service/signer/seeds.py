"""Seeds of one-time codes: drawn by the device, seen once, proven by a first right code."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import pyotp
from sqlalchemy import Connection, insert, select

from signing_service.audit import Event, Fact, record
from signing_service.db.tables import seed
from signing_service.errors import WrongState
from signing_service.ids import draw
from signing_service.signer import codes, rows
from signing_service.signer.rows import Revision, mac_of, revised, store
from signing_service.signer.runtime import Runtime


@dataclass(frozen=True)
class Drawn:
    """A new seed that is not stored yet, and what it takes the place of. `uri` is the only time it is seen."""

    row: dict[str, Any]
    replaces: list[Revision]
    uri: str


def new(rt: Runtime, owner: str, name: str) -> Drawn:
    """Draw a seed. Asks the device: call it outside transactions, and `keep` what it gave inside one."""
    ref, value = rt.device.generate_seed(draw("sd"))
    row = {"id": ref.id, "owner": owner, "state": "enrolling", "blob": ref.blob, "created_at": rt.now(), "version": 1}
    row["mac"] = mac_of(rt.device, "seed", row)
    secret = base64.b32encode(value).decode()
    uri = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=rt.settings.otp_issuer)
    return Drawn(row, _restated(rt, owner, "enrolling", "retired"), uri)


def keep(rt: Runtime, tx: Connection, actor: str, drawn: Drawn) -> None:
    """Store it with its entry. The person's present codes stay good until the first right code of this seed."""
    store(tx, drawn.replaces)
    tx.execute(insert(seed).values(drawn.row))
    codes.new_state(tx, drawn.row["owner"])
    record(tx, rt.now(), Fact(Event.CODE_ENROLLING, actor, data={
        "owner": drawn.row["owner"], "seed": drawn.row["id"]}), mac=rt.entry_mac)


def enrol(rt: Runtime, actor: str, owner: str, name: str) -> str:
    """Draw a new seed for a person. Returns the otpauth URI: the only time the seed is seen."""
    drawn = new(rt, owner, name)
    with rt.db.write() as tx:
        keep(rt, tx, actor, drawn)
    remember(rt, drawn.replaces)
    return drawn.uri


def proven(rt: Runtime, owner: str, seed_id: str) -> list[Revision]:
    """What makes a seed, whose first right code came, the person's only one. Asks the device.

    WrongState where another seed was drawn meanwhile: a code proves only the seed it was computed from.
    """
    active = [each for each in _restated(rt, owner, "enrolling", "active") if each.row["id"] == seed_id]
    if not active:
        raise WrongState("Another seed was drawn meanwhile. Enrol with that one.", code="enrolment-changed")
    return _restated(rt, owner, "active", "retired") + active


def enter(rt: Runtime, tx: Connection, owner: str, changes: list[Revision]) -> None:
    """Store what `proven` gave, with its entry."""
    store(tx, changes)
    record(tx, rt.now(), Fact(Event.CODE_ENROLLED, f"person:{owner}", data={"owner": owner}), mac=rt.entry_mac)


def complete(rt: Runtime, owner: str, code: str) -> None:
    """The first right code of a new seed: spent in the transaction that makes the seed the person's only one."""
    changes: list[Revision] = []

    def along(seed_id: str) -> codes.Writing:
        changes.extend(proven(rt, owner, seed_id))
        return lambda tx: enter(rt, tx, owner, changes)

    codes.spend(rt, owner, code, rt.now(), seed_state="enrolling", along=along)
    remember(rt, changes)


def remember(rt: Runtime, changes: list[Revision]) -> None:
    """They are durable: an older row in the place of one of them is noticed from now on."""
    for each in changes:
        rt.verified.wrote(each.table, each.row)


def _restated(rt: Runtime, owner: str, old: str, state: str) -> list[Revision]:
    with rt.db.read() as tx:
        found = tx.execute(select(seed).where(seed.c.owner == owner, seed.c.state == old)).mappings().all()
    for row in found:
        rows.check(rt.verified, rt.db, "seed", row)
    return [revised(rt.device, "seed", row, state=state) for row in found]
