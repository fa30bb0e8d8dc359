"""One call leads to the next: whatever a client sends in whatever order, the answer is one of those described.

schemathesis draws calls from the description and follows its links; here it gets what it cannot know, a document, an
official and the official's codes, so that it comes as far as signed documents and receipts. No answer is a 5xx, none
has another status, media type, header or shape than was said, and at the end the world is still whole.
SIGNING_CAMPAIGN=full makes it thousands of calls.
"""

from __future__ import annotations

import itertools
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Final

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FlakyStrategyDefinition
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.core.transport import Response
from schemathesis.generation.stateful.state_machine import APIStateMachine
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from signing_service.front.authorities import QUESTION, question
from signing_service.front.callers import PERMISSIONS, Role
from tests.support import campaign
from tests.support.city import Person
from tests.support.world import FORM, Client, Stage, World, plan, told

SCENARIOS, STEPS = campaign.rounds(4, 80), campaign.rounds(8, 12)
ALONE = campaign.rounds(2, 60)      # calls of each operation on its own
CHECKS: Final[list[Any]] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance,
]
AS_IT_IS: Final = 4     # one call in so many is sent exactly as it was drawn


@schemathesis.serializer(QUESTION)
def _as_it_is(_context: object, value: object) -> dict[str, object]:
    """A timestamp request is bytes; of anything else that was drawn, its text."""
    return {"data": value if isinstance(value, bytes) else str(value).encode()}


class Drawn:
    """The world that is called, and what became of the calls."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.person: Person = world.official()
        world.timestamp_authority()
        self.clients: dict[Role, Client] = {role: world.client(role) for role in Role}
        self.described: Any = told(world.asks("GET", "/api/v1/openapi.json"), 200)
        self.answers: Counter[tuple[str, int]] = Counter()
        self.scenarios = self._step = 0
        self._marks = itertools.count()

    def begins(self) -> None:
        """A scenario, of which each step is helped as it would be if it were told again."""
        self.scenarios, self._step = self.scenarios + 1, 0

    def helps(self, case: Case) -> None:
        """What nobody can draw: a document that is a PDF, a person who is there, a code of this minute."""
        self._step += 1
        number, name = self._step, operation_of(case)
        if number % AS_IT_IS == 0:
            return
        if name == "timestamp":
            case.body = question(bytes(32), "sha256", number, None)
        if not isinstance(case.body, dict):
            return
        if name in ("submit", "dry_run", "find_document"):
            case.body["file"] = self._plan()
        if name in ("submit", "dry_run"):
            case.body = {**case.body, **FORM, "signatory": self.person.id, "level": ("B-B", "B-T")[number % 2],
                         "secrecy": "none"}
            for field in ("credential", "external_id", "urgency"):
                case.body.pop(field, None)
        case.headers.clear()  # an Idempotency-Key that was drawn names one call, and this is another
        if name == "create_batch":
            made = [self.clients[Role.SUBMITTER].submits(self.person, self._plan()) for _ in range(2)]
            case.body = {"signing_requests": [each["id"] for each in made]}
        if name in ("confirm", "confirm_batch"):
            case.body["code"] = self.world.fresh_code(self.person)

    def _plan(self) -> bytes:
        return plan(f"number {next(self._marks)}")  # no two in a batch may be the same

    def asks(self, case: Case) -> httpx.Response:
        name = operation_of(case)
        roles = PERMISSIONS[name].roles or {Role.SUBMITTER}
        token = self.clients[Role.SUBMITTER if Role.SUBMITTER in roles else Role.AUDITOR].token
        kwargs = case.as_transport_kwargs(base_url="http://signing.test")
        sent = requests.Request(**{key: kwargs[key] for key in SENT if key in kwargs}).prepare()
        headers = dict(sent.headers) | {"Authorization": f"Bearer {token}"}
        answer = self.world.asks(str(sent.method), str(sent.url), headers=headers, content=sent.body or b"")
        self.answers[name, answer.status_code] += 1
        return answer


SENT: Final = ("method", "url", "headers", "files", "data", "params", "cookies", "json")


def operation_of(case: Case) -> str:
    return str(case.operation.definition.raw["operationId"])


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawn]:
    stage = Stage(tmp_path_factory.mktemp("stage"))
    with World.open(stage, tmp_path_factory.mktemp("drawn"), token_seconds=86_400) as world:
        yield Drawn(world)
        world.check()
    stage.close()


FAR: Final = (("submit", 201), ("confirm", 200), ("get_document", 200), ("get_receipt", 200), ("create_batch", 201),
              ("confirm_batch", 200), ("get_entry", 200), ("timestamp", 200))
ONE_REQUEST: Final = ["submit", "get_request", "confirm", "withdraw", "refuse", "get_document", "get_signed_document",
                      "get_receipt"]
BATCHES: Final = ["create_batch", "get_batch", "confirm_batch"]
OTHERS: Final = sorted(set(PERMISSIONS) - {*ONE_REQUEST, *BATCHES})
QUIET: Final = settings(deadline=None, derandomize=not campaign.FULL, database=None, phases=[Phase.generate],
                        suppress_health_check=list(HealthCheck))


def schema_of(drawn: Drawn, names: list[str]) -> Any:
    return schemathesis.openapi.from_dict(drawn.described).include(operation_id=names)


def machine_of(drawn: Drawn, names: list[str]) -> type[APIStateMachine]:
    class Calls(schema_of(drawn, names).as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            drawn.begins()

        def before_call(self, case: Case) -> None:
            drawn.helps(case)

        def call(self, case: Case, **kwargs: Any) -> Response:
            return Response.from_any(drawn.asks(case))

        def validate_response(self, response: Response, case: Case, *_: Any, **__: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    return Calls


@pytest.fixture(autouse=True)
def _unwarned() -> Iterator[None]:
    """schemathesis tells in warnings what it could not draw; what was drawn is in the figures."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", sorted(PERMISSIONS))
def test_a_call_on_its_own_is_answered_as_described(drawn: Drawn, name: str) -> None:
    (operation,) = (each.ok() for each in schema_of(drawn, [name]).get_all_operations())

    @settings(QUIET, max_examples=ALONE)
    @given(case=operation.as_strategy())
    def each(case: Case) -> None:
        drawn.helps(case)
        case.validate_response(Response.from_any(drawn.asks(case)), checks=CHECKS)

    each()


@pytest.mark.parametrize("names", [ONE_REQUEST, BATCHES, OTHERS], ids=["a request", "batches", "the others"])
def test_whatever_follows_on_whatever_is_answered_as_described(drawn: Drawn, names: list[str]) -> None:
    machine, until = machine_of(drawn, names), drawn.scenarios + SCENARIOS
    while drawn.scenarios < until:
        # A world remembers: a call that led on in one scenario may lead nowhere in the next, and then nothing more can
        # be drawn as it was before. That says nothing about the answers.
        with suppress(FlakyStrategyDefinition):
            machine.run(settings=settings(
                QUIET, max_examples=until - drawn.scenarios, stateful_step_count=STEPS))


def test_the_calls_came_as_far_as_signed_documents(drawn: Drawn) -> None:
    reached = {f"{name} {status}": count for (name, status), count in sorted(drawn.answers.items())}
    campaign.proven("schemathesis", scenarios=drawn.scenarios, calls=sum(drawn.answers.values()),
                    server_errors=sum(count for (_, status), count in drawn.answers.items() if status >= 500),
                    answers=reached)
    assert set(FAR) <= set(drawn.answers), json.dumps(reached)
    assert {name for name, _ in drawn.answers} == set(PERMISSIONS)
