"""What ids are called: people, document systems, agencies and documents, as the tables have it today.

Names are for people who read. An entry holds the id, and that is what is proven.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, or_, select

from signing_service.db.engine import Database
from signing_service.db.tables import agency, auditor, client, operator, signatory, signing_request
from signing_service.inspection import EVERY_AGENCY, Entry, Known, is_within

MOST_OFFERED = 1_000
PEOPLE = {"sg": signatory, "cl": client, "op": operator, "au": auditor}


@dataclass(frozen=True)
class DocumentName:
    """How people call a document."""

    document_type: str
    number: str | None
    symbol: str | None
    subject: str

    @property
    def mark(self) -> str | None:
        """Number and symbol, as they stand on the document: 201/KH-UBND (Decree 30/2020, Annex I, II.3)."""
        return "/".join(part for part in (self.number, self.symbol) if part) or None


@dataclass(frozen=True)
class Names:
    """By id, or by code for agencies. What is not there has no name and is shown as its id."""

    people: Mapping[str, str] = field(default_factory=dict)
    agencies: Mapping[str, str] = field(default_factory=dict)
    documents: Mapping[str, DocumentName] = field(default_factory=dict)

    def of_actor(self, actor: str) -> tuple[str, str]:
        """The kind of an entry's actor, and its name or id: `person:sg_…` is ("person", "Nguyễn Văn An")."""
        kind, _, who = actor.partition(":")
        return kind, self.people.get(who, who)


@dataclass(frozen=True)
class Choices:
    """What a search form offers: agencies that the reader may see, as (code, name), and systems that serve them."""

    agencies: tuple[tuple[str, str], ...]
    clients: tuple[str, ...]


def choices(db: Database, reader: Known) -> Choices:
    """At most `MOST_OFFERED` of each: a form is no register."""
    with db.read() as tx:
        agencies = tx.execute(select(agency.c.code, agency.c.name).order_by(agency.c.code))
        seen = [(row.code, row.name) for row in agencies if is_within(reader, row.code)]
        clients = tx.execute(select(client.c.name, client.c.agencies).where(client.c.role == "submitter")
                             .order_by(client.c.name))
        serving = dict.fromkeys(row.name for row in clients if _serves(row.agencies, reader))
        return Choices(tuple(seen[:MOST_OFFERED]), tuple(serving)[:MOST_OFFERED])


def _serves(codes: Iterable[str], reader: Known) -> bool:
    """Does a system submit for an agency that the reader may see?"""
    return any(code == EVERY_AGENCY or is_within(reader, code) for code in codes)


def ids_of(tx: Connection, table: Table, text: str) -> tuple[str, ...]:
    """Whom somebody means by an id, a name or a person's reference; the text itself where there is nobody."""
    same = [table.c.id == text, table.c.name == text]
    if "reference" in table.c:
        same.append(table.c.reference == text)
    found = tuple(tx.execute(select(table.c.id).where(or_(*same)).order_by(table.c.id).limit(MOST_OFFERED)).scalars())
    return found or (text,)


def names_in(db: Database, entries: Iterable[Entry]) -> Names:
    """The names of all that these entries mention. Shown to whoever may see the entries."""
    with db.read() as tx:
        return find_names(tx, entries)


def find_names(tx: Connection, entries: Iterable[Entry]) -> Names:
    """The same, inside a transaction."""
    bodies = [each.body for each in entries]
    people = {each for body in bodies for each in _people(body)}
    agencies = {body["agency_code"] for body in bodies if "agency_code" in body}
    requests = {body["signing_request_id"] for body in bodies if "signing_request_id" in body}
    return Names(_named(tx, people), _agencies(tx, agencies), _documents(tx, requests))


def _people(body: Mapping[str, Any]) -> Iterator[str]:
    yield str(body.get("actor", "")).partition(":")[2]
    yield from (str(body[name]) for name in ("signatory_id", "client_id") if name in body)
    data = body.get("data")
    if isinstance(data, Mapping):
        yield from (str(data[name]) for name in ("owner", "operator", "auditor") if name in data)


def _named(tx: Connection, ids: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for prefix, table in PEOPLE.items():
        wanted = [each for each in ids if each.startswith(f"{prefix}_")]
        if wanted:
            found |= {row.id: row.name for row in tx.execute(select(table.c.id, table.c.name).where(
                table.c.id.in_(wanted)))}
    return found


def _agencies(tx: Connection, codes: set[str]) -> dict[str, str]:
    return {row.code: row.name for row in tx.execute(
        select(agency.c.code, agency.c.name).where(agency.c.code.in_(codes)))}


def _documents(tx: Connection, ids: set[str]) -> dict[str, DocumentName]:
    columns = [signing_request.c[name] for name in ("id", "document_type", "number", "symbol", "subject")]
    rows = tx.execute(select(*columns).where(signing_request.c.id.in_(ids)))
    return {row.id: DocumentName(row.document_type, row.number, row.symbol, row.subject) for row in rows}
