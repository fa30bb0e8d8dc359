"""Modules that cannot run beside others in one process, or that answer as no other does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from hsm.doctor import Check, examine
from tests.support import campaign, opencryptoki, softokn
from tests.support.in_child import in_child

CONTRACT = Path(__file__).with_name("test_contract.py")
ROOT = Path(__file__).parents[2]
possible = pytest.mark.skipif(opencryptoki.obstacle() is not None, reason=f"platform: {opencryptoki.obstacle()}")


@possible
def test_opencryptokis_soft_token_keeps_the_contract() -> None:
    done = opencryptoki.run([
        sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(CONTRACT)])
    last = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert " passed" in last
    assert "skipped" not in last
    campaign.proven("device-contract-opencryptoki", said=last)


@pytest.fixture(scope="module")
def soft_token() -> dict[str, Any]:
    """What its stories saw."""
    done = opencryptoki.run([
        "env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "tests.support.soft_token_stories"])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@possible
def test_a_wrong_pin_costs_one_try_and_a_token_that_would_lock_none(soft_token: dict[str, Any]) -> None:
    left = {name: seen[0] for name, seen in soft_token["tries"].items()}
    assert left == {
        "the right PIN": 3, "a wrong one": 2, "the right one again": 3, "wrong in one process": 2, "and in another": 1,
        "and in a third": 1, "the right one at the last try": 1, "by hand": 0, "at last": 0,
    }
    campaign.proven("device-pin", **{name.replace(" ", "-"): tries for name, tries in left.items()})


@possible
def test_what_a_refused_pin_is_called_depends_on_who_may_still_try(soft_token: dict[str, Any]) -> None:
    said = {name: seen[1] for name, seen in soft_token["tries"].items()}
    assert all("PIN" in each or "Pin" in each for each in said["a wrong one"])
    assert all("log in by hand" in each for name in ("and in a third", "the right one at the last try", "at last")
               for each in said[name])
    assert said["the right PIN"] == said["the right one again"] == ["no error"]


@possible
def test_the_doctor_says_that_a_token_without_curves_cannot_sign_the_log(soft_token: dict[str, Any]) -> None:
    found = {name: (ok, detail) for name, ok, detail in soft_token["doctor"]}
    assert [name for name, (ok, _) in found.items() if not ok] == ["checkpoints"]
    assert "does not start" in found["checkpoints"][1]
    assert "stay on the token" in found["custody"][1]
    assert "verifies" in found["test signature"][1]


def _examined(directory: Path) -> list[Check]:
    return examine(softokn.provisioned(directory))


def test_the_doctor_believes_what_it_tried_and_not_what_a_module_lists(tmp_path: Path) -> None:
    """softokn lists AES_KEY_WRAP_PAD, wraps EC keys with it, and does not unwrap them."""
    found = {check.name: check for check in in_child(_examined, tmp_path)}
    assert found["CKM_AES_KEY_WRAP_PAD"].ok
    assert "stay on the token" in found["custody"].detail
    assert "--custody token" in found["custody"].remedy
    assert all(check.ok for check in found.values())
