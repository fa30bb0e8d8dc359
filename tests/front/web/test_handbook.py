"""What the auditor's handbook (docs/guides) has people do offline can be done with what the console gives."""

from __future__ import annotations

import re

from signing_service import verification
from signing_service.signer import sequencer
from tests.support.world import World


def test_the_whole_log_is_taken_from_the_search_and_verified_against_a_checkpoint_that_was_kept(world: World) -> None:
    office, official, auditor = world.client(), world.official("Nguyễn Văn An"), world.auditor()
    office.confirms(official, office.submits(official))
    sequencer.sequence(world.city.rt)
    link = re.search(r'href="(/console/proofs/checkpoints/[^"]+/note)"', auditor.sees("/console/trust"))
    assert link is not None
    kept = auditor.gets(link[1]).text

    office.confirms(official, office.submits(official, number="202"))
    sequencer.sequence(world.city.rt)
    taken = auditor.gets("/console/search/export?order=oldest&form=jsonl").text.splitlines()
    key = verification.verifier_keys(world.rt.db)[0]
    report = verification.verify_export(taken, kept, key)
    assert report.ok, report.findings
    assert not verification.verify_export([*taken[:3], *taken[4:]], kept, key).ok
