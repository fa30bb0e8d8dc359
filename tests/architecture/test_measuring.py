"""A metric that nobody sets reads as all is well: each one declared is set, and each stage is timed, somewhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from signing_service import metrics

PACKAGE = Path(__file__).parents[2] / "signing_service"
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "metrics.py"]
CODE = "\n".join(path.read_text(encoding="utf-8") for path in SOURCES)
DECLARED = sorted(name for name, value in vars(metrics).items() if hasattr(value, "_labelnames"))


@pytest.mark.parametrize("name", [name for name in DECLARED if name != "STAGE_SECONDS"])
def test_every_metric_is_set_somewhere(name: str) -> None:
    assert re.search(rf"\b{name}\.(?:labels\(.*?\)\.)?(?:inc|set|observe)\(", CODE)


@pytest.mark.parametrize("name", get_args(metrics.Stage))
def test_every_stage_is_timed_somewhere(name: str) -> None:
    assert re.search(rf'\b(?:stage|waited)\("{name}"', CODE)
