"""Every route, every stranger, every kind of somebody else's object: refused, and not a byte of it in any answer.

The routes are the application's own; one that is not in `REACHES` fails the test. What a stranger may ask on their own
account (their own list, a page for everybody) is answered, and must not show anything of ours either.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select

from signing_service.db.tables import checkpoint, entry
from signing_service.front.app import ROUTERS, SCREENS
from signing_service.front.callers import PERMISSIONS
from signing_service.front.web.audience import SCREENS as AUDIENCES
from signing_service.front.web.audience import Audience
from signing_service.signer import sequencer
from tests.support import campaign
from tests.support.staff import passwords_cost_little
from tests.support.strangers import Stranger, strangers
from tests.support.world import Stage, World, plan, told

REFUSED = {401, 403, 404}
SECRET_WORDS = "Tuyệt-đối-riêng-4711"  # in everything that our office says of its documents
SECRET_NAME = "Trần Thị Kín-đáo-4712"  # of the official whose they are; it stands in the certificate, too


class Reach(StrEnum):
    """What a route answers about, to somebody who is admitted to it."""

    OBJECT = "the object that the call names"
    OWN = "what the caller has, or what everybody may know"
    PEOPLE = "everybody who is registered: to operators alone"


OBJECT, OWN, PEOPLE = Reach.OBJECT, Reach.OWN, Reach.PEOPLE
REACHES: dict[str, Reach] = {
    **dict.fromkeys((
        "get_request", "withdraw", "refuse", "confirm", "get_document", "get_signed_document", "get_receipt",
        "create_batch", "get_batch", "confirm_batch", "get_entry", "prove_inclusion",
        "look", "picture", "confirm_shown", "refuse_shown", "ask_not_me", "not_me", "shown_document",
        "signed_document", "review", "confirm_review", "results",
        "console_entry", "console_story", "console_evidence", "proof_inclusion",
    ), OBJECT),
    **dict.fromkeys((
        "desk_home", "desk_people", "desk_person", "desk_enrol_form", "desk_enrol", "desk_link_form", "desk_link",
        "desk_act_form", "desk_act",
    ), PEOPLE),
    **dict.fromkeys((
        "issue_token", "openapi", "submit", "dry_run", "list_requests", "list_entries", "export_entries",
        "find_document", "prove_consistency", "monthly_report", "checkpoint", "checkpoint_key", "timestamp", "live",
        "ready", "show_metrics", "asset", "home", "waiting", "me", "ask_suspend", "ask_stop", "stop",
        "offline", "worker", "ticket", "redeem_ticket", "complete_phone", "sign_in_form", "sign_in",
        "open_staff_enrolment", "complete_staff_enrolment", "console_home", "password_form",
        "password", "figures", "figures_print", "figures_csv", "figures_jsonl", "trust", "proof_newest",
        "proof_checkpoint", "proof_note", "proof_consistency", "console_search", "console_export",
        "console_document_form", "console_document",
    ), OWN),
}
# A stranger who is admitted to these ends their own right, after which the rest would show nothing.
NOT_BY_THEMSELVES = {"suspend": Audience.OFFICIAL, "sign_out": None}


def routes() -> dict[str, APIRoute]:
    every = [route for router in (*ROUTERS, *SCREENS) for route in router.routes]
    return {route.name: route for route in every if isinstance(route, APIRoute)}


@dataclass
class Ours:
    """What belongs to somebody else than the strangers, and the words by which it would be known."""

    world: World
    strangers: list[Stranger]
    requests: list[str]
    batch: str
    entries: list[str]
    checkpoint: str
    person: str
    digests: list[str]
    words: list[str] = field(default_factory=list)

    def fills(self) -> dict[str, list[str]]:
        """What stands in for each parameter of a path."""
        return {"request_id": self.requests, "batch_id": [self.batch], "entry_id": self.entries,
                "checkpoint_id": [self.checkpoint], "person": [self.person], "word": ["suspend"], "number": ["1"],
                "ticket": ["x" * 43], "name": ["page.css"]}


@pytest.fixture(scope="module")
def ours(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    with pytest.MonkeyPatch.context() as patch, World.open(stage, tmp_path_factory.mktemp("matrix")) as world:
        passwords_cost_little(patch)
        official, office = world.official(SECRET_NAME), world.client("submitter", ("H26.1",), SECRET_WORDS)
        said = {"subject": SECRET_WORDS, "external_id": SECRET_WORDS, "number": "4711"}
        made = [office.submits(official, plan(str(each)), **said) for each in range(4)]
        signed = office.confirms(official, made[0])
        batch = told(office.asks("POST", "/api/v1/batches", json={
            "signing_requests": [each["id"] for each in made[1:3]]}), 201)["id"]
        while sequencer.sequence(world.city.rt):
            pass  # the log has all of it, and a checkpoint
        with world.rt.db.read() as tx:
            entries = list(tx.execute(select(entry.c.id).where(
                entry.c.signing_request_id == made[0]["id"])).scalars())
            known = tx.execute(select(checkpoint.c.id)).scalars().first()
        digests = [signed["document_digest"], signed["signed_digest"], made[3]["document_digest"]]
        yield Ours(world, strangers(world), [made[0]["id"], made[3]["id"]], batch, entries[:2], str(known), official.id,
                   digests, [SECRET_WORDS, SECRET_NAME, *digests, *(each["id"] for each in made), batch, official.id])
        assert [world.state_of(each) for each in made] == ["signed", "pending", "pending", "pending"]
        world.check()


def test_the_matrix_knows_every_route() -> None:
    assert {*REACHES, *NOT_BY_THEMSELVES} == routes().keys()


@pytest.mark.uncounted
def test_no_stranger_gets_a_byte_of_anything_through_any_route(ours: Ours) -> None:
    asked, refused, wrong = 0, 0, []
    for stranger, (name, route) in product(ours.strangers, routes().items()):
        if name in NOT_BY_THEMSELVES and (stranger.audience is not None):
            continue
        for method, path, more in calls(ours, name, route):
            answer = stranger.asks(method, path, **more)
            asked += 1
            refused += is_refusal(answer)
            wrong += [f"{stranger.name}: {name} {method} {path}: {why}"
                      for why in faults(ours, stranger, name, answer, f"{path} {said(more)}")]
    assert wrong == []
    campaign.proven("matrix", routes=len(routes()), strangers=len(ours.strangers), calls=asked, refused=refused,
                    leaked=0)
    assert asked > len(routes()) * len(ours.strangers)


def calls(ours: Ours, name: str, route: APIRoute) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The route with each of our objects in its path, query and body."""
    fills = ours.fills()
    parameters = re.findall(r"{(\w+)}", route.path)
    for chosen in product(*(fills[each] for each in parameters)):
        path = route.path
        for parameter, value in zip(parameters, chosen, strict=True):
            path = path.replace(f"{{{parameter}}}", value)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            yield method, path + _query(ours, name), ({} if method == "GET" else _body(ours, name, chosen))


