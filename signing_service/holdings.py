"""What an official has: credentials and when their certificates end, phones, and what was signed in their name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID
from sqlalchemy import Connection, select

from signing_service import credentials
from signing_service.credentials import Credential
from signing_service.db.tables import credential, phone, signing_request
from signing_service.errors import Invalid
from signing_service.people import Official
from signing_service.signing_requests import SigningRequest, State, whose

if TYPE_CHECKING:
    from signing_service.front.runtime import Runtime

WARNED_AT = (7, 30, 60)             # days before a certificate ends, the most pressing first
REMEMBERED = timedelta(days=90)     # how far back one's own signatures are listed
PAGE = 20
CURSOR = re.compile("sr_[0-9a-f]{32}")


@dataclass(frozen=True)
class Holding:
    """A credential as its person reads it: whose name the certificate bears, who issued it, until when."""

    credential: Credential
    holder: str
    issuer: str
    serial: str

    def warning(self, now: datetime) -> int | None:
        """The threshold of WARNED_AT that has been passed, in days; 0 when it has ended; None when all is well."""
        until = self.credential.not_after
        if until is None:
            return None
        if until <= now:
            return 0
        return next((days for days in WARNED_AT if until - now <= timedelta(days=days)), None)

    def days_left(self, now: datetime) -> int:
        """Whole days until the certificate ends."""
        until = self.credential.not_after
        return max(0, (until - now).days) if until else 0


@dataclass(frozen=True)
class Phone:
    """One of the official's phones that are in use."""

    id: str
    label: str
    since: datetime
    is_this: bool


@dataclass(frozen=True)
class Holdings:
    """All that is shown of a person's own things."""

    credentials: tuple[Holding, ...]
    phones: tuple[Phone, ...]


@dataclass(frozen=True)
class Signed:
    """A page of what was signed in one's name, the newest first, and the cursor of the next."""

    requests: tuple[SigningRequest, ...]
    next: str | None


def holding_of(held: Credential) -> Holding:
    """Names out of the certificate. Empty where there is none, or what is there cannot be read."""
    try:
        certificate = x509.load_der_x509_certificate(held.certificate or b"")
    except ValueError:
        return Holding(held, "", "", "")
    return Holding(held, _common_name(certificate.subject), _common_name(certificate.issuer),
                   f"{certificate.serial_number:x}".upper())


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if found else name.rfc4514_string()


async def of_official(rt: Runtime, official: Official) -> Holdings:
    """Their credentials that have a certificate, and their active phones."""
    return await rt.db.run(_of_official, rt, official)


async def signed(rt: Runtime, official: Official, after: str | None = None) -> Signed:
    """What was signed in their name in the last 90 days. Raises Invalid for a cursor that is none."""
    if after is not None and CURSOR.fullmatch(after) is None:
        raise Invalid("There is no such page of the list.", code="cursor")
    return await rt.db.run(_signed, rt, official, after)


def _of_official(rt: Runtime, official: Official) -> Holdings:
    with rt.db.read() as tx:
        held = [credentials.of_row(row) for row in tx.execute(
            select(credential).where(credential.c.signatory_id == official.signatory_id,
                                     credential.c.certificate.is_not(None)).order_by(credential.c.id.desc()))]
        return Holdings(tuple(holding_of(each) for each in held), _phones(tx, official))


def _phones(tx: Connection, official: Official) -> tuple[Phone, ...]:
    rows = tx.execute(
        select(phone).where(phone.c.signatory_id == official.signatory_id, phone.c.state == "active")
        .order_by(phone.c.id.desc()))
    return tuple(Phone(row.id, row.label, row.created_at, row.id == official.phone_id) for row in rows)


def _signed(rt: Runtime, official: Official, after: str | None) -> Signed:
    request = signing_request.c
    conditions = [whose(signing_request, official), request.state == State.SIGNED,
                  request.ended_at >= rt.clock() - REMEMBERED]
    if after is not None:
        conditions.append(request.id < after)
    with rt.db.read() as tx:
        rows = tx.execute(
            select(signing_request).where(*conditions).order_by(request.id.desc()).limit(PAGE + 1)).all()
    shown = tuple(SigningRequest.of_row(row) for row in rows[:PAGE])
    return Signed(shown, shown[-1].id if len(rows) > PAGE else None)
