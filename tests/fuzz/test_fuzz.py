"""Whatever comes in, only our kinds of refusal come out.

In every run of the tests: what campaigns kept is replayed, and a few thousand inputs are drawn, the same each time.
SIGNING_CAMPAIGN=full fuzzes each target for ten minutes, guided by the branches that its inputs reach.
"""

from __future__ import annotations

import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.fuzz import corpora
from tests.fuzz.limits import limited
from tests.fuzz.target import TARGETS, Target, load
from tests.support import campaign

SECONDS = 600
CPU_SECONDS = 20.0  # of one input: far beyond what a campaign lets pass, so that no slow machine is to blame
# atheris comes as a wheel for these alone; elsewhere it would have to be built with a clang of its own.
HAS_ATHERIS = (sys.platform, platform.machine()) == ("linux", "x86_64")

pytestmark = pytest.mark.uncounted


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """As in a pdf worker: libraries log what documents say, and warn of what they read."""
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture(params=sorted(TARGETS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(name: str) -> Target:
    return load(name)


def test_what_was_kept_is_answered(name: str, target: Target) -> None:
    kept = corpora.kept(name)
    assert kept
    for data in (*target.seeds(), *kept):
        with limited(CPU_SECONDS):
            assert isinstance(target.run(data), str)


def test_what_is_drawn_is_answered(name: str, target: Target) -> None:
    rng = Random(name)
    known = [*target.seeds(), *corpora.kept(name)]
    for _ in range(target.short):
        data = target.mutate(rng.choice(known), rng)[: target.largest]
        with limited(CPU_SECONDS):
            assert isinstance(target.run(data), str), data


def test_inputs_are_taken_and_refused(name: str, target: Target) -> None:
    """A target that refuses everything at its door has not been fuzzed."""
    rng, seeds = Random(0), target.seeds()
    words = {target.run(data) for data in (*seeds, *(target.mutate(seeds[0], rng) for _ in range(5)))}
    assert len(words) > 1


@pytest.mark.skipif(not HAS_ATHERIS, reason="atheris has no wheel for this platform")
@pytest.mark.parametrize("name", sorted(TARGETS) if campaign.FULL else ["log"])
def test_a_campaign_finds_nothing(name: str, tmp_path: Path) -> None:
    from tests.fuzz import campaign as fuzzing

    figures = fuzzing.run(name, SECONDS if campaign.FULL else 1, fuzzing.FOLDER if campaign.FULL else tmp_path)
    campaign.proven(f"fuzz-{name}", executions=figures.executions, seconds=figures.seconds,
                    cpu_seconds=figures.cpu_seconds, edges=figures.edges,
                    features=figures.features, deaths=figures.deaths, costly=figures.costly,
                    findings=figures.findings, words=figures.words)
    assert (figures.findings, figures.deaths) == ([], 0)
    assert figures.executions > 0
    assert figures.edges > 0


def test_a_finding_is_found(tmp_path: Path) -> None:
    """The watch over a target: what it raises is kept with its story, and what never ends is stopped."""
    watched = pytest.importorskip("tests.fuzz.child", reason="atheris has no wheel for this platform").Watched(
        Target(lambda data: str(1 // len(data)), list), tmp_path)
    watched(b"a")
    watched(b"")
    (found,) = (path for path in (tmp_path / "findings").iterdir() if path.suffix != ".txt")
    assert found.name.startswith("ZeroDivisionError-test_fuzz-")
    assert "1 // len(data)" in found.with_name(f"{found.name}.txt").read_text(encoding="utf-8")
