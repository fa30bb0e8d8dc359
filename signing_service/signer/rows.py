"""Rows the signer relies on carry a MAC of a device key: a swapped, edited or moved row is refused.

The MAC is checked outside of any transaction, because it needs the device. Inside the transaction that acts on a
row, the row is read again and must be, byte for byte, one whose MAC was checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Table, select, update

from hsm.device import Device
from hsm.errors import Tampered
from hsm.sealing import row_mac, verify_row_mac
from signing_service.audit import instant
from signing_service.db.engine import Database
from signing_service.db.tables import credential, key, phone, seed, ticket
from signing_service.errors import WrongState

# What a MAC covers. Left out: the MAC itself, and columns nothing is decided by.
COVERED: dict[str, tuple[str, ...]] = {
    "key": ("id", "purpose", "kind", "custody", "public_key", "blob", "owner", "destroyed_at"),
    "seed": ("id", "owner", "state", "blob"),
    "credential": (
        "id", "kind", "signatory_id", "agency_code", "key_id", "key_kind", "algorithm", "custody", "state",
        "certificate", "chain", "not_before", "not_after", "replaces", "version",
    ),
    "phone": ("id", "signatory_id", "secret_hash", "label", "state", "ticket_id", "stop_hash", "version"),
    "ticket": ("id", "owner", "hash", "keeps_others", "state", "opened_by", "phone_id", "created_by", "expires_at",
               "version"),
}
OWNER = {"key": "owner", "seed": "owner", "credential": "signatory_id", "phone": "signatory_id", "ticket": "owner"}
TABLES: dict[str, Table] = {"key": key, "seed": seed, "credential": credential, "phone": phone, "ticket": ticket}
MOST_REMEMBERED = 200_000


def content(table: str, row: Any) -> bytes:
    """A digest over the covered columns, each with its length, so that no two rows share one."""
    parts = (_bytes(row[name]) for name in COVERED[table])
    return sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).digest()


def _bytes(value: Any) -> bytes:
    match value:
        case None:
            return b"\x00"
        case bytes():
            return b"b" + value
        case datetime():
            return b"t" + instant(value).encode()
        case _:
            return b"s" + str(value).encode()


def mac_of(device: Device, table: str, row: Any) -> bytes:
    """The MAC to store with this row. Asks the device: never call it inside a transaction."""
    return row_mac(device, table, row["id"], row[OWNER[table]] or "", content(table, row), row.get("version") or 1)


@dataclass(frozen=True)
class Revision:
    """The next version of a row of a phone, a ticket or a seed, with its MAC, and the MAC of the one it replaces."""

    table: str
    row: dict[str, Any]
    was: bytes


def revised(device: Device, table: str, row: Any, **values: Any) -> Revision:
    """Asks the device: never call it inside a transaction."""
    following = dict(row) | values | {"version": row["version"] + 1}
    return Revision(table, following | {"mac": mac_of(device, table, following)}, row["mac"])


def store(tx: Connection, revisions: Iterable[Revision]) -> None:
    """Write them where the rows are still those that they replace; WrongState otherwise. Say `wrote` when durable."""
    for each in revisions:
        table = TABLES[each.table]
        values = {name: value for name, value in each.row.items() if name != "id"}
        written = tx.execute(update(table).where(table.c.id == each.row["id"], table.c.mac == each.was).values(values))
        if written.rowcount != 1:
            raise WrongState("Somebody else changed this at the same moment. Look again.", code=f"{each.table}-changed")


def check(verified: Verified, db: Database, table: str, row: Any) -> None:
    """As `Verified.check`, for a row that others may be changing: what was read a moment too early is no tampering.

    Tampered where the row that does not fit still stands there; WrongState where another has taken its place.
    """
    try:
        verified.check(table, row)
    except Tampered:
        columns = TABLES[table].c
        with db.read() as tx:
            present = tx.execute(select(columns.mac).where(columns.id == row["id"])).scalar_one_or_none()
        if present is None or present == row["mac"]:
            raise
        raise WrongState("Somebody else changed this at the same moment. Look again.",
                         code=f"{table}-changed") from None


class Verified:
    """Remembers which rows, byte for byte, carried a right MAC, and the newest version seen of each."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._rows: dict[tuple[str, str], tuple[bytes, bytes, int]] = {}
        self._newest: dict[tuple[str, str], int] = {}

    def check(self, table: str, row: Any) -> None:
        """Raise Tampered unless the row carries its MAC and is no older than one seen before. Asks the device."""
        version = row.get("version") or 1
        seen = (content(table, row), row["mac"], version)
        name = (table, row["id"])
        if self._rows.get(name) == seen:
            return
        verify_row_mac(self._device, table, row["id"], row[OWNER[table]] or "", seen[0], version, row["mac"])
        if version < self._newest.get(name, 0):
            raise Tampered(f"{table} {row['id']} was put back to an older version")
        if len(self._rows) >= MOST_REMEMBERED:
            self._rows.clear()
        self._rows[name] = seen
        self._newest[name] = version

    def wrote(self, table: str, row: Any) -> None:
        """Remember a row that this signer has just made durable, so that an older one in its place is noticed."""
        name, version = (table, row["id"]), row.get("version") or 1
        self._rows[name] = (content(table, row), row["mac"], version)
        self._newest[name] = max(version, self._newest.get(name, 0))

    def knows(self, table: str, row: Any) -> bool:
        """Was exactly this row checked? For use inside a transaction: asks nobody."""
        return self._rows.get((table, row["id"])) == (content(table, row), row["mac"], row.get("version") or 1)
