"""The log, verified in the browser: what the scripts prove, what they refuse, and what the page says of it."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from playwright.sync_api import Page, Route
from sqlalchemy import func, select

from signing_service.db.tables import checkpoint, entry
from signing_service.errors import SigningError
from signing_service.front.web.visitors import SESSION
from signing_service.tlog import note, tree
from tests.support.browser import DESKTOP, STAFF_SIGHTS, Chromium, Sight, Visitor
from tests.support.service import until
from tests.support.small_log import SmallLog
from tests.support.staff import Seat
from tests.support.town import LiveStage, Town

COMPUTE = """async cases => {
  const note = await import('/static/trust-note.js');
  const tree = await import('/static/trust-tree.js');
  const verbs = {
    note: async given => { await note.openNote(given.note, await note.parseVerifier(given.key)); },
    inclusion: async given => tree.verifyInclusion(
      await tree.leafHash(given.text), given.index, given.size, given.proof.map(tree.unhex), tree.unhex(given.root)),
    consistency: async given => tree.verifyConsistency(
      given.old, tree.unhex(given.old_root), given.new, tree.unhex(given.new_root), given.proof.map(tree.unhex)),
  };
  const found = [];
  for (const {verb, given} of cases) {
    try { await verbs[verb](given); found.push('holds'); } catch (error) { found.push(error.code ?? String(error)); }
  }
  return found;
}"""

LOGS = {"Ed25519": SmallLog(ed25519.Ed25519PrivateKey.generate()),
        "P-256": SmallLog(ec.generate_private_key(ec.SECP256R1()))}
for each in LOGS.values():
    each.writes(*(f"entry {number}, with a word: chữ ký" for number in range(24)))
LOG = LOGS["Ed25519"]

NUMBERS = itertools.count(1)

Given = dict[str, Any]
Spoil = Callable[[Given], Given]


def signed(log: SmallLog = LOG, **other: Any) -> Given:
    return {"note": log.note(), "key": log.verifier} | other


def included(place: int = 5, of: int = 21, **other: Any) -> Given:
    return {"text": LOG.texts[place], "index": place, "size": of, "proof": LOG.inclusion(place, of),
            "root": LOG.root(of).hex()} | other


def continued(begin: int = 13, end: int = 21, **other: Any) -> Given:
    return {"old": begin, "new": end, "proof": LOG.consistency(begin, end), "old_root": LOG.root(begin).hex(),
            "new_root": LOG.root(end).hex()} | other


def flipped(text: str, at: int = 0) -> str:
    """Another hexadecimal digit at one place."""
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1:]


def resigned(text: str, change: Callable[[bytes], bytes]) -> str:
    """The note with other bytes in its signature line."""
    head, _, encoded = text.rstrip("\n").rpartition(" ")
    return f"{head} {base64.b64encode(change(base64.b64decode(encoded))).decode()}\n"


def bit(value: bytes, at: int) -> bytes:
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1:]


N, P = LOG.note(), LOGS["P-256"].note()
OTHER = SmallLog(ed25519.Ed25519PrivateKey.generate(), texts=LOG.texts)
FORK = LOG.forked(at=9)
FORK.writes(*LOG.texts[10:])
BODY = N.split("\n\n")[0] + "\n"
SIZE = f"\n{len(LOG.texts)}\n"

REFUSED: dict[str, tuple[str, Given, str]] = {
    "a note with another size": ("note", signed(note=N.replace(SIZE, "\n23\n")), "bad-signature"),
    "a note with another root": ("note", signed(note=N.replace(N.split("\n")[2], base64.b64encode(
        LOG.root(3)).decode())), "bad-signature"),
    "a note with another origin": ("note", signed(note=N.replace("signing.test/log\n", "other.test/log\n", 1)),
                                   "bad-signature"),
    "a note whose signature has one bit flipped": ("note", signed(note=resigned(N, lambda s: bit(s, 40))),
                                                   "bad-signature"),
    "a note whose key id is another": ("note", signed(note=resigned(N, lambda s: bit(s, 0))), "not-signed"),
    "a note under another name": ("note", signed(note=N.replace("— signing.test/log", "— other.test/log")),
                                  "not-signed"),
    "a note whose signature is cut short": ("note", signed(note=resigned(N, lambda s: s[:-1])), "bad-signature"),
    "a note whose signature has more behind it": ("note", signed(note=resigned(N, lambda s: s + b"x")),
                                                  "bad-signature"),
    "a note of the same log by another key": ("note", signed(note=OTHER.note()), "not-signed"),
    "a note without its signature": ("note", signed(note=BODY), "not-a-note"),
    "a note without its last newline": ("note", signed(note=N[:-1]), "not-a-note"),
    "a note with a carriage return": ("note", signed(note=N.replace("\n", "\r\n")), "not-a-note"),
    "half a note": ("note", signed(note=N[:len(N) // 2]), "not-a-note"),
    "nothing": ("note", signed(note=""), "not-a-note"),
    "a note whose base64 is spelled in another way": ("note", signed(note=N.replace("=\n", "\n")), "not-base64"),
    "a signed note with a line more": ("note", signed(note=LOG.signs(BODY + "more\n")), "not-a-checkpoint"),
    "a signed note with zeros before its size": ("note", signed(note=LOG.signs(BODY.replace(SIZE, "\n024\n"))),
                                                 "not-a-checkpoint"),
    "a signed note with a size that no number holds": ("note", signed(note=LOG.signs(BODY.replace(
        SIZE, "\n9007199254740993\n"))), "not-a-checkpoint"),
    "a signed note whose root is short": ("note", signed(note=LOG.signs(f"{LOG.origin}\n3\nAAAA\n")),
                                          "not-a-checkpoint"),
    "a signed note of another log": ("note", signed(note=LOG.signs(BODY.replace(LOG.origin, "other.test/log"))),
                                     "other-log"),
    "a P-256 note whose signature has one bit flipped": (
        "note", signed(LOGS["P-256"], note=resigned(P, lambda s: bit(s, 20))), "bad-signature"),
    "a P-256 note whose DER has a byte more": (
        "note", signed(LOGS["P-256"], note=resigned(P, lambda s: s + b"\0")), "bad-signature"),
    "a key whose id is another's": ("note", signed(key=LOG.verifier.replace("+", "+0", 1)), "not-a-key"),
    "a key of another kind": ("note", signed(key=f"{LOG.origin}+00000000+{base64.b64encode(b'3' * 33).decode()}"),
                              "not-a-key"),
    "half a key": ("note", signed(key=LOG.verifier[:-8]), "not-a-key"),

    "a changed entry": ("inclusion", included(text=LOG.texts[5] + "!"), "other-root"),
    "another entry at this place": ("inclusion", included(text=LOG.texts[6]), "other-root"),
    "an entry at another place": ("inclusion", included(index=6), "other-root"),
    "a proof with one digit flipped": ("inclusion", included(proof=[
        flipped(LOG.inclusion(5, 21)[0]), *LOG.inclusion(5, 21)[1:]]), "other-root"),
    "a proof in another order": ("inclusion", included(proof=LOG.inclusion(5, 21)[::-1]), "other-root"),
    "a proof that lacks its last step": ("inclusion", included(proof=LOG.inclusion(5, 21)[:-1]), "proof-length"),
    "a proof with a step too many": ("inclusion", included(proof=[*LOG.inclusion(5, 21), "00" * 32]), "proof-length"),
    "another log's root": ("inclusion", included(root=FORK.root(21).hex()), "other-root"),
    "an entry behind the log's end": ("inclusion", included(index=21), "not-in-log"),
    "an entry before the log's beginning": ("inclusion", included(index=-1), "not-in-log"),
    "an entry between two places": ("inclusion", included(index=5.5), "not-in-log"),
    "a hash that is cut short": ("inclusion", included(proof=[LOG.inclusion(5, 21)[0][:-2]]), "not-a-hash"),
    "a hash that is none": ("inclusion", included(proof=["zz" * 32]), "not-a-hash"),

    "a log that went another way": ("consistency", continued(new_root=FORK.root(21).hex(), proof=FORK.consistency(
        13, 21)), "fork"),
    "a log that went another way, proven by the old one": ("consistency", continued(
        new_root=FORK.root(21).hex()), "fork"),
    "an older root that was changed": ("consistency", continued(old_root=flipped(LOG.root(13).hex())), "fork"),
    "two roots of one size": ("consistency", continued(old=21, proof=[], old_root=FORK.root(21).hex()), "fork"),
    "a log that became shorter": ("consistency", continued(old=22, proof=[]), "shorter"),
    "a continuation without its proof": ("consistency", continued(proof=[]), "proof-length"),
    "a continuation whose proof lacks a step": ("consistency", continued(proof=LOG.consistency(13, 21)[:-1]),
                                                "proof-length"),
    "a continuation with a step too many": ("consistency", continued(proof=[*LOG.consistency(13, 21), "00" * 32]),
                                            "proof-length"),
    "a continuation with one digit flipped": ("consistency", continued(proof=[
        *LOG.consistency(13, 21)[:-1], flipped(LOG.consistency(13, 21)[-1])]), "fork"),
    "an empty log with a root of its own": ("consistency", continued(old=0, proof=[]), "fork"),
}


@pytest.fixture(scope="module")
def square(stage: LiveStage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One town for all that computes only."""
    with Town.open(stage, tmp_path_factory.mktemp("square")) as made:
        yield made


