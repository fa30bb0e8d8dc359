"""What an auditor reads at the console: the search, an entry, one signature's story, a document that is dropped."""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from sqlalchemy import select, update

from signing_service.audit import Event, Fact, record
from signing_service.db.tables import credential, entry
from signing_service.front import app
from signing_service.front.web import console_pages, words
from signing_service.front.web.audience import SCREENS, Audience, Screen
from signing_service.signer import sequencer
from tests.support.city import Person
from tests.support.staff import Seat
from tests.support.world import PLAN, Client, Stage, World, plan

SCRIPT = '<script>alert("x")</script>'
LINK = re.compile(r'href="([^"]+)"')


@dataclass(frozen=True)
class Archive:
    """A world in which one document was signed and one refused, with an auditor at the console."""

    world: World
    office: Client
    official: Person
    auditor: Seat
    signed: dict[str, Any]
    refused: dict[str, Any]

    def reads(self) -> list[dict[str, Any]]:
        """Every reading that is on record, as (actor, what was asked)."""
        with self.world.rt.db.read() as tx:
            found = tx.execute(select(entry.c.body).where(entry.c.event == "audit:read").order_by(entry.c.id))
            return [json.loads(body) for body in found.scalars()]


def sequence(world: World) -> None:
    sequencer.sequence(world.city.rt)


