"""Each kind of refusal has one answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from signing_service import errors, signing_requests
from signing_service.front import problems

CASES: dict[str, tuple[errors.SigningError, int, dict[str, Any], dict[str, str]]] = {
    "wrong fields are named": (
        errors.Invalid("no", errors=[errors.FieldError("subject", "too long")]), 400,
        {"code": "invalid", "errors": [{"field": "subject", "message": "too long"}]}, {}),
    "findings are shown": (
        errors.Denied("no", findings=[errors.Reason("hours", "it is night")]), 403,
        {"code": "denied", "findings": [{"rule": "hours", "why": "it is night"}]}, {}),
    "a wrong code says what is left": (
        errors.NotAuthorized("no", code="code-not-accepted", tries_left=2), 403,
        {"code": "code-not-accepted", "tries_left": 2}, {}),
    "the last try is a zero, not an absence": (
        errors.NotAuthorized("no", code="code-locked", tries_left=0), 403, {"tries_left": 0}, {}),
    "who asks too much is told when to come back": (
        errors.TooMany("no", retry_after=7), 429, {"retry_after": 7}, {"retry-after": "7"}),
    "what is away may come back": (
        errors.Unavailable("no", retry_after=3), 503, {"retry_after": 3}, {"retry-after": "3"}),
    "nobody is told how to become somebody": (
        errors.Unauthenticated("no"), 401, {}, {"www-authenticate": 'Bearer realm="signing-service"'}),
}


def kinds(kind: type[errors.SigningError] = errors.SigningError) -> Iterator[type[errors.SigningError]]:
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield each
            yield from kinds(each)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_every_kind_of_refusal_has_a_line_in_the_table(kind: type[errors.SigningError]) -> None:
    answer = problems.answer(kind("no"), "rq_1")
    shown = json.loads(answer.body)
    assert answer.media_type == "application/problem+json"
    assert shown["status"] == answer.status_code == problems.STATUS[kind]
    assert (shown["code"], shown["detail"], shown["request_id"]) == (kind.code, "no", "rq_1")


def test_the_table_has_no_line_without_a_kind() -> None:
    assert set(problems.STATUS) == set(kinds())


@pytest.mark.parametrize(("error", "status", "fields", "headers"), CASES.values(), ids=CASES)
def test_what_a_refusal_carries_is_in_its_answer(
    error: errors.SigningError, status: int, fields: dict[str, Any], headers: dict[str, str],
) -> None:
    answer = problems.answer(error)
    shown = json.loads(answer.body)
    assert answer.status_code == status
    assert shown.items() >= fields.items()
    assert dict(answer.headers).items() >= headers.items()


def test_a_kind_that_is_not_in_the_table_is_a_hole() -> None:
    class Novel(errors.SigningError):
        pass

    with pytest.raises(KeyError):
        problems.answer(Novel("no"))


ROUTING = {
    "a path that is not there": ("GET", "/nowhere", 404, "not-found"),
    "a method that is not offered": ("DELETE", "/healthz", 405, "method-not-allowed"),
}


@pytest.mark.parametrize(("method", "path", "status", "code"), ROUTING.values(), ids=ROUTING)
def test_the_routers_own_refusals_are_problems_too(town: Any, method: str, path: str, status: int, code: str) -> None:
    answer = town.world.asks(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_body_that_is_not_json_is_a_400_that_does_not_repeat_it(town: Any) -> None:
    answer = town.office.asks("POST", "/api/v1/signing-requests/sr_1/confirm", content=b'{"code": 123456, ',
                              headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert "123456" not in answer.text


def test_a_code_that_is_a_number_is_refused_without_being_repeated(town: Any) -> None:
    answer = town.office.asks("POST", "/api/v1/signing-requests/sr_1/confirm", json={"code": 123456, "more": "x"})
    assert {each["field"] for each in answer.json()["errors"]} == {"code", "more"}
    assert "123456" not in answer.text


def test_an_exception_inside_a_route_is_a_500_without_its_text(town: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(signing_requests, "listed", breaks)
    answer = town.office.asks("GET", "/api/v1/signing-requests")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert "hunter2" not in answer.text
