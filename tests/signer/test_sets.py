"""Many cost what one costs, and each of them still gets its own answer: no neighbour's, and none because of one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from sqlalchemy import select, update

from hsm import keys
from signing_service.db.tables import code_state, signing_request
from signing_service.errors import NotAuthorized
from signing_service.signer import grounds, intents
from signing_service.signer.grounds import Grounds
from signing_service.wire import messages as m
from tests.support import databases, softhsm
from tests.support.city import POLICY, City, Clock, Person, runtime
from tests.support.memory_device import MemoryDevice
from tests.support.statements import Asked, statements

LIMIT = 14
FEW = POLICY.replace("daily_personal = 500", f"daily_personal = {LIMIT}").replace(
    "used_today = 500", f"used_today = {LIMIT}").replace("used_today = 499", f"used_today = {LIMIT - 1}")


def crowd(city: City, count: int) -> list[Person]:
    return [city.official(f"Người thứ {n}") for n in range(count)]


def asked_for(city: City, people: list[Person], lines: int) -> Asked:
    """What all of them cost who confirm so many documents each, at one moment."""
    city.next_code()
    asked = [city.confirmation(who, [city.submitted(who, bytes([n, lines])) for n in range(lines)]) for who in people]
    with statements(city.rt.db) as heard:
        answers = city.confirmations(asked)
    assert {line.outcome for each in answers if isinstance(each, m.Confirmed) for line in each.lines} == {"done"}
    assert all(isinstance(each, m.Confirmed) for each in answers)
    return heard


def test_a_crowd_and_a_pile_of_documents_cost_the_statements_and_commits_of_one(city: City) -> None:
    people = crowd(city, 6)
    asked_for(city, people[:1], 1)  # the first one loads the policy
    alone, pile, many = asked_for(city, people[:1], 1), asked_for(city, people[:1], 40), asked_for(city, people, 5)
    assert len(pile) == len(many) == len(alone)
    assert alone.commits == pile.commits == many.commits == 3
    assert len(alone) < 50


def test_one_that_does_not_fit_is_found_in_few_steps(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another signer moved one request between our look at it and our write; its 31 neighbours are signed."""
    official, = crowd(city, 1)
    alone = asked_for(city, [official], 1)
    requests = [city.submitted(official, bytes([n])) for n in range(32)]
    with city.rt.db.write() as tx:
        tx.execute(update(signing_request).where(signing_request.c.id == requests[13]).values(state="withdrawn"))
    looked_at = grounds.read

    def too_early(*args: Any) -> Grounds:
        seen = looked_at(*args)
        stale = {name: SimpleNamespace(**{**row._asdict(), "state": "pending"}) for name, row in seen.requests.items()}
        return replace(seen, requests=stale)

    monkeypatch.setattr(intents, "read", too_early)
    city.next_code()
    asked = city.confirmation(official, requests)
    with statements(city.rt.db) as heard:
        answer = city.confirmations([asked])[0]
    assert isinstance(answer, m.Confirmed)
    assert [line.code for line in answer.lines if line.outcome != "done"] == ["not-pending"]
    assert answer.lines[13].outcome == "denied"
    assert city.state_of(requests[13]) == "withdrawn"
    assert len(heard) < 8 * len(alone)


def test_good_and_bad_confirmations_in_one_batch_get_each_its_own_answer(city: City, device: MemoryDevice) -> None:
    """And the tries of those whose codes were wrong stay counted, though the others' transaction is theirs, too."""
    good, wrong, locked, twice, damaged, spent = people = crowd(city, 6)
    for _ in range(5):
        city.confirmations([city.confirmation(locked, [city.submitted(locked)], "000000")])
    city.next_code()
    requests = {who: city.submitted(who, who.id.encode()) for who in people}
    assert isinstance(city.confirmations([city.confirmation(spent, [city.submitted(spent)])])[0], m.Confirmed)
    with city.rt.db.write() as tx:  # somebody sets the counters back
        tx.execute(update(code_state).where(code_state.c.owner == spent.id).values(last_step=0))
    lines = {who: city.line(requests[who]) for who in people}
    with city.rt.db.write() as tx:
        tx.execute(update(signing_request).where(signing_request.c.id == requests[damaged]).values(secrecy="?"))
    made = len(device.signatures)

    def confirmation(who: Person, code: str | None = None) -> m.Confirm:
        return m.Confirm(city.client, who.id, code or who.code(city.clock.at), "client", (lines[who],))

    answers = city.confirmations([
        confirmation(spent), confirmation(wrong, "000000"), confirmation(good), confirmation(locked),
        confirmation(twice), confirmation(damaged), confirmation(twice),
        msgspec.structs.replace(confirmation(good), signatory_id="sg_" + "0" * 32),
    ])
    told = [(each.code, each.tries_left) if isinstance(each, NotAuthorized) else
            (each.lines[0].outcome, each.lines[0].code) if isinstance(each, m.Confirmed) else each for each in answers]
    assert told == [
        ("code-not-accepted", 4), ("code-not-accepted", 4), ("done", None), ("code-locked", 0),
        ("done", None), ("denied", "row-damaged"), ("code-not-accepted", 3), ("code-not-accepted", 4),
    ]
    assert len(device.signatures) == made + 2
    with city.rt.db.read() as tx:
        failures = dict(tx.execute(select(code_state.c.owner, code_state.c.failures)).all())
    assert [failures[who.id] for who in people] == [0, 1, 5, 0, 0, 1]


def test_what_a_batch_has_granted_counts_for_the_days_limit_of_those_after_it(city: City) -> None:
    official, = crowd(city, 1)
    city.acts(m.ActivatePolicy("few", FEW))
    answer = city.confirms(official, [city.submitted(official, bytes([n])) for n in range(LIMIT + 2)])
    assert [line.outcome for line in answer.lines] == ["done"] * LIMIT + ["denied"] * 2
    assert all("daily-limit" in (line.message or "") for line in answer.lines[LIMIT:])


@pytest.mark.parametrize("custody", ["wrapped", "token"])
def test_nobody_searches_the_device_or_loads_a_key_for_a_person_who_signed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, custody: str,
) -> None:
    """On the real module: a look-up of a token object grows with their number, and unwrapping costs signatures."""
    clock = Clock()
    city = City(runtime(databases.sqlite(tmp_path), tmp_path, softhsm.device(), clock), clock)
    official = city.official(custody=custody)
    loaded: list[str] = []
    for name in ("find", "unwrap_private", "unwrap_secret"):
        monkeypatch.setattr(keys, name, counted(loaded, name, getattr(keys, name)))
    city.confirms(official, [city.submitted(official, b"first")])
    assert loaded  # the watch sees what the first time costs
    loaded.clear()
    for n in range(3):
        city.confirms(official, [city.submitted(official, bytes([n])) for n in range(n, n + 2)])
    assert not loaded
    city.check()
    city.close()


def counted(loaded: list[str], name: str, original: Any) -> Any:
    def counting(*args: Any, **more: Any) -> Any:
        loaded.append(name)
        return original(*args, **more)

    return counting
