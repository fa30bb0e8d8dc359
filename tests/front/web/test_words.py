"""What the screens say is complete in both languages, and nothing is said that has no words."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from jinja2 import nodes

from signing_service import errors
from signing_service.front.problems import STATUS
from signing_service.front.web import mistakes, words
from signing_service.front.web.pages import environment

WEB = Path(words.__file__).parent
TEMPLATES = sorted(str(file.relative_to(WEB / "templates")) for file in (WEB / "templates").rglob("*.html"))
INLINE = re.compile(r"<(script(?![^>]*\ssrc=)|style)\b|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)


def asked_of(template: str) -> list[nodes.Call]:
    source = environment().loader.get_source(environment(), template)[0]  # type: ignore[union-attr]  # it has one
    return [call for call in environment().parse(source).find_all(nodes.Call)
            if isinstance(call.node, nodes.Name) and call.node.name == "t"]


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def test_both_languages_have_every_sentence_and_fill_the_same_places() -> None:
    assert words.catalogue()
    for key, said in words.catalogue().items():
        assert placeholders(said["vi"]) == placeholders(said["en"]), key


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_sentence_that_a_template_names_exists_and_gets_its_values(template: str) -> None:
    for call in asked_of(template):
        if not isinstance(call.args[0], nodes.Const):
            continue  # made from a word of the domain: the tables below see to those
        key = call.args[0].value
        assert words.has(key), f"{template}: {key}"
        assert placeholders(words.catalogue()[key]["vi"]) == {each.key for each in call.kwargs}, f"{template}: {key}"


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_template_has_anything_inline_that_the_content_security_policy_would_stop(template: str) -> None:
    found = INLINE.search((WEB / "templates" / template).read_text(encoding="utf-8"))
    assert found is None, f"{template}: {found}"


def test_every_kind_of_refusal_has_words() -> None:
    for kind in STATUS:
        assert mistakes.key_of(kind("?")) == next(
            f"error.kind.{each.__name__}" for each in kind.__mro__ if words.has(f"error.kind.{each.__name__}"))


def test_a_refusal_is_told_by_its_code_where_there_are_words_for_it() -> None:
    assert mistakes.key_of(errors.NotAuthorized("?", code="code-locked")) == "error.code-locked"
    assert mistakes.key_of(errors.NotAuthorized("?", code="never-heard-of")) == "error.kind.NotAuthorized"


def test_every_word_of_the_domain_that_pages_show_has_words() -> None:
    from policies.decision import Urgency
    from signing_service.audit import Event
    from signing_service.credentials import State as CredentialState
    from signing_service.signing_requests import State

    wanted = [f"urgency.{each}" for each in Urgency] + [f"state.{each}" for each in State]
    wanted += [f"credential.{each}" for each in CredentialState] + [f"event.{each}" for each in Event]
    assert [key for key in wanted if not words.has(key)] == []
