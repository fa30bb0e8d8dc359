"""Seeds of one-time codes: drawn by the device, seen once, proven by a first right code."""

from __future__ import annotations

import base64
from typing import Any

import pyotp
from sqlalchemy import Connection, insert, select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.tables import seed
from signing_service.errors import WrongState
from signing_service.ids import draw
from signing_service.signer import codes
from signing_service.signer.rows import mac_of
from signing_service.signer.runtime import Runtime


def enrol(rt: Runtime, actor: str, owner: str, name: str) -> str:
    """Draw a new seed for a person. Returns the otpauth URI: the only time the seed is seen.

    The person's present codes stay good until the first right code of the new seed (`complete`).
    """
    ref, value = rt.device.generate_seed(draw("sd"))
    row = {"id": ref.id, "owner": owner, "state": "enrolling", "blob": ref.blob, "created_at": rt.now()}
    row["mac"] = mac_of(rt.device, "seed", row)
    retired = _restated(rt, owner, "enrolling", "retired")
    with rt.db.write() as tx:
        _write_seeds(tx, retired)
        tx.execute(insert(seed).values(row))
        codes.new_state(tx, owner)
        record(tx, rt.now(), Fact(Event.CODE_ENROLLING, actor, data={"owner": owner, "seed": ref.id}),
               mac=rt.entry_mac)
    secret = base64.b32encode(value).decode()
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=rt.settings.otp_issuer)


def complete(rt: Runtime, owner: str, code: str) -> None:
    """The first right code of a new seed: from now on it is the person's only one.

    WrongState where another seed was drawn meanwhile: a code proves only the seed it was computed from.
    """
    proven = codes.spend(rt, owner, code, rt.now(), seed_state="enrolling").seed_id
    retired = _restated(rt, owner, "active", "retired")
    active = [row for row in _restated(rt, owner, "enrolling", "active") if row["id"] == proven]
    if not active:
        raise WrongState("Another seed was drawn meanwhile. Enrol with that one.", code="enrolment-changed")
    with rt.db.write() as tx:
        _write_seeds(tx, retired + active)
        record(tx, rt.now(), Fact(Event.CODE_ENROLLED, f"person:{owner}", data={"owner": owner}), mac=rt.entry_mac)


def _restated(rt: Runtime, owner: str, old: str, state: str) -> list[dict[str, Any]]:
    with rt.db.read() as tx:
        rows = tx.execute(select(seed).where(seed.c.owner == owner, seed.c.state == old)).mappings().all()
    changed = []
    for row in rows:
        rt.verified.check("seed", row)
        revised = dict(row) | {"state": state}
        changed.append(revised | {"mac": mac_of(rt.device, "seed", revised), "was": row["mac"]})
    return changed


def _write_seeds(tx: Connection, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        written = tx.execute(update(seed).where(seed.c.id == row["id"], seed.c.mac == row["was"])
                             .values(state=row["state"], mac=row["mac"]))
        if written.rowcount != 1:
            raise WrongState("The codes were enrolled by somebody else at this moment.", code="enrolment-changed")
