"""A person confirms, through a client."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from signing_service import confirmation, delivery
from signing_service.errors import Unavailable
from signing_service.front.callers import Caller, Role
from signing_service.front.runtime import Runtime
from signing_service.front.turns import Turns
from tests.support.city import POLICY
from tests.support.world import Client, World, plan, told

NOT_CODES = {
    "five digits": "12345",
    "seven digits": "1234567",
    "letters": "12a456",
    "full-width digits": "１２３４５６",
    "Arabic digits": "١٢٣٤٥٦",
    "a blank before it": " 123456",
    "a blank inside it": "123 456",
    "a zero-width space behind it": "123456\u200b",
    "a line break behind it": "123456\n",
    "nothing": "",
}


def test_a_submitted_document_is_signed_with_the_signatorys_code(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)

    signed = office.confirms(official, made)

    assert signed["state"] == "signed"
    answer = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document")
    assert answer.content.startswith(plan())
    assert answer.headers["etag"] == f'"{signed["signed_digest"]}"'
    assert world.events("signing-request:deliver") == 1


def test_a_timestamp_is_in_the_signed_document_when_the_level_asks_for_it(world: World, office: Client) -> None:
    world.timestamp_authority()
    official = world.official()
    signed = office.confirms(official, office.submits(official, level="B-T"))
    assert (signed["state"], signed["level"]) == ("signed", "B-T")
    assert world.events("timestamp:issue") == 1


@pytest.mark.parametrize("code", NOT_CODES.values(), ids=NOT_CODES)
def test_what_is_no_code_is_never_tried(town: Any, code: str) -> None:
    made = town.office.submits(town.official)
    problem = told(town.office.tries_to_confirm(made, code), 400)
    assert problem["code"] == "code-format"
    assert problem["errors"] == [{"field": "code", "message": "six ASCII digits"}]
    assert town.world.codes_tried(town.official) == 0


def test_a_wrong_code_says_how_many_tries_are_left_and_the_request_stays_pending(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    right = world.fresh_code(official)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"

    problem = told(office.tries_to_confirm(made, wrong), 403)

    assert problem["code"] == "code-not-accepted"
    assert problem["tries_left"] == 4
    assert world.state_of(made) == "pending"
    assert told(office.tries_to_confirm(made, right), 200)["state"] == "signed"


def test_confirming_again_answers_the_state_and_spends_no_second_code(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    first = office.confirms(official, made)
    unused = world.fresh_code(official)

    assert told(office.tries_to_confirm(made, unused), 200) == first
    assert told(office.tries_to_confirm(made, "000000"), 200) == first
    assert world.codes_tried(official) == 1

    other = office.submits(official, plan("another"))
    assert told(office.tries_to_confirm(other, unused), 200)["state"] == "signed"


def test_two_confirmations_at_once_make_one_signature_and_both_hear_of_it(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    code = world.fresh_code(official)
    path = f"/api/v1/signing-requests/{made['id']}/confirm"
    headers = {"Authorization": f"Bearer {office.token}"}

    def story() -> object:
        return world.ask("POST", path, json={"code": code}, headers=headers)

    answers = world.at_once(*[story] * 6)  # type: ignore[list-item]  # a coroutine function, told as object

    assert [answer.json()["state"] for answer in answers] == ["signed"] * 6
    assert world.events("signature:intent") == 1
    assert world.count("signature") == 1


@pytest.mark.parametrize("many", [False, True], ids=["a signing request", "a batch"])
def test_two_fronts_that_are_asked_the_same_at_once_both_answer_what_became_of_it(
    world: World, office: Client, many: bool,
) -> None:
    official = world.official()
    made = office.submits(official)
    batch = told(office.asks("POST", "/api/v1/batches", json={"signing_requests": [made["id"]]}), 201)
    caller = Caller(office.id, "QLVB", Role.SUBMITTER, frozenset({"*"}))
    fronts = [replace(world.rt, turns=Turns()) for _ in range(2)]
    code = world.fresh_code(official)

    async def states(rt: Runtime) -> list[str]:
        if many:
            _, outcomes = await confirmation.confirm_batch(rt, caller, batch["id"], code)
            return [each.request.state for each in outcomes]
        return [(await confirmation.confirm(rt, caller, made["id"], code)).state]

    answers = world.at_once(*(lambda rt=rt: states(rt) for rt in fronts))

    assert {state for answer in answers for state in answer} <= {"signing", "finishing", "signed"}
    assert world.count("signature") == 1
    world.stage.run(delivery.finish(world.rt, made["id"]))


def test_one_code_confirms_one_request_and_leaves_the_clients_others_untouched(world: World, office: Client) -> None:
    official = world.official()
    one, other = office.submits(official), office.submits(official, plan("another"))
    code = world.fresh_code(official)

    assert told(office.tries_to_confirm(one, code), 200)["state"] == "signed"
    assert told(office.tries_to_confirm(other, code), 403)["code"] == "code-not-accepted"
    assert world.state_of(other) == "pending"


def test_a_withdrawn_request_cannot_be_confirmed(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    told(office.asks("POST", f"/api/v1/signing-requests/{made['id']}/withdraw", json={"reason": "a mistake"}), 200)

    problem = told(office.tries_to_confirm(made, world.fresh_code(official)), 409)

    assert problem["code"] == "already-withdrawn"
    assert world.count("intent") == 0


def test_withdrawing_and_confirming_at_once_ends_in_one_of_the_two(world: World, office: Client) -> None:
    official = world.official()
    headers = {"Authorization": f"Bearer {office.token}"}
    for each in range(3):
        made = office.submits(official, plan(str(each)))
        code = world.fresh_code(official)
        path = f"/api/v1/signing-requests/{made['id']}"
        confirmed, withdrawn = world.at_once(
            lambda path=path, code=code: world.ask("POST", f"{path}/confirm", json={"code": code}, headers=headers),
            lambda path=path: world.ask("POST", f"{path}/withdraw", json={"reason": "no"}, headers=headers),
        )
        assert sorted([confirmed.is_success, withdrawn.is_success]) == [False, True]
        assert world.state_of(made) == ("signed" if confirmed.is_success else "withdrawn")


def test_an_expired_request_cannot_be_confirmed(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    with world.rt.db.write() as tx:
        tx.exec_driver_sql("UPDATE signing_request SET expires_at = '2020-01-01 00:00:00.000000'")
    assert told(office.tries_to_confirm(made, world.fresh_code(official)), 409)["code"] == "already-expired"


def test_a_client_with_many_wrong_codes_is_slowed_down_before_the_signer_is_asked(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    for _ in range(30):
        world.rt.wrong_codes.add(office.id)

    answer = office.tries_to_confirm(made, world.fresh_code(official))

    assert told(answer, 429)["code"] == "wrong-codes"
    assert int(answer.headers["retry-after"]) > 0
    assert world.codes_tried(official) == 0


def test_right_codes_pay_for_wrong_ones_so_that_a_city_may_sign_through_one_client(
    world: World, office: Client,
) -> None:
    official = world.official()
    made = office.submits(official)
    for _ in range(29):
        world.rt.wrong_codes.add(office.id)
    told(office.tries_to_confirm(made, world.fresh_code(official)), 200)
    for _ in range(5):
        world.rt.wrong_codes.add(office.id)
    assert world.rt.wrong_codes.wait(office.id) == 0
    world.rt.wrong_codes.add(office.id)
    assert world.rt.wrong_codes.wait(office.id) > 0


def test_a_signer_that_is_away_is_a_503_and_the_same_request_can_be_confirmed_later(
    world: World, office: Client,
) -> None:
    official = world.official()
    made = office.submits(official)
    with world.without_signer():
        answer = office.tries_to_confirm(made, world.fresh_code(official))

    assert told(answer, 503)["code"] == "signer-away"
    assert "retry-after" in answer.headers
    assert world.state_of(made) == "pending"
    assert office.confirms(official, made)["state"] == "signed"


def test_an_answer_of_the_signer_that_is_lost_is_found_in_the_state_and_nothing_is_signed_twice(
    world: World, office: Client, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = world.official()
    made = office.submits(official)
    asks = world.rt.signer.ask

    async def loses_the_answer(*asked: Any, **more: Any) -> Any:
        await asks(*asked, **more)
        raise Unavailable("The signer does not answer.", code="signer-timeout")

    with monkeypatch.context() as patch:
        patch.setattr(world.rt.signer, "ask", loses_the_answer)
        assert office.confirms(official, made)["state"] == "finishing"

    assert told(office.tries_to_confirm(made, "000000"), 200)["state"] == "finishing"
    assert world.stage.run(delivery.finish(world.rt, made["id"]))
    assert world.count("signature") == 1


def test_a_document_that_cannot_be_finished_now_is_finishing_and_says_so(
    world: World, office: Client, monkeypatch: pytest.MonkeyPatch,
) -> None:
    official = world.official()
    made = office.submits(official)

    async def away(_rt: Runtime, _request_id: str) -> bool:
        raise Unavailable("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "finish", away)
        assert office.confirms(official, made)["state"] == "finishing"
    too_early = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document")
    assert told(too_early, 409)["code"] == "not-signed"

    assert world.stage.run(delivery.finish(world.rt, made["id"]))
    assert office.sees(made)["state"] == "signed"


def test_the_policy_is_asked_again_when_a_person_confirms(world: World, office: Client) -> None:
    official = world.official()
    made = office.submits(official)
    with world.rt.db.write() as tx:  # the client loses its agencies between submission and confirmation
        tx.exec_driver_sql("UPDATE client SET agencies = '[]' WHERE id = ?", (office.id,))

    problem = told(office.tries_to_confirm(made, world.fresh_code(official)), 403)

    assert problem["code"] == "denied"
    assert "client:" in problem["detail"]
    assert world.events("signature:intent") == 0


def test_a_policy_that_wants_the_phone_does_not_take_codes_from_a_client(world: World, office: Client) -> None:
    world.activates(POLICY.replace('way = "client"', 'way = "phone"').replace('confirm = "client"', ""))
    official = world.official()
    made = office.submits(official)
    assert made["confirm"] == "phone"

    problem = told(office.tries_to_confirm(made, world.fresh_code(official)), 403)

    assert problem["code"] == "confirm-on-phone"
    assert world.codes_tried(official) == 0


def test_a_second_signatory_signs_the_document_that_the_first_one_signed(world: World, office: Client) -> None:
    first, second = world.official("Nguyễn Văn A"), world.official("Trần Thị B")
    made = office.submits(first)
    office.confirms(first, made)
    signed = office.asks("GET", f"/api/v1/signing-requests/{made['id']}/signed-document").content

    again = office.submits(second, signed)
    assert again["earlier_signatures"] == 1
    assert office.confirms(second, again)["state"] == "signed"


def test_no_code_is_written_anywhere(world: World, office: Client, caplog: pytest.LogCaptureFixture) -> None:
    official = world.official()
    made = office.submits(official)
    code = world.fresh_code(official)
    told(office.tries_to_confirm(made, code, **{"Idempotency-Key": "once"}), 200)
    told(office.tries_to_confirm(made, f"{code}0"), 400)
    assert f'"{code}"'.encode() not in world.everything_written()
    assert code not in caplog.text
