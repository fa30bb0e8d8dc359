"""What the pages tell people to type exists, and every setting is explained."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from signing_service import errors
from signing_service.cli.main import app
from signing_service.front import problems
from signing_service.front.settings import FrontSettings
from signing_service.signer.settings import SignerSettings
from signing_service.signing_requests import State

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"]
OPERATING = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^(?:ExecStart=)?(?:/\S+/)?signing-service (.+)$", re.MULTILINE)
SPAN = re.compile(r"`(?:ExecStart=/\S+/)?signing-service ([^`]+)`")
FIELDS = {"front": FrontSettings.model_fields, "signer": SignerSettings.model_fields}


def typed(page: Path) -> tuple[list[str], list[str]]:
    """Whole lines out of blocks, and mentions in sentences."""
    text = page.read_text(encoding="utf-8")
    lines = [line for _, block in BLOCK.findall(text) for line in LINE.findall(block.replace("\\\n", " "))]
    return lines, SPAN.findall(BLOCK.sub("", text))


def test_the_pages_tell_people_to_type_something() -> None:
    lines, mentions = typed(ROOT / "docs" / "operating.md")
    assert len(lines) > 20
    assert len(mentions) > 20


def found(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what follows it."""
    command: Any = get_command(app)
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]!r}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in typed(page)[0]}))
def test_a_line_that_people_may_copy_is_understood(line: str) -> None:
    command, words = found(shlex.split(line.split(" #")[0].split(" | ")[0].split(" > ")[0]))
    assert not isinstance(command, TyperGroup)
    command.make_context(command.name, words)  # raises what a person would be told


@pytest.mark.parametrize("mention", sorted({mention for page in PAGES for mention in typed(page)[1]}))
def test_a_command_in_a_sentence_exists_with_these_options(mention: str) -> None:
    command, words = found(shlex.split(mention))
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word.split("=")[0] for word in words if word.startswith("--")} <= options


def rows() -> dict[str, list[str]]:
    """The table of settings: name to half, default and meaning."""
    table = OPERATING.split("## Every setting")[1]
    lines = [line for line in table.splitlines() if line.startswith("| `SIGNING_")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("line", re.findall(r"^SIGNING_\w+=.+$", OPERATING, re.MULTILINE))
def test_a_setting_that_people_may_copy_is_one_word_for_a_shell_as_for_systemd(line: str) -> None:
    assert len(shlex.split(line)) == 1


def test_every_setting_is_explained_and_none_that_there_is_not() -> None:
    known = {f"SIGNING_{name.upper()}" for fields in FIELDS.values() for name in fields}
    commands = {"SIGNING_OPERATOR", "SIGNING_OPERATOR_CODE", "SIGNING_OWNER_DATABASE_URL"}
    assert set(rows()) == known | commands
    assert set(re.findall(r"SIGNING_[A-Z0-9_]*[A-Z0-9]", OPERATING + API)) <= known | commands
    assert all(len(row) == 3 and row[2] for row in rows().values())


def halves(name: str) -> list[str]:
    return [half for half, fields in FIELDS.items() if name in fields]


def spelled(default: Any) -> str:
    if default is None or default == ():
        return "–"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


@pytest.mark.parametrize("name", sorted({name for fields in FIELDS.values() for name in fields}))
def test_a_setting_has_the_half_and_the_default_that_the_table_says(name: str) -> None:
    half, default, _meaning = rows()[f"SIGNING_{name.upper()}"]
    assert half == ("both" if len(halves(name)) == 2 else halves(name)[0])
    for each in halves(name):
        field = FIELDS[each][name]
        if field.is_required():
            assert default == "**needed**"
        elif field.default_factory is None:
            assert spelled(field.default) in default


def test_every_state_of_a_signing_request_is_explained_to_integrators() -> None:
    assert {state for state in State if f"| `{state}` |" not in API} == set()


def test_every_status_of_a_refusal_is_in_the_table_of_errors() -> None:
    assert set(problems.STATUS) >= set(errors.SigningError.__subclasses__())
    assert {status for status in problems.STATUS.values() if f"| {int(status)} |" not in API} == set()


def test_the_codes_that_integrators_are_told_of_exist() -> None:
    told = re.findall(r"`([a-z]+(?:-[a-z]+)*)`", API.split("## Errors")[1].split("## Limits")[0])
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "signing_service").rglob("*.py"))
    known = {code for code in told if f'"{code}"' in source} | {f"already-{state}" for state in State}
    assert set(told) - known <= {"code", "detail", "errors", "findings", "limit", "after"}
