from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hsm import softhsm
from hsm.errors import DeviceUnavailable, Unsupported
from hsm.softhsm import find_module, provision


def test_provisioning_twice_changes_nothing(tmp_path: Path) -> None:
    first = provision(tmp_path / "hsm", "development", "1234", "5678")
    before = {path: path.read_bytes() for path in (tmp_path / "hsm").rglob("*") if path.is_file()}
    assert provision(tmp_path / "hsm", "development", "other", "other") == first
    assert {path: path.read_bytes() for path in (tmp_path / "hsm").rglob("*") if path.is_file()} == before
    assert first.softhsm_conf == tmp_path / "hsm" / "softhsm2.conf"
    assert first.module == find_module()


def test_only_this_user_can_read_the_pin_and_the_token(tmp_path: Path) -> None:
    settings = provision(tmp_path / "hsm", "development", "1234", "5678")
    assert settings.pin_file.read_text() == "1234\n"
    assert stat.S_IMODE(settings.pin_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "hsm").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "hsm" / "tokens").stat().st_mode) == 0o700


def test_without_softhsm_the_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(softhsm, "PLACES", ())
    with pytest.raises(Unsupported, match="install the package softhsm2"):
        provision(tmp_path, "development", "1234", "5678")


def test_a_pin_that_softhsm_refuses_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="could not make the token"):
        provision(tmp_path, "development", "1", "5678")
