"""The search against an oracle that reads every entry: every filter, both directions, both databases, any limits."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from signing_service import search as searching
from signing_service.audit import Event, Fact, record
from signing_service.db.engine import Database
from signing_service.db.migrate import upgrade
from signing_service.db.tables import client, credential, entry, signing_request
from signing_service.errors import Invalid, NotFound
from signing_service.filters import Order, Wanted, spelled
from signing_service.inspection import Reader, is_below
from signing_service.search import Count, Counted, count_of, page_of, search, search_and_count
from tests.support import postgres
from tests.support.ca import TestCa

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = ("signing-request:submit", "signature:done", "webhook:give-up")
OUTCOMES = ("ok", "ok", "ok", "failed")
AGENCIES = ("H26", "H26.1", "H26.1.2", "H26.12", "H27", None)
TYPES, NUMBERS, SYMBOLS = ("KH", "QĐ", "CV"), ("1", "2", "100%"), ("KH-UBND", "_", None)
SERIALS = ("ab12cd", "0f", "99")
MINUTE = timedelta(minutes=1)


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


class Log:
    """A log of a few hundred entries, some of them still without a place. `rows` are in the order of the log."""

    def __init__(self, db: Database, rows: Sequence[Any], requests: dict[str, dict[str, Any]],
                 credentials: dict[str, tuple[str, str]]) -> None:
        self.db, self.rows, self.requests, self.credentials = db, rows, requests, credentials

    def __repr__(self) -> str:  # or every failing example is told with all of it
        return f"Log({len(self.rows)})"

    def oracle(self, reader: Reader, wanted: Wanted) -> list[str]:
        found = [row.id for row in self.rows if self._is_seen(reader, row) and self._is_wanted(row, wanted)]
        return found if wanted.order is Order.OLDEST else found[::-1]

    def _is_seen(self, reader: Reader, row: Any) -> bool:
        return "*" in reader.agencies or any(
            row.agency_code is not None and is_below(row.agency_code, own) for own in reader.agencies)

    def _is_wanted(self, row: Any, wanted: Wanted) -> bool:
        made = self.requests.get(row.signing_request_id or "", {})
        held = self.credentials.get(row.credential_id or "", ("", ""))
        digests = {row.document_digest, made.get("document_digest"), made.get("signed_digest")}
        return all((
            wanted.begins is None or row.at >= wanted.begins,
            wanted.ends is None or row.at < wanted.ends,
            wanted.event in (None, row.event),
            wanted.outcome in (None, row.outcome),
            wanted.signatory in (None, row.signatory_id),
            wanted.client in (None, row.client_id),
            wanted.signing_request in (None, row.signing_request_id),
            wanted.agency is None or (row.agency_code is not None and is_below(row.agency_code, wanted.agency)),
            wanted.digest is None or wanted.digest in digests,
            *(getattr(wanted, name) in (None, made.get(name)) for name in ("document_type", "number", "symbol")),
            wanted.certificate is None or spelled(wanted.certificate).lstrip("0") in held,
        ))


def sown(url: str, entries: int = 130) -> Log:
    upgrade(url)
    db, chance = Database(url), random.Random(7)
    credentials = {f"cr_{number}": (SERIALS[number], digest(1000 + number)) for number in range(3)}
    requests = {f"sr_{number}": _request(chance, number) for number in range(24)}
    with db.write() as tx:
        tx.execute(insert(client).values(id="cl_0", name="QLVB", role="submitter", agencies=["*"], secret_hash="0" * 64,
                                         state="active", created_at=BEGINS))
        tx.execute(insert(credential), [_credential(each, *credentials[each]) for each in credentials])
        tx.execute(insert(signing_request), list(requests.values()))
        for number in range(entries):
            # Transactions are not all equally quick: times go up, with some disorder.
            at = BEGINS + 20 * MINUTE * number + MINUTE * chance.randint(-25, 25)
            record(tx, at, _fact(chance, requests))
        ids = list(tx.execute(select(entry.c.id).order_by(entry.c.id)).scalars())
        for place, each in enumerate(ids[:-12]):
            tx.execute(update(entry).where(entry.c.id == each).values(leaf_index=place))
    with db.read() as tx:
        rows = tx.execute(select(entry).order_by(entry.c.id)).all()
    return Log(db, rows, requests, credentials)


def _request(chance: random.Random, number: int) -> dict[str, Any]:
    return {
        "id": f"sr_{number}", "client_id": "cl_0", "agency_code": "H26.1", "signatory_id": "sg_0",
        "credential_id": "cr_0", "state": "signed", "document_type": chance.choice(TYPES),
        "number": chance.choice(NUMBERS), "symbol": chance.choice(SYMBOLS), "subject": "s", "secrecy": "none",
        "urgency": "normal", "filename": "a.pdf", "document_digest": digest(number // 2), "document_size": 1,
        "pages": 1, "earlier_signatures": 0, "warnings": [], "level": "B-B", "algorithm": "ecdsa-sha256",
        "policy_hash": digest(0), "decision": {}, "created_at": BEGINS, "expires_at": BEGINS,
        "signed_digest": digest(100 + number) if number % 3 else None,
    }


def _credential(name: str, serial: str, fingerprint: str) -> dict[str, Any]:
    return {"id": name, "kind": "personal", "agency_code": "H26.1", "key_kind": "p-256", "algorithm": "ecdsa-sha256",
            "custody": "wrapped", "state": "active", "serial": serial, "fingerprint": fingerprint,
            "created_at": BEGINS, "version": 1, "mac": b""}


def _fact(chance: random.Random, requests: dict[str, Any]) -> Fact:
    about = chance.choice([*requests, None, None])
    return Fact(
        Event(chance.choice(EVENTS)), "client:cl_0", chance.choice(OUTCOMES), client_id=chance.choice(["cl_0", "cl_1"]),
        signatory_id=chance.choice(["sg_0", "sg_1", None]), agency_code=chance.choice(AGENCIES),
        credential_id=chance.choice(["cr_0", "cr_1", "cr_2", None]), signing_request_id=about,
        document_digest=chance.choice([digest(chance.randint(0, 12)), None]))


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=postgres.requires_postgres)])
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    made = sown(f"sqlite:///{tmp_path_factory.mktemp('log') / 'log.db'}" if request.param == "sqlite"
                else postgres.fresh_database())
    yield made
    made.db.close()


def maybe(values: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), st.none(), st.none(), st.sampled_from(list(values)))


MOMENTS = st.one_of(st.none(), st.integers(-100, 6000).map(lambda n: BEGINS + MINUTE * n))
WANTED = st.builds(
    Wanted, begins=MOMENTS, ends=MOMENTS, event=maybe(EVENTS), outcome=maybe(["ok", "failed", "never"]),
    agency=maybe(["H26", "H26.1", "H26.12", "H27", "H2", "H9"]), signatory=maybe(["sg_0", "sg_1", "sg_9"]),
    client=maybe(["cl_0", "cl_1"]), signing_request=maybe(["sr_0", "sr_7", "sr_99"]),
    digest=maybe([digest(0), digest(5), digest(101), digest(999)]), document_type=maybe(TYPES),
    number=maybe(NUMBERS), symbol=maybe([each for each in SYMBOLS if each]),
    certificate=maybe(["ab:12:CD", "0F", "00 0f", digest(1001).upper(), "77"]),
    order=st.sampled_from(Order), limit=st.sampled_from([7, 23, 60]))
READERS = st.sampled_from([Reader("a"), Reader("a", frozenset({"H26.1"})), Reader("a", frozenset({"H26.1.2", "H27"})),
                           Reader("a", frozenset())])
BOUNDS = st.sampled_from([
    {},                                                                      # as it is: everything here is few
    {"FEW": 5, "MOST_COUNTED": 5, "FIRST_PIECE": 3, "LARGEST_PIECE": 7},     # walked in pieces
    {"FEW": 5, "MOST_COUNTED": 5, "FIRST_PIECE": 3, "LARGEST_PIECE": 7, "MOST_LOOKED": 9},  # and stopped on the way
    {"FEW": 40, "MOST_COUNTED": 40, "FIRST_PIECE": 50, "LARGEST_PIECE": 50},
])


@settings(max_examples=40, phases=[Phase.generate], deadline=None, derandomize=True)
@given(wanted=WANTED, reader=READERS, bounds=BOUNDS)
def test_every_search_finds_what_reading_everything_finds(
    log: Log, wanted: Wanted, reader: Reader, bounds: dict[str, int],
) -> None:
    expected = log.oracle(reader, wanted)
    with pytest.MonkeyPatch.context() as patch, log.db.read() as tx:
        for name, value in bounds.items():
            patch.setattr(searching, name, value)
        forward, last = [], None
        while True:
            page = page_of(tx, reader, replace(wanted, after=last))
            forward.append([each.id for each in page.entries])
            assert page.is_short or len(page.entries) == wanted.limit or page.after is None
            if page.after is None:
                break
            last = page.after
        assert [each for ids in forward for each in ids] == expected

        if page.before is not None:  # and all the way back
            back, first = [forward[-1]], page.before
            while first is not None:
                page = page_of(tx, reader, replace(wanted, before=first))
                back.insert(0, [each.id for each in page.entries])
                first = page.before
            assert [each for ids in back for each in ids] == expected

        count = count_of(tx, reader, wanted)
        assert count.number <= len(expected)
        if count.kind is Counted.EXACT:
            assert count.number == len(expected)


def test_no_entry_is_lost_at_either_end_of_a_time(log: Log) -> None:
    """Times and places do not go quite together: the stretch that is searched is wider than the time."""
    reader = Reader("a")
    with log.db.read() as tx:
        for row in log.rows[::6]:
            for wanted in (Wanted(begins=row.at, limit=200), Wanted(ends=row.at, limit=200),
                           Wanted(begins=row.at, ends=row.at + MINUTE, limit=200)):
                assert [each.id for each in page_of(tx, reader, wanted).entries] == log.oracle(reader, wanted)


def test_a_count_says_how_sure_it_is(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = Reader("a")
    with log.db.read() as tx:
        assert count_of(tx, everything, Wanted()) == Count(len(log.rows), Counted.EXACT)
        monkeypatch.setattr(searching, "FEW", 10)
        monkeypatch.setattr(searching, "MOST_COUNTED", 10)
        assert count_of(tx, everything, Wanted()) == Count(10, Counted.MORE_THAN)
        monkeypatch.setattr(searching, "FIRST_PIECE", 5)
        monkeypatch.setattr(searching, "MOST_LOOKED", 20)
        few_and_far = Wanted(event="webhook:give-up", outcome="failed", agency="H26.1.2", number="1")
        assert count_of(tx, everything, few_and_far).kind is Counted.AT_LEAST


def test_pages_stand_still_while_entries_arrive_and_find_their_places(tmp_path: Path) -> None:
    log = sown(f"sqlite:///{tmp_path / 'log.db'}", 60)
    reader, wanted = Reader("auditor:au_1"), Wanted(event="signature:done", order=Order.NEWEST, limit=4)
    expected, seen, after = log.oracle(reader, wanted), [], None
    place = max(row.leaf_index for row in log.rows if row.leaf_index is not None) + 1
    while True:
        page = search(log.db, reader, BEGINS, replace(wanted, after=after))
        seen += [each.id for each in page.entries]
        with log.db.write() as tx:
            record(tx, BEGINS + timedelta(days=9), Fact(Event.DONE, "signer:x"))
            waiting = tx.execute(select(entry.c.id).where(entry.c.leaf_index.is_(None)).order_by(entry.c.id).limit(3))
            for each in list(waiting.scalars()):
                tx.execute(update(entry).where(entry.c.id == each).values(leaf_index=place))
                place += 1
        if page.after is None:
            break
        after = page.after
    assert seen == expected
    log.db.close()


SPELLINGS = {
    "with colons and in capitals": "AB:12:CD", "with blanks": " ab 12 cd ", "with a zero before it": "00ab12cd",
    "as programs write it": "0xAB12CD", "with hyphens": "ab-12-cd",
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_serial_number_is_found_however_it_is_spelled(log: Log, spelling: str) -> None:
    reader = Reader("a")
    with log.db.read() as tx:
        found = page_of(tx, reader, Wanted(certificate=spelling, limit=200)).entries
    assert [each.id for each in found] == [row.id for row in log.rows if row.credential_id == "cr_0"]


def test_a_certificate_from_before_its_number_was_a_column_is_read_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.db'}"
    upgrade(url)
    db = Database(url)
    certificate = TestCa().root
    with db.write() as tx:
        tx.execute(insert(credential).values(_credential("cr_old", "x", "x") | {
            "serial": None, "fingerprint": None, "certificate": certificate}))
        record(tx, BEGINS, Fact(Event.DONE, "person:sg_0", credential_id="cr_old"))
    with db.read() as tx:
        named = hashlib.sha256(certificate).hexdigest()
        assert len(page_of(tx, Reader("a"), Wanted(certificate=named)).entries) == 1
        assert not page_of(tx, Reader("a"), Wanted(certificate="12")).entries
    db.close()


WRONG = {
    "a serial number that is none": (Wanted(certificate="số 5"), Invalid),
    "a serial number without digits": (Wanted(certificate=" : "), Invalid),
    "a serial number of many pages": (Wanted(certificate="a" * 200), Invalid),
    "a page without entries": (Wanted(limit=0), Invalid),
    "a page before and after": (Wanted(after="@1", before="@2"), Invalid),
    "a cursor that is no entry": (Wanted(after="en_0"), NotFound),
    "a place that is no number": (Wanted(after="@x"), NotFound),
    "a place in other digits": (Wanted(after="@１"), NotFound),
    "a place beyond all numbers": (Wanted(after="@" + "9" * 30), NotFound),
}


@pytest.mark.parametrize(("wanted", "kind"), WRONG.values(), ids=WRONG.keys())
def test_what_is_asked_wrongly_is_refused(log: Log, wanted: Wanted, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        search(log.db, Reader("a"), BEGINS, wanted)


def test_a_search_is_on_record_with_what_was_asked_before_anything_is_shown(tmp_path: Path) -> None:
    log = sown(f"sqlite:///{tmp_path / 'log.db'}", 30)
    search_and_count(log.db, Reader("auditor:au_1"), BEGINS, Wanted(number="100%", order=Order.NEWEST, begins=BEGINS))
    with log.db.read() as tx:
        (body,) = tx.execute(select(entry.c.body).where(entry.c.event == "audit:read")).scalars()
    assert json.loads(body)["data"] == {"what": "search", "asked": {
        "number": "100%", "order": "newest", "begins": "2026-01-01T00:00:00.000000Z"}}
    assert json.loads(body)["actor"] == "auditor:au_1"
    log.db.close()
