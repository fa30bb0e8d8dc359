"""Auditors over HTTP: what they may ask, what they get, and that everybody else gets nothing."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from signing_service import receipts, verification
from signing_service.signer import sequencer
from signing_service.tlog import note, tree
from tests.support.world import Client, Stage, World, plan, told


@dataclass(frozen=True)
class Archive:
    """A world in which one document was signed, with an auditor."""

    world: World
    office: Client
    auditor: Client
    made: dict[str, Any]

    def sequence(self) -> None:
        self.world.stage.run(asyncio.to_thread(sequencer.sequence, self.world.city.rt))

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return told(self.auditor.asks("GET", f"/api/v1{path}", params=query), 200)


@pytest.fixture(scope="module")
def archive(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with World.open(stage, tmp_path_factory.mktemp("archive")) as world:
        office, official = world.client(), world.official()
        made = office.confirms(official, office.submits(official))
        assert made["state"] == "signed"
        found = Archive(world, office, world.client("auditor", name="Thanh tra"), made)
        found.sequence()
        yield found


def test_entries_of_a_signing_request(archive: Archive) -> None:
    found = archive.get("/audit/entries", signing_request=archive.made["id"])
    events = {each["body"]["event"] for each in found["entries"]}
    assert {"signing-request:submit", "signature:intent", "signature:done", "signing-request:signed"} <= events
    assert all(each["index"] is not None for each in found["entries"])
    one = found["entries"][0]
    assert archive.get(f"/audit/entries/{one['id']}") == one


def test_pages_follow_each_other(archive: Archive) -> None:
    first = archive.get("/audit/entries", limit=3)
    second = archive.get("/audit/entries", limit=3, after=first["next"])
    assert [each["index"] for each in first["entries"] + second["entries"]] == list(range(6))


def test_documents_are_found_by_what_people_call_them_the_newest_first(archive: Archive) -> None:
    found = archive.get("/audit/entries", number="201", symbol="KH-UBND", document_type="KH", order="newest")["entries"]
    assert {each["body"]["signing_request_id"] for each in found} == {archive.made["id"]}
    assert [each["index"] for each in found] == sorted((each["index"] for each in found), reverse=True)
    assert archive.get("/audit/entries", number="202")["entries"] == []


def test_the_export_verifies_against_the_public_checkpoint(archive: Archive) -> None:
    checkpoint = archive.world.asks("GET", "/checkpoint")  # first: what it covers has its place in the export
    key = archive.world.asks("GET", "/checkpoint/key").text.strip()
    assert checkpoint.headers["content-type"].startswith("text/plain")
    exported = archive.auditor.asks("GET", "/api/v1/audit/export")
    assert exported.headers["content-type"].startswith("application/jsonl")
    size = note.open_note(checkpoint.text, [note.parse_verifier(key)]).size
    lines = exported.text.splitlines()[:size]
    report = verification.verify_export(lines, checkpoint.text, key)
    assert report.ok, report.findings
    assert report.proven_size == size


def test_the_export_as_a_spreadsheet(archive: Archive) -> None:
    exported = archive.auditor.asks("GET", "/api/v1/audit/export", params={"form": "csv", "event": "signature:done"})
    (row,) = csv.DictReader(io.StringIO(exported.text))
    assert row["signing_request_id"] == archive.made["id"]
    assert "attachment" in exported.headers["content-disposition"]


def test_proofs_lead_to_the_checkpoint(archive: Archive) -> None:
    one = archive.get("/audit/entries", event="signing-request:signed")["entries"][0]
    proof = archive.get("/audit/proofs/inclusion", entry=one["id"])
    tree.verify_inclusion(bytes.fromhex(proof["leaf_hash"]), proof["index"], proof["size"],
                          [bytes.fromhex(step) for step in proof["proof"]], bytes.fromhex(proof["root"]))
    grown = archive.get("/audit/proofs/consistency", old=3, new=proof["size"])
    assert grown["new_root"] == proof["root"]
    tree.verify_consistency(3, bytes.fromhex(grown["old_root"]), grown["new"], bytes.fromhex(grown["new_root"]),
                            [bytes.fromhex(step) for step in grown["proof"]])


def test_an_uploaded_document_is_found_and_judged(archive: Archive, stage: Stage) -> None:
    signed = archive.office.asks("GET", f"/api/v1/signing-requests/{archive.made['id']}/signed-document").content
    before = archive.world.files()
    for content, signatures in ((plan(), 0), (signed, 1)):
        answer = archive.auditor.asks("POST", "/api/v1/audit/documents",
                                      files={"file": ("a.pdf", content, "application/pdf")})
        found = told(answer, 200)
        assert found["sha256"] == hashlib.sha256(content).hexdigest()
        assert {"signing-request:signed"} <= {each["body"]["event"] for each in found["entries"]}
        assert len(found["signatures"]) == signatures
    assert found["signatures"][0]["intact"]
    assert found["signatures"][0]["verdict"] == "KHÔNG ĐỦ THÔNG TIN XÁC THỰC"  # no trust roots are configured
    assert archive.world.files() == before  # nothing of it is kept


def test_the_report_of_the_month(archive: Archive) -> None:
    month = archive.world.clock().strftime("%Y-%m")
    report = archive.get("/reports/monthly", month=month)
    (line,) = report["lines"]
    assert (line["agency_code"], line["document_type"], line["submitted"], line["signed"]) == ("H26.1", "KH", 1, 1)
    as_csv = archive.auditor.asks("GET", "/api/v1/reports/monthly", params={"month": month, "csv": True})
    (row,) = csv.DictReader(io.StringIO(as_csv.text))
    assert row["signed"] == "1"


def test_the_receipt_of_a_client_verifies_offline(archive: Archive) -> None:
    receipt = told(archive.office.asks("GET", f"/api/v1/signing-requests/{archive.made['id']}/receipt"), 200)
    key = archive.world.asks("GET", "/checkpoint/key").text.strip()
    assert receipts.check(json.loads(json.dumps(receipt)), key, plan()).ok
    assert receipt["signing_request"]["signed_digest"] == archive.made["signed_digest"]


WRONG = {
    "a time without its zone": ("/audit/entries?begins=2026-01-01T00:00:00", 400),
    "a time before all times": ("/audit/entries?begins=0001-01-01T00:00:00%2B14:00", 400),
    "a time after all times": ("/audit/entries?ends=9999-12-31T23:59:59-14:00", 400),
    "a zero byte": ("/audit/entries?client=%00", 400),
    "half a character": ("/audit/entries?client=%ff%fe&agency=%ed%a0%80&event=%c0%80", 200),
    "a size beyond all sizes": ("/audit/proofs/consistency?old=1&new=" + "9" * 40, 400),
    "an old size beyond all sizes": ("/audit/proofs/consistency?old=" + "9" * 40, 400),
    "a digest that is none": ("/audit/entries?digest=abc", 400),
    "a page that is too long": ("/audit/entries?limit=201", 400),
    "a cursor that is no entry": ("/audit/entries?after=en_0", 404),
    "an entry that is not there": ("/audit/entries/en_0", 404),
    "a proof of nothing": ("/audit/proofs/inclusion?entry=en_0", 404),
    "a proof beyond the log": ("/audit/proofs/consistency?old=1&new=100000", 400),
    "a proof backwards": ("/audit/proofs/consistency?old=5&new=3", 400),
    "a month that is none": ("/reports/monthly?month=2026-13", 400),
    "a month in full-width digits": ("/reports/monthly?month=２０２６-01", 400),
    "another form": ("/audit/export?form=xml", 400),
    "an export of a certificate's number that is none": ("/audit/export?certificate=%25z", 400),
    "a serial number that is none": ("/audit/entries?certificate=xyz", 400),
    "an order that is none": ("/audit/entries?order=random", 400),
}


@pytest.mark.parametrize(("path", "status"), WRONG.values(), ids=WRONG.keys())
def test_what_is_asked_wrongly_is_refused(archive: Archive, path: str, status: int) -> None:
    assert archive.auditor.asks("GET", f"/api/v1{path}").status_code == status


AUDITORS_ONLY = ("/audit/entries", "/audit/export", "/audit/entries/en_0", "/audit/proofs/inclusion?entry=en_0",
                 "/audit/proofs/consistency?old=0", "/reports/monthly?month=2026-01")


@pytest.mark.parametrize("path", AUDITORS_ONLY)
def test_it_is_for_auditors(archive: Archive, path: str) -> None:
    assert archive.world.asks("GET", f"/api/v1{path}").status_code == 401
    assert archive.office.asks("GET", f"/api/v1{path}").status_code == 403


def test_a_receipt_is_for_its_client(archive: Archive) -> None:
    path = f"/api/v1/signing-requests/{archive.made['id']}/receipt"
    assert archive.world.client(name="Another").asks("GET", path).status_code == 404
    assert archive.auditor.asks("GET", path).status_code == 403


def test_every_question_was_put_on_record_under_the_auditors_name(archive: Archive) -> None:
    archive.get("/audit/entries", event="nothing")
    found = archive.get("/audit/entries", event="audit:read", limit=200)
    told_ = [each["body"] for each in found["entries"]]
    assert {each["actor"] for each in told_} == {f"client:{archive.auditor.id}"}
    assert {"event": "nothing"} in [each["data"]["asked"] for each in told_]
