"""The log, verified in the browser: what the page says of it, and what a server that cannot be trusted makes it say."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from sqlalchemy import func, select

from signing_service.db.tables import checkpoint, entry
from tests.support.browser import DESKTOP, STAFF_SIGHTS, Chromium, Sight
from tests.support.service import until
from tests.support.small_log import SmallLog
from tests.support.town import Town
from tests.support.trust_page import Spoil, kept, opens, pins, proves_entry, said, seated, serves, verifying


@pytest.fixture(params=STAFF_SIGHTS, ids=str)
def sight(request: pytest.FixtureRequest) -> Sight:
    found: Sight = request.param
    return found


def sequenced(town: Town) -> None:
    """Until everything that was recorded is under a checkpoint."""
    def is_done() -> bool:
        with town.world.rt.db.read() as tx:
            written = tx.execute(select(func.count()).select_from(entry)).scalar_one()
            return bool(tx.execute(select(func.max(checkpoint.c.size))).scalar_one() == written)

    until(is_done, what="the sequencer")


def an_entry(town: Town, event: str = "credential:import") -> str:
    with town.world.rt.db.read() as tx:
        return str(tx.execute(select(entry.c.id).where(entry.c.event == event).limit(1)).scalar_one())


def test_an_auditor_compares_the_key_once_and_then_the_browser_remembers(
    chromium: Chromium, town: Town, sight: Sight,
) -> None:
    town.official()
    sequenced(town)
    with chromium.visits(sight.glass, town.url, language=sight.language) as visitor:
        seated(visitor, town)
        page = opens(visitor)
        assert (said(page, "proven"), said(page, "open")) == ([], ["open-unpinned"])
        visitor.looks("trust-first")

        pins(page)
        assert said(page, "proven") == ["proven-signed"]
        assert said(page, "open") == ["open-key", "open-first"]
        first = kept(page)
        assert len(first) == 1

        town.official("Trần Thị Bình")
        sequenced(town)
        page = opens(visitor)
        assert said(page, "proven") == ["proven-signed", "proven-continues"]
        assert kept(page)[0] == first[0]
        assert not page.locator("#alarm").is_visible()

        assert proves_entry(page, an_entry(town)) == "entry-proven"
        visitor.looks("trust-proven")
        page.locator("#f-pasted").fill(first[0])
        page.locator("#paste button").click()
        page.wait_for_selector("#paste-result[data-said]")
        assert page.locator("#paste-result").get_attribute("data-said") == "paste-proven", visitor.text
        page.locator("button[data-checkpoint]").last.click()
        page.wait_for_selector("#history .result[data-said=row-proven]")


def test_an_entry_of_another_agency_is_not_shown(chromium: Chromium, town: Town) -> None:
    town.official()
    sequenced(town)
    with verifying(chromium, town, agencies=("H26.9",)) as (visitor, page):
        with visitor.told(404):
            assert proves_entry(page, an_entry(town)) == "entry-refused"
        visitor.sees("trust.say.answer-404")


def test_what_is_read_is_on_record_and_proofs_alone_are_not(chromium: Chromium, town: Town) -> None:
    town.official()
    sequenced(town)
    with verifying(chromium, town) as (_, page):
        assert town.world.events("audit:read") == 0
        proves_entry(page, an_entry(town))
        assert town.world.events("audit:read") == 1


# ------------------------------------------------------------------------------------ a server that cannot be trusted


def small() -> SmallLog:
    log = SmallLog(ed25519.Ed25519PrivateKey.generate())
    log.writes(*(json.dumps({"id": f"en_{number}", "subject": "<script>alert(1)</script>"}) for number in range(11)))
    return log


def cut_off(log: SmallLog) -> SmallLog:
    return SmallLog(log.private, log.origin, log.texts[:7])


LIES: dict[str, tuple[Callable[[SmallLog], SmallLog], str]] = {
    "a log that went another way": (lambda log: _longer(log.forked(at=4), log.texts), "trust.say.proof-fork"),
    "a log of the same length that went another way": (
        lambda log: _longer(log.forked(at=4), log.texts[:-1]), "trust.say.proof-fork"),
    "a log that was cut off": (cut_off, "trust.say.proof-shorter"),
    "another log under the same key": (
        lambda log: SmallLog(log.private, "other.test/log", log.texts), "trust.say.note-not-signed"),
}


def _longer(log: SmallLog, texts: list[str]) -> SmallLog:
    log.writes(*texts[len(log.texts):], "and on")
    return log


@pytest.mark.parametrize(("lie", "why"), LIES.values(), ids=LIES.keys())
def test_the_page_shouts_and_keeps_what_it_had(
    lie: Callable[[SmallLog], SmallLog], why: str, chromium: Chromium, square: Town,
) -> None:
    log = small()
    with verifying(chromium, square, log) as (visitor, page):
        before = kept(page)
        assert len(before) == 1
        serves(page, lie(log))
        opens(visitor)
        assert "alarm-refused" in said(page, "alarms")
        visitor.sees(why)
        assert "proven-continues" not in said(page, "proven")
        assert kept(page) == before
        if lie is cut_off:  # one of them is looked at
            visitor.looks("trust-alarm")


def test_a_key_that_changed_is_shouted_and_the_old_one_stays(chromium: Chromium, square: Town) -> None:
    log = small()
    other = SmallLog(ed25519.Ed25519PrivateKey.generate(), texts=log.texts)
    with verifying(chromium, square, log) as (visitor, page):
        serves(page, other)
        opens(visitor)
        assert said(page, "alarms") == ["alarm-key", "alarm-refused"]
        assert page.evaluate("localStorage.getItem('trust.key')") == log.verifier
        pins(page, other.verifier)
        assert said(page, "proven") == ["proven-signed"]
        assert "open-first" in said(page, "open")


SPOILED: dict[str, tuple[Spoil, str]] = {
    "its text was changed": (lambda told: told | {"text": told["text"].replace("script", "sxript")},
                             "trust.say.proof-other-root"),
    "it is another entry": (lambda told: told | {"text": told["text"].replace("en_3", "en_4")},
                            "trust.say.proof-other-entry"),
    "its place is another": (lambda told: told | {"index": 2}, "trust.say.proof-other-root"),
    "its proof is another's": (lambda told: told | {"proof": told["proof"][::-1]}, "trust.say.proof-other-root"),
    "its proof is no list of hashes": (lambda told: told | {"proof": ["<b>"]}, "trust.say.proof-not-a-hash"),
    "its text is no JSON": (lambda told: told | {"text": "<b>"}, "trust.say.answer-away"),
}


@pytest.mark.parametrize(("spoil", "why"), SPOILED.values(), ids=SPOILED.keys())
def test_an_entry_is_not_proven_when(spoil: Spoil, why: str, chromium: Chromium, square: Town) -> None:
    log = small()
    with verifying(chromium, square, log) as (visitor, page):
        assert proves_entry(page, "en_3") == "entry-proven"
        assert "<script>" in page.locator("#entry-text").inner_text()
        serves(page, log, inclusion=spoil)
        assert proves_entry(page, "en_3") == "entry-refused"
        visitor.sees(why)
        assert page.locator("#entry-text").inner_text() == ""


def test_an_entry_that_was_proven_before_and_now_stands_elsewhere_is_noticed(
    chromium: Chromium, square: Town
) -> None:
    log = small()
    with verifying(chromium, square, log) as (visitor, page):
        proves_entry(page, "en_3")
        page.evaluate("""localStorage.setItem('trust.entries', JSON.stringify(
            JSON.parse(localStorage.getItem('trust.entries')).map(each => ({...each, index: 9}))))""")
        assert proves_entry(page, "en_3") == "entry-refused"
        visitor.sees("trust.say.proof-entry-changed")


def test_kept_checkpoints_that_were_damaged_are_told(chromium: Chromium, square: Town) -> None:
    log = small()
    with verifying(chromium, square, log) as (visitor, page):
        page.evaluate("localStorage.setItem('trust.checkpoints', '{broken')")
        opens(visitor)
        assert "alarm-kept" in said(page, "alarms")


def test_a_session_that_ended_is_told_as_such(chromium: Chromium, square: Town) -> None:
    with chromium.visits(DESKTOP, square.url) as visitor:
        seat = seated(visitor, square)
        page = opens(visitor)
        pins(page)
        seat.posts("/console/sign-out", on="/console")
        assert proves_entry(page, "en_" + "0" * 32) == "entry-refused"
        visitor.sees("trust.say.answer-401")
