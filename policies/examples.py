"""A policy's own examples: the ordinary case once, and what differs from it with the verdict it must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from hsm.algorithms import Algorithm, KeyKind
from policies.decision import (
    Confirm,
    CredentialKind,
    Decision,
    Facts,
    Level,
    Secrecy,
    Urgency,
    document_type,
)
from policies.reading import Section

if TYPE_CHECKING:
    from policies.document import Policy

LARGEST = 2**40  # no number in an example needs to be greater


class Verdict(StrEnum):
    """What an example expects."""

    PERMIT = "permit"
    DENY = "deny"


@dataclass(frozen=True)
class Example:
    """A case with the verdict it must have; a refusal names exactly the rules that must refuse."""

    name: str
    facts: Facts
    verdict: Verdict
    refused_by: frozenset[str]

    def holds(self, policy: Policy) -> bool:
        return not self.differs(policy.decide(self.facts))

    def differs(self, decision: Decision) -> str:
        """What is not as expected, finding by finding; empty when all is."""
        unexpected = [f"{f.rule} refuses: {f.why}" for f in decision.refusals if f.rule not in self.refused_by]
        refusing = {finding.rule for finding in decision.refusals}
        missing = [f"{rule} does not refuse" for rule in sorted(self.refused_by - refusing)]
        return "; ".join(unexpected + missing)


def read_examples(root: Section) -> tuple[Example, ...]:
    """The examples of a file. PolicyInvalid unless at least one is permitted and one is denied."""
    ordinary = _ordinary(root.section("ordinary"))
    examples = tuple(_example(section, ordinary) for section in root.sections("example"))
    if {example.verdict for example in examples} != set(Verdict):
        root.fail("example", "at least one must be permitted and one denied")
    return examples


def _ordinary(section: Section) -> Facts:
    values: dict[str, Any] = {"level": None, "confirm": None}
    values |= {key: reader(section, key) for key, reader in _FACTS.items() if _wanted(section, key)}
    section.finish()
    return _built(section, lambda: Facts(**values))


def _wanted(section: Section, key: str) -> bool:
    return key not in ("level", "confirm") or key in section


def _example(section: Section, ordinary: Facts) -> Example:
    name = section.text("name")
    verdict = section.choice("verdict", Verdict)
    refused_by = section.listing("refused_by") if verdict is Verdict.DENY else frozenset[str]()
    facts = _changed(section.section("facts"), ordinary) if "facts" in section else ordinary
    section.finish()
    return Example(name, facts, verdict, refused_by)


def _changed(section: Section, ordinary: Facts) -> Facts:
    changes: dict[str, Any] = {key: reader(section, key) for key, reader in _FACTS.items() if key in section}
    section.finish()
    return _built(section, lambda: replace(ordinary, **changes))


def _built(section: Section, build: Callable[[], Facts]) -> Facts:
    try:
        return build()
    except ValueError as error:
        section.fail(str(error).split(" ", 1)[0], str(error))


def _type(section: Section, key: str) -> str:
    word = section.text(key)
    try:
        return document_type(word)
    except ValueError as error:
        section.fail(key, str(error))


def _number(section: Section, key: str) -> int:
    return section.integer(key, 0, LARGEST)


def _set(section: Section, key: str) -> frozenset[str]:
    return frozenset(section.strings(key))


_FACTS: dict[str, Callable[[Section, str], object]] = {
    "now": Section.moment,
    "document_type": _type,
    "secrecy": lambda section, key: section.choice(key, Secrecy),
    "urgency": lambda section, key: section.choice(key, Urgency),
    "size": _number,
    "pages": _number,
    "earlier_signatures": _number,
    "client": Section.text,
    "client_agencies": _set,
    "signatory": Section.text,
    "signatory_agency": Section.text,
    "signatory_active": Section.flag,
    "signatory_office": Section.text,
    "issuing_agency": Section.text,
    "issuing_agency_level": Section.text,
    "issuing_agency_active": Section.flag,
    "credential_kind": lambda section, key: section.choice(key, CredentialKind),
    "credential_agency": Section.text,
    "credential_state": Section.text,
    "certificate_from": Section.moment,
    "certificate_until": Section.moment,
    "key_kind": lambda section, key: section.choice(key, KeyKind),
    "algorithm": lambda section, key: section.choice(key, Algorithm),
    "level": lambda section, key: section.choice(key, Level),
    "confirm": lambda section, key: section.choice(key, Confirm),
    "used_today": _number,
    "warnings": _set,
}
