"""The pages about policies and metrics name every key, every warning and every metric there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from policies.decision import WARNINGS
from policies.rules import ALWAYS
from signing_service import metrics
from tests.support.policy_cases import case

ROOT = Path(__file__).parents[2]
POLICIES = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
MONITORING = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")


def keys() -> list[str]:
    policy = tomllib.loads((ROOT / "policies" / "pilot.toml").read_text(encoding="utf-8"))
    tables = {name: value for name, value in policy.items() if isinstance(value, dict) and name != "ordinary"}
    inner = [f"{name}.{key}" for name, table in tables.items() for key in table]
    plain = [name for name, value in policy.items() if not isinstance(value, (dict, list)) or name == "basis"]
    return inner + plain + list(policy["allow"][0])


@pytest.mark.parametrize("key", keys())
def test_every_key_of_a_policy_is_explained(key: str) -> None:
    assert f"`{key}`" in POLICIES


def test_every_warning_and_every_rule_that_always_holds_is_explained() -> None:
    rules = {rule.check(case()).rule for rule in ALWAYS}
    assert not [word for word in {*WARNINGS, *rules} if f"| `{word}` |" not in POLICIES]


def test_every_metric_is_explained_and_no_other() -> None:
    described = [family.describe()[0] for family in vars(metrics).values() if hasattr(family, "_labelnames")]
    names = {one.name + ("_total" if one.type == "counter" else "") for one in described}
    assert set(re.findall(r"^\| `(signing_\w+)", MONITORING, re.MULTILINE)) == names


def test_every_alert_has_advice() -> None:
    alerts = (ROOT / "docker" / "alerts.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"- alert: (\w+)", alerts)) - {"SigningDown"}  # its meaning says it all
    assert not [alert for alert in named if alert not in MONITORING]
