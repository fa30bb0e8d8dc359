"""A real signer, kept alive by the real supervisor, and a device that is taken from it in every way we can think of.

What is always asserted is what happened, and in which order; how long it took is bounded in full only.
"""

from __future__ import annotations

import signal
from pathlib import Path

from tests.support import campaign
from tests.support.in_child import in_child_for
from tests.support.lossy_proxy import Loss
from tests.support.outage_stories import DEADLINE, Outage, Told, away_and_back, crashed, lost_replies

LONG = 3000  # seconds
SOON = 5.0   # seconds until a device that is back has signed
AWAY = {"device-away", "signer-away"}  # the device does not answer; the signer is being replaced


def check(told: Told) -> None:
    """What is true of all stories: nothing twice, nothing said to be signed that was not, no question forgotten."""
    assert (told.twice, told.unmade) == (0, 0)
    assert set(told.outcomes) <= {"done", "failed", "unknown-outcome"}
    for name, outage in told.outages.items():
        refused = {answer.code for answer in outage.answers if answer.outcome == "refused"}
        assert refused <= AWAY, f"{name}: {refused}"


def times(told: Told) -> dict[str, object]:
    """Seconds, the worst of each: an answer, an answer about health, and the next signature."""
    by_kind: dict[str, list[Outage]] = {}
    for name, outage in told.outages.items():
        kind = name.rpartition(" ")[0] + (", signer replaced" if outage.replaced else "")
        by_kind.setdefault(kind, []).append(outage)
    health = [each for outage in told.outages.values() for each in outage.health]
    return {
        "answer_s": {kind: round(max(each.slowest for each in them), 2) for kind, them in by_kind.items()},
        "signed_again_s": {kind: round(max(each.signed_after for each in them), 2) for kind, them in by_kind.items()},
        "health_s": round(max(health, default=0.0), 2), "outages": len(told.outages), "signed": told.signed,
        "twice": told.twice, "unmade": told.unmade, "outcomes": told.outcomes, "signers": told.lives,
    }


def check_times(told: Told, soon: float = SOON) -> None:
    for name, outage in told.outages.items():
        assert outage.slowest < DEADLINE + 1, name
        assert max(outage.health, default=0) < 1, name
        assert outage.signed_after < soon, name


def test_a_device_that_goes_away_and_comes_back_is_answered_for_and_signs_again(tmp_path: Path) -> None:
    told = in_child_for(LONG, away_and_back, tmp_path, campaign.rounds(1, 10))
    check(told)
    gone = [outage for name, outage in told.outages.items() if not name.startswith("restarted")]
    assert not any(answer.is_done for outage in gone for answer in outage.answers)
    assert all(outage.health for outage in told.outages.values())
    campaign.proven("device-away-and-back", deadline_s=DEADLINE, **times(told))
    if campaign.FULL:
        check_times(told)


def test_a_reply_that_is_lost_leaves_an_unknown_outcome_and_never_a_second_signature(tmp_path: Path) -> None:
    """0.9 is behind the intent: of these calls the first asks for the length, the next signs."""
    places, losses = ([], list(Loss)) if campaign.FULL else ([0.5, 0.9], [Loss.CUT])
    told = in_child_for(LONG, lost_replies, tmp_path, places, losses)
    check(told)
    assert told.lost >= 0.9 * len(told.losses), "house-keeping may come between, so a few confirmations end before"
    campaign.proven("device-lost-replies", deadline_s=DEADLINE, calls_of_a_confirmation=told.calls, lost=told.lost,
                    **times(told))
    if campaign.FULL:
        assert "unknown-outcome" in told.outcomes
        check_times(told, soon=15)  # a connection on which nothing comes any more costs a process


def test_a_module_that_crashes_costs_a_signer_and_no_more(tmp_path: Path) -> None:
    crashes = [("C_Sign:1", signal.SIGSEGV)]  # RSA: after the device has signed with a person's key
    if campaign.FULL:
        crashes += [(function, number) for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL)
                    for function in ("C_Sign:1", "C_SignInit", "C_Sign", "C_UnwrapKey")]
    told = in_child_for(LONG, crashed, tmp_path, crashes)
    check(told)
    assert told.outages[f"C_Sign:1 {signal.SIGSEGV.name}"].answers[0].code == "signer-away"
    assert told.outcomes["unknown-outcome"] >= 1
    campaign.proven("device-crashes", **times(told))
