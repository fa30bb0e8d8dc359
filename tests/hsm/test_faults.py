"""A device that is shaken, killed, frozen, emptied. Each story in a process of its own: a crash is a failed test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support import device_stories as stories
from tests.support import faulty_stories, softhsm
from tests.support.in_child import in_child

FUNCTIONS = [
    "C_OpenSession", "C_SignInit", "C_Sign", "C_UnwrapKey", "C_WrapKey", "C_GenerateKeyPair", "C_GenerateRandom",
    "C_CreateObject", "C_DestroyObject", "C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt",
    "C_FindObjectsInit", "C_FindObjects", "C_FindObjectsFinal", "C_GetAttributeValue",
]  # fmt: skip


def test_a_token_logged_out_under_us_is_an_outage_and_never_a_missing_key(tmp_path: Path) -> None:
    assert set(in_child(stories.logged_out, tmp_path)) <= {"DeviceUnavailable"}


def test_a_module_finalised_under_us_is_initialised_again(tmp_path: Path) -> None:
    assert set(in_child(stories.finalised, tmp_path)) == {"DeviceUnavailable"}


def test_a_token_without_our_keys_is_not_given_new_ones(tmp_path: Path) -> None:
    first, then = in_child(stories.emptied, tmp_path)
    assert first.startswith("DeviceUnavailable")
    assert then.startswith("KeyNotFound")
    assert "initialised anew" in then


def test_a_service_key_that_was_lost_is_not_replaced_at_a_fresh_start(tmp_path: Path) -> None:
    fresh, forbidden = in_child(stories.a_lost_wrapping_key, tmp_path)
    assert fresh.startswith("KeyNotFound: the wrapping key is gone")
    assert forbidden.startswith("KeyNotFound")


def test_two_devices_of_one_process_both_come_back_after_an_outage(tmp_path: Path) -> None:
    assert set(in_child(stories.two_devices_and_an_outage, tmp_path)) == {"DeviceUnavailable"}


def test_a_module_that_cannot_wrap_says_so_and_signs_checkpoints_with_what_it_has(tmp_path: Path) -> None:
    refusals, algorithm, holds = in_child(stories.a_module_that_cannot_wrap, tmp_path)
    assert len(refusals) == 2
    assert all(each.startswith("Unsupported") for each in refusals)
    assert (algorithm, holds) == ("ecdsa-p256", True)


def test_a_frozen_device_is_unavailable_at_the_deadline_and_signs_after_the_thaw(tmp_path: Path) -> None:
    waited, refusals = in_child(stories.frozen, tmp_path, deadline=1.0)
    assert 0.9 < waited < 2.0
    assert set(refusals) <= {"DeviceUnavailable", "DeviceBusy"}


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
    softhsm.provisioned(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        macs = list(pool.map(lambda _: in_child(stories.opened_at_one_moment, tmp_path), range(4)))
    assert len(set(macs)) == 1


def test_whatever_function_fails_the_device_is_unavailable_and_recovers(tmp_path: Path) -> None:
    seen = in_child(faulty_stories.each_function, tmp_path, FUNCTIONS)
    assert {name: kinds for name, (kinds, _) in seen.items() if not kinds <= {"DeviceUnavailable"}} == {}
    assert {name for name, (_, after) in seen.items() if not set(after) <= {"DeviceUnavailable"}} == set()


def test_a_lost_reply_is_an_unknown_outcome_and_not_a_retry(tmp_path: Path) -> None:
    assert in_child(faulty_stories.reply_lost, tmp_path) == ("DeviceUnavailable", "no error")


def test_one_call_that_hangs_holds_others_up_no_longer_than_a_deadline(tmp_path: Path) -> None:
    hung, waited, meanwhile = in_child(faulty_stories.one_call_hangs, tmp_path)
    assert hung == "DeviceUnavailable"
    assert 0.4 < waited < 1.5
    assert set(meanwhile) <= {"DeviceBusy"}
