from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hsm.doctor import NEEDS, Check, examine
from tests.support import device_stories as stories
from tests.support import softhsm
from tests.support.in_child import in_child


def named(checks: list[Check], name: str) -> Check:
    (check,) = [each for each in checks if each.name == name]
    return check


def test_a_healthy_device_passes_every_check() -> None:
    softhsm.device()
    checks = examine(softhsm.settings())
    assert [check for check in checks if not check.ok] == []
    assert {f"CKM_{need.mechanism.name}" for need in NEEDS} <= {check.name for check in checks}
    assert named(checks, "test signature").detail == "made with the self-test key, verifies"
    assert "AES_KEY_WRAP_PAD" in named(checks, "custody").detail


FAILURES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "the module is not there": ({"module": Path("/nowhere.so")}, "module", "no PKCS#11 module", "install"),
    "the software token's configuration is not there": (
        {"softhsm_conf": Path("/nowhere.conf")}, "module", "no SoftHSM configuration", "install"),
    "the module is something else": ({"module": Path("/etc/hostname")}, "module", "not a PKCS#11 module", "install"),
    "the token is called otherwise": ({"token": "testes"}, "token", "'testes'", "'tests'"),
    "two tokens fit": ({"token": "pkcs11:"}, "token", "name the serial", "'tests'"),
    "the PIN file is not there": ({"pin_file": Path("/nowhere/pin")}, "PIN file", "cannot be read", "mode 600"),
    "the PIN file is empty": ({"pin_file": Path("/dev/null")}, "PIN file", "is empty", "mode 600"),
}


@pytest.mark.parametrize("name", list(FAILURES))
def test_a_failure_is_named_with_its_remedy_and_ends_the_examination(name: str) -> None:
    changes, check, detail, remedy = FAILURES[name]
    checks = examine(replace(softhsm.settings(), **changes))
    assert [each.name for each in checks if not each.ok] == [check]
    assert checks[-1].name == check
    assert detail in checks[-1].detail
    assert remedy in checks[-1].remedy


def test_a_wrong_pin_is_named_and_not_tried_again(tmp_path: Path) -> None:
    checks = in_child(stories.doctor_with_a_wrong_pin, tmp_path)
    first, second = [check for check in checks if check.name == "PIN"]
    assert (first.ok, second.ok) == (False, False)
    assert "PinIncorrect" in first.detail
    assert "not tried again" in second.detail
    assert "PIN file" in first.remedy


def test_a_pin_file_that_others_can_read_is_advised_against(tmp_path: Path) -> None:
    shared = tmp_path / "pin"
    shared.write_text(softhsm.PIN)
    os.chmod(shared, 0o644)
    check = named(examine(replace(softhsm.settings(), pin_file=shared)), "PIN file")
    assert check.ok
    assert "chmod 600" in check.remedy


def test_a_fresh_token_is_tested_with_a_passing_key_and_left_empty(tmp_path: Path) -> None:
    checks, objects = in_child(stories.doctor_on_a_fresh_token, tmp_path)
    assert "no self-test key yet" in named(checks, "test signature").detail
    assert all(check.ok for check in checks)
    assert objects == 0


def test_a_module_that_cannot_wrap_is_named_with_the_custody_that_is_left(tmp_path: Path) -> None:
    checks = in_child(stories.doctor_of_a_remote_token, tmp_path)
    assert [check for check in checks if not check.ok] == []
    assert "missing" in named(checks, "CKM_AES_KEY_WRAP_PAD").detail
    assert "stay on the token" in named(checks, "custody").detail
    assert "--custody token" in named(checks, "custody").remedy


def test_a_device_that_hangs_is_a_finding_too(tmp_path: Path) -> None:
    checks = in_child(stories.doctor_of_a_frozen_token, tmp_path)
    assert not named(checks, "answers").ok
    assert "restart" in named(checks, "answers").remedy
