"""Which entries somebody wants, as conditions that can be asked of the log or of a part of it.

The text of an entry is the truth, its columns are how it is found. Type, number and symbol of a document stand in
its signing request, a certificate's serial number with its credential: they become ids first.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from cryptography import x509
from sqlalchemy import ColumnElement, Connection, false, func, literal, or_, select

from signing_service.db.tables import agency, client, credential, entry, signatory, signing_request
from signing_service.errors import Invalid
from signing_service.inspection import EVERY_AGENCY, PAGE, Known, is_below
from signing_service.naming import ids_of

MOST_IDS = 1_000  # signing requests that are named one by one; of more each entry is asked whose it is
SERIAL = re.compile(r"[0-9a-f]{1,80}")


class Order(StrEnum):
    """Which entries come first. What waits for its place in the log is newer than what has one."""

    OLDEST = "oldest"
    NEWEST = "newest"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which entries. `begins` is the first moment, `ends` the first one after; `agency` takes those below with it.
    Agencies, signatories and clients are named by code or id, or by name; signatories also by the city's reference.

    `digest` is a document's, as it was submitted or as it was signed. `certificate` is a serial number in
    hexadecimal or a SHA-256 fingerprint, with or without colons and blanks. `after` is what the page before gave as
    its `after`, `before` what the page behind gave as its `before`; at most one of them.
    """

    begins: datetime | None = None
    ends: datetime | None = None
    event: str | None = None
    outcome: str | None = None
    agency: str | None = None
    signatory: str | None = None
    client: str | None = None
    signing_request: str | None = None
    digest: str | None = None
    document_type: str | None = None
    number: str | None = None
    symbol: str | None = None
    certificate: str | None = None
    order: Order = Order.OLDEST
    after: str | None = None
    before: str | None = None
    limit: int = PAGE


@dataclass(frozen=True)
class Among:
    """The column has one of these values. An index leads to them in the order of the log."""

    column: str
    values: tuple[str, ...]

    @property
    def is_ordered(self) -> bool:
        """Does one walk through the index meet them in the order of the log?"""
        return len(self.values) == 1 and self.column != "signing_request_id"

    def holds(self, of: Any) -> ColumnElement[bool]:
        column: ColumnElement[Any] = of[self.column]
        if not self.values:
            return false()
        return column == self.values[0] if len(self.values) == 1 else column.in_(self.values)


@dataclass(frozen=True)
class AboutDigests:
    """About one of these documents, or a signing request that began or ended with one."""

    digests: tuple[str, ...]
    requests: tuple[str, ...]
    is_ordered = False

    def holds(self, of: Any) -> ColumnElement[bool]:
        return or_(of.document_digest.in_(self.digests), of.signing_request_id.in_(self.requests))


@dataclass(frozen=True)
class OfDocuments:
    """Of signing requests with these words, where they are too many to be named."""

    words: tuple[tuple[str, str], ...]

    def holds(self, of: Any) -> ColumnElement[bool]:
        """Asked of each entry by its request's id. PostgreSQL would turn EXISTS into a join, and read every request
        of this type ever made for one piece of the log."""
        return select(literal(1)).where(
            signing_request.c.id == of.signing_request_id,
            *(signing_request.c[name] == value for name, value in self.words)).scalar_subquery() == 1


@dataclass(frozen=True)
class Between:
    """In this time. Not led to by an index: the search finds the stretch of the log first."""

    begins: datetime | None
    ends: datetime | None

    def holds(self, of: Any) -> ColumnElement[bool]:
        condition: ColumnElement[bool] = of.id.is_not(None)
        if self.begins is not None:
            condition &= of.at >= self.begins
        if self.ends is not None:
            condition &= of.at < self.ends
        return condition


Leading = Among | AboutDigests
Filter = Leading | OfDocuments | Between


def filters_of(tx: Connection, reader: Known, wanted: Wanted) -> tuple[Filter, ...]:
    """Every condition, and the reader's scope. Those that usually leave least come first."""
    found = [*_documents(tx, wanted), *_people(tx, wanted), *_same(wanted), *_agencies(tx, reader, wanted.agency)]
    if wanted.begins is not None or wanted.ends is not None:
        found.append(Between(wanted.begins, wanted.ends))
    return tuple(found)


def _people(tx: Connection, wanted: Wanted) -> Iterator[Among]:
    """By id, name or reference; several people may have one name."""
    if wanted.signatory is not None:
        yield Among("signatory_id", ids_of(tx, signatory, wanted.signatory))
    if wanted.client is not None:
        yield Among("client_id", ids_of(tx, client, wanted.client))


def _same(wanted: Wanted) -> Iterator[Among]:
    named = {"event": wanted.event, "outcome": wanted.outcome}
    return (Among(column, (value,)) for column, value in named.items() if value is not None)


