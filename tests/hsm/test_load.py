"""Threads crash a module that was not told of them. Eight at once, mixed load: seconds here, ten minutes in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import campaign
from tests.support.in_child import in_child_for
from tests.support.load_stories import MADE, Load, mixed_load

SECONDS = campaign.rounds(2, 600)
LEAST = {"SoftHSM": 12, "softokn": 10}  # kinds of acts: softokn neither wraps nor seals
GROWTH = 16 << 20  # bytes that ten minutes may add to a process, after what it keeps was filled


@pytest.mark.parametrize("module", list(MADE))
def test_eight_threads_that_do_everything_at_once_meet_no_error(module: str, tmp_path: Path) -> None:
    load: Load = in_child_for(SECONDS + 120, mixed_load, tmp_path, module, 8, SECONDS)
    assert len(load.done) == LEAST[module]
    if campaign.FULL:
        assert load.grown < GROWTH
        assert load.descriptors_grown <= 2
    campaign.proven(f"device-load-{module.lower()}", threads=8, seconds=SECONDS, errors=0, done=dict(load.done),
                    memory_mb=load.memory[-1] >> 20, grown_kb=load.grown >> 10, descriptors=load.descriptors[-1],
                    descriptors_grown=load.descriptors_grown)