@pytest.fixture(scope="module")
def computes(square: Town, chromium: Chromium) -> Iterator[Callable[[list[tuple[str, Given]]], list[str]]]:
    """What the page's own scripts say of each case: `holds`, or the code of a refusal."""
    with chromium.visits(DESKTOP, square.url) as visitor:
        visitor.opens("/console/sign-in")
        yield lambda cases: visitor.page.evaluate(COMPUTE, [{"verb": verb, "given": given} for verb, given in cases])


def test_every_proof_of_a_small_log_holds(computes: Callable[[list[tuple[str, Given]]], list[str]]) -> None:
    sizes = range(1, len(LOG.texts) + 1)
    cases: list[tuple[str, Given]] = [("inclusion", included(index, size)) for size in sizes for index in range(size)]
    cases += [("consistency", continued(old, new)) for new in sizes for old in range(1, new + 1)]
    empty = tree.EMPTY_ROOT.hex()
    cases += [("consistency", continued(0, 21, old_root=empty)), ("consistency", continued(
        0, 0, old_root=empty, new_root=empty))]
    found = computes(cases)
    assert [(verb, given) for (verb, given), said in zip(cases, found, strict=True) if said != "holds"] == []


@pytest.mark.parametrize("kind", LOGS)
def test_every_checkpoint_of_a_small_log_opens(
    kind: str, computes: Callable[[list[tuple[str, Given]]], list[str]]
) -> None:
    log = LOGS[kind]
    cases = [("note", {"note": log.note(size), "key": log.verifier}) for size in range(len(log.texts) + 1)]
    cosigned = log.note() + OTHER.note().split("\n\n")[1]
    cases.append(("note", {"note": cosigned, "key": log.verifier}))
    assert computes(cases) == ["holds"] * len(cases)


