"""A kill in the place of every call that others can see, between request and answer, on both databases.

    SIGNING_CAMPAIGN=full python -m pytest -q tests/crash/test_every_call.py

Every write, fsync, send and rename of front, signer and jobs is counted while one document is signed (`last_call.c`,
held against strace), and then, for each of them, one document is signed by processes of which one dies in its place;
of all processes together, a third of the calls. A pdf worker has no environment to load anything from: strace injects
its kills. SIGNING_CRASH_SECONDS=n gives each victim so long on each database, in a drawn order; the figures say how far
that went.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import campaign, databases, last_call
from tests.support.crashes import EVERYONE, LEAVING, Story, crashes
from tests.support.mortal import Mortal
from tests.support.service import until
from tests.support.signing_load import crowd

WITHIN = float(os.environ.get("SIGNING_CRASH_SECONDS", "inf"))
EACH = {"signer": 1, "front0": 1, "jobs": 1, EVERYONE: 3}
PEOPLE = 150
TRACED = ",".join(last_call.CALLS)
WORKERS_CALLS = ("write", "fsync", "sendto", "rename")
LINE = re.compile(r"^(\d+) +(\w+)\((\d*)<?([^>]*)")


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("mortal")
    url = databases.sqlite(directory) if request.param == "sqlite" else databases.postgresql()
    service = Mortal(directory, url, fronts=2, told={"front1": LEAVING})
    people = crowd(service.city, PEOPLE)
    service.start()
    yield Story(service, people)
    service.close()


def database_of(story: Story) -> str:
    return "sqlite" if story.service.db.is_sqlite else "postgresql"


@pytest.mark.parametrize("victim", EACH)
def test_a_kill_in_the_place_of_each_call_loses_nothing_and_signs_nothing_twice(story: Story, victim: str) -> None:
    calls = story.calls(victim)
    chosen = list(range(1, len(calls) + 1, EACH[victim]))
    random.Random(victim).shuffle(chosen)  # what is cut short has been everywhere
    done = crashes(story, victim, chosen, calls, WITHIN)
    assert done.struck.total() > done.missed  # a signing in which less went on beside it needs fewer
    campaign.proven(f"crash-{victim}-{database_of(story)}", calls_chosen=len(chosen), **done.figures, **story.settle())


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
    began, kills, missed = time.monotonic(), Counter[str](), 0
    most = _most_calls(story, tmp_path / "clean")
    for call, number in [(call, number) for call, count in most.items() for number in range(1, count + 1)]:
        if time.monotonic() > began + WITHIN:
            break
        if _worker_dies(story, call, number, tmp_path / "kills"):
            kills[call] += 1
        else:
            missed += 1
    assert kills.total() > 0
    campaign.proven(f"crash-worker-{database_of(story)}", calls_of_a_worker=most, kills=kills.total(),
                    kinds_killed_at=dict(kills), not_reached=missed, seconds=round(time.monotonic() - began),
                    **story.settle())


def _most_calls(story: Story, trace: Path) -> dict[str, int]:
    """How often one worker makes each call, at the most, during a signing."""
    with _traced(_workers(story), trace, f"trace={TRACED}"):
        story.signs()
    lines = Counter((each[1], each[2]) for line in trace.read_text().splitlines() if (each := LINE.match(line)))
    return {call: max((count for (_, name), count in lines.items() if name == call), default=0)
            for call in WORKERS_CALLS}


def _worker_dies(story: Story, call: str, number: int, trace: Path) -> bool:
    """One signing, during which whichever worker comes to its n-th such call dies there."""
    workers = _workers(story)
    with _traced(workers, trace, f"trace={call}", f"inject={call}:signal=SIGKILL:when={number}"):
        story.dies("front0", 0)
    died = not set(_workers(story)) >= set(workers)
    until(lambda: len(_workers(story)) >= len(workers), what="another worker")
    return died


def _workers(story: Story) -> list[int]:
    """Those of the front that look at, prepare and complete documents."""
    front = story.service.running["front0"].process.pid
    told = subprocess.run(["pgrep", "-P", str(front), "-f", "signing_service.pdf.child"],
                          capture_output=True, text=True, check=False)
    return [int(each) for each in told.stdout.split()]


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