def _documents(tx: Connection, wanted: Wanted) -> Iterator[Filter]:
    if wanted.signing_request is not None:
        yield Among("signing_request_id", (wanted.signing_request,))
    if wanted.digest is not None:
        yield about(tx, (wanted.digest,))
    if wanted.certificate is not None:
        yield Among("credential_id", credentials_of(tx, wanted.certificate))
    words = {"number": wanted.number, "symbol": wanted.symbol, "document_type": wanted.document_type}
    said = tuple((name, value) for name, value in words.items() if value is not None)
    if said:
        yield _of_documents(tx, said)


def about(tx: Connection, digests: Sequence[str]) -> AboutDigests:
    """Everything about these documents, submitted or signed."""
    requests = tx.execute(select(signing_request.c.id).where(or_(
        signing_request.c.document_digest.in_(digests), signing_request.c.signed_digest.in_(digests)))).scalars()
    return AboutDigests(tuple(digests), tuple(requests))


def _of_documents(tx: Connection, words: tuple[tuple[str, str], ...]) -> Filter:
    """The first word leads (a number leaves least, a type most), by an index that holds those after it as well: what
    hardly ever occurs together is not looked for among all that has one of them.

    A type is no part of the way from a number without a symbol. Without the function around it a database that keeps
    no statistics could begin with the type.
    """
    said = dict(words)
    skips = "number" in said and "symbol" not in said
    asked = [func.coalesce(signing_request.c[name], "") == value if skips and name == "document_type"
             else signing_request.c[name] == value for name, value in words]
    ids = tuple(tx.execute(select(signing_request.c.id).where(*asked).limit(MOST_IDS + 1)).scalars())
    return Among("signing_request_id", ids) if len(ids) <= MOST_IDS else OfDocuments(words)


# -------------------------------------------------------------------------------------------------------- agencies


def _agencies(tx: Connection, reader: Known, wanted: str | None) -> Iterator[Among]:
    """The wanted agency and those below, as far as the reader may see them; what concerns none is for readers of
    everything."""
    if wanted is None and EVERY_AGENCY in reader.agencies:
        return
    tops: list[Callable[[str], bool]] = []
    if wanted is not None:
        named = _named(tx, wanted)
        tops.append(lambda code: any(is_below(code, each) for each in named))
    if EVERY_AGENCY not in reader.agencies:
        tops.append(lambda code: any(is_below(code, own) for own in reader.agencies))
    yield Among("agency_code", tuple(code for code in _codes(tx) if all(below(code) for below in tops)))


def _named(tx: Connection, wanted: str) -> tuple[str, ...]:
    """A code, or the code of an agency with this name."""
    found = tx.execute(select(agency.c.code).where(agency.c.name == wanted)).scalars()
    return (wanted, *found)


def _codes(tx: Connection) -> list[str]:
    """Every agency that an entry names, by leaping from one to the next in their index: some hundreds of many entries.

    Not from the table of agencies: an entry may name one that was never there, and is found all the same.
    """
    lowest = select(func.min(entry.c.agency_code).label("code")).cte("codes", recursive=True)
    following = select(func.min(entry.c.agency_code)).where(entry.c.agency_code > lowest.c.code).scalar_subquery()
    codes = lowest.union_all(select(following).where(lowest.c.code.is_not(None)))
    return [code for code in tx.execute(select(codes.c.code)).scalars() if code is not None]


# ---------------------------------------------------------------------------------------------------- certificates


def spelled(text: str) -> str:
    """A serial number or fingerprint without what people and programs write between its digits.

    Invalid for what is no hexadecimal number of at most 80 digits (RFC 5280 4.1.2.2 allows 40).
    """
    digits = re.sub(r"[\s:.\-\u00a0]", "", text).lower().removeprefix("0x")
    if not SERIAL.fullmatch(digits):
        raise Invalid("A certificate is named by its serial number or SHA-256 fingerprint in hexadecimal.",
                      code="certificate-name")
    return digits


def credentials_of(tx: Connection, certificate: str) -> tuple[str, ...]:
    """The credentials whose certificate has this serial number or fingerprint."""
    digits = spelled(certificate)
    serial = digits.lstrip("0") or "0"
    found = tx.execute(select(credential.c.id).where(
        or_(credential.c.serial == serial, credential.c.fingerprint == digits))).scalars()
    return tuple(dict.fromkeys([*found, *_not_yet_indexed(tx, serial, digits)]))


def _not_yet_indexed(tx: Connection, serial: str, fingerprint: str) -> Iterator[str]:
    """Certificates from before these columns are read themselves."""
    for row in tx.execute(select(credential.c.id, credential.c.certificate).where(
            or_(credential.c.serial.is_(None), credential.c.fingerprint.is_(None)),
            credential.c.certificate.is_not(None))):
        if hashlib.sha256(row.certificate).hexdigest() == fingerprint or _serial(row.certificate) == serial:
            yield row.id


def _serial(certificate: bytes) -> str:
    return f"{x509.load_der_x509_certificate(certificate).serial_number:x}"
