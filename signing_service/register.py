"""The register: agencies and clients are entered, changed and ended here, each change on record with its operator.

Signatories, operators and credentials are entered by the signer; here they are only looked up and listed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, Table, insert, or_, select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.engine import Database
from signing_service.db.tables import agency, auditor, client, credential, key, operator, phone, policy, signatory
from signing_service.errors import Invalid, NotFound, WrongState
from signing_service.ids import draw

EVERY_AGENCY = "*"
ROLES = ("submitter", "auditor", "operator")
STATES = ("active", "suspended")
Listed = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Operator:
    """Somebody who runs the server."""

    id: str
    name: str
    state: str


@dataclass(frozen=True)
class NewAgency:
    """A body that issues documents; `level` is a word that policies ask for, such as city or ward."""

    code: str
    name: str
    level: str
    parent_code: str | None = None


@dataclass(frozen=True)
class NewClient:
    """A system that submits documents, or an auditor's; `agencies` are codes, or `*` for every one."""

    name: str
    role: str
    agencies: tuple[str, ...]
    webhook_url: str | None = None


@dataclass(frozen=True)
class ClientSecret:
    """What a client signs in with. The secret is returned this once; its hash is kept."""

    client_id: str
    secret: str


# -------------------------------------------------------------------------------------------------------- agencies


def add_agency(db: Database, actor: str, now: datetime, new: NewAgency) -> None:
    """Raises WrongState for a code that was ever used: a code never comes to mean another agency."""
    with db.write() as tx:
        if new.parent_code is not None and _missing_agencies(tx, (new.parent_code,)):
            raise NotFound(f"There is no agency {new.parent_code!r} to belong to.")
        if not _missing_agencies(tx, (new.code,)):
            raise WrongState(f"There is an agency {new.code!r} already.", code="exists")
        tx.execute(insert(agency).values(
            code=new.code, name=new.name, level=new.level, parent_code=new.parent_code, valid_from=now, valid_to=None))
        record(tx, now, Fact(Event.AGENCY_CHANGED, actor, agency_code=new.code,
                             data={"change": "add", "name": new.name, "level": new.level}))


def close_agency(db: Database, actor: str, now: datetime, code: str) -> None:
    """From this moment it issues nothing. Its past, and what it signed, stay."""
    with db.write() as tx:
        closed = tx.execute(
            update(agency).where(agency.c.code == code, agency.c.valid_to.is_(None)).values(valid_to=now))
        if closed.rowcount != 1:
            raise NotFound(f"There is no open agency {code!r}.")
        record(tx, now, Fact(Event.AGENCY_CHANGED, actor, agency_code=code, data={"change": "close"}))


# --------------------------------------------------------------------------------------------------------- clients


def add_client(db: Database, actor: str, now: datetime, new: NewClient) -> ClientSecret:
    """Register a system. Raises Invalid for an unknown role, NotFound for an agency that is not there."""
    if new.role not in ROLES:
        raise Invalid(f"A client's role is one of {', '.join(ROLES)}.", code="role")
    drawn = ClientSecret(draw("cl"), secrets.token_urlsafe(32))
    with db.write() as tx:
        missing = _missing_agencies(tx, tuple(code for code in new.agencies if code != EVERY_AGENCY))
        if missing:
            raise NotFound(f"There is no agency {', '.join(map(repr, missing))}.")
        tx.execute(insert(client).values(
            id=drawn.client_id, name=new.name, role=new.role, agencies=list(new.agencies),
            secret_hash=hash_of(drawn.secret), webhook_url=new.webhook_url, state="active", created_at=now))
        _changed(tx, actor, now, drawn.client_id, {"change": "add", "role": new.role, "agencies": list(new.agencies)})
    return drawn


def rotate_secret(db: Database, actor: str, now: datetime, client_id: str) -> ClientSecret:
    """A fresh secret; the old one is worthless from this moment. Tokens already issued live out their hour."""
    drawn = ClientSecret(client_id, secrets.token_urlsafe(32))
    _change_client(db, actor, now, client_id, {"secret_hash": hash_of(drawn.secret)}, {"change": "rotate-secret"})
    return drawn


def set_client_state(db: Database, actor: str, now: datetime, client_id: str, state: str) -> None:
    """A suspended client is refused at once, with tokens it already has too."""
    if state not in STATES:
        raise Invalid(f"A client's state is one of {', '.join(STATES)}.", code="state")
    _change_client(db, actor, now, client_id, {"state": state}, {"change": state})


