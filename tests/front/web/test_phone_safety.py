"""What others may try with an official's pages: guessed ids, forged forms, hostile words, links that lead away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from signing_service.db.tables import agency, client, phone, signatory, signing_request
from signing_service.front.web import visitors
from signing_service.wire.messages import SetSignatoryState
from tests.support.city import Person
from tests.support.handset import Handset, read
from tests.support.world import Client, Stage, World, plan, told

ATTACKS = {
    "a script": "<script>alert(1)</script>",
    "quotes that leave an attribute": "\"' autofocus onfocus=alert(1) x='",
    "a picture that fails": "<img src=x onerror=alert(1)>",
    "an end of a comment and of a title": "--></title></textarea><svg onload=alert(1)>",
    "a template's own signs": "{{ 7*7 }}{% raw %}",
    "a turn of the writing direction": "\u202egnp.exe \u2066\u2069",
}
OURS = re.compile(r'<script type="module" src="/static/[a-z]+\.js\?v=[0-9a-f]+"></script>')


def content(page: httpx.Response) -> str:
    """The page without what differs each time: the reference and the address itself."""
    text = re.sub(r"rq_[0-9a-f]{32}", "", page.text)
    return re.sub(r"/(requests|review|results)[^\"]*", "", text)


FOREIGN = {
    "its file": ("GET", "/requests/{}/document"),
    "to look at it": ("GET", "/requests/{}"), "a page of it": ("GET", "/requests/{}/pages/1"),
    "the signed document": ("GET", "/requests/{}/signed"), "to say it was not me": ("GET", "/requests/{}/not-me"),
    "several at once": ("GET", "/review?id={}"), "what became of it": ("GET", "/results?id={}"),
    "to confirm it": ("POST", "/requests/{}/confirm"), "to refuse it": ("POST", "/requests/{}/refuse"),
    "to raise an alarm about it": ("POST", "/requests/{}/not-me"),
}


@dataclass(frozen=True)
class Two:
    """Two officials with a phone and a request each. All tries share them, for none of them may change anything."""

    world: World
    official: Person
    handset: Handset
    mine: dict[str, Any]
    theirs: dict[str, Any]
    own_token: str
    others_token: str


@pytest.fixture(scope="module")
def two(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with World.open(stage, tmp_path_factory.mktemp("two")) as world:
        office, official, other = world.client(), world.official(), world.official("Trần Thị B")
        handset, stranger = world.phone(official), world.phone(other)
        theirs, mine = office.submits(other), office.submits(official)
        own = dict(handset.form(handset.looks_at(mine), "/refuse").fields)["csrf"]
        others = dict(stranger.form(stranger.opens("/stop"), "/stop").fields)["csrf"]
        yield Two(world, official, handset, mine, theirs, own, others)
        world.check()


@pytest.mark.parametrize(("method", "path"), FOREIGN.values(), ids=FOREIGN)
def test_another_officials_request_is_not_there_and_looks_like_one_that_never_was(
    two: Two, method: str, path: str,
) -> None:
    world, handset, theirs = two.world, two.handset, two.theirs
    data = {"csrf": two.own_token, "digest": theirs["document_digest"], "code": handset.code(), "reason": "x"}

    def asked(request_id: str) -> httpx.Response:
        more = {"data": data, "headers": {"sec-fetch-site": "same-origin"}} if method == "POST" else {}
        return handset.asks(method, path.format(request_id), **more)

    answer, unknown = asked(theirs["id"]), asked("sr_" + "0" * 32)

    assert (answer.status_code, unknown.status_code) == (404, 404)
    assert content(answer) == content(unknown)
    assert world.state_of(theirs) == "pending"
    assert world.codes_tried(two.official) == 0
    assert world.events("signing-request:show") == 1  # of one's own


def test_another_officials_batch_is_not_there(world: World, office: Client) -> None:
    handset = world.phone(world.official())
    theirs = office.submits(world.official("Trần Thị B"))
    batch = told(office.asks("POST", "/api/v1/batches", json={"signing_requests": [theirs["id"]]}), 201)
    assert handset.opens(f"/review?batch={batch['id']}").status_code == 404
    assert handset.opens("/review?batch=ba_" + "0" * 32).status_code == 404


CHANGES = ("/requests/{}/confirm", "/requests/{}/refuse", "/requests/{}/not-me", "/review", "/me/suspend", "/stop")


@pytest.mark.parametrize("path", CHANGES)
@pytest.mark.parametrize("forged", ["another site", "no token", "another phone's token"])
def test_no_form_of_another_site_or_phone_changes_anything(two: Two, path: str, forged: str) -> None:
    world, handset, made = two.world, two.handset, two.mine
    site = "cross-site" if forged == "another site" else "same-origin"
    token = {"another site": two.own_token, "no token": "", "another phone's token": two.others_token}[forged]

    answer = handset.asks("POST", path.format(made["id"]), headers={"sec-fetch-site": site}, data={
        "csrf": token, "digest": made["document_digest"], "code": handset.code(), "reason": "x", "why": "lost-phone",
        "shown": f"{made['id']}.{made['document_digest']}", "stop-code": "x"})

    assert answer.status_code == 403
    assert world.state_of(made) == "pending"
    assert world.events("code:rejected", "signing-request:confirm", "signatory:suspend-oneself") == 0


@pytest.mark.parametrize("words", ATTACKS.values(), ids=ATTACKS)
def test_whatever_a_document_or_a_name_is_called_it_stays_text_on_every_page(
    world: World, office: Client, words: str,
) -> None:
    official = world.official()
    handset = world.phone(official)
    made, signed = office.submits(official), office.submits(official, plan("the one that is signed"))
    handset.sends(handset.looks_at(signed), "/confirm", code=handset.code())
    with world.rt.db.write() as tx:
        tx.execute(update(signing_request).values(
            subject=words, number=words[:11], symbol=words[:30], filename=words, document_type="KHAC", reason=words))
        tx.execute(update(client).values(name=words))
        tx.execute(update(agency).values(name=words))
        tx.execute(update(signatory).values(name=words))
        tx.execute(update(phone).values(label=words))
    pages = ["/waiting", f"/requests/{made['id']}", f"/requests/{made['id']}/not-me", f"/review?id={made['id']}",
             f"/results?id={made['id']}&id={signed['id']}", f"/requests/{signed['id']}", "/me"]

    answers = [handset.opens(each) for each in pages]
    answers.append(handset.sends(answers[1], "/confirm", code="1"))  # the page again, with what was wrong

    for answer in answers:
        assert answer.status_code in (200, 400)
        assert set(re.findall(r"<script.*?>.*?</script>", answer.text)) <= set(OURS.findall(answer.text))
        for tag in re.findall(r"<[a-z][^>]*>", answer.text):
            assert not re.search(r"\son[a-z]+=|\sautofocus", tag), tag
        assert "<svg onload" not in answer.text
        assert words.strip() in read(answer).text
    download = handset.opens(f"/requests/{signed['id']}/signed")
    assert download.headers["content-disposition"].isascii()
    assert "\n" not in download.headers["content-disposition"]


def test_what_turns_the_direction_of_writing_ends_where_it_stands(world: World, office: Client) -> None:
    handset = world.phone(official := world.official())
    made = office.submits(official)
    with world.rt.db.write() as tx:
        tx.execute(update(signing_request).values(subject="\u202eabc"))
    for path in ("/waiting", f"/requests/{made['id']}", f"/review?id={made['id']}"):
        assert "<bdi>\u202eabc</bdi>" in handset.opens(path).text


AWAY = ["https://evil.test", "//evil.test", "/\\evil.test", "javascript:alert(1)"]


@pytest.mark.parametrize("target", AWAY)
def test_no_page_of_an_official_sends_anybody_to_another_site(town: Any, target: str) -> None:
    handset = town.world.phone(town.official)
    for path in ("/", "/waiting", "/review", "/results", "/me", "/stop", "/offline"):
        answer = handset.asks("GET", path, params={"next": target, "return": target, "url": target})
        assert not answer.headers.get("location", "/").startswith(("http", "//", "/\\"))
        assert all(each.startswith(("/", "?", "#", "otpauth:")) or not each for each in read(answer).links), path


COOKIES = {
    "no cookie": None, "nothing": "", "words": "hello", "an unknown phone": "ph_" + "0" * 32 + "." + "0" * 64,
    "a secret without a phone": "." + "0" * 64, "a zero byte": "ph_" + "0" * 31 + "%00." + "0" * 64,
}


@pytest.mark.parametrize("cookie", COOKIES.values(), ids=COOKIES)
def test_a_phone_that_is_not_known_sees_nothing_and_is_told_how_to_enrol(town: Any, cookie: str | None) -> None:
    stranger = Handset(town.world)
    if cookie is not None:
        stranger.http.cookies.set(visitors.PHONE, cookie, domain="signing.test")
    made = town.office.submits(town.official, plan("strangers"))
    home = stranger.opens("/")
    assert (home.status_code, "liên kết kích hoạt" in read(home).text) == (200, True)
    for path in ("/waiting", "/me", f"/requests/{made['id']}", f"/requests/{made['id']}/pages/1", "/me/suspend"):
        assert stranger.opens(path).status_code == 401


def test_another_phones_secret_opens_nothing(world: World) -> None:
    mine, theirs = world.phone(world.official()), world.phone(world.official("Trần Thị B"))
    assert mine.phone is not None
    assert theirs.phone is not None
    mine.http.cookies.set(visitors.PHONE, f"{mine.phone.id}.{theirs.phone.secret}", domain="signing.test")
    assert mine.opens("/waiting").status_code == 401


def test_a_suspended_officials_phone_opens_nothing(world: World) -> None:
    official = world.official()
    handset = world.phone(official)
    world.city.acts(SetSignatoryState(official.id, "suspended", "left"))
    assert handset.opens("/waiting").status_code == 401


def test_a_client_cannot_use_an_officials_pages_and_a_phone_not_the_api(world: World, office: Client) -> None:
    official = world.official()
    handset = world.phone(official)
    made = office.submits(official)
    assert office.asks("GET", "/waiting").status_code == 401
    assert handset.asks("GET", f"/api/v1/signing-requests/{made['id']}").status_code == 401


def test_what_works_without_a_network_says_nothing_about_anybody(world: World) -> None:
    official = world.official("Nguyễn Thị Rất Riêng")
    handset = world.phone(official)
    for language, said in (("vi", "Không có kết nối mạng"), ("en", "No network")):
        kept = handset.opens(f"/offline?lang={language}")
        assert said in read(kept).text
        assert "Rất Riêng" not in kept.text
    worker = handset.opens("/worker.js")
    assert worker.headers["content-type"].startswith("text/javascript")
    assert worker.headers["content-security-policy"] == "default-src 'none'; connect-src 'self'"


def test_nothing_of_a_document_is_left_in_a_cache(world: World, office: Client) -> None:
    official = world.official()
    handset = world.phone(official)
    made = office.submits(official)
    for path in ("/waiting", f"/requests/{made['id']}", f"/requests/{made['id']}/pages/1", "/me"):
        assert handset.opens(path).headers["cache-control"] == "no-store"
