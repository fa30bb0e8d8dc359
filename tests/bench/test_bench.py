"""The bench runs, and judges what it measured; its figures are looked at in whole runs only."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import aims, figures
from tests.bench.figures import Figure, Memory
from tests.support import campaign, long_log

ROOT = Path(__file__).parents[2]
PARTS = "device,signer,stock,pdfbox,http,memory" if campaign.FULL else "device,signer"


def fast(name: str, per_second: float, p99_ms: float = 1.0) -> Figure:
    return Figure(name, name, per_second, 1.0, p99_ms)


JUDGED = {
    "as fast as it is to be": ([fast("signer-p256-batch", 25), fast("device-p256-c", 100)], True),
    "a little slower": ([fast("signer-p256-batch", 24), fast("device-p256-c", 100)], False),
    "a confirmation in time": ([fast("half-load-p256", 10, 49.9)], True),
    "a confirmation that is late": ([fast("half-load-p256", 10, 50.0)], False),
    "little memory": ([Memory("memory-large", "large", {"front": 120.0, "pdf": 299.0})], True),
    "too much in one process": ([Memory("memory-large", "large", {"front": 300.0, "pdf": 90.0})], False),
}


@pytest.mark.parametrize("case", JUDGED, ids=str)
def test_an_aim_is_met_or_missed(case: str) -> None:
    told, met = JUDGED[case]
    judged = aims.verdicts(told)
    assert [each.met for each in judged] == [met]
    assert ("MISSED" in aims.table(judged)) is not met


def test_what_was_not_measured_is_not_judged() -> None:
    assert aims.verdicts([fast("signer-p256-batch", 25)]) == []


def test_a_signature_among_many_is_held_against_one_among_few() -> None:
    told = [fast("sqlite-signature-10", 1, 10.0), fast("sqlite-signature-100000", 1, 12.1)]
    assert [each.met for each in aims.of_scale(told)] == [False]


def test_whose_key_is_not_in_the_device_is_held_against_those_whose_key_always_is() -> None:
    told = [fast("sqlite-signature-10", 1, 10.0), fast("sqlite-first-10", 1, 15.0),
            fast("sqlite-first-100000", 1, 12.1)]
    assert [each.met for each in aims.of_scale(told)] == [False]


def test_each_of_five_million_entries_has_its_time() -> None:
    at = long_log._life(random.Random(1), 624_999, 625_000).at
    assert long_log.BEGINS < at < long_log.BEGINS + long_log.SPAN


def test_half_of_them_are_faster_than_the_median_and_one_in_a_hundred_slower_than_the_99th() -> None:
    each = [number / 1000 for number in range(1, 1001)]
    told = figures.figure("name", "what", 1000, 10.0, each)
    assert (told.per_second, round(told.p50_ms), round(told.p99_ms)) == (100, 501, 991)


def test_the_bench_runs_and_tells_what_it_measured() -> None:
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", PARTS]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    measured = told["figures"]["figures"]
    assert {"device-p256-c", "device-rsa-python", "signer-p256-batch", "signer-rsa-waiting"} <= set(measured)
    assert all(each["per_second"] > 0 for each in measured.values())
