"""Officials on their phones, from the link that an operator sent to a document that others call signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.browser import EVERY_SIGHT, SIGHTS, Chromium, Sight
from tests.support.other_readers import poppler_says
from tests.support.town import Town
from tests.support.town_officials import Official, Visits


@pytest.mark.parametrize("sight", EVERY_SIGHT, ids=str)
def test_from_a_submission_to_the_signed_document(
    chromium: Chromium, town: Town, sight: Sight, tmp_path: Path,
) -> None:
    with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
        official = Official(visitor, town, town.official())
        official.enrols(town.ticket(official.person))
        visitor.follows("enrol.to-waiting")
        visitor.sees("phone.waiting.empty")
        visitor.looks("waiting-empty")
        made = town.submits(official.person, urgency="hoa-toc")
        official.opens(made)
        assert official.sees_pages() == made["pages"]
        assert official.reads_matching_code() == made["matching_code"]
        visitor.looks("document")
        official.confirms(town.code(official.person))
        visitor.page.wait_for_url("**/results?*")
        visitor.sees("phone.results.signed-at")
        visitor.looks("signed")
        with visitor.page.expect_download() as download:
            visitor.follows("phone.download")
        signed = town.downloads(made)
        assert Path(download.value.path()).read_bytes() == signed
    assert town.sees(made)["state"] == "signed"
    (tmp_path / "signed.pdf").write_bytes(signed)
    assert "Signature is Valid" in poppler_says(tmp_path / "signed.pdf")


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_what_is_refused_is_refused_with_the_reason(visits: Visits, town: Town, sight: Sight) -> None:
    with visits(sight) as official:
        made = town.submits(official.person)
        official.opens(made)
        official.refuses("Sai số tiền ở trang 2")
        official.visitor.sees("phone.results.refused")
        official.visitor.looks("refused")
    assert (town.sees(made)["state"], town.sees(made)["reason"]) == ("refused", "Sai số tiền ở trang 2")


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_whoever_did_not_ask_for_it_stops_everything(visits: Visits, town: Town, sight: Sight) -> None:
    with visits(sight) as official:
        forged, other = town.submits(official.person), town.submits(official.person, subject="Báo cáo quý")
        official.opens(forged)
        official.visitor.follows("phone.not-me")
        official.visitor.sees("phone.not-me.what")
        official.visitor.looks("not-me")
        official.visitor.presses("phone.not-me.button")
        official.visitor.sees("phone.stopped")
        official.visitor.looks("stopped")
        official.visitor.opens(f"/requests/{other['id']}")
        official.visitor.sees("phone.cannot")
        official.visitor.looks("cannot-confirm")
    assert town.sees(forged)["state"] == "refused"
    assert town.world.device.signatures == [] or town.world.count("signature") == 0


@pytest.mark.parametrize("sight", SIGHTS, ids=str)
def test_several_with_one_taken_out_and_one_that_fails(visits: Visits, town: Town, sight: Sight) -> None:
    with visits(sight) as official:
        first, out, gone = (town.submits(official.person, subject=subject, urgency=urgency) for subject, urgency in (
            ("Kế hoạch trồng cây", "normal"), ("Kế hoạch nghỉ lễ", "khan"), ("Kế hoạch phòng chống lụt", "hoa-toc")))
        official.visitor.opens("/waiting")
        official.visitor.looks("waiting")
        official.chooses(first, out, gone)
        official.visitor.looks("review")
        official.takes_out(out)
        town.office.asks("POST", f"/api/v1/signing-requests/{gone['id']}/withdraw", json={"reason": "đổi ý"})
        official.types("/review", town.code(official.person))
        official.visitor.page.wait_for_url("**/results?*")
        official.result_of("trồng cây").get_by_text(official.visitor.says("phone.results.signed-at")).wait_for()
        assert official.visitor.says("state.withdrawn") in official.result_of("lụt").inner_text()
        assert official.result_of("nghỉ lễ").count() == 0
        official.visitor.looks("results-some")
    assert [town.sees(each)["state"] for each in (first, out, gone)] == ["signed", "pending", "withdrawn"]


def test_pressing_twice_signs_once(visits: Visits, town: Town) -> None:
    with visits() as official:
        made = town.submits(official.person)
        official.opens(made)
        page = official.visitor.page
        page.locator("[name=code]").fill(town.code(official.person))
        page.locator("form[action$='/confirm'] button").dblclick()
        page.wait_for_url("**/results?*")
        official.visitor.sees("phone.results.signed-at")
    assert town.world.count("signature") == 1


def test_the_same_form_sent_from_two_windows_signs_once(visits: Visits, town: Town) -> None:
    with visits() as official, official.visitor.told(403):
        made = town.submits(official.person)
        official.opens(made)
        code, first = town.code(official.person), official.visitor.page
        second = official.visitor.context.new_page()
        second.goto(first.url)
        for window in (first, second):
            window.locator("[name=code]").fill(code)
            window.locator("form[action$='/confirm'] button").click()
            window.wait_for_url("**/results?*")
            window.get_by_text(official.visitor.says("phone.results.signed-at")).wait_for()
    assert town.world.count("signature") == 1
