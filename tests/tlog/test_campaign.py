"""Thousands of attacks on a log, each with the answer that must come, with and without an outside checkpoint.

`SIGNING_LOG_CAMPAIGN` sets how many attacks the log of 300 entries sees; without it both campaigns are slices that are
fast.
"""

from __future__ import annotations

import os
import random

import pytest

from signing_service.tlog import reading, tree
from signing_service.tlog.entries import entry_hash
from signing_service.tlog.findings import Finding, Kind, Report
from signing_service.tlog.note import Checkpoint
from signing_service.tlog.verify import verify_log
from tests.support.log_campaign import (
    ORIGIN,
    Attack,
    Deed,
    Exported,
    Forger,
    a_log,
    apply,
    attacks,
    expected,
    named,
)

ON_A_LARGE_LOG = int(os.environ.get("SIGNING_LOG_CAMPAIGN", "1200"))
SMALL_LOGS = 220  # each of another shape
PER_SMALL_LOG = 40 if "SIGNING_LOG_CAMPAIGN" in os.environ else 20

Seen = list[tuple[Attack, Report]]


def kept_outside(log: Exported, size: int) -> Checkpoint:
    return Checkpoint(ORIGIN, size, tree.root_at(size, log.node_at()))


def campaign(log: Exported, outside: int, seed: int, count: int) -> int:
    """Carry out the attacks; returns how many of them were found without help from outside."""
    size, covered, seen = len(log.lines), log.checkpoint.size, kept_outside(log, outside)
    found = 0
    for attack in attacks(seed, count, size, covered):
        forged = apply(attack, log)
        alone = verify_log(forged.lines, forged.checkpoint, node_at=forged.node_at())
        helped = verify_log(forged.lines, forged.checkpoint, node_at=forged.node_at(), outside=seen)
        must = expected(attack, size, covered, outside)
        where = f"{attack} on {size} entries, {covered} covered, {outside} outside"
        assert (not alone.ok, not helped.ok) == (must.alone, must.outside), where
        check_names(attack, (alone, helped), size, covered, where)
        found += must.alone
    return found


def check_names(attack: Attack, reports: tuple[Report, Report], size: int, covered: int, where: str) -> None:
    alone, helped = reports
    if attack.forger is Forger.OWNER or attack.deed is Deed.ROLL_BACK:
        assert helped.ok or any(covers(finding, attack.at) for finding in helped.findings), where
        return
    if attack.at < covered:
        for report in reports:
            names = {(finding.kind, finding.first) for finding in report.findings}
            assert names == named(attack, size, covered), f"{where}: {report.findings}"
    assert all(finding.kind is not Kind.BAD_HASHES for finding in (*alone.findings, *helped.findings)), where


def covers(finding: Finding, at: int) -> bool:
    """Names the entry, or a stretch with it; a log that became shorter may be said to lack its end."""
    if finding.first is None or finding.last is None:
        return False
    return finding.first <= at <= finding.last or finding.kind is Kind.TRUNCATED


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> Exported:
    """A large log whose untouched bodies are hashed once for the whole campaign, not once per attack."""
    log = a_log(300, 290)
    known = {id(line.body): line.leaf_hash for line in log.lines}
    compute = entry_hash
    monkeypatch.setattr(reading, "entry_hash", lambda body: known.get(id(body)) or compute(body))
    return log


@pytest.mark.uncounted
@pytest.mark.parametrize("outside", [200, 290])
def test_on_a_log_of_300_entries_every_attack_gets_its_answer(quick_hashes: Exported, outside: int) -> None:
    found = campaign(quick_hashes, outside, seed=outside, count=ON_A_LARGE_LOG // 2)
    assert ON_A_LARGE_LOG // 4 < found < ON_A_LARGE_LOG // 2


def test_on_small_logs_of_every_shape_every_attack_gets_its_answer() -> None:
    draw = random.Random(6962)
    for seed in range(SMALL_LOGS):
        size = draw.randrange(2, 24)
        covered = draw.randrange(1, size + 1)
        campaign(a_log(size, covered), draw.randrange(covered + 1), seed, PER_SMALL_LOG)


def test_without_the_stored_tree_the_same_attacks_are_found() -> None:
    """The names are coarser, the answer is not: roots alone decide it."""
    for seed, (size, covered, outside) in enumerate([(17, 17, 9), (23, 16, 16), (9, 5, 1)]):
        log = a_log(size, covered)
        seen = kept_outside(log, outside)
        for attack in attacks(seed, 300, size, covered):
            forged = apply(attack, log)
            alone = verify_log(forged.lines, forged.checkpoint)
            helped = verify_log(forged.lines, forged.checkpoint, outside=seen)
            must = expected(attack, size, covered, outside)
            assert (not alone.ok, not helped.ok) == (must.alone, must.outside), attack


def test_the_campaign_holds_every_deed_of_every_forger() -> None:
    drawn = {(attack.deed, attack.forger) for attack in attacks(200, ON_A_LARGE_LOG // 2, 300, 290)}
    assert drawn == {(deed, forger) for deed in Deed for forger in Forger}