@pytest.fixture(scope="module")
def archive(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with World.open(stage, tmp_path_factory.mktemp("console")) as world:
        office, official = world.client(), world.official("Nguyễn Văn An")
        signed = office.confirms(official, office.submits(official, external_id="VB-173"))
        refused = office.submits(official, plan("another"), subject=SCRIPT, number="=1+1", document_type="CV")
        answer = office.asks("POST", f"/api/v1/signing-requests/{refused['id']}/refuse", json={"reason": SCRIPT})
        assert answer.status_code == 200, answer.text
        sequence(world)
        yield Archive(world, office, official, world.auditor(), signed, refused)


def said(key: str, language: str = "vi") -> str:
    return html.escape(words.say(language, key), quote=False)


# ---------------------------------------------------------------------------------------------------------- search


def test_the_form_asks_nothing_until_somebody_does(archive: Archive) -> None:
    before = len(archive.reads())
    page = archive.auditor.sees("/console/search")
    assert said("console.search.button") in page
    assert 'id="results"' not in page
    assert len(archive.reads()) == before


def test_a_search_shows_in_words_what_happened_to_which_document_and_is_on_record(archive: Archive) -> None:
    page = archive.auditor.sees("/console/search?number=201&symbol=KH-UBND&event=signing-request:signed")
    assert said("event.signing-request:signed") in page
    assert "201/KH-UBND" in page
    assert "Kế hoạch chuyển đổi số" in page
    assert "Nguyễn Văn An" in page
    assert f"/console/signatures/{archive.signed['id']}" in page
    read = archive.reads()[-1]
    assert read["actor"] == f"auditor:{archive.auditor.id}"
    assert read["data"] == {"what": "search", "asked": {
        "number": "201", "symbol": "KH-UBND", "event": "signing-request:signed", "order": "newest"}}


FOUND = {
    "by the name of the signatory": "signatory=Nguyễn Văn An",
    "by the name of the document system": "client=QLVB",
    "by the agency above": "agency=H26",
    "by type": "type=KH",
    "by number": "number=201",
    "by symbol": "symbol=KH-UBND",
    "by outcome": "outcome=ok",
    "by event": "event=signature:done",
    "by a day": "from={day}&to={day}",
    "from the oldest on": "order=oldest",
    "by the digest of what was submitted": "digest={document}",
    "by the digest of what was signed, in capitals": "digest={signed}",
    "by the certificate's serial number": "certificate={serial}",
    "by the certificate's fingerprint": "certificate={fingerprint}",
    "by the signing request": "request={id}",
}


@pytest.mark.parametrize("query", FOUND.values(), ids=FOUND.keys())
def test_a_signed_document_is_found(archive: Archive, query: str) -> None:
    world = archive.world
    with world.rt.db.read() as tx:
        der = tx.execute(select(credential.c.certificate).where(
            credential.c.id == archive.official.credential)).scalar_one()
    serial = f"{x509.load_der_x509_certificate(der).serial_number:x}"
    asked = query.format(
        day=world.clock().astimezone(world.rt.settings.zone).date(), document=archive.signed["document_digest"],
        signed=archive.signed["signed_digest"].upper(), id=archive.signed["id"],
        serial=":".join(re.findall("..?", serial.upper())), fingerprint=hashlib.sha256(der).hexdigest())
    page = archive.auditor.sees("/console/search?" + quote(asked, safe="=&:"))
    assert f"/console/signatures/{archive.signed['id']}" in page
    assert asked.partition("=")[0] in page


WRONG = {
    "a day that is none": ("from=2026-02-30", "day"),
    "a day that is a word": ("to=yesterday", "day"),
    "a time that is none": ("from=2026-01-01&from_time=25:00", "time"),
    "an end before the beginning": ("from=2026-02-01&to=2026-01-01", "order"),
    "a digest that is none": ("digest=abc", "digest"),
    "a serial number that is none": ("certificate=xyz", "certificate"),
    "an event that does not exist": ("event=everything", "choice"),
    "an outcome that does not exist": ("outcome=nice", "choice"),
    "a name that steers a terminal": ("signatory=%1b[2J", "text"),
    "a number that is too long": ("number=" + "9" * 50, "text"),
}


@pytest.mark.parametrize(("query", "word"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_at_its_field_and_nothing_is_searched(archive: Archive, query: str, word: str) -> None:
    before = len(archive.reads())
    answer = archive.auditor.gets(f"/console/search?{query}")
    assert answer.status_code == 400
    assert said(f"console.wrong.{word}") in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert len(archive.reads()) == before


def test_pages_lead_to_older_entries_and_back(archive: Archive) -> None:
    world = archive.world
    with world.rt.db.write() as tx:
        record(tx, world.clock(), *(Fact(Event.WITHDRAWN, "client:cl_x") for _ in range(120)))
    sequence(world)
    path, seen = "/console/search?event=signing-request:withdraw", []
    first = page = archive.auditor.sees(path)
    while True:
        seen += re.findall(r'href="/console/entries/(en_[0-9a-f]{32})"', page)
        link = re.search(r'rel="next" href="([^"]+)"', page)
        if link is None:
            break
        page = archive.auditor.sees("/console/search" + html.unescape(link[1]))
    assert len(seen) == len(set(seen)) == 120
    assert seen == sorted(seen, reverse=True)
    assert "120" in first
    back = page
    while (link := re.search(r'rel="prev" href="([^"]+)"', back)) is not None:
        back = archive.auditor.sees("/console/search" + html.unescape(link[1]))
    assert re.findall(r'href="/console/entries/(en_[0-9a-f]{32})"', back) == seen[:50]


def test_the_present_search_can_be_taken_away_and_no_cell_is_a_formula(archive: Archive) -> None:
    query = f"request={archive.refused['id']}&form=csv"
    answer = archive.auditor.gets(f"/console/search/export?{query}")
    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["signing_request_id"] for row in rows} == {archive.refused["id"]}
    assert not [cell for row in rows for cell in row.values() if cell[:1] in "=+-@" and cell]
    assert archive.reads()[-1]["data"]["what"] == "export"
    taken = [row["id"] for row in rows]
    with archive.world.rt.db.write() as tx:  # a front that was taken over writes into entries what it likes
        record(tx, archive.world.clock(), Fact(Event.BATCHED, "=HYPERLINK(1)", "+1", client_id="@x"))
    (row,) = csv.DictReader(io.StringIO(archive.auditor.gets(
        "/console/search/export?event=batch:create&form=csv").text))
    assert (row["actor"], row["outcome"], row["client_id"]) == ("'=HYPERLINK(1)", "'+1", "'@x")
    lines = archive.auditor.gets(f"/console/search/export?request={archive.refused['id']}&form=jsonl").text.splitlines()
    assert [json.loads(line)["body"]["id"] for line in lines] == taken


# ------------------------------------------------------------------------------------------------ stories, entries


def test_a_story_tells_every_step_with_what_was_decided_and_why(archive: Archive) -> None:
    page = archive.auditor.sees(f"/console/signatures/{archive.signed['id']}")
    for event in ("signing-request:submit", "signing-request:confirm", "signature:intent", "signature:done",
                  "signing-request:signed"):
        assert said(f"event.{event}") in page, event
    for shown in (archive.signed["document_digest"], archive.signed["signed_digest"], "VB-173", "Nguyễn Văn An",
                  said("rule.secrecy"), said("console.channel.client"), said("console.story.permits")):
        assert shown in page, shown
    assert archive.reads()[-1]["data"] == {"what": "story", "asked": {"signing_request": archive.signed["id"]}}


def test_a_refusal_is_told_with_its_reason(archive: Archive) -> None:
    page = archive.auditor.sees(f"/console/signatures/{archive.refused['id']}?lang=en")
    assert said("event.signing-request:refuse", "en") in page
    assert html.escape(SCRIPT) in page.replace("&#34;", "&quot;")
    archive.auditor.sees("/console/search?lang=vi")


def test_an_entry_is_shown_as_the_tree_covers_it(archive: Archive) -> None:
    with archive.world.rt.db.read() as tx:
        row = tx.execute(select(entry).where(entry.c.event == "signature:intent")).one()
    page = archive.auditor.sees(f"/console/entries/{row.id}")
    assert html.escape(row.body).replace("&quot;", "&#34;") in page
    assert hashlib.sha256(b"\x00" + row.body.encode()).hexdigest() in page


def test_columns_that_do_not_say_what_the_text_says_are_pointed_out(stage: Stage, archive: Archive) -> None:
    with archive.world.rt.db.write() as tx:
        row = tx.execute(select(entry).where(entry.c.event == "signing-request:refuse")).one()
        tx.execute(update(entry).where(entry.c.id == row.id).values(outcome="denied", actor="client:somebody"))
    try:
        for path in (f"/console/entries/{row.id}", f"/console/signatures/{archive.refused['id']}",
                     f"/console/search?request={archive.refused['id']}"):
            page = archive.auditor.sees(path)
            assert html.escape(words.say("vi", "console.disagrees", names="actor, outcome")) in page, path
    finally:
        with archive.world.rt.db.write() as tx:
            tx.execute(update(entry).where(entry.c.id == row.id).values(outcome=row.outcome, actor=row.actor))


def test_a_damaged_text_is_shown_and_breaks_no_page(archive: Archive) -> None:
    with archive.world.rt.db.write() as tx:
        row = tx.execute(select(entry).where(entry.c.event == "signing-request:refuse")).one()
    for damage in ("not JSON", "[]", '{"data": 5, "at": "yesterday", "event": 7}', '{"data": {"findings": 3}}'):
        with archive.world.rt.db.write() as tx:
            tx.execute(update(entry).where(entry.c.id == row.id).values(body=damage))
        try:
            for path in (f"/console/entries/{row.id}", f"/console/signatures/{archive.refused['id']}",
                         f"/console/search?request={archive.refused['id']}"):
                archive.auditor.sees(path)
        finally:
            with archive.world.rt.db.write() as tx:
                tx.execute(update(entry).where(entry.c.id == row.id).values(body=row.body))


# -------------------------------------------------------------------------------------------------------- document


def drops(archive: Archive, content: bytes | None, auditor: Seat | None = None) -> Any:
    auditor = auditor or archive.auditor
    page = auditor.sees("/console/document")
    token = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert token is not None
    files = {} if content is None else {"file": ("a.pdf", content, "application/pdf")}
    return auditor.asks("POST", "/console/document", data={"csrf": token[1]}, files=files)


def test_a_dropped_document_is_found_judged_and_not_kept(archive: Archive) -> None:
    path = f"/api/v1/signing-requests/{archive.signed['id']}/signed-document"
    signed, before = archive.office.asks("GET", path).content, archive.world.files()
    page = drops(archive, signed)
    assert page.status_code == 200, page.text
    assert said("console.document.known") in page.text
    assert f"/console/signatures/{archive.signed['id']}" in page.text
    for digest in (archive.signed["signed_digest"], archive.signed["document_digest"]):
        assert digest in page.text
    assert said("console.document.unchanged") in page.text
    assert archive.world.files() == before
    assert archive.reads()[-1]["data"]["asked"]["sha256"] == archive.signed["signed_digest"]


def test_a_document_of_another_agency_is_as_good_as_unknown(archive: Archive) -> None:
    page = drops(archive, plan(), archive.world.auditor(("H26.2",), "Bên ngoài"))
    assert said("console.document.unknown") in page.text
    assert archive.signed["id"] not in page.text


def test_a_document_that_nobody_knows_is_said_to_be_unknown(archive: Archive) -> None:
    page = drops(archive, (PLAN.parent / "cairo.pdf").read_bytes())
    assert said("console.document.unknown") in page.text
    assert said("console.document.no-signatures") in page.text


@pytest.mark.parametrize("content", [b"no PDF at all", b"%PDF-1.7\n%%EOF\n" * 50], ids=["no PDF", "a broken one"])
def test_what_is_no_pdf_is_looked_up_all_the_same(archive: Archive, content: bytes) -> None:
    page = drops(archive, content)
    assert page.status_code == 200
    assert hashlib.sha256(content).hexdigest() in page.text
    assert said("console.document.problem") in page.text


def test_a_form_without_a_file_says_what_is_missing(archive: Archive) -> None:
    for content in (None, b""):
        page = drops(archive, content)
        assert page.status_code == 400
        assert said("console.document.missing") in page.text


# ------------------------------------------------------------------------------------------------------- who may


def test_nothing_of_another_agency_is_there_and_a_narrow_auditor_sees_their_own(archive: Archive) -> None:
    own, other = archive.world.auditor(("H26.1",), "Trong"), archive.world.auditor(("H26.2",), "Ngoài")
    request_id = archive.signed["id"]
    with archive.world.rt.db.read() as tx:
        entry_id = tx.execute(select(entry.c.id).where(entry.c.event == "signature:done")).scalar_one()
    paths = (f"/console/signatures/{request_id}", f"/console/signatures/{request_id}/evidence",
             f"/console/entries/{entry_id}")
    assert [own.gets(path).status_code for path in paths] == [200, 200, 200]
    assert [other.gets(path).status_code for path in paths] == [404, 404, 404]
    searched = f"/console/search?request={request_id}"
    assert f"/console/signatures/{request_id}" in own.sees(searched)
    assert f"/console/signatures/{request_id}" not in other.sees(searched)
    assert "H26.1" not in other.sees("/console/search")
    exported = other.gets(f"/console/search/export?request={request_id}&form=jsonl")
    assert exported.text == ""


def test_each_page_is_on_record_before_it_is_shown_even_where_there_is_nothing_to_show(archive: Archive) -> None:
    reads = {
        "/console/search?number=1": "search", "/console/search/export?form=jsonl&number=1": "export",
        "/console/entries/en_0": "entry", "/console/signatures/sr_0": "story",
        "/console/signatures/sr_0/evidence": "evidence",
    }
    for path, what in reads.items():
        before = len(archive.reads())
        archive.auditor.gets(path)
        found = archive.reads()
        assert len(found) == before + 1, path
        assert found[-1]["data"]["what"] == what


AUDITORS = sorted(route.name for route in console_pages.router.routes if isinstance(route, Screen))
LOOKED_AT = {"console_document"}  # a document is sent, looked at and not kept


def routes() -> dict[str, tuple[str, set[str]]]:
    return {route.name: (route.path, route.methods) for router in app.SCREENS for route in router.routes
            if isinstance(route, Screen)}


def test_an_auditor_can_change_nothing() -> None:
    assert {SCREENS[name] for name in AUDITORS} == {Audience.AUDITOR}
    assert {"console_search", "console_story", "console_evidence"} <= set(AUDITORS)
    for name in (name for name, audience in SCREENS.items() if audience is Audience.AUDITOR):
        assert routes()[name][1] <= ({"POST"} if name in LOOKED_AT else {"GET", "HEAD"}), name


def test_nobody_but_an_auditor_gets_these_pages(archive: Archive) -> None:
    operator, nobody = archive.world.operator_at_console(), Seat(archive.world)
    for name, (path, methods) in routes().items():
        if name not in AUDITORS or "GET" not in methods:
            continue
        asked = re.sub(r"\{[^}]*\}", "x", path)
        assert operator.gets(asked).status_code == 404, path
        answer = nobody.gets(asked)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/console/sign-in"), path


@pytest.mark.parametrize("field", ["subject", "number", "symbol", "external_id", "filename"])
def test_what_people_wrote_into_a_document_is_text_on_every_page(stage: Stage, archive: Archive, field: str) -> None:
    evil = {"number": "<b>1</b>", "symbol": "<img src=x>"}.get(field, '"><img src=x onerror=alert(1)>' + field)
    fields = {"subject": "s", field: evil}
    made = archive.office.submits(archive.official, plan(field), **fields)
    for path in (f"/console/signatures/{made['id']}", f"/console/search?request={made['id']}",
                 f"/console/search?request={made['id']}&signatory={quote(evil)}&client={quote(evil)}"):
        page = archive.auditor.sees(path)
        assert "<img src=x" not in page, path
        assert "<b>1</b>" not in page, path
        assert SCRIPT not in page, path
