"""Operators through the web, sign-ins, and auditors: few commands, the same record, and nobody is locked out by it."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from signing_service.db.tables import code_state, entry
from signing_service.errors import NotAuthorized, SigningError
from signing_service.wire import messages as m
from tests.support.city import City, Person, secret_of


def desk(city: City, *commands: Any, code: str | None = None) -> tuple[m.Result, ...]:
    city.next_code()
    asked = m.DeskAct(city.operator.id, code or city.operator.code(city.clock.at), commands)
    answer = city.asks(msgspec.msgpack.decode(m.encoder.encode(asked), type=m.SignRequest))
    assert isinstance(answer, m.Done)
    return answer.results


def through(city: City, event: str) -> Any:
    with city.rt.db.read() as tx:
        body = tx.execute(select(entry.c.body).where(entry.c.event == event).order_by(entry.c.id.desc())).scalars()
        found = json.loads(str(body.first()))
    return found["actor"], found["data"].get("through")


def failures(city: City, owner: str) -> int:
    with city.rt.db.read() as tx:
        return int(tx.execute(select(code_state.c.failures).where(code_state.c.owner == owner)).scalar_one())


def test_what_is_done_through_the_web_is_recorded_as_at_the_terminal_and_says_so(city: City) -> None:
    official = city.official()
    held = city.enrols_phone(official)
    commands = {
        "signatory:add": m.AddSignatory("Trần Thị B", "H26.1", "deputy"),
        "credential:state": m.SuspendOrResume(official.credential, "suspended", "on leave"),
        "code:unlocked": m.Unlock(official.id), "phone:retire": m.RetirePhone(held.id, "sold"),
        "ticket:issue": m.IssueTicket(official.id),
    }
    results = desk(city, *commands.values())
    assert [each.error for each in results] == [None] * 5
    assert results[4].data is not None
    results = desk(city, m.SetSignatoryState(official.id, "suspended", "left"))
    assert results[0].error is None
    for event in (*commands, "signatory:change"):
        assert through(city, event) == (f"operator:{city.operator.id}", "web"), event
    city.acts(m.SetSignatoryState(official.id, "active"))
    assert through(city, "signatory:change") == (f"operator:{city.operator.id}", None)


TOO_MUCH: dict[str, tuple[Any, ...]] = {
    "a policy": (m.ActivatePolicy("p", "format = 1"),),
    "another operator": (m.AddOperator("X"),),
    "somebody's seed": (m.EnrolCode("sg_" + "0" * 32),),
    "the end of a key": (m.DestroyKey("cr_" + "0" * 32),),
    "a credential revoked": (m.SetCredentialState("cr_" + "0" * 32, "revoked"),),
    "a certificate": (m.RequestCertificate("cr_" + "0" * 32, (("CN", "X"),)),),
    "an auditor": (m.AddAuditor("X", ("*",)),),
    "a crowd": tuple(m.IssueTicket("sg_" + "0" * 32) for _ in range(6)),
    "nothing": (),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_what_does_not_belong_at_the_desk_dies_at_the_decoder(city: City, name: str) -> None:
    asked = m.DeskAct(city.operator.id, "123456", TOO_MUCH[name])
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(m.encoder.encode(asked), type=m.SignRequest)


def test_web_acts_can_be_switched_off_and_then_no_code_is_looked_at(city: City) -> None:
    object.__setattr__(city.rt, "settings", city.rt.settings.model_copy(update={"web_acts": False}))
    with pytest.raises(NotAuthorized) as refused:
        desk(city, m.AddSignatory("Trần Thị B", "H26.1", "deputy"))
    assert refused.value.code == "web-acts-off"
    city.acts(m.AddSignatory("Trần Thị B", "H26.1", "deputy"))


def test_wrong_codes_through_the_web_never_lock_an_operator_out_of_the_terminal(city: City) -> None:
    """A front that was taken over may send as many as it likes."""
    for _ in range(30):
        for asked in (m.DeskAct(city.operator.id, "000000", (m.Unlock(city.operator.id),)),
                      m.ProveCode(city.operator.id, "000000")):
            with pytest.raises(NotAuthorized):
                city.asks(asked)
        city.clock.forward(86_400)
    assert failures(city, city.operator.id) == 3
    city.acts(m.AddSignatory("Trần Thị B", "H26.1", "deputy"))
    assert failures(city, city.operator.id) == 0


def test_a_suspended_operator_is_answered_as_with_a_wrong_code(city: City) -> None:
    added = city.acts(m.AddOperator("Second"))[0]
    assert added.uri is not None
    second = Person(added.id, secret_of(added.uri))
    city.next_code()
    city.desk.complete(m.CompleteEnrolment(second.id, second.code(city.clock.at)))
    wrong, suspended = [], []
    for refusals, state in ((wrong, "active"), (suspended, "suspended")):
        city.acts(m.SetOperatorState(second.id, state), m.Unlock(second.id))
        city.next_code()
        code = "000000" if state == "active" else second.code(city.clock.at)
        for asked in (m.DeskAct(second.id, code, (m.Unlock(second.id),)), m.ProveCode(second.id, code)):
            with pytest.raises(NotAuthorized) as refused:
                city.asks(asked)
            refusals.append((refused.value.code, refused.value.message, refused.value.tries_left))
    assert wrong == suspended
    assert [tries for _, _, tries in wrong] == [4, 3]


# ------------------------------------------------------------------------------------------------------- sign-ins


def test_an_auditors_code_is_proven_once_and_recorded(city: City) -> None:
    auditor = city.auditor()
    city.next_code()
    asked = m.ProveCode(auditor.id, auditor.code(city.clock.at))
    assert city.asks(asked) == m.Proven(auditor.id)
    with pytest.raises(NotAuthorized):
        city.asks(asked)
    assert city.events("code:prove") == 1


def test_a_suspended_auditor_is_answered_as_with_a_wrong_code(city: City) -> None:
    auditor = city.auditor()
    city.next_code()
    with pytest.raises(NotAuthorized) as wrong:
        city.asks(m.ProveCode(auditor.id, "000000"))
    city.acts(m.SetAuditorState(auditor.id, "suspended"), m.Unlock(auditor.id))
    city.next_code()
    with pytest.raises(NotAuthorized) as suspended:
        city.asks(m.ProveCode(auditor.id, auditor.code(city.clock.at)))
    assert (wrong.value.code, wrong.value.message, wrong.value.tries_left) == (
        suspended.value.code, suspended.value.message, suspended.value.tries_left)
    assert city.events("code:prove") == 0


@pytest.mark.parametrize("owner", ["sg", "ph", "cr", "cl"])
def test_nobody_elses_codes_can_be_proven(city: City, owner: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"type": "prove-code", "owner": f"{owner}_{'0' * 32}", "code": "000000"}, type=m.SignRequest)


def test_an_auditors_name_is_taken_once_and_the_agencies_must_be_there(city: City) -> None:
    city.acts(m.AddAuditor("Lê Văn C", ("H26.1",)))
    assert city.tries(m.AddAuditor("Lê Văn C", ("*",)))[0].error_code == "exists"
    assert city.tries(m.AddAuditor("Đỗ Thị D", ("H26.1", "H99")))[0].error_code == "not-found"
    assert city.tries(m.SetAuditorState("au_" + "0" * 32, "active"))[0].error_code == "not-found"
    assert city.events("auditor:add") == 1


# --------------------------------------------------------------------------------------------- a hostile front


def test_every_message_with_somebody_elses_ids_leaves_the_officials_counters_alone(city: City) -> None:
    """A front that was taken over sends what it likes; of officials it knows the ids, of phones no secret."""
    official = city.official()
    held = city.enrols_phone(official)
    other = city.enrols_phone(city.official("Trần Thị B"))
    auditor = city.auditor()
    request = city.submitted(official)
    with city.rt.db.read() as tx:
        before = tx.execute(select(code_state).where(code_state.c.owner == official.id)).all()
    forged = m.PhoneProof(held.id, "0" * 64)
    token = city.ticket(auditor.id)
    city.opens(token)
    attempts = (
        m.CompletePhone(forged, "000000"), m.CompletePhone(other.proof, "000000"),
        m.CompletePhone(m.PhoneProof("ph_" + "0" * 32, "0" * 64), "000000"),
        m.CompleteAccount("A" * 43, "0" * 64, "000000"), m.CompleteAccount(token, "0" * 64, "000000"),
        m.RedeemTicket("A" * 43, "0" * 64, "0" * 64), m.RedeemTicket(token, "0" * 64, "0" * 64),
        m.SuspendOneself(forged, "not-me", request), m.Stop("ABCDE-FGHIJ-KLMNO-PQRST"),
        m.ProveCode("au_" + "0" * 32, "000000"),
        m.DeskAct("op_" + "0" * 32, "000000", (m.Unlock(official.id), m.IssueTicket(official.id))),
    )
    for asked in attempts:
        with pytest.raises(SigningError):
            city.asks(asked)
    with city.rt.db.read() as tx:
        assert tx.execute(select(code_state).where(code_state.c.owner == official.id)).all() == before
    assert city.confirms_on_phone(held, [request]).lines[0].outcome == "done"
