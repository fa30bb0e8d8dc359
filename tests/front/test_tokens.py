"""Access tokens: who gets one, and whose they are."""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import quote_plus

import pytest

from signing_service import access
from signing_service.access import issue
from signing_service.errors import Unauthenticated
from signing_service.front.tally import Tally
from signing_service.front.tokens import recording
from tests.support.statements import statements
from tests.support.world import Client, World, told

GRANT = {"grant_type": "client_credentials"}


def basic(name: str, secret: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def asks(world: World, headers: dict[str, str] | None = None, **form: str) -> Any:
    return world.asks("POST", "/oauth2/token", data=form, headers=headers or {})


def test_both_ways_of_authenticating_give_a_token(town: Any) -> None:
    office = town.office
    ways = [asks(town.world, basic(office.id, office.secret), **GRANT),
            asks(town.world, client_id=office.id, client_secret=office.secret, **GRANT)]
    for answer in ways:
        token = told(answer, 200)
        assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
        assert answer.headers["cache-control"] == "no-store"
        shown = town.world.asks("GET", "/api/v1/signing-requests",
                                headers={"Authorization": f"bearer {token['access_token']}"})
        assert shown.status_code == 200


def test_id_and_secret_are_form_urlencoded_inside_http_basic(world: World) -> None:
    client = world.client()
    secret = "a secret: with + and % and ă"
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE client SET secret_hash = ? WHERE id = ?",
                           (hashlib.sha256(secret.encode()).hexdigest(), client.id))
    assert asks(world, basic(client.id, quote_plus(secret)), **GRANT).status_code == 200


REFUSED: dict[str, tuple[dict[str, str], dict[str, str], int, str]] = {
    "an unknown client": ({}, {"client_id": "cl_0", "client_secret": "x", **GRANT}, 401, "invalid_client"),
    "no credentials": ({}, GRANT, 401, "invalid_client"),
    "basic that is not base64": ({"Authorization": "Basic ???"}, GRANT, 401, "invalid_client"),
    "basic without a colon": ({"Authorization": "Basic " + base64.b64encode(b"abc").decode()}, GRANT, 401,
                              "invalid_client"),
    "both ways at once": (basic("a", "b"), {"client_id": "a", "client_secret": "b", **GRANT}, 400, "invalid_request"),
}


@pytest.mark.parametrize(("headers", "form", "status", "error"), REFUSED.values(), ids=REFUSED)
def test_refusals_speak_oauths_words(
    town: Any, headers: dict[str, str], form: dict[str, str], status: int, error: str,
) -> None:
    assert told(asks(town.world, headers, **form), status)["error"] == error


def test_another_grant_or_a_scope_or_a_repeated_parameter_is_refused(town: Any) -> None:
    office = town.office
    right = basic(office.id, office.secret)
    assert told(asks(town.world, right, grant_type="password"), 400)["error"] == "unsupported_grant_type"
    assert told(asks(town.world, right, scope="everything", **GRANT), 400)["error"] == "invalid_scope"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    twice = town.world.asks("POST", "/oauth2/token", headers=right | form,
                            content="grant_type=client_credentials&grant_type=client_credentials")
    assert told(twice, 400)["error"] == "invalid_request"
    as_json = town.world.asks("POST", "/oauth2/token", headers=right, json=GRANT)
    assert told(as_json, 400)["error"] == "invalid_request"


def test_unknown_suspended_and_wrong_secret_get_the_same_answer(world: World, office: Client) -> None:
    suspended = world.client()
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE client SET state = 'suspended' WHERE id = ?", (suspended.id,))
    answers = [asks(world, basic("cl_unknown", "x"), **GRANT), asks(world, basic(office.id, "x"), **GRANT),
               asks(world, basic(suspended.id, suspended.secret), **GRANT)]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1
    assert answers[0].status_code == 401
    assert world.events("token:refuse") == 3


def test_a_flood_of_wrong_secrets_does_not_grow_the_log_for_ever(world: World, office: Client) -> None:
    refusals = Tally(2, 60.0)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            world.stage.run(issue(world.rt, office.id, "wrong", refusals))
    assert world.events("token:refuse") == 2
    assert world.stage.run(issue(world.rt, office.id, office.secret, refusals)).startswith("st_")


def test_neither_token_nor_secret_is_written_anywhere(world: World, office: Client) -> None:
    written = world.everything_written()
    assert office.token.encode() not in written
    assert office.secret.encode() not in written
    assert hashlib.sha256(office.token.encode()).hexdigest().encode() in written


WRONG_TOKENS = {
    "another scheme": "Digest abc",
    "an unknown token": "Bearer st_" + "0" * 64,
    "something that is no token": "Bearer hello",
    "an empty token": "Bearer ",
    "a token with something behind it": "Bearer st_" + "0" * 64 + ",x",
}


@pytest.mark.parametrize("value", WRONG_TOKENS.values(), ids=WRONG_TOKENS)
def test_a_wrong_token_is_refused_everywhere_even_where_none_is_needed(town: Any, value: str) -> None:
    for path in ("/api/v1/signing-requests", "/healthz"):
        answer = town.world.asks("GET", path, headers={"Authorization": value})
        assert told(answer, 401)["code"] == "token"


def test_two_authorization_headers_are_refused(town: Any) -> None:
    value = f"Bearer {town.office.token}"
    answer = town.world.asks("GET", "/healthz", headers=[("Authorization", value), ("Authorization", value)])
    assert answer.status_code == 401


def test_a_token_ends_after_its_hour(world: World, office: Client) -> None:
    world.clock.forward(3599)
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 200
    world.clock.forward(1)
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 401


def test_a_suspended_client_is_out_within_a_second(world: World, office: Client) -> None:
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 200
    suspend(world, office)
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 200  # recognised a moment ago
    world.clock.forward(1)
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 401


def test_a_client_suspended_this_very_moment_has_no_signature_made(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    code = world.fresh_code(official)
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 200
    suspend(world, office)
    assert told(office.tries_to_confirm(made, code), 403)["code"] == "denied"
    assert told(office.tries_to_submit(official), 403)["code"] == "denied"
    assert world.count("intent") == 0


def test_a_clock_that_ran_back_does_not_make_a_token_believed_for_longer(world: World, office: Client) -> None:
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 200
    suspend(world, office)
    world.clock.forward(-3)
    assert office.asks("GET", "/api/v1/signing-requests").status_code == 401


def test_a_token_that_was_just_recognised_costs_no_statement(world: World, office: Client) -> None:
    counts = []
    for _ in range(2):
        with statements(world.rt.db) as asked:
            assert office.asks("GET", "/api/v1/signing-requests").status_code == 200
        counts.append(len(asked))
    assert counts == [2, 1]  # whose token it is, and the list; then the list


def test_tokens_that_were_recognised_do_not_fill_the_memory(world: World, office: Client) -> None:
    holder = world.stage.run(access.holder_of(world.rt, office.token))
    for number in range(2 * access.MOST_BELIEVED):
        world.rt.recognised.remember(str(number), holder, world.clock())
    assert len(world.rt.recognised) <= access.MOST_BELIEVED


def suspend(world: World, client: Client) -> None:
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE client SET state = 'suspended' WHERE id = ?", (client.id,))


def test_expired_tokens_of_a_client_are_forgotten_when_it_gets_a_new_one(world: World, office: Client) -> None:
    world.clock.forward(4000)
    world.stage.run(issue(world.rt, office.id, office.secret, recording()))
    assert world.count("access_token") == 1