@pytest.mark.parametrize(("verb", "given", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(
    verb: str, given: Given, code: str, computes: Callable[[list[tuple[str, Given]]], list[str]]
) -> None:
    assert computes([(verb, given)]) == [code]


IN_PYTHON: dict[str, Callable[[Given], object]] = {
    "note": lambda given: note.open_note(
        given["note"], [note.parse_verifier(given["key"])], origin=LOG.origin),
    "inclusion": lambda given: tree.verify_inclusion(
        tree.leaf_hash(given["text"].encode()), given["index"], given["size"], _hashes(given["proof"]),
        bytes.fromhex(given["root"])),
    "consistency": lambda given: tree.verify_consistency(
        given["old"], bytes.fromhex(given["old_root"]), given["new"], bytes.fromhex(given["new_root"]),
        _hashes(given["proof"])),
}
ONLY_HERE = ("an entry between two places", "a signed note with a size that no number holds", "a hash that is none")


def _hashes(proof: list[str]) -> list[bytes]:
    return [bytes.fromhex(step) for step in proof]


@pytest.mark.parametrize("name", [name for name in REFUSED if name not in ONLY_HERE])
def test_the_servers_own_reader_refuses_the_same(name: str) -> None:
    verb, given, _ = REFUSED[name]
    with pytest.raises(SigningError):
        IN_PYTHON[verb](given)


# ------------------------------------------------------------------------------------------------------- the page


@pytest.fixture(params=STAFF_SIGHTS, ids=str)
def sight(request: pytest.FixtureRequest) -> Sight:
    found: Sight = request.param
    return found


def seated(visitor: Visitor, town: Town, agencies: tuple[str, ...] = ("*",)) -> Seat:
    """The visitor's browser is an auditor's who has signed in."""
    seat = town.world.auditor(agencies, f"Auditor {next(NUMBERS)}")
    visitor.carries(SESSION, seat.session)
    return seat


def opens(visitor: Visitor, path: str = "/console/trust") -> Page:
    visitor.opens(path)
    return ready(visitor.page)


def ready(page: Page) -> Page:
    page.wait_for_selector("html[data-trust=ready]", state="attached")
    return page


def said(page: Page, place: str) -> list[str]:
    """Which sentences stand in a list."""
    return [each.get_attribute("data-said") or "" for each in page.locator(f"#{place} li[data-said]").all()]


def pins(page: Page, key: str = "") -> None:
    page.locator("#f-pin").fill(key)
    with page.expect_navigation():
        page.locator("#pin button").click()
    ready(page)


def kept(page: Page) -> list[str]:
    found: list[str] = json.loads(page.evaluate("localStorage.getItem('trust.checkpoints') ?? '[]'"))
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


def proves_entry(page: Page, entry_id: str) -> str:
    page.locator("#f-entry").fill(entry_id)
    page.locator("#entry-result").evaluate("place => { place.dataset.said = ''; }")
    page.locator("#entry button").click()
    page.wait_for_selector("#entry-result:not([data-said=''])")
    return page.locator("#entry-result").get_attribute("data-said") or ""


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
    with chromium.visits(DESKTOP, town.url) as visitor:
        seated(visitor, town, ("H26.9",))
        page = opens(visitor)
        pins(page)
        with visitor.told(404):
            assert proves_entry(page, an_entry(town)) == "entry-refused"
        visitor.sees("trust.say.answer-404")


def test_what_is_read_is_on_record_and_proofs_alone_are_not(chromium: Chromium, town: Town) -> None:
    town.official()
    sequenced(town)
    with chromium.visits(DESKTOP, town.url) as visitor:
        seated(visitor, town)
        page = opens(visitor)
        pins(page)
        assert town.world.events("audit:read") == 0
        proves_entry(page, an_entry(town))
        assert town.world.events("audit:read") == 1


# ------------------------------------------------------------------------------------ a server that cannot be trusted


def serves(page: Page, log: SmallLog, **spoiled: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """From now on the page's questions are answered by this log, each answer spoiled as asked."""
    page.unroute_all()

    def answer(route: Route) -> None:
        parts = urlsplit(route.request.url)
        told = log.answers(parts.path, dict(parse_qsl(parts.query)))
        route.fulfill(json=spoiled.get(parts.path.rpartition("/")[2], lambda same: same)(told))

    page.route("**/console/proofs/**", answer)


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
    with chromium.visits(DESKTOP, square.url) as visitor:
        seated(visitor, square)
        serves(visitor.page, log)
        page = opens(visitor)
        pins(page, log.verifier)
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
    with chromium.visits(DESKTOP, square.url) as visitor:
        seated(visitor, square)
        serves(visitor.page, log)
        page = opens(visitor)
        pins(page, log.verifier)
        serves(page, other)
        opens(visitor)
        assert said(page, "alarms") == ["alarm-key", "alarm-refused"]
        assert page.evaluate("localStorage.getItem('trust.key')") == log.verifier
        pins(page, other.verifier)
        assert said(page, "proven") == ["proven-signed"]
        assert "open-first" in said(page, "open")


SPOILED: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
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
def test_an_entry_is_not_proven_when(
    spoil: Callable[[dict[str, Any]], dict[str, Any]], why: str, chromium: Chromium, square: Town,
) -> None:
    log = small()
    with chromium.visits(DESKTOP, square.url) as visitor:
        seated(visitor, square)
        serves(visitor.page, log)
        page = opens(visitor)
        pins(page, log.verifier)
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
    with chromium.visits(DESKTOP, square.url) as visitor:
        seated(visitor, square)
        serves(visitor.page, log)
        page = opens(visitor)
        pins(page, log.verifier)
        proves_entry(page, "en_3")
        page.evaluate("""localStorage.setItem('trust.entries', JSON.stringify(
            JSON.parse(localStorage.getItem('trust.entries')).map(each => ({...each, index: 9}))))""")
        assert proves_entry(page, "en_3") == "entry-refused"
        visitor.sees("trust.say.proof-entry-changed")


def test_kept_checkpoints_that_were_damaged_are_told(chromium: Chromium, square: Town) -> None:
    log = small()
    with chromium.visits(DESKTOP, square.url) as visitor:
        seated(visitor, square)
        serves(visitor.page, log)
        page = opens(visitor)
        pins(page, log.verifier)
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
