"""Agencies, signatories, clients: the records, read. Written by `cli` (agencies, clients) and the signer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select

from signing_service.db.compiled import Compiled
from signing_service.db.tables import agency, signatory
from signing_service.errors import NotFound

_AGENCY = Compiled(select(agency).where(agency.c.code == bindparam("name")))
_SIGNATORY = Compiled(select(signatory).where(
    or_(signatory.c.id == bindparam("name"), signatory.c.reference == bindparam("name"))))


@dataclass(frozen=True)
class Agency:
    """A body that issues documents, such as H26.1.2. Agencies end: `valid_to` is the first moment it is no more."""

    code: str
    name: str
    level: str
    parent_code: str | None
    valid_from: datetime
    valid_to: datetime | None

    def is_active(self, now: datetime) -> bool:
        return self.valid_from <= now and (self.valid_to is None or now < self.valid_to)


@dataclass(frozen=True)
class Signatory:
    """A person who signs."""

    id: str
    name: str
    agency_code: str
    office: str
    reference: str | None
    state: str


@dataclass(frozen=True)
class Official:
    """A signatory who acts through a phone that the server knows. Only `phones.official_of` makes one.

    The signer believes none of this: it is shown the phone's secret and looks for itself.
    """

    signatory_id: str
    name: str
    agency_code: str
    phone_id: str
    phone_secret: str = field(repr=False)

    @property
    def actor(self) -> str:
        """As entries name it."""
        return f"person:{self.signatory_id}"


def find_agency(tx: Connection, code: str) -> Agency:
    return agency_of(_one(tx, _AGENCY, code, f"There is no agency {code!r}."))


def agency_of(row: Any) -> Agency:
    return Agency(row.code, row.name, row.level, row.parent_code, row.valid_from, row.valid_to)


def agency_names(tx: Connection) -> dict[str, str]:
    """What each agency is called, by its code."""
    return {row.code: row.name for row in tx.execute(select(agency.c.code, agency.c.name))}


def find_signatory(tx: Connection, name: str) -> Signatory:
    """By id or by the city's own reference."""
    return signatory_of(_one(tx, _SIGNATORY, name, f"There is no signatory {name!r}."))


def signatory_of(row: Any) -> Signatory:
    return Signatory(row.id, row.name, row.agency_code, row.office, row.reference, row.state)


def _one(tx: Connection, query: Compiled, name: str, message: str) -> Any:
    row = query.first(tx, {"name": name})
    if row is None:
        raise NotFound(message)
    return row
