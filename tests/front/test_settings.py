"""What the front is told from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from signing_service.front.settings import FrontSettings

NEEDED = {"database_url", "documents", "sign_socket", "admin_socket", "front_secret_file"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    for name in [name for name in os.environ if name.startswith("SIGNING_")]:
        monkeypatch.delenv(name)


def test_production_names_everything_itself() -> None:
    with pytest.raises(ValidationError) as failed:
        FrontSettings()
    assert {error["loc"][0] for error in failed.value.errors()} == NEEDED


def test_development_keeps_everything_below_one_folder_and_says_so_in_its_profile() -> None:
    settings = FrontSettings(profile="development")
    assert settings.documents == Path(".signing/documents")
    assert settings.database_url == "sqlite:///.signing/signing.db"
    assert settings.profile == "development"


def test_what_is_named_wins_over_what_development_offers(tmp_path: Path) -> None:
    settings = FrontSettings(profile="development", documents=tmp_path)
    assert settings.documents == tmp_path


def test_the_environment_speaks_with_a_prefix_and_lists_are_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_PROFILE", "development")
    monkeypatch.setenv("SIGNING_LISTEN_PORT", "9090")
    monkeypatch.setenv("SIGNING_TSA_URLS", "http://tsa.example/one, http://tsa.example/two")
    monkeypatch.setenv("SIGNING_OUTBOUND_HOSTS", '["tsa.example", "hooks.example:8443"]')
    settings = FrontSettings()
    assert settings.listen_port == 9090
    assert settings.tsa_urls == ("http://tsa.example/one", "http://tsa.example/two")
    assert settings.outbound_hosts == ("tsa.example", "hooks.example:8443")
    assert settings.database_url == "sqlite:///.signing/signing.db"


WRONG = {
    "a time zone that is none": {"timezone": "Hanoi"},
    "a time zone that is a path": {"timezone": "../../etc/passwd"},
    "a port beyond the last": {"listen_port": 65_536},
    "a door for probes that is everybody's": {"probe_port": 8080},
    "one pdf worker, of which one must be free": {"pdf_workers": 1},
    "tokens that live for two days": {"token_seconds": 172_800},
    "no time for a body": {"body_seconds": 0},
    "a profile that is none": {"profile": "staging"},
}


@pytest.mark.parametrize("more", WRONG.values(), ids=WRONG)
def test_a_setting_that_makes_no_sense_is_named(more: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as failed:
        FrontSettings(**{"profile": "development"} | more)
    assert next(iter(more)) in {error["loc"][0] for error in failed.value.errors()}


def test_settings_do_not_change_after_they_were_read() -> None:
    settings = FrontSettings(profile="development")
    with pytest.raises(ValidationError):
        settings.listen_port = 1  # type: ignore[misc]  # it is frozen, which is what is tested


@pytest.mark.parametrize("size", [None, 0, 31, 33])
def test_the_secret_is_a_file_of_exactly_32_bytes(tmp_path: Path, size: int | None) -> None:
    file = tmp_path / "secret"
    if size is not None:
        file.write_bytes(b"s" * size)
    with pytest.raises(ValueError, match="front_secret_file"):
        FrontSettings(profile="development", front_secret_file=file).front_secret()
    file.write_bytes(b"s" * 32)
    assert FrontSettings(profile="development", front_secret_file=file).front_secret() == b"s" * 32
