from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from signing_service import errors
from signing_service.cli import exits, main, start
from signing_service.cli.screen import plain
from tests.support import databases


def every_kind(kind: type[errors.SigningError] = errors.SigningError) -> Iterator[type[errors.SigningError]]:
    for child in kind.__subclasses__():
        yield child
        yield from every_kind(child)


@pytest.mark.parametrize("kind", [kind for kind in every_kind() if kind.__module__ == "signing_service.errors"])
def test_every_kind_of_refusal_has_its_exit_code(kind: type[errors.SigningError]) -> None:
    assert kind in exits.CODES
    assert exits.of(kind("no")) in range(2, 9)


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


ALL = sorted(commands(main._command()))


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_says_what_it_does(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([*words, "--help"]) == 0
    assert len(capsys.readouterr().out.split()) > 12


def test_the_use_cases_are_all_there() -> None:
    nouns = {words[0] for words in ALL}
    assert nouns >= {"agency", "audit", "bootstrap", "client", "code", "credential", "database", "demo", "development",
                     "front", "hsm", "jobs", "operator", "policy", "report", "serve", "signatory", "signer"}


@pytest.fixture
def without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SIGNING_"):
            monkeypatch.delenv(name)


@pytest.mark.usefixtures("without_settings")
def test_missing_settings_are_named_as_an_administrator_sets_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["client", "list"]) == 2
    said = capsys.readouterr().err
    assert "SIGNING_DATABASE_URL" in said
    assert "SIGNING_ADMIN_SOCKET" in said


@pytest.mark.usefixtures("without_settings")
def test_json_may_stand_anywhere_and_answers_refusals_too(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--json", "client", "list"], ["client", "--json", "list"], ["client", "list", "--json"]):
        assert main.run(words) == 2
        assert json.loads(capsys.readouterr().out)["error"]["code"] == "settings"


def test_what_we_did_wrong_gets_a_number_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(main, "_command", broken)
    assert main.run(["client", "list"]) == exits.BROKEN
    said = capsys.readouterr()
    assert "The log says more" in said.err
    assert "secret detail" not in said.out + said.err


@pytest.mark.parametrize(("ending", "code"), [(None, 0), (3, 3), ("it did not work", exits.BROKEN)])
def test_a_command_that_ends_with_words_instead_of_a_code_has_not_succeeded(
    monkeypatch: pytest.MonkeyPatch, ending: int | str | None, code: int
) -> None:
    def ends() -> None:
        raise SystemExit(ending)

    monkeypatch.setattr(main, "_command", ends)
    assert main.run(["client", "list"]) == code


def test_a_command_that_does_not_exist_is_a_wrong_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["sing"]) == 2


PLAIN = {
    "words stay": ("Nguyễn Văn An", "Nguyễn Văn An"),
    "an escape sequence is spelled out": ("\x1b[2Jgone", "\\x1b[2Jgone"),
    "a new line is spelled out": ("a\nb", "a\\nb"),
    "a change of direction is spelled out": ("a\u202eb", "a\\u202eb"),
    "nothing is a dash": (None, "–"),
    "a moment is RFC 3339": (datetime(2026, 11, 20, 8, 30, tzinfo=UTC), "2026-11-20T08:30:00Z"),
}


@pytest.mark.parametrize(("value", "shown"), PLAIN.values(), ids=PLAIN.keys())
def test_nothing_shown_can_steer_the_terminal(value: object, shown: str) -> None:
    assert plain(value) == shown


def test_a_command_loads_neither_the_device_nor_the_web_nor_the_pdf_libraries() -> None:
    heavy = {"pkcs11", "fastapi", "starlette", "uvicorn", "pyhanko", "httpx", "alembic"}
    program = f"import sys, signing_service.cli.main; print(sorted({heavy!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_a_process_loads_none_of_the_other_commands_when_it_starts_and_looks_at_its_database(tmp_path: Path) -> None:
    heavy = {"pkcs11", "fastapi", "starlette", "uvicorn", "pyhanko", "httpx", "alembic",
             *(f"signing_service.cli.{each}" for each in ("audit", "backup", "demo", "device", "main", "report"))}
    program = ("import sys; from signing_service.cli import start; from signing_service.db import migrate; "
               f"start._processes(); migrate.check({databases.sqlite(tmp_path)!r}); "
               f"print(sorted({heavy!r} & set(sys.modules)))")
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_the_processes_are_the_commands_that_everybody_sees() -> None:
    shown, begun = main._command().commands, start._processes().commands
    assert set(begun) == set(start.PROCESSES)
    for name, command in begun.items():
        assert [(each.opts, each.default, each.help) for each in command.params] == [
            (each.opts, each.default, each.help) for each in shown[name].params]
        assert command.help == shown[name].help


ENDINGS = {"signer --no-such": 2, "jobs --help": 0, "operator --help": 0}


@pytest.mark.parametrize(("words", "code"), ENDINGS.items(), ids=ENDINGS)
def test_the_program_begins_and_ends_as_any_other(words: str, code: int) -> None:
    ended = subprocess.run([sys.executable, "-m", "signing_service", *words.split()], capture_output=True, check=False)
    assert ended.returncode == code, ended.stderr


UNUSABLE = {
    "a database that is no address": ("SIGNING_DATABASE_URL", "foo", "must begin with"),
    "a signer's database that is no address": ("SIGNING_SIGNER_DATABASE_URL", "foo", "must begin with"),
    "users that are no list": ("SIGNING_SIGN_USERS", "abc", "JSON list"),
    "a network that is none": ("SIGNING_OUTBOUND_NETWORKS", "10.0.0.0/99", "10.0.0.0/99"),
    "a port that is none": ("SIGNING_LISTEN_PORT", "99999", "65535"),
    "a secret that is not there": ("SIGNING_FRONT_SECRET_FILE", "/nowhere/secret", "cannot be read"),
    "documents that nobody can write": ("SIGNING_DOCUMENTS", "/etc/passwd/documents", "nothing can be written"),
    "a socket in no folder": ("SIGNING_SIGN_SOCKET", "/nowhere/sign.sock", "nothing can be written"),
}


@pytest.mark.usefixtures("without_settings")
@pytest.mark.parametrize(("name", "value", "why"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_server_that_could_not_live_says_why_and_does_not_start(
    name: str, value: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_bytes(b"s" * 32)
    settings = {
        "SIGNING_PROFILE": "development", "SIGNING_DATABASE_URL": f"sqlite:///{tmp_path}/signing.db",
        "SIGNING_SIGNER_DATABASE_URL": f"sqlite:///{tmp_path}/signing.db", "SIGNING_DOCUMENTS": f"{tmp_path}/documents",
        "SIGNING_SIGN_SOCKET": f"{tmp_path}/s", "SIGNING_ADMIN_SOCKET": f"{tmp_path}/a",
        "SIGNING_FRONT_SECRET_FILE": f"{tmp_path}/secret", "SIGNING_PKCS11_MODULE": "/nowhere.so",
        "SIGNING_PKCS11_TOKEN": "none", "SIGNING_PKCS11_PIN_FILE": "/nowhere",
    }
    with socket.create_server(("127.0.0.1", 0)) as taken:  # nothing could start here in any case
        settings["SIGNING_LISTEN_PORT"] = str(taken.getsockname()[1])
        for each, given in (settings | {name: value}).items():
            monkeypatch.setenv(each, given)
        assert main.run(["serve"]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert why in said
