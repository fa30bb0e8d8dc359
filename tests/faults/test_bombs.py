"""Bombs and traps, submitted over HTTP: each gets the answer the table says, and is forgotten."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.hostile_documents import ACCEPTED, TRAPS
from tests.support.world import Stage, World

STATUSES = {201, 400, 403}
LIGHT = 3_000  # bytes: what weighs no more and is refused for what it is costs a few milliseconds
EVERY = 4      # of the light ones in this short form; `test_long_bombs.py` sends all there are, to real processes


def test_the_table_is_long_enough_and_each_trap_is_another() -> None:
    assert len(TRAPS) >= 200
    light = [trap.make() for trap in TRAPS.values() if "document-too-costly" not in trap.codes]
    assert len(set(light)) == len(light)


def test_traps_are_answered_as_the_table_says_and_leave_nothing_behind(stage: Stage, tmp_path: Path) -> None:
    light = {name: made for name, trap in TRAPS.items()
             if "document-too-costly" not in trap.codes and len(made := trap.make()) <= LIGHT}
    with World.open(stage, tmp_path) as world:
        office, official = world.client(), world.official()
        answers = {name: office.tries_to_submit(official, light[name]) for name in list(light)[::EVERY]}
        assert {answer.status_code for answer in answers.values()} == STATUSES
        wrong = {name: code_of(each) for name, each in answers.items() if code_of(each) not in TRAPS[name].codes}
        assert wrong == {}
        taken = sum(code_of(answer) == ACCEPTED for answer in answers.values())
        assert len(world.files()) == taken
        assert len(answers) - taken == world.events("signing-request:submit:refused", "signing-request:submit:denied")


def code_of(answer: httpx.Response) -> str:
    return ACCEPTED if answer.status_code == 201 else str(answer.json()["code"])
