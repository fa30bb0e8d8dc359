"""What the guides call a button is what the button says, and both languages have the same to tell."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from signing_service.front.web.words import catalogue

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
PAIRS = sorted(page.name.removesuffix(".vi.md") for page in GUIDES.glob("*.vi.md"))
BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
LEGEND = {"vi": "đậm", "en": "bold"}  # "words in **bold** are …"
SHAPE = re.compile(r"^(#{1,3} |\d+\. |\* |\| |```)", re.MULTILINE)


def text_of(name: str, language: str) -> str:
    return (GUIDES / f"{name}.{language}.md").read_text(encoding="utf-8")


def emphasised(text: str) -> set[str]:
    return {" ".join(found.split()) for found in BOLD.findall(text)}


@cache
def labels(language: str) -> re.Pattern[str]:
    """Every sentence of the screens, with a number where it is filled."""
    said = (re.sub(r"\\{\w+\\}", r"[0-9]+", re.escape(each[language])) for each in catalogue().values())
    return re.compile("|".join(said))


def test_there_is_a_guide_for_each_group_of_people() -> None:
    assert PAIRS == ["auditors", "officials", "operators"]


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("name", PAIRS)
def test_what_is_bold_in_a_guide_stands_on_a_screen(name: str, language: str) -> None:
    found = emphasised(text_of(name, language)) - {LEGEND[language]}
    assert len(found) > 5
    assert {phrase for phrase in found if not labels(language).fullmatch(phrase)} == set()


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_of_a_guide_have_the_same_shape(name: str) -> None:
    assert SHAPE.findall(text_of(name, "vi")) == SHAPE.findall(text_of(name, "en"))
    assert len(emphasised(text_of(name, "vi"))) == len(emphasised(text_of(name, "en")))
