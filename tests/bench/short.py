"""Whether this run is only to show that everything still runs: `--quick`, or BENCH_QUICK=1. Its figures mean little."""

from __future__ import annotations

import os
import sys

QUICK = "--quick" in sys.argv or os.environ.get("BENCH_QUICK") == "1"


def less(full: int, quick: int) -> int:
    """How many: in a whole run, or in a quick one."""
    return quick if QUICK else full
