"""The figures of a month."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from signing_service import reports
from signing_service.audit import Event, Fact, record
from signing_service.db.tables import agency, credential
from signing_service.errors import Invalid
from signing_service.inspection import Reader
from tests.support import databases
from tests.support.city import City, Clock, Person, runtime
from tests.support.memory_device import MemoryDevice

ZONE = "Asia/Ho_Chi_Minh"
NOVEMBER = datetime(2026, 11, 10, tzinfo=UTC)
EVERYTHING = Reader("operator:op_1")


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    url = databases.sqlite(tmp_path)
    clock = Clock()
    made = City(runtime(url, tmp_path, MemoryDevice(), clock), clock)
    yield made
    made.close()


def monthly(city: City, reader: Reader = EVERYTHING, month: str = "2026-11") -> reports.Monthly:
    return reports.monthly(city.rt.db, reader, city.clock(), month, ZONE)


def became(city: City, person: Person, state: str, *, seconds: float | None = None, created: datetime = NOVEMBER,
           **more: Any) -> None:
    ended = None if seconds is None else created + timedelta(seconds=seconds)
    city.submitted(person, state=state, created_at=created, ended_at=ended, **more)


def test_each_request_is_counted_once_under_what_became_of_it(city: City) -> None:
    person = city.official()
    for state, times in {"signed": 4, "refused": 2, "withdrawn": 1, "expired": 3, "denied": 1, "failed": 1,
                         "pending": 2, "signing": 1, "finishing": 1}.items():
        for _ in range(times):
            became(city, person, state, seconds=60 if state == "signed" else None)
    (line,) = monthly(city).lines
    assert (line.submitted, line.signed, line.refused, line.withdrawn) == (16, 4, 2, 1)
    assert (line.expired, line.denied, line.failed, line.open) == (3, 1, 1, 4)
    assert line.signed + line.refused + line.withdrawn + line.expired + line.denied + line.failed + line.open == 16


def test_median_and_p90_are_of_what_was_signed(city: City) -> None:
    person = city.official()
    for seconds in (10, 20, 30, 40, 50, 60, 70, 80, 90, 1000):
        became(city, person, "signed", seconds=seconds)
    became(city, person, "refused", seconds=5000)
    (line,) = monthly(city).lines
    assert (line.median_seconds, line.p90_seconds) == (55, 90)


def test_a_month_is_one_of_the_citys_own_time_zone(city: City) -> None:
    """Seven hours east of UTC: the last evening of October in UTC is November already."""
    person = city.official()
    first = datetime(2026, 10, 31, 17, tzinfo=UTC)
    last = datetime(2026, 11, 30, 17, tzinfo=UTC)
    for created in (first - timedelta(seconds=1), first, last - timedelta(seconds=1), last):
        became(city, person, "pending", created=created)
    assert [line.submitted for line in monthly(city).lines] == [2]
    assert [line.submitted for line in monthly(city, month="2026-10").lines] == [1]
    assert [line.submitted for line in monthly(city, month="2026-12").lines] == [1]
    assert reports.bounds("2026-12", ZONE)[1] == datetime(2026, 12, 31, 17, tzinfo=UTC)


NO_MONTHS = ("", "2026", "2026-13", "2026-00", "26-11", "2026-11-01", "2026-1", "1999-12", "２０２６-11")


@pytest.mark.parametrize("month", NO_MONTHS)
def test_what_is_no_month_is_refused(city: City, month: str) -> None:
    with pytest.raises(Invalid):
        monthly(city, month=month)


def test_lines_are_by_agency_and_type_and_only_the_readers(city: City) -> None:
    person = city.official()
    with city.rt.db.write() as tx:
        for code in ("H26.1.2", "H26.11"):
            tx.execute(agency.insert().values(code=code, name=code, level="commune", valid_from=NOVEMBER))
        for code in ("H26.1", "H26.1.2", "H26.11", None):
            record(tx, NOVEMBER, Fact(Event.SUBMIT_DENIED, "client:1", "denied", agency_code=code))
    for code, kind in (("H26.1", "KH"), ("H26.1", "QĐ"), ("H26.1.2", "KH"), ("H26.11", "KH")):
        became(city, person, "pending", agency_code=code, document_type=kind)
    assert [(line.agency_code, line.document_type) for line in monthly(city).lines] == [
        ("H26.1", "KH"), ("H26.1", "QĐ"), ("H26.1.2", "KH"), ("H26.11", "KH")]
    narrow = monthly(city, Reader("client:1", frozenset({"H26.1"})))
    assert [(line.agency_code, line.document_type) for line in narrow.lines] == [
        ("H26.1", "KH"), ("H26.1", "QĐ"), ("H26.1.2", "KH")]
    assert (monthly(city).turned_away, narrow.turned_away) == (4, 2)


def test_certificates_that_end_soon_are_named(city: City) -> None:
    soon, later, revoked = (city.official(name) for name in ("Soon", "Later", "Revoked"))
    now = city.clock()
    with city.rt.db.write() as tx:
        for person, days, state in ((soon, 59, "active"), (later, 61, "active"), (revoked, 5, "revoked")):
            tx.execute(update(credential).where(credential.c.id == person.credential).values(
                not_after=now + timedelta(days=days), state=state))
    assert [(each.signatory, each.credential_id) for each in monthly(city).expiring] == [("Soon", soon.credential)]


def test_the_reading_is_on_record(city: City) -> None:
    monthly(city)
    assert city.events("audit:read") == 1


def test_the_spreadsheet_has_a_header_and_a_line_for_each(city: City) -> None:
    became(city, city.official(), "signed", seconds=12.5)
    (row,) = csv.DictReader(io.StringIO(reports.as_csv(monthly(city))))
    assert (row["agency_code"], row["signed"], row["median_seconds"], row["denied"]) == ("H26.1", "1", "12.5", "0")
