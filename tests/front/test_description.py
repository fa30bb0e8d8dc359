"""The OpenAPI description says what there is, with real examples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from signing_service.front import app, schemas
from signing_service.front.callers import PERMISSIONS, routes_of


@pytest.fixture(scope="module")
def described(town: Any) -> Any:
    answer = town.world.asks("GET", "/api/v1/openapi.json")
    assert answer.status_code == 200
    return answer.json()


def operations(described: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_route_is_described(described: Any) -> None:
    expected = {(route.path, method.lower()) for route in routes_of(app.ROUTERS) for method in route.methods}
    assert {(path, method) for path, method, _ in operations(described)} == expected


def test_every_operation_has_a_summary_and_no_422(described: Any) -> None:
    for path, method, operation in operations(described):
        assert operation["summary"], (method, path)
        assert "422" not in operation["responses"], (method, path)


def test_refusals_are_described_as_problems(described: Any) -> None:
    confirm = described["paths"]["/api/v1/signing-requests/{request_id}/confirm"]["post"]["responses"]
    for status in ("400", "401", "403", "404", "409", "429", "503"):
        schema = confirm[status]["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/Problem"}


def test_every_reference_leads_somewhere(described: Any) -> None:
    known = described["components"]["schemas"]
    for reference in references(described):
        assert reference.removeprefix("#/components/schemas/") in known, reference


@pytest.mark.parametrize("model", [
    schemas.SigningRequestAnswer, schemas.SigningRequestList, schemas.DecisionAnswer, schemas.BatchAnswer,
    schemas.BatchForm, schemas.ConfirmationForm, schemas.ReasonForm,
], ids=lambda model: model.__name__)
def test_every_example_is_what_it_is_an_example_of(model: Any) -> None:
    example = model.model_config["json_schema_extra"]["example"]
    assert model.model_validate(example).model_dump(mode="json", exclude_none=True) == example


def test_a_submission_is_described_as_a_form_with_a_file(described: Any) -> None:
    body = described["paths"]["/api/v1/signing-requests"]["post"]["requestBody"]["content"]
    schema = described["components"]["schemas"][body["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]]
    assert {"file", "document_type", "subject", "issuing_agency", "signatory"} <= set(schema["required"])


def test_routes_that_need_no_token_say_so(described: Any) -> None:
    public = {route.path for route in routes_of(app.ROUTERS) if PERMISSIONS[route.name].public}
    for path, _, operation in operations(described):
        assert (operation.get("security") == []) == (path in public), path
