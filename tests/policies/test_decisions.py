"""The small policy, one fact changed at a time: which rules refuse, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from hsm.algorithms import Algorithm, KeyKind
from policies.allow import Allow
from policies.decision import (
    Appearance,
    Confirm,
    CredentialKind,
    Decision,
    Facts,
    Finding,
    Level,
    Secrecy,
    Terms,
    Urgency,
    document_type,
)
from policies.document import load
from policies.rules import ALWAYS, AllOf, AnyOf, Hours, NotSecret, Rule, SealAfterSignature, Size, Warnings
from tests.support.policy_cases import MONDAY, SMALL, case

POLICY = load(SMALL, "small")
VIETNAM = timezone(timedelta(hours=7))
SEAL = {"credential_kind": CredentialKind.AGENCY, "signatory_office": "clerk"}
SIGNED = {"earlier_signatures": 1, "warnings": frozenset({"earlier-signature"})}


def at(day: int, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, second, tzinfo=VIETNAM)


PERMITTED = {
    "the ordinary case": case(),
    "a type of the same block": case(document_type="QĐ"),
    "a level the client asks for": case(level=Level.B_B),
    "confirmed through the client, as asked": case(confirm=Confirm.CLIENT),
    "confirmed on the phone, which is stronger": case(confirm=Confirm.PHONE),
    "the first second of the hours": case(now=at(2, 7, 30)),
    "the last second of the hours": case(now=at(2, 17, 29, 59)),
    "Monday in Hà Nội while it is Sunday in UTC": case(now=datetime(2026, 3, 2, 0, 45, tzinfo=UTC)),
    "most urgent, at night": case(now=at(4, 23), urgency=Urgency.HOA_TOC),
    "the first day of the block": case(now=at(1, 0), urgency=Urgency.HOA_TOC),
    "the last day of the block": case(now=at(31, 17, 0)),
    "exactly the largest size": case(size=1024 * 1024),
    "exactly the most pages": case(pages=10),
    "a single page": case(pages=1),
    "as many earlier signatures as there may be": case(
        earlier_signatures=2, warnings=frozenset({"earlier-signature"}),
    ),
    "the last of the day": case(used_today=4),
    "the last seal of the day": case(used_today=6, **SEAL, **SIGNED),
    "a seal after the signature": case(**SEAL, **SIGNED),
    "a seal on a true copy that nobody signs": case(document_type="SY", **SEAL),
    "a seal on a copy of a copy": case(document_type="SL", **SEAL),
    "a seal on an extract": case(document_type="TrS", **SEAL),
    "a seal on an appendix in its own file": case(document_type="PL", **SEAL),
    "a client for all agencies": case(client_agencies=frozenset({"*"})),
    "the very second the certificate ends": case(certificate_until=MONDAY),
    "the very second the certificate begins": case(certificate_from=MONDAY),
    "an RSA key with an RSA algorithm": case(key_kind=KeyKind.RSA_2048, algorithm=Algorithm.RSA_SHA256),
}

REFUSED: dict[str, tuple[Facts, set[str]]] = {
    "marked Mật": (case(secrecy=Secrecy.MAT), {"secrecy"}),
    "marked Tối mật": (case(secrecy=Secrecy.TOI_MAT), {"secrecy"}),
    "marked Tuyệt mật": (case(secrecy=Secrecy.TUYET_MAT), {"secrecy"}),
    "a type nobody knows": (case(document_type="XYZ"), {"document-type", "allow"}),
    "a star is not a type": (case(document_type="*"), {"document-type", "allow"}),
    "a type that no block lists": (case(document_type="HĐ"), {"allow"}),
    "an office that no block lists": (case(signatory_office="driver"), {"allow"}),
    "a clerk's personal signature": (case(signatory_office="clerk"), {"allow"}),
    "the leader uses the seal": (
        case(credential_kind=CredentialKind.AGENCY, **SIGNED), {"allow"},
    ),
    "the day before the block": (case(now=at(1, 0) - timedelta(seconds=1)), {"allow", "hours"}),
    "the day after the block": (case(now=datetime(2026, 4, 6, 9, tzinfo=VIETNAM)), {"allow"}),
    "a client of another agency": (case(client_agencies=frozenset({"STC"})), {"client"}),
    "a client of no agency": (case(client_agencies=frozenset()), {"client"}),
    "a closed agency": (case(issuing_agency_active=False), {"agency"}),
    "a person who left": (case(signatory_active=False), {"signatory"}),
    "a suspended credential": (case(credential_state="suspended"), {"credential"}),
    "a credential in no state": (case(credential_state=""), {"credential"}),
    "Active is not active": (case(credential_state="Active"), {"credential"}),
    "a certificate that ended": (case(certificate_until=MONDAY - timedelta(seconds=1)), {"certificate"}),
    "a certificate that has not begun": (case(certificate_from=MONDAY + timedelta(seconds=1)), {"certificate"}),
    "another agency's seal": (case(credential_agency="STC", **SEAL, **SIGNED), {"seal-of-issuer"}),
    "a person of another agency": (case(signatory_agency="STC"), {"own-agency"}),
    "a seal before any signature": (case(**SEAL), {"seal-after-signature"}),
    "a kind of key that is not listed": (
        case(key_kind=KeyKind.P384), {"algorithm"},
    ),
    "an algorithm that is not listed": (case(algorithm=Algorithm.ECDSA_SHA512), {"algorithm"}),
    "an algorithm for another kind of key": (case(algorithm=Algorithm.RSA_SHA256), {"algorithm"}),
    "before the hours": (case(now=at(2, 7, 29, 59)), {"hours"}),
    "the end of the hours": (case(now=at(2, 17, 30)), {"hours"}),
    "a day that is not listed": (case(now=at(4, 9)), {"hours"}),
    "Sunday in Hà Nội while it is Saturday in UTC": (case(now=datetime(2026, 3, 14, 18, tzinfo=UTC)), {"hours"}),
    "urgent but not most urgent": (case(now=at(4, 9), urgency=Urgency.THUONG_KHAN), {"hours"}),
    "one byte too large": (case(size=1024 * 1024 + 1), {"size"}),
    "one page too many": (case(pages=11), {"pages"}),
    "no page": (case(pages=0), {"pages"}),
    "one signature too many": (case(earlier_signatures=3), {"earlier-signatures"}),
    "the daily limit itself": (case(used_today=5), {"daily-limit"}),
    "the daily limit of seals": (case(used_today=7, **SEAL, **SIGNED), {"daily-limit"}),
    "a warning that is not tolerated": (case(warnings=frozenset({"embedded-files"})), {"pdf"}),
    "a warning that nobody knows": (case(warnings=frozenset({"something-new"})), {"pdf"}),
    "several things at once": (
        case(secrecy=Secrecy.MAT, signatory_active=False, pages=0), {"secrecy", "signatory", "pages"},
    ),
}


@pytest.mark.parametrize("facts", PERMITTED.values(), ids=PERMITTED.keys())
def test_the_small_policy_permits(facts: Facts) -> None:
    decision = POLICY.decide(facts)
    assert decision.permitted, decision.refusals
    assert decision.terms == POLICY.terms(facts)


@pytest.mark.parametrize(("facts", "rules"), REFUSED.values(), ids=REFUSED.keys())
def test_the_small_policy_refuses_and_says_which_rule(facts: Facts, rules: set[str]) -> None:
    decision = POLICY.decide(facts)
    assert {finding.rule for finding in decision.refusals} == rules
    assert decision.terms is None
    assert all(finding.why for finding in decision.findings)


def test_only_the_phone_will_do_where_the_policy_asks_for_the_phone() -> None:
    strict = load(SMALL.replace('way = "client"', 'way = "phone"'), "strict")
    assert {f.rule for f in strict.decide(case(confirm=Confirm.CLIENT)).refusals} == {"confirmation"}
    assert strict.decide(case(confirm=Confirm.PHONE)).permitted
    terms = strict.decide(case()).terms
    assert terms is not None
    assert terms.confirm is Confirm.PHONE


def test_the_rule_that_a_seal_follows_a_signature_can_be_switched_off() -> None:
    free = load(SMALL.replace("seal_after_signature = true", "seal_after_signature = false"), "free")
    assert free.decide(case(**SEAL)).permitted


def test_people_may_sign_for_other_agencies_where_the_policy_says_so() -> None:
    wide = load(SMALL.replace("own_agency_only = true", "own_agency_only = false"), "wide")
    assert wide.decide(case(signatory_agency="STC")).permitted


def test_a_level_outside_the_list_is_refused() -> None:
    only = load(SMALL.replace('levels = ["B-B", "B-T"]', 'levels = ["B-T"]'), "only")
    assert {f.rule for f in only.decide(case(level=Level.B_B)).refusals} == {"level"}


def test_terms_offer_only_algorithms_that_the_key_can_make() -> None:
    assert POLICY.terms(case()).algorithms == {Algorithm.ECDSA_SHA256}
    assert POLICY.terms(case(key_kind=KeyKind.RSA_2048)).algorithms == {Algorithm.RSA_SHA256}


def test_terms_take_the_policys_level_unless_the_client_names_one() -> None:
    assert POLICY.terms(case()).level is Level.B_T
    assert POLICY.terms(case(level=Level.B_B)).level is Level.B_B


def test_the_reasons_of_every_block_are_told_when_none_matches() -> None:
    [finding] = POLICY.decide(case(document_type="HĐ")).refusals
    assert finding.why == (
        "leaders: type HĐ is not listed; "
        "seals: office chairman is not listed, credential personal is not listed"
    )


def test_the_local_day_begins_at_midnight_in_the_policys_zone() -> None:
    begin, end = POLICY.local_day(datetime(2026, 3, 2, 18, 0, tzinfo=UTC))  # 01:00 on the 3rd in Hà Nội
    assert begin == datetime(2026, 3, 2, 17, 0, tzinfo=UTC)
    assert end == datetime(2026, 3, 3, 17, 0, tzinfo=UTC)


def test_the_two_equal_hours_of_an_autumn_night_are_two() -> None:
    """Where clocks are set back the same local time comes twice, and Python calls the two equal."""
    berlin, rule = ZoneInfo("Europe/Berlin"), Hours(frozenset({"sun"}), time(8), None, ZoneInfo("Asia/Ho_Chi_Minh"),
                                                    frozenset())
    first = datetime(2026, 10, 25, 2, 30, tzinfo=berlin)
    told = [rule.check(case(now=first.replace(fold=fold))).why for fold in (0, 1)]
    assert [why.split()[1] for why in told] == ["07:30", "08:30"]


def test_a_local_day_can_have_23_hours() -> None:
    berlin = load(SMALL.replace("Asia/Ho_Chi_Minh", "Europe/Berlin").replace('"07:30"', '"00:00"'), "berlin")
    begin, end = berlin.local_day(datetime(2026, 3, 29, 12, 0, tzinfo=UTC))
    assert end - begin == timedelta(hours=23)


def test_no_findings_are_no_permission() -> None:
    assert not Decision("none", "", (), None).permitted


def test_terms_cannot_be_put_on_a_refusal() -> None:
    terms = Terms(Level.B_B, Confirm.CLIENT, timedelta(hours=1), frozenset(), Appearance.NONE)
    with pytest.raises(ValueError, match="exactly when it permits"):
        Decision("forged", "", (Finding("secrecy", False, "marked mat"),), terms)
    with pytest.raises(ValueError, match="exactly when it permits"):
        Decision("forged", "", (Finding("secrecy", True, "not secret"),), None)


@pytest.mark.parametrize("rule", [AllOf("empty", ()), AnyOf("empty", ())], ids=["all of nothing", "any of nothing"])
def test_an_empty_combination_refuses(rule: Rule) -> None:
    assert not rule.check(case()).permits


def test_all_of_tells_only_what_is_against_it() -> None:
    both = AllOf("both", (NotSecret(), Size(10), Warnings(frozenset())))
    assert both.check(case()) == Finding("both", False, "240000 bytes, at most 10")
    assert both.check(case(size=9)).permits


def test_any_of_tells_what_speaks_for_it() -> None:
    either = AnyOf("either", (Size(10), NotSecret()))
    assert either.check(case()) == Finding("either", True, "the document is not secret")


def test_a_refusal_says_what_is_the_matter_with_agency_and_person() -> None:
    refusals = POLICY.decide(case(issuing_agency_active=False, signatory_active=False)).refusals
    assert [finding.why for finding in refusals] == ["UBND is not active", "lan is not active"]


def test_every_rule_says_what_it_asks() -> None:
    for rule in (*ALWAYS, *POLICY.rules, POLICY.allow):
        assert len(rule.says()) > 10


def test_the_rule_about_seals_names_its_exceptions() -> None:
    assert SealAfterSignature().says().endswith("except on PL, SL, SY, TrS")


SPELLINGS = {
    "as the decree writes it": ("QĐ", "QĐ"),
    "in plain letters": ("QD", "QĐ"),
    "with the Icelandic letter of old keyboards": ("Q\u00d0", "QĐ"),
    "with blanks around": (" KH ", "KH"),
    "HD stays hướng dẫn": ("HD", "HD"),
    "DA stays dự án": ("DA", "DA"),
    "CD is công điện": ("CD", "CĐ"),
}


@pytest.mark.parametrize(("written", "meant"), SPELLINGS.values(), ids=SPELLINGS.keys())
def test_a_document_type_is_read(written: str, meant: str) -> None:
    assert document_type(written) == meant


@pytest.mark.parametrize("written", ["", "*", "kh", "qđ", "QDD", "\uff2b\uff28", "KH\u200b"])
def test_an_unknown_document_type_is_an_error(written: str) -> None:
    with pytest.raises(ValueError, match="unknown document type"):
        document_type(written)


WRONG_FACTS = {
    "a time without zone": ({"now": datetime(2026, 3, 2, 9)}, "time zone"),  # noqa: DTZ001 - the case itself
    "a certificate's end without zone": ({"certificate_until": datetime(2028, 1, 1)}, "time zone"),  # noqa: DTZ001
    "a negative size": ({"size": -1}, "negative"),
    "a negative count of the day": ({"used_today": -1}, "negative"),
    "the end of time": ({"now": datetime(9999, 12, 31, 23, tzinfo=UTC)}, "between the years"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG_FACTS.values(), ids=WRONG_FACTS.keys())
def test_facts_that_cannot_be_are_an_error(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        case(**changes)


def test_a_block_without_dates_holds_for_ever() -> None:
    seals = POLICY.allow.rules[1]
    assert isinstance(seals, Allow)
    assert seals.check(case(now=datetime(2150, 1, 1, tzinfo=UTC), **SEAL)).permits