def _query(ours: Ours, name: str) -> str:
    one = ours.requests[1]
    return {
        "review": f"?id={one}&id={ours.requests[0]}", "results": f"?id={ours.requests[0]}",
        "list_requests": f"?signatory={ours.person}", "list_entries": f"?signing_request={ours.requests[0]}",
        "export_entries": f"?signing_request={ours.requests[0]}", "prove_inclusion": f"?entry={ours.entries[0]}",
        "proof_inclusion": f"?entry={ours.entries[0]}&size=1", "prove_consistency": "?old=0",
        "proof_consistency": "?old=0&new=1", "monthly_report": f"?month={ours.world.clock():%Y-%m}",
        "console_search": f"?q={ours.requests[0]}", "console_export": f"?q={ours.requests[0]}",
        "trust": f"?entry={ours.entries[0]}", "desk_people": f"?q={SECRET_WORDS}",
    }.get(name, "")


def _body(ours: Ours, name: str, chosen: tuple[str, ...]) -> dict[str, Any]:
    if name in PERMISSIONS:
        return _body_of_the_api(ours, name)
    shown = [f"{one}.{digest}" for one, digest in zip(ours.requests, ours.digests[::2], strict=True)]
    digest = ours.digests[2] if ours.requests[1] in chosen else ours.digests[0]
    return {"data": {"code": "123456", "digest": digest, "reason": "x", "shown": shown, "why": "lost-phone",
                     "name": SECRET_WORDS, "password": "x" * 20, "owner": ours.person, "ticket": "x" * 43,
                     "stop-code": "AAAA-AAAA-AAAA"}}


