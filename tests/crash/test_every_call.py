"""A kill in the place of every call that others can see, between request and answer, on both databases.

    SIGNING_CAMPAIGN=full python -m pytest -q tests/crash/test_every_call.py

Every write, fsync, send and rename of front, signer and jobs is counted while one document is signed (`last_call.c`,
held against strace), and then, for each of them, one document is signed by processes of which one dies in its place,
or all together. A pdf worker has no environment to load anything from: strace injects its kills.

Runs add up (`points`): SIGNING_CRASH_SECONDS=n gives each victim so long on each database, and the next run goes on
with what is left. Nothing is left when a line says `"left": 0`.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import campaign, databases, last_call
from tests.support.crashes import EVERYONE, HURRIED, LEAVING, Story, crashes
from tests.support.mortal import Mortal
from tests.support.points import Done, Points
from tests.support.service import until
from tests.support.signing_load import crowd

WITHIN = float(os.environ.get("SIGNING_CRASH_SECONDS", "inf"))
VICTIMS = ("signer", "front0", EVERYONE, "jobs")
PEOPLE = 100
TRACED = ",".join(last_call.CALLS)
WORKERS_CALLS = ("write", "fsync", "sendto", "rename")
LINE = re.compile(r"^(\d+) +(\w+)\((\d*)<?([^>]*)")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("mortal")
    url = databases.sqlite(directory) if request.param == "sqlite" else databases.postgresql()
    service = Mortal(directory, url, fronts=2, told={"front1": LEAVING, "jobs": HURRIED})
    people = crowd(service.city, PEOPLE)
    service.start()
    service.running.pop("front1").end()  # only jobs are left anything by a front
    yield Story(service, people)
    service.close()


def database_of(story: Story) -> str:
    return "sqlite" if story.service.db.is_sqlite else "postgresql"


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_kill_in_the_place_of_each_call_loses_nothing_and_signs_nothing_twice(story: Story, victim: str) -> None:
    if victim == "jobs":
        story.service.run("front1")
        story.service.await_ready(1)
    points = Points.of(victim, database_of(story), lambda: story.calls(victim))
    done = crashes(story, victim, points.left(), WITHIN)
    points.add(done, story.settle())
    assert len(points.struck) > sum(points.missed.values()) / 2  # in most lives there are as many calls
    campaign.proven(f"crash-{victim}-{database_of(story)}", **points.figures)


def test_strace_sees_no_call_that_is_not_counted(story: Story, tmp_path: Path) -> None:
    """The control of the control: what is loaded before the C library misses no kind of call."""
    for victim in ("signer", "front0"):
        story.begin(victim)
        with _traced([story.service.running[victim].process.pid], tmp_path / victim, f"trace={TRACED}"):
            story.signs()
        seen, counted = _named(tmp_path / victim), set(story.service.boards[victim].seen())
        assert len(seen) > 1
        assert seen - _noise(seen) <= counted


def _noise(seen: set[str]) -> set[str]:
    """What only wakes another thread, and how we measure."""
    return {each for each in seen if "eventfd" in each or "spy-" in each}


def _named(trace: Path) -> set[str]:
    found = (LINE.match(line) for line in trace.read_text().splitlines())
    return {last_call.named(each[2], each[4]) for each in found if each and each[3]}


def test_a_worker_killed_at_each_of_its_calls_costs_nobody_a_signature(story: Story, tmp_path: Path) -> None:
    points = Points.of("worker", database_of(story), lambda: _calls_of_a_worker(story, tmp_path / "clean"))
    done, began = Done(), time.monotonic()
    for number in points.left():
        if time.monotonic() > began + WITHIN:
            break
        call, place = points.calls[number - 1].split()
        if _worker_dies(story, call, int(place), tmp_path / "kills"):
            done.struck[number] = call
        else:
            done.missed.append(number)
    done.seconds = time.monotonic() - began
    points.add(done, story.settle())
    assert points.struck
    campaign.proven(f"crash-worker-{database_of(story)}", **points.figures)


def _calls_of_a_worker(story: Story, trace: Path) -> list[str]:
    """`write 3`: its third. As many of each as one worker makes, at the most, during a signing."""
    with _traced(_workers(story), trace, f"trace={TRACED}"):
        story.signs()
    lines = Counter((each[1], each[2]) for line in trace.read_text().splitlines() if (each := LINE.match(line)))
    most = {call: max((count for (_, name), count in lines.items() if name == call), default=0)
            for call in WORKERS_CALLS}
    return [f"{call} {number}" for call, count in most.items() for number in range(1, count + 1)]


def _worker_dies(story: Story, call: str, number: int, trace: Path) -> bool:
    """One signing, during which whichever worker comes to its n-th such call dies there."""
    workers = _workers(story)
    with _traced(workers, trace, f"trace={call}", f"inject={call}:signal=SIGKILL:when={number}"):
        story.dies("front0", 0)
    died = not set(_workers(story)) >= set(workers)
    until(lambda: len(_workers(story)) >= len(workers), what="another worker")
    return died


def _workers(story: Story) -> list[int]:
    return story.service.workers("front0")


@contextmanager
def _traced(processes: list[int], output: Path, *what: str) -> Iterator[None]:
    """strace on all threads of these processes, while the block lasts."""
    options = [part for each in what for part in ("-e", each)]
    attached = [part for each in processes for part in ("-p", str(each))]
    tracing = subprocess.Popen(["strace", "-f", "-y", "-o", str(output), *options, *attached],
                               stderr=subprocess.PIPE, text=True)
    assert tracing.stderr is not None
    for _ in processes:
        assert "attached" in tracing.stderr.readline()
    try:
        yield
    finally:
        tracing.terminate()
        tracing.communicate()
