"""From a confirmation to a signature value: what is signed, what is refused, and what is on record."""

from __future__ import annotations

import pytest

from hsm.errors import DeviceBusy, DeviceUnavailable, KeyNotFound
from signing_service.errors import NotAuthorized
from signing_service.wire import messages as m
from tests.support.city import City
from tests.support.memory_device import MemoryDevice


def test_a_confirmed_document_is_signed_once_and_on_record(city: City, device: MemoryDevice) -> None:
    official = city.official()
    request = city.submitted(official)
    made = len(device.signatures)
    confirmed = city.confirms(official, [request])
    assert [line.outcome for line in confirmed.lines] == ["done"]
    assert city.state_of(request) == "finishing"
    assert len(device.signatures) == made + 1
    assert city.events("signing-request:confirm", "signature:intent", "signature:done") == 3


@pytest.mark.parametrize(("kind", "algorithm"), [
    ("p-256", "ecdsa-sha256"), ("p-384", "ecdsa-sha384"), ("rsa-2048", "rsa-sha256"), ("rsa-2048", "pss-sha256"),
])
def test_every_kind_of_key_signs(city: City, kind: str, algorithm: str) -> None:
    official = city.official(key_kind=kind, algorithm=algorithm)
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"


def test_a_batch_has_an_outcome_for_each_line(city: City) -> None:
    official = city.official()
    other = city.official("Trần Thị B")
    requests = [city.submitted(official, bytes([n])) for n in range(3)] + [city.submitted(other)]
    city.next_code()
    lines = tuple(city.line(each) for each in requests)
    answer = city.confirmations([m.Confirm(city.client, official.id, official.code(city.clock.at), "client", lines)])[0]
    assert isinstance(answer, m.Confirmed)
    assert [line.outcome for line in answer.lines] == ["done", "done", "done", "denied"]
    assert city.state_of(requests[3]) == "pending"


def test_two_confirmations_of_one_request_sign_it_once(city: City, device: MemoryDevice) -> None:
    official = city.official()
    request = city.submitted(official)
    city.confirms(official, [request])
    made = len(device.signatures)
    assert city.confirms(official, [request]).lines[0].outcome == "denied"
    assert len(device.signatures) == made


def test_a_wrong_code_signs_nothing_and_says_how_many_tries_are_left(city: City, device: MemoryDevice) -> None:
    official = city.official()
    request = city.submitted(official)
    made = len(device.signatures)
    with pytest.raises(NotAuthorized, match="not accepted") as refused:
        city.confirms(official, [request], code="000000")
    assert refused.value.tries_left == 4
    assert (len(device.signatures), city.state_of(request)) == (made, "pending")
    assert city.events("code:rejected") == 1


def altered(city: City, request: str, **more: object) -> m.Line:
    return city.line(request, **more)


@pytest.mark.parametrize(("change", "code"), [
    ({"document_digest": "a" * 64}, "other-document"),
    ({"algorithm": "rsa-sha256"}, "other-algorithm"),
    ({"to_sign": b"x" * 48}, "other-algorithm"),
    ({"credential_id": "cr_" + "0" * 32}, "other-document"),
    ({"signing_request_id": "sr_" + "0" * 32}, "not-found"),
], ids=["another document", "another algorithm", "another length", "another credential", "another request"])
def test_a_line_that_is_not_the_pending_request_is_denied(
    city: City, device: MemoryDevice, change: dict[str, object], code: str,
) -> None:
    official = city.official()
    request = city.submitted(official)
    made = len(device.signatures)
    city.next_code()
    asked = m.Confirm(city.client, official.id, official.code(city.clock.at), "client",
                      (altered(city, request, **change),))
    answer = city.confirmations([asked])[0]
    assert isinstance(answer, m.Confirmed)
    assert (answer.lines[0].outcome, answer.lines[0].code) == ("denied", code)
    assert len(device.signatures) == made


def test_another_client_cannot_confirm(city: City) -> None:
    official = city.official()
    line = city.line(city.submitted(official))
    city.next_code()
    asked = m.Confirm("cl_" + "0" * 32, official.id, official.code(city.clock.at), "client", (line,))
    answer = city.confirmations([asked])[0]
    assert isinstance(answer, m.Confirmed)
    assert answer.lines[0].code == "not-found"


@pytest.mark.parametrize("state", ["suspended", "revoked"])
def test_a_suspended_or_revoked_credential_does_not_sign_the_very_next_document(city: City, state: str) -> None:
    official = city.official()
    request = city.submitted(official)
    city.acts(m.SetCredentialState(official.credential, state, "lost phone"))
    line = city.confirms(official, [request]).lines[0]
    assert (line.outcome, line.code) == ("denied", "credential-not-usable")


def test_a_resumed_credential_signs_again(city: City) -> None:
    official = city.official()
    city.acts(m.SetCredentialState(official.credential, "suspended"))
    city.acts(m.SetCredentialState(official.credential, "active"))
    assert city.confirms(official, [city.submitted(official)]).lines[0].outcome == "done"


def test_an_expired_certificate_does_not_sign(city: City) -> None:
    official = city.official()
    city.clock.forward(301 * 86400)
    city.next_code()
    assert city.confirms(official, [city.submitted(official)]).lines[0].code == "credential-not-usable"


def test_an_expired_request_is_not_signed(city: City) -> None:
    official = city.official()
    request = city.submitted(official)
    city.clock.forward(3601)
    assert city.confirms(official, [request]).lines[0].code == "expired"


def test_the_policy_is_asked_again_before_signing(city: City) -> None:
    official = city.official()
    request = city.submitted(official, secrecy="mat")
    line = city.confirms(official, [request]).lines[0]
    assert line.code == "denied"
    assert "secre" in (line.message or "")
    assert city.events("signing-request:confirm:denied") == 1


@pytest.mark.parametrize(("error", "outcome", "recorded"), [
    (DeviceUnavailable("away"), "unknown-outcome", "signature:unknown-outcome"),
    (DeviceBusy("full"), "failed", "signature:failed"),
    (KeyNotFound("gone"), "failed", "signature:failed"),
], ids=["a lost reply is an unknown outcome", "a full queue", "a missing key"])
def test_a_device_that_fails_leaves_a_recorded_outcome_and_is_not_asked_again(
    city: City, device: MemoryDevice, error: Exception, outcome: str, recorded: str,
) -> None:
    official = city.official()
    request = city.submitted(official)
    device.fail_next(error, call="sign")
    line = city.confirms(official, [request]).lines[0]
    assert (line.outcome, line.code) == ("failed", outcome)
    assert city.state_of(request) == "failed"
    assert city.events(recorded) == 1


def test_a_flipped_bit_in_the_devices_value_never_leaves(city: City, device: MemoryDevice) -> None:
    official = city.official()
    request = city.submitted(official)
    device.flip_next_signature()
    line = city.confirms(official, [request]).lines[0]
    assert line.outcome == "failed"
    assert "verify" in (line.message or "")
