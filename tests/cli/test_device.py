from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from signing_service.cli.supervisor import GIVE_UP

PROGRAM = (sys.executable, "-m", "signing_service")


def typed(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: a device's library is loaded once and for all."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("SIGNING_")}
    return subprocess.run([*PROGRAM, *words], env=others | settings, capture_output=True, text=True, timeout=120,
                          check=False)


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a fresh SoftHSM token, as `hsm init-softhsm` printed them."""
    directory = tmp_path_factory.mktemp("hsm") / "token"
    made = typed("hsm", "init-softhsm", str(directory), "--label", "thử", "--json")
    assert made.returncode == 0, made.stderr
    settings: dict[str, str] = json.loads(made.stdout)
    return settings


def halves(directory: Path) -> dict[str, str]:
    """The settings that the signer wants beside the device's."""
    return {
        "SIGNING_PROFILE": "development", "SIGNING_DATABASE_URL": f"sqlite:///{directory}/signing.db",
        "SIGNING_SIGNER_DATABASE_URL": f"sqlite:///{directory}/signing.db", "SIGNING_DOCUMENTS": str(directory),
        "SIGNING_SIGN_SOCKET": str(directory / "s"), "SIGNING_ADMIN_SOCKET": str(directory / "a"),
        "SIGNING_FRONT_SECRET_FILE": str(directory / "secret"), "SIGNING_LISTEN_PORT": "0",
    }


def test_a_software_token_is_made_for_this_user_alone(token: dict[str, str]) -> None:
    pin = Path(token["SIGNING_PKCS11_PIN_FILE"])
    assert stat.S_IMODE(pin.stat().st_mode) == 0o600
    assert stat.S_IMODE(pin.parent.stat().st_mode) == 0o700
    assert len(pin.read_text().strip()) >= 16


def test_making_it_again_changes_nothing(token: dict[str, str]) -> None:
    pin = Path(token["SIGNING_PKCS11_PIN_FILE"])
    before = pin.read_text()
    again = typed("hsm", "init-softhsm", str(pin.parent), "--label", "thử", "--json")
    assert json.loads(again.stdout) == token
    assert pin.read_text() == before


def test_the_doctor_finds_everything_there(token: dict[str, str], tmp_path: Path) -> None:
    found = typed("hsm", "doctor", "--json", **token, **halves(tmp_path))
    assert found.returncode == 0, found.stdout
    checks: list[dict[str, Any]] = json.loads(found.stdout)
    assert all(check["ok"] for check in checks)
    assert "verifies" in checks[-1]["detail"]


def test_the_doctor_takes_a_uri_instead_of_settings(token: dict[str, str]) -> None:
    uri = f"pkcs11:token=th%E1%BB%AD?module-path={token['SIGNING_PKCS11_MODULE']}" \
          f"&pin-source={token['SIGNING_PKCS11_PIN_FILE']}"
    found = typed("hsm", "doctor", "--uri", uri, SOFTHSM2_CONF=token["SIGNING_SOFTHSM_CONF"])
    assert found.returncode == 0, found.stdout + found.stderr


WRONG = {
    "another token": ({"SIGNING_PKCS11_TOKEN": "không có"}, 1, "set the token to one of these: 'thử'"),
    "a module that is not there": ({"SIGNING_PKCS11_MODULE": "/nowhere.so"}, 1, "install the vendor's PKCS#11 module"),
    "no PIN file": ({"SIGNING_PKCS11_PIN_FILE": "/nowhere"}, 1, "write the PIN into it"),
}


@pytest.mark.parametrize(("wrong", "exits", "remedy"), WRONG.values(), ids=WRONG.keys())
def test_the_doctor_says_what_to_do(
    token: dict[str, str], tmp_path: Path, wrong: dict[str, str], exits: int, remedy: str
) -> None:
    found = typed("hsm", "doctor", **(token | halves(tmp_path) | wrong))
    assert found.returncode == exits
    assert remedy in found.stdout


def test_a_uri_that_is_not_understood_is_a_wrong_input() -> None:
    assert typed("hsm", "doctor", "--uri", "pkcs11:colour=blue").returncode == 2


@pytest.mark.parametrize("process", ["signer", "serve"])
def test_a_wrong_pin_is_tried_once_and_ends_the_service(
    token: dict[str, str], tmp_path: Path, process: str
) -> None:
    wrong = tmp_path / "pin"
    wrong.write_text("0000\n")
    (tmp_path / "secret").write_bytes(b"s" * 32)
    settings = token | halves(tmp_path) | {"SIGNING_PKCS11_PIN_FILE": str(wrong)}
    assert typed("database", "migrate", **settings).returncode == 0
    ended = typed(process, **settings)
    assert ended.returncode == GIVE_UP, ended.stderr
    assert ended.stderr.count("tried once") == 1
    assert str(wrong) in ended.stderr
    assert "0000" not in ended.stderr
