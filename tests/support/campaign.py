"""Campaigns: tests with a short form in every run and a long one, of which docs/proof.md tells the figures.

    for seed in range(campaign.rounds(20, 1_000)): ...
    campaign.proven("crash-signer", kills=1_000, lost=0, unrecorded=0, double=0)

`SIGNING_CAMPAIGN=full` (what `make faults` sets) makes them long and keeps the figures in `var/proof/<line>.json`.
"""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

FULL = os.environ.get("SIGNING_CAMPAIGN") == "full"
KEPT = Path(__file__).parents[2] / "var" / "proof"


def rounds(short: int, full: int) -> int:
    """How often: the short form in every run of the tests, the full one in a campaign."""
    return full if FULL else short


def proven(line: str, **figures: object) -> None:
    """Print what a campaign found; a full one also keeps it as `line`.json, with the machine and the time."""
    (keep if FULL else tell)(line, **figures)


def tell(line: str, **figures: object) -> str:
    """Print it, and give the same with line breaks."""
    told = {"line": line, "figures": figures, "cores": os.cpu_count(), "machine": platform.machine(),
            "python": platform.python_version(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    print(json.dumps(told, ensure_ascii=False))
    return json.dumps(told, ensure_ascii=False, indent=2) + "\n"


def keep(line: str, **figures: object) -> None:
    """Print it and keep it as `line`.json: the bench has no short form that counts."""
    told = tell(line, **figures)
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / f"{line}.json").write_text(told, encoding="utf-8")
