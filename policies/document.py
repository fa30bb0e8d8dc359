"""A policy's text becomes a `Policy`, or is refused with the line that is wrong.

The file has its examples in it, and they run here: a policy that does not do what its own examples say does
not exist. The hash is over the text, so whoever has the text can check every entry that names it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import cached_property, lru_cache
from importlib import resources
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from hsm.algorithms import Algorithm, KeyKind
from policies.allow import Allow
from policies.decision import (
    WARNINGS,
    Appearance,
    Confirm,
    CredentialKind,
    Decision,
    Facts,
    Level,
    Terms,
    Urgency,
    document_type,
)
from policies.examples import Example, read_examples
from policies.reading import PolicyInvalid, Section, parse
from policies.rules import (
    ALWAYS,
    ANY,
    DAYS,
    Algorithms,
    AnyOf,
    Confirmation,
    DailyLimit,
    EarlierSignatures,
    Hours,
    Levels,
    OwnAgency,
    Pages,
    Rule,
    SealAfterSignature,
    Size,
    Warnings,
)

__all__ = ["SHIPPED", "Policy", "PolicyInvalid", "explain", "load", "policy_hash", "shipped"]

FORMAT = 1
SHIPPED = ("default", "pilot")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Policy:
    """A policy that loaded and whose examples hold. Immutable; its decisions depend on the facts alone."""

    name: str
    title: str
    basis: tuple[str, ...]  # the laws and decisions it rests on, for people to read
    hash: str
    zone: ZoneInfo
    rules: tuple[Rule, ...]
    allow: AnyOf
    level: Level
    confirm: Confirm
    lifetime: timedelta
    algorithms: frozenset[Algorithm]
    appearance: Appearance
    examples: tuple[Example, ...] = ()

    def decide(self, facts: Facts) -> Decision:
        """Every rule's finding, in a fixed order, and the terms when all of them permit."""
        findings = tuple([rule.check(facts) for rule in self._asked])
        permitted = bool(findings) and all(finding.permits for finding in findings)
        return Decision(self.name, self.hash, findings, self.terms(facts) if permitted else None)

    def terms(self, facts: Facts) -> Terms:
        """What these facts would be signed under. It permits nothing: only `decide` does."""
        fitting = self._fitting[facts.key_kind]
        return Terms(facts.level or self.level, self.confirm, self.lifetime, fitting, self.appearance)

    @cached_property
    def _fitting(self) -> dict[KeyKind, frozenset[Algorithm]]:
        """What may be made with a key of each kind."""
        return {kind: frozenset(each for each in self.algorithms if each.fits(kind)) for kind in KeyKind}

    @cached_property
    def _asked(self) -> tuple[Rule, ...]:
        return (*ALWAYS, *self.rules, self.allow)

    def local_day(self, now: datetime) -> tuple[datetime, datetime]:
        """Begin and end (not included), in UTC, of the local day that daily limits count in."""
        day = now.astimezone(self.zone).date()
        begin = datetime.combine(day, time(), self.zone)
        end = datetime.combine(day + timedelta(days=1), time(), self.zone)
        return begin.astimezone(UTC), end.astimezone(UTC)


def policy_hash(text: str) -> str:
    """SHA-256, in hex, of the text as UTF-8 with line ends written as LF, which is how TOML reads them."""
    return hashlib.sha256(text.replace("\r\n", "\n").encode()).hexdigest()


def load(text: str, name: str) -> Policy:
    """The policy in this text. PolicyInvalid names the line, or the example that does not hold, and why."""
    return _loaded(text, name)


@lru_cache(maxsize=8)  # the same text is the same policy; one that is invalid is refused anew each time
def _loaded(text: str, name: str) -> Policy:
    root = parse(text)
    policy = _policy(root, name, policy_hash(text))
    root.finish()
    for at, section in enumerate(root.sections("example")):
        example = policy.examples[at]
        differs = example.differs(policy.decide(example.facts))
        if differs:
            section.fail("name", f"example {example.name!r} expects {example.verdict}, but {differs}")
    return policy


def shipped(name: str) -> Policy:
    """One of the policies that come with this package (SHIPPED)."""
    if name not in SHIPPED:
        raise ValueError(f"no policy {name!r} is shipped; there are {', '.join(SHIPPED)}")
    text = resources.files("policies").joinpath(f"{name}.toml").read_text(encoding="utf-8")
    return load(text, name)


def explain(policy: Policy) -> str:
    """Every rule of a policy as people read it: what always holds, what was chosen, who may sign what."""
    blocks = [f"  - {rule.says()}" for rule in policy.allow.rules]
    hours = policy.lifetime // timedelta(hours=1)
    return "\n".join([
        f"{policy.title} ({policy.name}, sha256 {policy.hash})",
        *[f"  {source}" for source in policy.basis],
        "Whatever the policy says:",
        *[f"  - {rule.says()}" for rule in ALWAYS],
        "By this policy:",
        *[f"  - {rule.says()}" for rule in policy.rules],
        f"  - a request that nobody confirms ends after {hours} hours; the page shows: {policy.appearance}",
        "Permitted when at least one of these matches:",
        *blocks,
        f"Its {len(policy.examples)} examples hold.",
    ])


