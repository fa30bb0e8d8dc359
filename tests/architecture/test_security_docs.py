"""docs/security.md names tests and files; each must be there, and so must what it says the invariants rest on."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from signing_service.signer import codes, rows

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)))


def cases_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")}


def test_the_page_names_many_tests() -> None:
    assert len(NAMED) > 40


@pytest.mark.parametrize(("file", "name"), NAMED, ids=["::".join(filter(None, each)) for each in NAMED])
def test_a_test_that_the_page_names_is_there(file: str, name: str) -> None:
    found = cases_in(ROOT / file)
    assert found
    assert not name or name in found


def test_every_line_of_the_tables_of_threats_names_a_test() -> None:
    threats = PAGE.partition("## Threats, controls, tests")[2].partition("## Residual risks")[0]
    lines = [line for line in threats.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(lines) > 30
    assert [line for line in lines if "`tests/" not in line.rsplit("|", 2)[1]] == []


def test_the_rows_that_carry_a_mac_are_those_the_page_names() -> None:
    assert set(rows.COVERED) == {"key", "seed", "credential", "phone", "ticket"}
    assert "a key, a seed, a credential, a phone or a ticket" in " ".join(PAGE.split())
    assert "Intents, confirmations, counters of codes, policies, operators, auditors and signatories carry none" in (
        " ".join(PAGE.split()))


def test_the_numbers_on_the_page_are_those_of_the_code() -> None:
    from signing_service.front.runtime import WRONG_CODES, WRONG_CODES_SECONDS
    from signing_service.wire.messages import MAX_LINES

    words = " ".join(PAGE.split())
    assert (WRONG_CODES, WRONG_CODES_SECONDS, MAX_LINES, codes.IN_A_ROW) == (30, 600.0, 200, 5)
    for said in ("after 30 wrong codes in ten minutes", "up to 200", "five in a row lock"):
        assert said in words
