"""What every part of the signer is handed: the device, the database, who we are, and what time it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock

from sqlalchemy import Connection, text

from hsm.device import Device
from signing_service.audit import EntryMac
from signing_service.db.engine import Database
from signing_service.ids import draw
from signing_service.signer.bound import Bound
from signing_service.signer.rows import Verified
from signing_service.signer.settings import SignerSettings


def utc_now() -> datetime:
    return datetime.now(UTC)


def clock_of_database(tx: Connection) -> datetime | None:
    """What PostgreSQL's machine believes; None on SQLite, which has no machine of its own."""
    if tx.dialect.name == "sqlite":
        return None
    moment: datetime = tx.execute(text("SELECT clock_timestamp()")).scalar_one()
    return moment


@dataclass(frozen=True)
class Pace:
    """The clock on the wall against the one that only counts: where they part, somebody set the first."""

    began_at: datetime
    began: float
    count: Callable[[], float]

    @classmethod
    def begin(cls, now: datetime, count: Callable[[], float] = time.monotonic) -> Pace:
        return cls(now, count(), count)

    def ahead(self, now: datetime) -> timedelta:
        """By how much the wall clock went further than time did; negative where it was set back."""
        return now - self.began_at - timedelta(seconds=self.count() - self.began)


@dataclass
class Lease:
    """Until when the others believe that we are alive. Nothing is signed after it."""

    until: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    beating: Lock = field(default_factory=Lock)


@dataclass
class Guard:
    """Whether this is the database that we know, or an older one that was put in its place (`anchor.py`)."""

    is_restored: bool = False
    epoch: int = 0
    size: int = 0


@dataclass(frozen=True)
class Runtime:
    """One signer. `id` is drawn anew at every start, so that a lease names one life of one process."""

    settings: SignerSettings
    db: Database
    device: Device
    now: Callable[[], datetime]
    id: str
    entry_mac: EntryMac
    verified: Verified
    database_clock: Callable[[Connection], datetime | None]
    pace: Pace | None = None  # none where time is a story's
    lease: Lease = field(default_factory=Lease)
    bound: Bound = field(default_factory=Bound)
    guard: Guard = field(default_factory=Guard)
    sequencing: Lock = field(default_factory=Lock)


def start(
    settings: SignerSettings, device: Device, *, db: Database | None = None,
    now: Callable[[], datetime] = utc_now,
    database_clock: Callable[[Connection], datetime | None] | None = None,
) -> Runtime:
    """A runtime on an open device. Opens nothing else and writes nothing yet."""
    signer_id = draw("si")
    return Runtime(
        settings=settings, db=db or Database(settings.signer_database_url, pool_size=4), device=device, now=now,
        database_clock=database_clock or clock_of_database, id=signer_id, entry_mac=entry_mac(device, signer_id),
        verified=Verified(device), pace=Pace.begin(now()) if now is utc_now else None,
    )


def entry_mac(device: Device, signer_id: str) -> EntryMac:
    """The key with which a signer proves its own entries: any signer on this device can derive it, nobody else."""
    return EntryMac(signer_id, device.mac(b"entry-mac\x00" + signer_id.encode()))
