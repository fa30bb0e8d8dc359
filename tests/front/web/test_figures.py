"""The figures of a period: against what Python counts, on both databases; and as auditors get them."""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import insert, select

from signing_service import counting, figures, reports
from signing_service.audit import Event, Fact, record
from signing_service.counting import Became, Composition, Counts, Span, Times
from signing_service.db.engine import Database
from signing_service.db.tables import agency, client, credential, entry, signing_request
from signing_service.errors import Invalid, NotFound
from signing_service.figures import Period, Soon, Table
from signing_service.front.web import figures_pages
from signing_service.inspection import Reader
from tests.support import databases
from tests.support.staff import Seat
from tests.support.world import World

ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
NOW = datetime(2026, 11, 22, 8, tzinfo=UTC)
EVERYTHING = Reader("operator:op_1")
NOVEMBER = Period(date(2026, 11, 1), date(2026, 11, 30))
STATES = ("signed", "signed", "signed", "refused", "withdrawn", "expired", "denied", "failed", "pending", "signing",
          "finishing")


@dataclass(frozen=True)
class Asked:
    """One signing request, as far as figures go."""

    number: int
    agency_code: str
    document_type: str
    state: str
    created_at: datetime
    seconds: float
    kind: str = "personal"
    document: str = ""
    signed: str = ""


class Books:
    """A migrated database with nothing in it but what figures are made of."""

    def __init__(self, url: str) -> None:
        self.db = Database(url, pool_size=2)
        with self.db.write() as tx:
            tx.execute(insert(client).values(id="cl_1", name="QLVB", role="submitter", agencies=["*"],
                                             secret_hash="0" * 64, state="active", created_at=NOW))
            for kind in ("personal", "agency"):
                tx.execute(insert(credential).values(self.credential(f"cr_{kind}", NOW + timedelta(days=900), kind)))

    @staticmethod
    def credential(name: str, not_after: datetime, kind: str = "personal", **more: Any) -> dict[str, Any]:
        return {"id": name, "kind": kind, "agency_code": "H26.1", "key_kind": "p-256", "algorithm": "x",
                "custody": "wrapped", "state": "active", "created_at": NOW, "not_after": not_after, "version": 1,
                "mac": b""} | more

    def holds(self, *asked: Asked) -> None:
        rows = [{
            "id": f"sr_{each.number:032x}", "client_id": "cl_1", "agency_code": each.agency_code,
            "signatory_id": "sg_1", "credential_id": f"cr_{each.kind}", "state": each.state,
            "document_type": each.document_type, "subject": "s", "secrecy": "none", "urgency": "normal",
            "filename": "a", "document_digest": each.document or f"{each.number:064x}", "document_size": 1,
            "pages": 1, "earlier_signatures": 0, "warnings": [], "level": "B-B", "algorithm": "x",
            "policy_hash": "0", "decision": {}, "created_at": each.created_at, "expires_at": each.created_at,
            "ended_at": each.created_at + timedelta(seconds=each.seconds),
            "signed_digest": (each.signed or f"{each.number:064d}") if each.state == "signed" else None,
        } for each in asked]
        with self.db.write() as tx:
            tx.execute(insert(signing_request), rows)

    def figures(self, period: Period = NOVEMBER, reader: Reader = EVERYTHING, **more: Any) -> figures.Figures:
        return figures.figures(self.db, reader, NOW, period, ZONE, **more)


@contextmanager
def opened(url: str) -> Iterator[Books]:
    made = Books(url)
    try:
        yield made
    finally:
        made.db.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Books]:
    """For what does not depend on the database."""
    with opened(databases.sqlite(tmp_path)) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def books(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Books]:
    if request.param == "sqlite":
        with opened(databases.sqlite(tmp_path)) as made:
            yield made
        return
    with databases.lent_postgresql() as url, opened(url) as made:
        yield made