def _body_of_the_api(ours: Ours, name: str) -> dict[str, Any]:
    form = {"document_type": "KH", "subject": "s", "issuing_agency": "H26.1", "signatory": ours.person,
            "credential": ours.person}
    signed = ours.world.rt.documents.path(ours.digests[1]).read_bytes()
    return {
        "create_batch": {"json": {"signing_requests": ours.requests[1:]}},
        "submit": {"data": form, "files": {"file": ("a.pdf", plan("foreign"))}},
        "dry_run": {"data": form, "files": {"file": ("a.pdf", plan("foreign"))}},
        "find_document": {"files": {"file": ("a.pdf", signed)}},
        "issue_token": {"data": {"grant_type": "client_credentials", "client_id": ours.person, "client_secret": "x"}},
        "timestamp": {"content": b"\x30\x00"},
    }.get(name, {"json": {"code": "123456"} if "confirm" in name else {"reason": "x"}})


def said(more: dict[str, Any]) -> str:
    """What a call says itself, its file's digest and the letters in it among that: a certificate names its person."""
    _, content = more.get("files", {}).get("file", ("", b""))
    own = f"{hashlib.sha256(content).hexdigest()} {content.decode('utf-8', 'ignore')} {_contents(content)}"
    return f"{more.get('json')} {more.get('data')} {own}"


def _contents(content: bytes) -> str:
    """The signature in a document is written in hexadecimal."""
    found = re.search(rb"/Contents ?<([0-9A-Fa-f]+)>", content)
    return bytes.fromhex(found[1].decode()).decode("utf-8", "ignore") if found else ""


def faults(ours: Ours, stranger: Stranger, name: str, answer: httpx.Response, sent: str) -> Iterator[str]:
    """What is wrong with an answer."""
    if answer.status_code >= 500 and name != "ready":
        yield f"answered {answer.status_code}"
    if must_refuse(stranger, name) and not is_refusal(answer):
        yield f"answered {answer.status_code}: {answer.text[:200]}"
    if REACHES.get(name) is PEOPLE and stranger.audience is Audience.OPERATOR:
        return  # it is their register
    text = f"{answer.headers} {answer.content.decode('utf-8', 'replace')}"
    for word in ours.words:
        if word in text and word not in sent:
            yield f"shows {word}"
    if b"%PDF-" in answer.content:
        yield "shows a document"


def must_refuse(stranger: Stranger, name: str) -> bool:
    return not is_admitted(stranger, name) or (REACHES.get(name) is OBJECT)


def is_admitted(stranger: Stranger, name: str) -> bool:
    if name in PERMISSIONS:
        permission = PERMISSIONS[name]
        return permission.public or stranger.role in permission.roles
    audience = AUDIENCES[name]
    is_staff = audience is Audience.STAFF and stranger.audience in (Audience.AUDITOR, Audience.OPERATOR)
    return audience is Audience.EVERYBODY or is_staff or audience is stranger.audience


def is_refusal(answer: httpx.Response) -> bool:
    to_sign_in = answer.status_code == 303 and answer.headers["location"].startswith("/console/sign-in")
    return answer.status_code in REFUSED or to_sign_in
