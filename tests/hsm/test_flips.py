"""A device that signs wrongly is believed never: 1,000 of 1,000 in full, through the signer's own door."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import campaign
from tests.support.flip_stories import SIGNS_WITH, Caught, flipped
from tests.support.in_child import in_child_for

TIMES = campaign.rounds(20, 1_000)
KINDS = list(SIGNS_WITH)[:campaign.rounds(1, 2)]


@pytest.mark.parametrize("key_kind", KINDS)
def test_a_signature_with_one_bit_turned_never_leaves_the_signer(key_kind: str, tmp_path: Path) -> None:
    caught = in_child_for(1800, flipped, tmp_path, key_kind, TIMES)
    assert caught == Caught(turned=TIMES, refused=TIMES, values=0, recorded=TIMES, afterwards="done")
    campaign.proven(f"device-flips-{key_kind}", turned=TIMES, caught=caught.refused, left_the_signer=caught.values)
