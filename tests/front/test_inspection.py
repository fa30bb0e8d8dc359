"""The auditor's questions to the log in its database: what is found, what is taken away, and whose it is."""

from __future__ import annotations

import csv
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from signing_service import delivery, exports, inspection, provenance, verification
from signing_service.audit import Event, Fact
from signing_service.db.tables import entry
from signing_service.errors import Invalid, NotFound
from signing_service.exports import Form
from signing_service.filters import Wanted
from signing_service.inspection import Reader
from signing_service.tlog import note
from signing_service.tlog.note import NoteInvalid
from tests.support import databases
from tests.support.auditing import AUDITOR, actors, fact, happened, search, tell
from tests.support.hall import DOCUMENT, Hall

DIGEST = "ab" * 32


# --------------------------------------------------------------------------------------------------------- search


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_pages_show_everything_once_while_the_log_grows_and_entries_find_their_place(
    tmp_path: Path, database: str
) -> None:
    async def story(it: Hall) -> None:
        happened(it, *(fact(number) for number in range(7)))
        it.sequence()
        happened(it, *(fact(number) for number in range(7, 15)))
        seen, after = [], None
        for round_ in range(20):
            page = search(it, event="signing-request:submit", after=after, limit=2)
            seen += actors(page)
            after = page.after
            if after is None:
                break
            if round_ == 4:  # in the middle of what waits
                it.sequence()
                happened(it, fact(15))
        # Entries of one millisecond come in the order of their random ids, so sets and counts are compared.
        assert sorted(seen) == sorted(f"client:{number}" for number in range(16))

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


