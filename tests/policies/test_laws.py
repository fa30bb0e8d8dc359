"""What holds for every policy and all facts, whatever they are."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.algorithms import Algorithm, KeyKind
from policies.allow import Allow
from policies.decision import (
    DOCUMENT_TYPES,
    WARNINGS,
    Confirm,
    CredentialKind,
    Facts,
    Level,
    Secrecy,
    Urgency,
)
from policies.document import Policy, PolicyInvalid, load, policy_hash
from policies.rules import (
    Algorithms,
    AllOf,
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
from tests.support.policy_cases import SMALL, case

SMALL_POLICY = load(SMALL, "small")
ZONE = ZoneInfo("Asia/Ho_Chi_Minh")
WORDS = st.sampled_from(["UBND", "STC", "clerk", "chairman", "active", "suspended", "city", "*", "", "ไทย", "\u202e"])
ZONES = st.integers(-23, 23).map(lambda hours: timezone(timedelta(hours=hours)))
MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(9998, 12, 30), timezones=ZONES)  # noqa: DTZ001 - zones are drawn
ANY_MOMENT = st.datetimes(timezones=st.just(UTC))
COUNTS = st.integers(0, 2**40)

facts = st.builds(
    Facts,
    now=MOMENTS,
    document_type=st.sampled_from([*DOCUMENT_TYPES, "*", "XX"]),
    secrecy=st.sampled_from(Secrecy),
    urgency=st.sampled_from(Urgency),
    size=COUNTS, pages=COUNTS, earlier_signatures=st.integers(0, 3), used_today=st.integers(0, 10),
    client=WORDS, client_agencies=st.frozensets(WORDS),
    signatory=WORDS, signatory_agency=WORDS, signatory_active=st.booleans(), signatory_office=WORDS,
    issuing_agency=WORDS, issuing_agency_level=WORDS, issuing_agency_active=st.booleans(),
    credential_kind=st.sampled_from(CredentialKind), credential_agency=WORDS, credential_state=WORDS,
    certificate_from=ANY_MOMENT, certificate_until=ANY_MOMENT,
    key_kind=st.sampled_from(KeyKind), algorithm=st.sampled_from(Algorithm),
    level=st.none() | st.sampled_from(Level), confirm=st.none() | st.sampled_from(Confirm),
    warnings=st.frozensets(st.sampled_from([*WARNINGS, "new"])),
)

# Near the ordinary case, where many requests are permitted: laws about permission need some.
likely = st.builds(
    case,
    document_type=st.sampled_from(["KH", "QĐ", "SY"]),
    earlier_signatures=st.integers(0, 2),
    used_today=st.integers(0, 5),
    pages=st.integers(1, 11),
    level=st.none() | st.sampled_from(Level),
    confirm=st.none() | st.sampled_from(Confirm),
    signatory_office=st.sampled_from(["chairman", "clerk"]),
    credential_kind=st.sampled_from(CredentialKind),
)

words = st.frozensets(WORDS, min_size=1)
rules: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Size, COUNTS), st.builds(Pages, COUNTS), st.builds(EarlierSignatures, st.integers(0, 5)),
    st.builds(DailyLimit, st.integers(0, 10), st.integers(0, 10)),
    st.builds(OwnAgency), st.builds(SealAfterSignature),
    st.builds(Confirmation, st.sampled_from(Confirm)),
    st.builds(Levels, st.frozensets(st.sampled_from(Level)), st.sampled_from(Level)),
    st.builds(Algorithms, st.frozensets(st.sampled_from(Algorithm)), st.frozensets(st.sampled_from(KeyKind))),
    st.builds(Warnings, st.frozensets(st.sampled_from([*WARNINGS]))),
    st.builds(
        Hours, st.frozensets(st.sampled_from(["mon", "sun"])), st.times(max_value=time(12)),
        st.none() | st.times(min_value=time(12)), st.just(ZONE), st.frozensets(st.sampled_from(Urgency)),
    ),
)
blocks = st.builds(
    Allow, st.just("block"), st.frozensets(st.sampled_from([*DOCUMENT_TYPES, "*"])), words, words, words,
    st.frozensets(st.sampled_from(CredentialKind)), st.just(ZONE), st.none() | st.dates(), st.none() | st.dates(),
)


def policy(chosen: list[Rule], allowed: list[Allow]) -> Policy:
    return replace(SMALL_POLICY, rules=tuple(chosen), allow=AnyOf("allow", tuple(allowed)))


policies = st.builds(policy, st.lists(rules, max_size=4), st.lists(blocks, max_size=3))


@given(policies, facts, st.sampled_from([level for level in Secrecy if level is not Secrecy.NONE]))
def test_whatever_is_secret_is_refused_whatever_else_is_true(p: Policy, f: Facts, secrecy: Secrecy) -> None:
    decision = p.decide(replace(f, secrecy=secrecy))
    assert not decision.permitted
    assert decision.terms is None
    assert "secrecy" in {finding.rule for finding in decision.refusals}


@given(likely, st.sampled_from([level for level in Secrecy if level is not Secrecy.NONE]))
def test_a_mark_of_secrecy_turns_every_permission_into_a_refusal(f: Facts, secrecy: Secrecy) -> None:
    before, after = SMALL_POLICY.decide(f), SMALL_POLICY.decide(replace(f, secrecy=secrecy))
    assert {x.rule for x in after.refusals} - {x.rule for x in before.refusals} == {"secrecy"}


@given(st.lists(rules, max_size=3), facts | likely)
def test_a_policy_without_a_block_refuses_everything(chosen: list[Rule], f: Facts) -> None:
    assert not policy(chosen, []).decide(f).permitted


@given(policies, rules, facts | likely)
def test_one_more_rule_never_permits_more(p: Policy, rule: Rule, f: Facts) -> None:
    stricter = replace(p, rules=(*p.rules, rule))
    assert stricter.decide(f).permitted <= p.decide(f).permitted


@given(rules, likely)
def test_one_more_rule_permits_exactly_what_it_permits_itself(rule: Rule, f: Facts) -> None:
    stricter = replace(SMALL_POLICY, rules=(*SMALL_POLICY.rules, rule))
    assert stricter.decide(f).permitted == (SMALL_POLICY.decide(f).permitted and rule.check(f).permits)


@given(policies, blocks, facts | likely)
def test_one_more_block_never_permits_less(p: Policy, block: Allow, f: Facts) -> None:
    wider = replace(p, allow=AnyOf("allow", (*p.allow.rules, block)))
    assert wider.decide(f).permitted >= p.decide(f).permitted


@given(policies, facts | likely)
def test_the_same_facts_give_the_same_decision_and_are_not_changed(p: Policy, f: Facts) -> None:
    before = copy.deepcopy(f)
    assert p.decide(f) == p.decide(before)
    assert f == before


@given(policies, facts | likely)
def test_every_finding_names_its_rule_once_and_says_why(p: Policy, f: Facts) -> None:
    findings = p.decide(f).findings
    assert all(finding.rule and finding.why for finding in findings)
    assert len(findings) == 8 + len(p.rules) + 1


@given(st.lists(rules, max_size=4), facts)
def test_all_of_and_any_of_are_what_their_rules_say(chosen: list[Rule], f: Facts) -> None:
    each = [rule.check(f).permits for rule in chosen]
    assert AllOf("all", tuple(chosen)).check(f).permits == (bool(each) and all(each))
    assert AnyOf("any", tuple(chosen)).check(f).permits == any(each)


@given(likely)
def test_what_is_permitted_gets_terms_within_the_policy(f: Facts) -> None:
    decision = SMALL_POLICY.decide(f)
    if decision.terms is not None:
        assert f.algorithm in decision.terms.algorithms
        assert decision.terms.level in ({f.level} if f.level else {Level.B_T})
        assert all(algorithm.fits(f.key_kind) for algorithm in decision.terms.algorithms)


@given(st.integers(0, 20), st.integers(0, 20))
def test_the_day_admits_exactly_its_limit(limit: int, asked: int) -> None:
    daily = DailyLimit(limit, 0)
    admitted = 0
    for _ in range(asked):
        admitted += daily.check(case(used_today=admitted)).permits
    assert admitted == min(limit, asked)


@given(MOMENTS)
def test_a_local_day_contains_its_moment_and_begins_at_midnight(now: datetime) -> None:
    begin, end = SMALL_POLICY.local_day(now)
    assert begin <= now < end
    assert begin.astimezone(ZONE).time() == time()


@given(st.dates(date(2000, 1, 2), date(9998, 1, 1)), st.dates(date(2000, 1, 2), date(9998, 1, 1)))
def test_a_block_holds_from_its_first_to_its_last_day(first: date, last: date) -> None:
    block = Allow("b", frozenset("*"), frozenset("*"), frozenset("*"), frozenset("*"),
                  frozenset(CredentialKind), ZONE, first, last)
    noon = datetime.combine(first, time(12), ZONE)
    assert block.check(case(now=noon)).permits == (first <= last)


@given(st.text(), st.text())
def test_two_texts_have_one_hash_only_when_they_read_the_same(one: str, other: str) -> None:
    same = one.replace("\r\n", "\n") == other.replace("\r\n", "\n")
    assert (policy_hash(one) == policy_hash(other)) == same


@given(st.integers(0, len(SMALL) - 1), st.characters(codec="utf-8"))
def test_one_changed_character_is_refused_or_changes_the_hash(at: int, character: str) -> None:
    changed = SMALL[:at] + character + SMALL[at + 1 :]
    with suppress(PolicyInvalid):
        loaded = load(changed, "changed")
        assert (loaded.hash == SMALL_POLICY.hash) == (changed == SMALL)


@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused_and_nothing_else(text: str) -> None:
    with pytest.raises(PolicyInvalid):
        load(text, "any")