def _policy(root: Section, name: str, digest: str) -> Policy:
    if root.integer("format", 0, 1_000_000) != FORMAT:
        root.fail("format", f"this version reads format {FORMAT}")
    zone = _zone(root)
    signature, confirmation = root.section("signature"), root.section("confirmation")
    algorithms, levels = _algorithms(signature), _levels(signature)
    confirm = confirmation.choice("way", Confirm)
    policy = Policy(
        name=name,
        title=root.text("title"),
        basis=root.strings("basis"),
        hash=digest,
        zone=zone,
        rules=(
            algorithms, levels, Confirmation(confirm), _hours(root.section("hours"), zone),
            *_limits(root.section("limits")), _warnings(root.section("document")), *_people(root.section("people")),
        ),
        allow=AnyOf("allow", tuple(_allow(section, zone) for section in root.sections("allow"))),
        level=levels.default,
        confirm=confirm,
        lifetime=timedelta(hours=confirmation.integer("lifetime_hours", 1, 24 * 90)),
        algorithms=algorithms.algorithms,
        appearance=signature.choice("appearance", Appearance),
        examples=read_examples(root),
    )
    signature.finish()
    confirmation.finish()
    return policy


def _zone(root: Section) -> ZoneInfo:
    try:
        return ZoneInfo(root.text("timezone"))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        root.fail("timezone", "there is no such time zone")


def _algorithms(section: Section) -> Algorithms:
    algorithms = section.choices("algorithms", Algorithm)
    keys = section.choices("keys", KeyKind)
    for key in sorted(keys):
        if not any(algorithm.fits(key) for algorithm in algorithms):
            section.fail("keys", f"no listed algorithm can be made with a {key} key")
    if not keys:
        section.fail("keys", "must not be empty")
    return Algorithms(algorithms, keys)


def _levels(section: Section) -> Levels:
    levels = section.choices("levels", Level)
    default = section.choice("level", Level)
    if default not in levels:
        section.fail("level", f"{default} is not among the levels")
    return Levels(levels, default)


def _hours(section: Section, zone: ZoneInfo) -> Hours:
    days = section.listing("days")
    unknown = sorted(days - set(DAYS))
    if unknown:
        section.fail("days", f"{unknown[0]!r} is not one of {', '.join(DAYS)}")
    start, until = section.clock("from"), section.clock("until")
    if start is None or (until is not None and until <= start):
        section.fail("until", "the hours must end after they begin; use two policies or 24:00 across midnight")
    exempt = section.choices("except_urgency", Urgency)
    section.finish()
    return Hours(days, start, until, zone, exempt)


def _limits(section: Section) -> tuple[Rule, ...]:
    rules: tuple[Rule, ...] = (
        Size(section.integer("size_mib", 1, 1024) * MIB),
        Pages(section.integer("pages", 1, 100_000)),
        EarlierSignatures(section.integer("earlier_signatures", 0, 1000)),
        DailyLimit(section.integer("daily_personal", 0, 1_000_000), section.integer("daily_seal", 0, 1_000_000)),
    )
    section.finish()
    return rules


def _warnings(section: Section) -> Warnings:
    tolerated = frozenset(section.strings("tolerate"))
    unknown = sorted(tolerated - set(WARNINGS))
    if unknown:
        section.fail("tolerate", f"{unknown[0]!r} is not one of {', '.join(WARNINGS)}")
    section.finish()
    return Warnings(tolerated)


def _people(section: Section) -> tuple[Rule, ...]:
    """Both are switches that must be set: leaving one out must not turn it off."""
    own: tuple[Rule, ...] = (OwnAgency(),) if section.flag("own_agency_only") else ()
    seal: tuple[Rule, ...] = (SealAfterSignature(),) if section.flag("seal_after_signature") else ()
    section.finish()
    return own + seal


def _allow(section: Section, zone: ZoneInfo) -> Allow:
    block = Allow(
        name=section.text("name"),
        types=frozenset(_type(section, word) for word in section.listing("types")),
        agencies=section.listing("agencies"),
        agency_levels=section.listing("agency_levels"),
        offices=section.listing("offices"),
        credentials=section.choices("credentials", CredentialKind),
        zone=zone,
        start=section.day("from"),
        until=section.day("until"),
    )
    if not block.credentials:
        section.fail("credentials", "must not be empty")
    if block.start and block.until and block.until < block.start:
        section.fail("until", "lies before from")
    section.finish()
    return block


def _type(section: Section, word: str) -> str:
    try:
        return word if word == ANY else document_type(word)
    except ValueError as error:
        section.fail("types", str(error))