def test_each_filter_takes_what_it_says(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        first, second = it.clock(), it.clock() + timedelta(hours=1)
        happened(it, fact(1, agency_code="H26", signatory_id="si_1", client_id="cl_1", document_digest=DIGEST))
        it.clock.at = second
        happened(it, fact(2, agency_code="H26.1", signatory_id="si_2", outcome="denied"),
                 fact(3, agency_code="H26.1.2", signing_request_id="sr_3"), fact(4, agency_code="H261"),
                 fact(5, agency_code="H26_1"))
        cases: dict[str, tuple[dict[str, Any], list[int]]] = {
            "from a moment on": ({"begins": second}, [2, 3, 4, 5]),
            "before a moment": ({"ends": second}, [1]),
            "between": ({"begins": first, "ends": second}, [1]),
            "an agency with those below it": ({"agency": "H26"}, [1, 2, 3]),
            "an agency that is no prefix of another": ({"agency": "H26.1"}, [2, 3]),
            "an agency that looks like a pattern": ({"agency": "H26_1"}, [5]),
            "a signatory": ({"signatory": "si_1"}, [1]), "a client": ({"client": "cl_1"}, [1]),
            "an outcome": ({"outcome": "denied"}, [2]), "a request": ({"signing_request": "sr_3"}, [3]),
            "a document": ({"digest": DIGEST}, [1]), "two filters": ({"agency": "H26", "outcome": "denied"}, [2]),
            "nothing": ({"client": "cl_2"}, []),
        }
        for name, (wanted, expected) in cases.items():
            found = actors(search(it, event="signing-request:submit", **wanted))
            assert found == [f"client:{number}" for number in expected], name

    tell(tmp_path, story)


def test_a_reader_of_some_agencies_sees_nothing_of_the_others(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        happened(it, fact(1, agency_code="H26.1"), fact(2, agency_code="H26.2"), fact(3),
                 fact(4, agency_code="H26.1.7"))
        narrow, none = Reader("client:cl_1", frozenset({"H26.1"})), Reader("client:cl_2", frozenset())
        assert actors(search(it, narrow, event="signing-request:submit")) == ["client:1", "client:4"]
        assert actors(search(it, none)) == []
        foreign = search(it, agency="H26.2").entries[0].id
        with pytest.raises(NotFound):
            inspection.get(it.rt.db, narrow, it.clock(), foreign)
        with pytest.raises(NotFound):
            search(it, narrow, after=foreign)
        with pytest.raises(NotFound):
            verification.prove_inclusion(it.rt.db, narrow, it.clock(), foreign)
        exported = "".join(exports.export(it.rt.db, narrow, it.clock(), Wanted(), Form.JSONL))
        assert "H26.2" not in exported
        assert "H26.1.7" in exported

    tell(tmp_path, story)


def test_every_reading_is_on_record_before_anything_is_shown(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        one = search(it).entries[0].id
        inspection.get(it.rt.db, AUDITOR, it.clock(), one)
        exports.export(it.rt.db, AUDITOR, it.clock(), Wanted(agency="H26"), Form.CSV)  # not one piece was taken
        with pytest.raises(NotFound):
            inspection.get(it.rt.db, AUDITOR, it.clock(), "en_" + "0" * 32)
        readings = [json.loads(each.body) for each in it.entries("audit:read")]
        assert [each["data"]["what"] for each in readings] == ["search", "entry", "export", "entry"]
        assert readings[2]["data"]["asked"] == {"agency": "H26", "form": "csv"}
        assert {each["actor"] for each in readings} == {"client:cl_auditor"}

    tell(tmp_path, story)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_in_a_snapshot_no_entry_finds_its_place(tmp_path: Path, database: str) -> None:
    async def story(it: Hall) -> None:
        happened(it, fact(1))
        waiting = select(entry.c.id).where(entry.c.leaf_index.is_(None))
        with inspection.snapshot(it.rt.db) as tx:
            before = tx.execute(waiting).scalars().all()
            it.sequence()
            assert tx.execute(waiting).scalars().all() == before
        with inspection.snapshot(it.rt.db) as tx:
            assert not set(before) & set(tx.execute(waiting).scalars().all())

    tell(tmp_path, story, databases.postgresql() if database == "postgresql" else None)


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_a_page_has_a_size(tmp_path: Path, limit: int) -> None:
    async def story(it: Hall) -> None:
        with pytest.raises(Invalid):
            search(it, limit=limit)

    tell(tmp_path, story)


def test_a_column_that_says_something_else_is_shown_as_such(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        happened(it, fact(1, agency_code="H26"), fact(2))
        with it.rt.db.write() as tx:
            tx.execute(update(entry).where(entry.c.actor == "client:1").values(outcome="denied", agency_code="H27"))
            tx.execute(update(entry).where(entry.c.actor == "client:2").values(body="{broken"))
        found = {each.disagrees for each in search(it, event="signing-request:submit").entries}
        assert found == {("outcome", "agency_code"), ("body",)}

    tell(tmp_path, story)


# --------------------------------------------------------------------------------------------------------- export


def test_an_export_of_the_whole_log_can_be_verified_offline(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        happened(it, *(fact(number, data={"subject": "Kế hoạch \u202e\n"}) for number in range(1200)))
        text_ = _whole(it)
        held = verification.checkpoint_note(it.rt.db)
        (key,) = verification.verifier_keys(it.rt.db)
        lines = text_.splitlines()
        report = verification.verify_export(lines, held, key)
        assert report.ok, report.findings
        assert report.proven_size == note.read_unverified(held).size
        assert verification.verify_export(lines, None, None).ok
        assert not verification.verify_export([*lines[:500], *lines[501:]], held, key).ok
        assert not verification.verify_export([*lines[:500], lines[500].replace("client:", "nobody:"), *lines[501:]],
                                              held, key).ok
        with pytest.raises(NoteInvalid):
            verification.verify_export(lines, held.replace("\n", " \n", 1), key)

    tell(tmp_path, story)


def _whole(it: Hall) -> str:
    """An export, with the entry of its own making under the checkpoint."""
    pieces = exports.export(it.rt.db, AUDITOR, it.clock(), Wanted(), Form.JSONL)
    it.sequence()
    return "".join(pieces)


def test_a_spreadsheet_takes_no_cell_for_a_formula(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        happened(it, Fact(Event.SUBMITTED, "=HYPERLINK(1)"), Fact(Event.SUBMITTED, '+1",\n"x'), fact(1))
        text_ = "".join(exports.export(it.rt.db, AUDITOR, it.clock(), Wanted(event="signing-request:submit"),
                                          Form.CSV))
        rows = list(csv.DictReader(io.StringIO(text_)))
        assert {row["actor"] for row in rows} == {"'=HYPERLINK(1)", "'+1\",\n\"x", "client:1"}
        assert list(rows[0]) == list(exports.COLUMNS)

    tell(tmp_path, story)


# ------------------------------------------------------------------------------------------------------- document


def test_a_document_is_found_in_every_revision(tmp_path: Path) -> None:
    async def story(it: Hall) -> None:
        request_id = await it.confirmed()
        assert await delivery.finish(it.rt, request_id)
        row = it.row(request_id)
        signed = it.rt.documents.path(row.signed_digest)
        roots = (it.city.ca.root,)
        for file in (DOCUMENT, signed):
            found = await provenance.find_document(it.rt, AUDITOR, file, roots, "cl_1")
            assert {row.document_digest} <= set(found.digests)
            events = {each.body["event"] for each in found.entries}
            assert {"signature:done", "signing-request:signed"} <= events
        assert [each.verdict.value for each in found.judgements] == ["HỢP LỆ"]
        longer = tmp_path / "longer.pdf"
        longer.write_bytes(signed.read_bytes() + b"% and something behind it\n")
        found = await provenance.find_document(it.rt, AUDITOR, longer, roots, "cl_1")
        assert row.signed_digest in found.digests
        assert found.entries
        other = tmp_path / "other.txt"
        other.write_bytes(b"no PDF at all")
        found = await provenance.find_document(it.rt, AUDITOR, other, roots, "cl_1")
        assert (found.entries, found.judgements) == ((), ())
        assert found.problem

    tell(tmp_path, story)


def test_a_file_made_of_revision_ends_costs_no_more_than_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "many"
    file.write_bytes(b"%%EOF\r\n" * 100_000)
    assert len(provenance.revision_digests(file)) <= provenance.MOST_REVISIONS + 1
    (tmp_path / "empty").write_bytes(b"")
    assert len(provenance.revision_digests(tmp_path / "empty")) == 1