def hash_of(secret: str) -> str:
    """What is kept of a secret: a plain hash will do, because there is nothing to guess in 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _change_client(
    db: Database, actor: str, now: datetime, client_id: str, values: Mapping[str, Any], said: dict[str, Any],
) -> None:
    with db.write() as tx:
        if tx.execute(update(client).where(client.c.id == client_id).values(**values)).rowcount != 1:
            raise NotFound(f"There is no client {client_id!r}.")
        _changed(tx, actor, now, client_id, said)


def _changed(tx: Connection, actor: str, now: datetime, client_id: str, said: dict[str, Any]) -> None:
    record(tx, now, Fact(Event.CLIENT_CHANGED, actor, client_id=client_id, data=said))


def _missing_agencies(tx: Connection, codes: Sequence[str]) -> list[str]:
    known = set(tx.execute(select(agency.c.code).where(agency.c.code.in_(codes))).scalars())
    return [code for code in codes if code not in known]


# --------------------------------------------------------------------------------------------------------- looking


def find_operator(db: Database, name: str) -> Operator:
    """By id or by name."""
    with db.read() as tx:
        row = tx.execute(select(operator.c.id, operator.c.name, operator.c.state)
                         .where(or_(operator.c.id == name, operator.c.name == name))).first()
    if row is None:
        raise NotFound(f"There is no operator {name!r}.")
    return Operator(row.id, row.name, row.state)


def find_owner(db: Database, name: str) -> tuple[str, str]:
    """Whose code: (id, name) of a signatory (by id or reference), an operator or an auditor (by id or name)."""
    with db.read() as tx:
        row = tx.execute(select(signatory.c.id, signatory.c.name)
                         .where(or_(signatory.c.id == name, signatory.c.reference == name))).first()
        row = row or tx.execute(select(operator.c.id, operator.c.name)
                                .where(or_(operator.c.id == name, operator.c.name == name))).first()
        row = row or _find_auditor(tx, name)
    if row is None:
        raise NotFound(f"There is no signatory, operator or auditor {name!r}.")
    return row.id, row.name


def find_auditor(db: Database, name: str) -> tuple[str, str]:
    """(id, name) of an auditor, by id or name."""
    with db.read() as tx:
        row = _find_auditor(tx, name)
    if row is None:
        raise NotFound(f"There is no auditor {name!r}.")
    return row.id, row.name


def _find_auditor(tx: Connection, name: str) -> Any:
    return tx.execute(select(auditor.c.id, auditor.c.name)
                      .where(or_(auditor.c.id == name, auditor.c.name == name))).first()


def credential_key(db: Database, credential_id: str) -> tuple[str, bytes]:
    """Kind of a credential and the public key (DER SubjectPublicKeyInfo) that its certificate must have."""
    query = (select(credential.c.kind, key.c.public_key).join(key, key.c.id == credential.c.key_id)
             .where(credential.c.id == credential_id))
    with db.read() as tx:
        row = tx.execute(query).first()
        known = row or tx.execute(select(credential.c.state).where(credential.c.id == credential_id)).first()
    if known is None:
        raise NotFound(f"There is no credential {credential_id!r}.")
    if row is None:
        raise WrongState("The credential has no key yet. `credential wait` waits for it.", code="no-key")
    return row.kind, bytes(row.public_key)


def agencies(db: Database) -> Listed:
    return _all(db, select(agency).order_by(agency.c.code))


def clients(db: Database) -> Listed:
    return _all(db, select(*_but(client, "secret_hash")).order_by(client.c.id))


def operators(db: Database) -> Listed:
    return _all(db, select(operator).order_by(operator.c.id))


def signatories(db: Database, agency_code: str | None = None) -> Listed:
    query = select(signatory).order_by(signatory.c.agency_code, signatory.c.name)
    return _all(db, query if agency_code is None else query.where(signatory.c.agency_code == agency_code))


def credentials(db: Database, signatory_id: str | None = None) -> Listed:
    query = select(*_but(credential, "certificate", "chain", "mac")).order_by(credential.c.id)
    return _all(db, query if signatory_id is None else query.where(credential.c.signatory_id == signatory_id))


def auditors(db: Database) -> Listed:
    return _all(db, select(auditor).order_by(auditor.c.id))


def phones(db: Database, signatory_id: str | None = None) -> Listed:
    """With the name of whose each is, newest first."""
    query = (select(*_but(phone, "secret_hash", "stop_hash", "mac"), signatory.c.name)
             .join(signatory, signatory.c.id == phone.c.signatory_id).order_by(phone.c.id.desc()))
    return _all(db, query if signatory_id is None else query.where(phone.c.signatory_id == signatory_id))


def policies(db: Database) -> Listed:
    return _all(db, select(policy).order_by(policy.c.activated_at.desc()))


def _all(db: Database, query: Select[Any]) -> Listed:
    with db.read() as tx:
        return [dict(row) for row in tx.execute(query).mappings()]


def _but(table: Table, *left_out: str) -> list[Any]:
    return [column for column in table.columns if column.name not in left_out]
