"""A device that is shaken, killed, frozen, emptied. Each story in a process of its own: a crash is a failed test."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import device_stories as stories
from tests.support.in_child import in_child


def test_eight_threads_that_do_everything_at_once_meet_no_error(tmp_path: Path) -> None:
    done: Counter[str] = in_child(stories.mixed_load, tmp_path, threads=8, seconds=3.0)
    assert len(done) == 9
    assert min(done.values()) > 0


def test_a_token_logged_out_under_us_is_an_outage_and_never_a_missing_key(tmp_path: Path) -> None:
    assert set(in_child(stories.logged_out, tmp_path)) <= {"DeviceUnavailable"}


def test_a_module_finalised_under_us_is_initialised_again(tmp_path: Path) -> None:
    assert set(in_child(stories.finalised, tmp_path)) == {"DeviceUnavailable"}


def test_a_token_without_our_keys_is_not_given_new_ones(tmp_path: Path) -> None:
    first, then = in_child(stories.emptied, tmp_path)
    assert first.startswith("DeviceUnavailable")
    assert then.startswith("KeyNotFound")
    assert "initialised anew" in then


def test_a_frozen_device_is_unavailable_at_the_deadline_and_signs_after_the_thaw(tmp_path: Path) -> None:
    waited, refusals = in_child(stories.frozen, tmp_path, deadline=1.0)
    assert 0.9 < waited < 2.0
    assert set(refusals) <= {"DeviceUnavailable"}


def test_when_all_threads_hang_it_says_so_at_once_and_recovers_with_the_device(tmp_path: Path) -> None:
    before, then, waited, after = in_child(stories.all_threads_hang, tmp_path)
    assert (before, then, after) == (False, True, False)
    assert waited < 0.5


def test_a_killed_device_is_unavailable_and_signs_again_after_its_restart(tmp_path: Path) -> None:
    away, refusals = in_child(stories.killed, tmp_path)
    assert set(away) == {"DeviceUnavailable"}
    assert set(refusals) <= {"DeviceUnavailable"}


def test_a_wrong_pin_is_tried_once_however_often_we_are_asked(tmp_path: Path) -> None:
    tried, with_the_right_one, seen = in_child(stories.wrong_pin, tmp_path)
    assert tried == 1
    assert with_the_right_one == 2
    assert all(each.startswith("PinRejected") for each in seen)
    assert not any("not the PIN" in each for each in seen)


def test_the_device_is_asked_once_per_signature_and_not_at_all_for_what_is_no_digest(tmp_path: Path) -> None:
    assert in_child(stories.counted_signatures, tmp_path, times=5) == (5, 0)


def test_a_device_used_after_a_fork_says_so(tmp_path: Path) -> None:
    assert "does not survive a fork" in in_child(stories.used_after_a_fork, tmp_path)


def test_processes_that_open_one_fresh_token_at_one_moment_share_its_keys(tmp_path: Path) -> None:
    stories.provisioned(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        macs = list(pool.map(lambda _: in_child(stories.opened_at_one_moment, tmp_path), range(4)))
    assert len(set(macs)) == 1
