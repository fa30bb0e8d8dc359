"""Auditors at the console, from the link that an operator sent to evidence that nobody has to be believed for."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from pathlib import Path

import pytest

from signing_service import receipts, verification
from tests.support.browser import DESKTOP, STAFF_SIGHTS, Chromium, Sight
from tests.support.town import Town
from tests.support.town_staff import Auditor, Works


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_from_the_link_to_being_signed_in_and_out(chromium: Chromium, town: Town, sight: Sight) -> None:
    with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
        auditor = Auditor(visitor, town, town.auditor())
        auditor.enrols(town.ticket(auditor.person))
        visitor.looks("console-home")
        auditor.signs_out()
        visitor.looks("signed-out")
        visitor.opens("/console/figures")
        visitor.page.wait_for_url("**/console/sign-in?next=*")
        with visitor.told(403):
            auditor.tries_to_sign_in(password="không phải mật khẩu này")
            visitor.sees("error.sign-in")
            visitor.looks("sign-in-refused")
        auditor.tries_to_sign_in()
        visitor.page.wait_for_url("**/console/figures")


def test_a_session_that_was_ended_on_the_server_is_over_in_the_browser(
    works: Works, chromium: Chromium, town: Town,
) -> None:
    with works(Auditor) as auditor:
        auditor.visitor.opens("/console")
        with chromium.visits(DESKTOP, town.url) as elsewhere:
            Auditor(elsewhere, town, auditor.person).signs_in()
            elsewhere.opens("/console/password")
            elsewhere.presses("session.everywhere.button")
            elsewhere.sees("session.signed-out")
        auditor.visitor.page.reload()
        auditor.visitor.page.wait_for_url("**/console/sign-in*")


def test_another_password(works: Works, town: Town) -> None:
    with works(Auditor) as auditor:
        visitor, page, new = auditor.visitor, auditor.visitor.page, "hoa sữa thơm nồng đêm thu"
        visitor.opens("/console/password")
        visitor.looks("password")
        for again, status, said in (("khác hẳn", 400, "error.password-differs"), (new, 200, "session.password.done")):
            for name, typed in (("old", auditor.password), ("new", new), ("again", again)):
                page.locator(f"[name={name}]").fill(typed)
            page.locator("[name=code]").fill(town.code(auditor.person))
            with visitor.told(status):
                visitor.presses("session.password.button")
                visitor.sees(said)


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_a_signature_is_found_told_and_taken_away_as_evidence(
    works: Works, town: Town, sight: Sight, tmp_path: Path,
) -> None:
    chairman = town.official()
    made = town.submits(chairman, subject="Kế hoạch trồng cây")
    town.submits(chairman, number="202", subject="Kế hoạch nghỉ lễ")
    town.signs(chairman, made)
    with works(Auditor, sight) as auditor:
        visitor = auditor.visitor
        visitor.opens("/console/search")
        visitor.looks("search")
        auditor.searches(number="201", event="signing-request:signed")
        assert visitor.page.locator("table.entries tbody tr").count() == 1
        visitor.looks("search-results")
        auditor.opens_story(made)
        assert "Kế hoạch trồng cây" in visitor.text
        visitor.looks("story")
        file = auditor.downloads(lambda: visitor.page.locator("a[download][href$='/evidence']").click(), tmp_path)
    with zipfile.ZipFile(file) as evidence:
        receipt, key = json.loads(evidence.read("receipt.json")), verification.verifier_keys(town.world.rt.db)[0]
        assert "Kế hoạch trồng cây" in evidence.read("story.vi.html").decode()
    assert receipts.check(receipt, key, town.downloads(made)).ok


def test_an_entry_stands_as_it_was_written(works: Works, town: Town) -> None:
    town.submits(town.official())
    with works(Auditor) as auditor:
        auditor.searches(event="signing-request:submit")
        auditor.visitor.page.locator("a[href^='/console/entries/']").first.click()
        auditor.visitor.sees("console.entry.text")
        auditor.visitor.looks("entry")
        assert '"event":"signing-request:submit"' in auditor.visitor.page.locator("pre.leaf").inner_text()


def test_what_is_not_there_is_said_and_so_is_a_question_that_makes_no_sense(works: Works, town: Town) -> None:
    with works(Auditor) as auditor:
        auditor.searches(number="99999")
        auditor.visitor.sees("console.search.none")
        auditor.visitor.looks("search-nothing")
        with auditor.visitor.told(400):
            auditor.visitor.opens("/console/search?from=2026-13-45")
        auditor.visitor.sees("console.search.wrong")
        auditor.visitor.looks("search-wrong")


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_a_document_is_dropped_and_its_history_is_there(
    works: Works, town: Town, sight: Sight, tmp_path: Path,
) -> None:
    chairman = town.official()
    made = town.submits(chairman)
    town.signs(chairman, made)
    (tmp_path / "signed.pdf").write_bytes(town.downloads(made))
    (tmp_path / "changed.pdf").write_bytes(town.downloads(made).replace(b"/Type /Catalog", b"/Type /Cata1og", 1))
    with works(Auditor, sight) as auditor:
        auditor.visitor.opens("/console/document")
        auditor.visitor.looks("document-drop")
        auditor.drops(tmp_path / "signed.pdf")
        auditor.visitor.sees("console.document.known")
        auditor.visitor.looks("document-known")
        auditor.drops(tmp_path / "changed.pdf")
        auditor.visitor.sees("console.document.unknown")
        auditor.visitor.looks("document-unknown")


@pytest.mark.parametrize("sight", STAFF_SIGHTS, ids=str)
def test_figures_on_the_screen_on_paper_and_in_files(
    works: Works, town: Town, sight: Sight, tmp_path: Path,
) -> None:
    chairman = town.official()
    requests = [town.submits(chairman, document_type=kind) for kind in ("KH", "KH", "TB", "BC")]
    town.signs(chairman, *requests[:3])
    with works(Auditor, sight) as auditor:
        visitor = auditor.visitor
        visitor.opens("/console/figures")
        visitor.sees("figures.by-day")
        visitor.looks("figures")
        table = auditor.downloads(lambda: visitor.page.locator("a[href*='figures.csv']").first.click(), tmp_path)
        lines = auditor.downloads(lambda: visitor.page.locator("a[href*='figures.jsonl']").first.click(), tmp_path)
        visitor.follows("figures.print")
        visitor.sees("figures.total")
        visitor.looks("figures-print")
    assert len(list(csv.reader(table.read_text(encoding="utf-8-sig").splitlines()))) > 1
    assert all(json.loads(line) for line in lines.read_text().splitlines())


def test_what_was_found_goes_into_a_file(works: Works, town: Town, tmp_path: Path) -> None:
    town.submits(town.official())
    with works(Auditor) as auditor:
        auditor.searches(number="201")
        visitor = auditor.visitor
        found = visitor.page.locator("table.entries tbody tr").count()
        table = auditor.downloads(lambda: visitor.follows("console.search.export-csv"), tmp_path)
        lines = auditor.downloads(lambda: visitor.follows("console.search.export-jsonl"), tmp_path)
    assert len(list(csv.reader(table.read_text(encoding="utf-8-sig").splitlines()))) >= found + 1
    assert len(lines.read_text().splitlines()) >= found


def test_an_auditor_sees_no_desk_and_an_official_no_console(works: Works, town: Town) -> None:
    with works(Auditor) as auditor, auditor.visitor.told(404):
        auditor.visitor.opens("/desk")
        assert re.search("404|Không tìm thấy", auditor.visitor.text)