def many(count: int = 600) -> list[Asked]:
    chance = random.Random(26)
    begin = datetime(2026, 10, 25, tzinfo=UTC)
    return [Asked(number, chance.choice(("H26.1", "H26.1.2", "H26.11", "H26.3")), chance.choice(("KH", "QĐ", "CV")),
                  chance.choice(STATES), begin + timedelta(seconds=chance.randrange(45 * 86_400)),
                  chance.randrange(1, 100_000) / 10) for number in range(1, count + 1)]


def counted(asked: list[Asked]) -> Counts:
    ended = [each.state if each.state in set(Became) else Became.OPEN.value for each in asked]
    return Counts(**{each.value: ended.count(each.value) for each in Became})


def timed(asked: list[Asked]) -> Times:
    took = sorted(each.seconds for each in asked if each.state == "signed")
    return Times(round(median(took), 3), took[-(-len(took) * 90 // 100) - 1]) if took else Times()


def test_the_database_counts_as_python_does(books: Books) -> None:
    asked = many()
    books.holds(*asked)
    inside = [each for each in asked
              if NOVEMBER.first <= each.created_at.astimezone(ZONE).date() <= NOVEMBER.last]
    found = books.figures()
    assert found.total == counted(inside)
    assert found.times == timed(inside)
    assert len(found.days) == 30
    for each in found.days:
        assert each.counts == counted(
            [one for one in inside if one.created_at.astimezone(ZONE).date().isoformat() == each.name]), each.name
    for line in found.lines:
        own = [one for one in inside if (one.agency_code, one.document_type) == (line.agency_code, line.document_type)]
        assert line == reports.Line.of(line.agency_code, line.document_type, counted(own), timed(own))
    for groups, name in ((found.agencies, "agency_code"), (found.types, "document_type")):
        assert {group.name: group.counts for group in groups} == {
            key: counted([one for one in inside if getattr(one, name) == key])
            for key in {getattr(one, name) for one in inside}}
        assert [group.counts.signed for group in groups] == sorted(
            (group.counts.signed for group in groups), reverse=True)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 10, 11, 20, 21])
def test_median_and_90th_percentile_are_those_of_the_textbook(count: int, ledger: Books) -> None:
    asked = [Asked(number, "H26.1", "KH", "signed", NOW, float(number)) for number in range(1, count + 1)]
    ledger.holds(*asked)
    assert ledger.figures().times == timed(asked)
    assert ledger.figures().times == Times(median(range(1, count + 1)), -(-count * 9 // 10))


def test_the_monthly_report_says_the_same(books: Books) -> None:
    books.holds(*many(200))
    report = reports.monthly(books.db, EVERYTHING, NOW, "2026-11", str(ZONE))
    found = books.figures()
    assert report.lines == found.lines
    assert report.expiring == found.expiring
    assert report.turned_away == found.refusals.turned_away
    assert sum(line.submitted for line in report.lines) == found.total.submitted


CHAINS = {
    "a signature": ([("personal", "a", "b")], Composition(1, 0, 0)),
    "a seal": ([("agency", "a", "b")], Composition(0, 1, 0)),
    "a signature and then a seal": ([("personal", "a", "b"), ("agency", "b", "c")], Composition(0, 0, 1)),
    "a seal and then a signature": ([("agency", "a", "b"), ("personal", "b", "c")], Composition(0, 0, 1)),
    "two signatures and then a seal": (
        [("personal", "a", "b"), ("personal", "b", "c"), ("agency", "c", "d")], Composition(0, 0, 1)),
    "two signatures": ([("personal", "a", "b"), ("personal", "b", "c")], Composition(1, 0, 0)),
    "one document sealed twice over": (
        [("personal", "a", "b"), ("agency", "b", "c"), ("agency", "b", "d")], Composition(0, 0, 1)),
    "two documents": ([("personal", "a", "b"), ("agency", "c", "d")], Composition(1, 1, 0)),
    "nothing": ([], Composition(0, 0, 0)),
}


@pytest.mark.parametrize(("steps", "expected"), CHAINS.values(), ids=CHAINS.keys())
def test_one_document_has(steps: list[tuple[str, str, str]], expected: Composition, books: Books) -> None:
    if steps:
        books.holds(*(
            Asked(number, "H26.1", "KH", "signed", NOW + timedelta(days=20 * (number - 1)), 1.0, kind,
                  before.rjust(64, "0"), after.rjust(64, "0"))
            for number, (kind, before, after) in enumerate(steps, 1)))
        books.holds(Asked(99, "H26.1", "KH", "refused", NOW, 1.0, "agency", "b".rjust(64, "0")))
    assert books.figures(Period(date(2026, 11, 1), date(2027, 1, 31))).composition == expected


def test_a_document_belongs_to_the_month_in_which_it_came_first(ledger: Books) -> None:
    begun = datetime(2026, 10, 20, tzinfo=UTC)
    ledger.holds(Asked(1, "H26.1", "KH", "signed", begun, 1.0, "personal", "a" * 64, "b" * 64),
                 Asked(2, "H26.1", "KH", "signed", NOW, 1.0, "agency", "b" * 64, "c" * 64))
    assert ledger.figures().composition == Composition(0, 0, 0)
    assert ledger.figures(Period.month_of(begun.date())).composition == Composition(0, 0, 1)


def test_days_are_those_of_the_city_also_where_clocks_are_changed(books: Books) -> None:
    """Vietnam has no summer time; another city's day of 23 hours is a day all the same."""
    paris = ZoneInfo("Europe/Paris")
    moments = [datetime(2026, 3, day, hour, minute, tzinfo=UTC)
               for day in (28, 29, 30) for hour in (0, 1, 21, 22, 23) for minute in (0, 59)]
    books.holds(*(Asked(number, "H26.1", "KH", "pending", at, 1.0) for number, at in enumerate(moments, 1)))
    span = Span(counting.begin_of(date(2026, 3, 28), paris), counting.begin_of(date(2026, 3, 31), paris), EVERYTHING)
    with books.db.read() as tx:
        found = counting.by_day(tx, span, paris)
    local = [at.astimezone(paris).date() for at in moments]
    assert {day: counts.submitted for day, counts in found.items()} == {
        date(2026, 3, day): local.count(date(2026, 3, day)) for day in (28, 29, 30)}


def test_an_auditor_sees_the_figures_of_their_agencies_and_those_below(books: Books) -> None:
    books.holds(*many(300))
    with books.db.write() as tx:
        for code in ("H26.1", "H26.1.2", "H26.11", None):
            record(tx, NOW, Fact(Event.SUBMIT_DENIED, "client:1", "denied", agency_code=code))
        record(tx, NOW, Fact(Event.SUBMIT_REFUSED, "client:1", "refused", agency_code="H26.3"))
    narrow = Reader("auditor:au_1", frozenset({"H26.1"}))
    found = books.figures(reader=narrow)
    assert {group.name for group in found.agencies} == {"H26.1", "H26.1.2"}
    assert found.total == sum((group.counts for group in found.agencies), Counts())
    assert asdict(found.refusals) == {"turned_away": 2, "not_accepted": 0}
    assert asdict(books.figures().refusals) == {"turned_away": 4, "not_accepted": 1}
    assert {group.name for group in books.figures(reader=narrow, agency="H26.1.2").agencies} == {"H26.1.2"}
    for code in ("H26", "H26.11", "H26.1x", "%", ""):
        with pytest.raises(NotFound):
            books.figures(reader=narrow, agency=code)
    assert books.figures(reader=Reader("auditor:au_2", frozenset())).total == Counts()


def test_certificates_that_end_are_counted_by_how_soon(ledger: Books) -> None:
    with ledger.db.write() as tx:
        for number, days in enumerate((-3, 1, 6, 8, 29, 31, 59, 61)):
            tx.execute(insert(credential).values(ledger.credential(f"cr_{number}", NOW + timedelta(days=days))))
        tx.execute(insert(credential).values(ledger.credential("cr_gone", NOW + timedelta(days=2), state="revoked")))
    assert ledger.figures().soon == Soon(1, {7: 2, 30: 4, 60: 6})
    assert len(ledger.figures().expiring) == 7


def test_every_reading_is_on_record_with_what_was_asked(ledger: Books) -> None:
    ledger.figures(agency="H26.1", purpose="figures: print")
    with ledger.db.read() as tx:
        told = json.loads(tx.execute(select(entry.c.body)).scalar_one())
    assert (told["event"], told["actor"], told["data"]) == ("audit:read", "operator:op_1", {
        "what": "figures: print", "asked": {"agency": "H26.1", "first": "2026-11-01", "last": "2026-11-30"}})


PERIODS = {
    "the present month": (("", ""), NOVEMBER),
    "a day": (("2026-11-22", "2026-11-22"), Period(date(2026, 11, 22), date(2026, 11, 22))),
    "a leap year": (("2028-01-01", "2028-12-31"), Period(date(2028, 1, 1), date(2028, 12, 31))),
}
NO_PERIODS = {
    "its end before its beginning": ("2026-11-02", "2026-11-01"), "a day more than a year": (
        "2026-01-01", "2027-01-02"), "half of it": ("2026-11-01", ""), "no date": ("yesterday", "today"),
    "a day that is none": ("2026-02-30", "2026-03-01"), "a day before which there is none": (
        "0001-01-01", "0001-01-31"), "a day after which there is none": ("9999-12-01", "9999-12-31"),
}


@pytest.mark.parametrize(("asked", "expected"), PERIODS.values(), ids=PERIODS.keys())
def test_a_period(asked: tuple[str, str], expected: Period) -> None:
    assert Period.parse(*asked, date(2026, 11, 22)) == expected


@pytest.mark.parametrize("asked", NO_PERIODS.values(), ids=NO_PERIODS.keys())
def test_no_period(asked: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        Period.parse(*asked, date(2026, 11, 22))


def test_the_periods_beside_one() -> None:
    assert NOVEMBER.before() == Period(date(2026, 10, 1), date(2026, 10, 31))
    assert NOVEMBER.after() == Period(date(2026, 12, 1), date(2026, 12, 31))
    week = Period(date(2026, 11, 16), date(2026, 11, 22))
    assert (week.before(), week.after()) == (Period(date(2026, 11, 9), date(2026, 11, 15)),
                                             Period(date(2026, 11, 23), date(2026, 11, 29)))


def test_a_long_period_is_charted_by_months(ledger: Books) -> None:
    ledger.holds(*many(100))
    found = ledger.figures(Period(date(2026, 1, 1), date(2026, 12, 31)))
    assert [step.name for step in found.steps] == [f"2026-{month:02d}" for month in range(1, 13)]
    assert sum((step.counts for step in found.steps), Counts()) == found.total


# --------------------------------------------------------------------------------------------------------- exports


def test_the_files_say_what_the_figures_say(ledger: Books) -> None:
    ledger.holds(*many(150))
    found = ledger.figures()
    lines = list(csv.DictReader(io.StringIO(figures.as_csv(found, Table.LINES))))
    assert sum(int(line["signed"]) for line in lines) == found.total.signed
    days = list(csv.DictReader(io.StringIO(figures.as_csv(found, Table.DAYS))))
    assert [(day["day"], int(day["submitted"])) for day in days] == [
        (each.name, each.counts.submitted) for each in found.days]
    told = [json.loads(line) for line in figures.as_jsonl(found).splitlines()]
    assert told[0]["signed"] == found.total.signed
    assert sum(each["signed"] for each in told if each["kind"] == "type") == found.total.signed
    assert {each["kind"] for each in told} == {"summary", "day", "agency", "type", "line"}


def test_no_cell_is_a_formula(ledger: Books) -> None:
    ledger.holds(Asked(1, "H26.1", "=1+1", "signed", NOW, 1.0))
    assert "'=1+1" in figures.as_csv(ledger.figures(), Table.LINES)


# ------------------------------------------------------------------------------------------------------- the pages


@pytest.fixture
def auditing(world: World) -> Seat:
    official, office = world.official(), world.client()
    office.confirms(official, office.submits(official))
    with world.rt.db.write() as tx:
        tx.execute(insert(agency).values(code="H26.1.2", name="<script>alert(1)</script>", level="commune",
                                         valid_from=world.clock()))
        tx.execute(signing_request.update().values(agency_code="H26.1.2"))
    return world.auditor()


def test_every_chart_has_a_title_and_its_numbers_in_a_table(auditing: Seat) -> None:
    page = auditing.sees("/console/figures")
    charts = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(charts) == 4
    for chart in charts:
        named = re.search(r'role="img" aria-labelledby="([^" ]+)', chart)
        assert named is not None
        assert f'<title id="{named[1]}">' in chart
    assert page.count("<details>") == 3
    assert "<script>alert" not in page
    assert "style=" not in page


def test_paper_says_who_printed_it_and_when_and_has_every_table_open(auditing: Seat, world: World) -> None:
    page = auditing.sees("/console/figures/print")
    assert "<details" not in page
    assert page.count("<table>") == 3
    assert "Phạm Thị Dung" in page
    assert world.clock().astimezone(ZONE).strftime("%d/%m/%Y %H:%M:%S") in page


def test_files_are_for_download_and_on_record(auditing: Seat, world: World) -> None:
    before = world.events("audit:read")
    for path, media_type in (("/console/figures.csv", "text/csv"), ("/console/figures.csv?table=days", "text/csv"),
                             ("/console/figures.jsonl", "application/jsonl")):
        answer = auditing.gets(path)
        assert answer.headers["content-type"].startswith(media_type)
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["cache-control"] == "no-store"
    assert world.events("audit:read") == before + 3


@pytest.mark.parametrize("path", [
    "/console/figures?first=2026-11-02&last=2026-11-01", "/console/figures?first=x&last=y",
    "/console/figures?first=0001-01-01&last=0001-01-31", "/console/figures?first=9999-12-01&last=9999-12-31",
    "/console/figures.csv?table=everything"])
def test_what_cannot_be_asked_is_refused_as_a_page(path: str, world: World) -> None:
    assert world.auditor().gets(path).status_code == 400


WRITTEN = {
    "seconds": (42.4, "42 giây", "42 s"), "minutes": (418.0, "6 phút 58 giây", "6 min 58 s"),
    "hours": (7500.0, "2 giờ 5 phút", "2 h 5 min"), "days": (273_600.0, "3 ngày 4 giờ", "3 d 4 h"),
    "nothing": (None, "–", "–"),
}


@pytest.mark.parametrize(("seconds", "vi", "en"), WRITTEN.values(), ids=WRITTEN.keys())
def test_times_are_written_in_words(seconds: float | None, vi: str, en: str) -> None:
    assert (figures_pages.took(seconds, "vi"), figures_pages.took(seconds, "en")) == (vi, en)


def test_numbers_are_written_as_each_language_does() -> None:
    assert (figures_pages.number(1_234_567, "vi"), figures_pages.number(1_234_567, "en")) == ("1.234.567", "1,234,567")
    assert (figures_pages.percent(1, 3, "vi"), figures_pages.percent(1, 3, "en")) == ("33,3%", "33.3%")
    assert figures_pages.percent(0, 0, "vi") == "–"
    assert [figures_pages.ceiling(value) for value in (0, 1, 2, 3, 7, 11, 99, 101)] == [2, 2, 2, 5, 10, 20, 100, 200]
