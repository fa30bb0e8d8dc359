"""A policy's text: what loads, what is refused and with which line, and what its hash says."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from policies.decision import DOCUMENT_TYPES
from policies.document import SHIPPED, PolicyInvalid, explain, load, policy_hash, shipped
from policies.examples import Verdict
from tests.support.policy_cases import SMALL

ROOT = Path(__file__).parents[2]


def line_of(fragment: str) -> int:
    """The line of the small policy on which this stands for the first time."""
    return SMALL[: SMALL.index(fragment)].count("\n") + 1


def change(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new, 1)


END = SMALL.count("\n")

# what is replaced by what; the line that must be named (of the unchanged text); a part of the message
BROKEN: dict[str, tuple[str, str, int, str]] = {
    "a syntax error": ('title = "A', 'title = A', 2, "Invalid value"),
    "a text that does not end": ("facts = {", 'title2 = """\nfacts = {', END + 1, "Unterminated"),
    "a table twice": ("[limits]", "[hours]", line_of("[limits]"), "Cannot declare"),
    "a key twice": ("from = \"07:30\"", 'days = ["mon"]', line_of('from = "07'), "overwrite"),
    "an unknown key at the top": ("basis = []", "basis = []\nowner = 1", 5, "owner: unknown key"),
    "a misspelled key is a missing one": ("pages = 10", "pagse = 10", line_of("[limits]"), "is missing"),
    "an unknown key in a table": ("pages = 10", "pages = 10\nages = 1", line_of("pages = 10") + 1, "is pages meant?"),
    "an unknown table": ("[document]", "[secrets]\na = 1\n[document]", line_of("[document]"), "secrets: unknown"),
    "an unknown key in the second block": (
        'offices = ["clerk"]', 'offices = ["clerk"]\noffice = "x"', line_of('offices = ["clerk"]') + 1,
        "allow.2.office: unknown key; is offices meant?",
    ),
    "an unknown fact of an example": (
        'facts = { secrecy = "mat",', 'facts = { colour = "red",', line_of("facts = {"), "colour: unknown key",
    ),
    "another format": ("format = 1", "format = 2", 1, "reads format 1"),
    "a number as text": ("format = 1", 'format = "1"', 1, "must be a whole number"),
    "true is not a number": ("pages = 10", "pages = true", line_of("pages = 10"), "must be a whole number"),
    "one is not true": (
        "own_agency_only = true", "own_agency_only = 1", line_of("own_agency"), "must be true or false",
    ),
    "a number as title": ('title = "A small policy"', "title = 5", 2, "title: must be a text"),
    "an empty title": ('title = "A small policy"', 'title = " "', 2, "must not be empty"),
    "a time zone that is not there": ("Asia/Ho_Chi_Minh", "Asia/Hanoi", 3, "no such time zone"),
    "a path as time zone": ("Asia/Ho_Chi_Minh", "../../etc/passwd", 3, "no such time zone"),
    "secrecy cannot be configured": (
        "[document]", "[document]\nsecrecy = [\"mat\"]", line_of("[document]") + 1, "document.secrecy: unknown key",
    ),
    "an unknown level": ('level = "B-T"', 'level = "B-LT"', line_of("level ="), "'B-LT' is not one of B-B, B-T"),
    "a level outside the levels": ('levels = ["B-B", "B-T"]', 'levels = ["B-B"]', line_of("level ="), "not among"),
    "a forbidden algorithm": ("rsa-sha256", "rsa-sha1", line_of("algorithms"), "'rsa-sha1' is not one of"),
    "a weak key": ("rsa-2048", "rsa-1024", line_of("keys ="), "'rsa-1024' is not one of"),
    "a key that no algorithm fits": (
        '["ecdsa-sha256", "rsa-sha256"]', '["ecdsa-sha256"]', line_of("keys ="), "no listed algorithm",
    ),
    "no keys": ('keys = ["p-256", "rsa-2048"]', "keys = []", line_of("keys ="), "must not be empty"),
    "an unknown way to confirm": ('way = "client"', 'way = "sms"', line_of("way ="), "'sms' is not one of"),
    "a request that lives for ever": ("lifetime_hours = 72", "lifetime_hours = 0", line_of("lifetime"), "between 1"),
    "an unknown day": ('["mon", "tue"]', '["mon", "Tue"]', line_of("days ="), "'Tue' is not one of mon"),
    "a day twice": ('["mon", "tue"]', '["mon", "mon"]', line_of("days ="), "names mon twice"),
    "no days": ('["mon", "tue"]', "[]", line_of("days ="), "must not be empty"),
    "hours that end before they begin": ('"17:30"', '"07:30"', line_of("until ="), "must end after they begin"),
    "hours that begin at the end of the day": ('"07:30"', '"24:00"', line_of("until ="), "must end after"),
    "a time that is none": ('"17:30"', '"25:00"', line_of("until ="), "must be a time"),
    "a time in Arabic digits": ('"17:30"', '"١٧:٣٠"', line_of("until ="), "must be a time"),
    "a size of nothing": ("size_mib = 1", "size_mib = 0", line_of("size_mib"), "must lie between 1 and 1024"),
    "a negative daily limit": ("daily_personal = 5", "daily_personal = -1", line_of("daily_p"), "between 0"),
    "an unknown warning": ('["earlier-signature"]', '["javascript"]', line_of("tolerate"), "'javascript' is not"),
    "a switch left out": (
        "seal_after_signature = true\n", "", line_of("[people]"), "seal_after_signature: is missing",
    ),
    "a section left out": ("[people]\nown_agency_only = true\nseal_after_signature = true\n", "", 1, "people: is"),
    "an unknown type in a block": ('["KH", "QĐ"]', '["KH", "QX"]', line_of("types ="), "unknown document type 'QX'"),
    "an empty list in a block": ('types = ["*"]', "types = []", line_of('types = ["*"]'), "must not be empty"),
    "a list left out of a block": (
        'offices = ["clerk"]\n', "", line_of('[[allow]]\nname = "seals"'), "allow.2.offices: is missing",
    ),
    "an empty word in a list": ('offices = ["clerk"]', 'offices = [""]', line_of('offices = ["clerk"]'), "empty"),
    "a text in place of a list": ('agencies = ["UBND"]', 'agencies = "UBND"', line_of("agencies"), "must be a list"),
    "no credentials in a block": (
        'credentials = ["agency"]', "credentials = []", line_of('credentials = ["agency"]'), "must not be empty",
    ),
    "a block that ends before it begins": (
        "until = 2026-03-31", "until = 2026-02-01", line_of("until = 2026"), "lies before from",
    ),
    "a date with an hour": (
        "until = 2026-03-31", "until = 2026-03-31T00:00:00", line_of("until = 2026"), "must be a date",
    ),
    "an ordinary case without a fact": ("pages = 4\n", "", line_of("[ordinary]"), "ordinary.pages: is missing"),
    "a time without offset": (
        "now = 2026-03-02T09:00:00+07:00", "now = 2026-03-02T09:00:00", line_of("now ="), "must say its offset",
    ),
    "an ordinary case of another century": (
        "now = 2026-03-02T09:00:00+07:00", "now = 1926-03-02T09:00:00Z", line_of("now ="), "between the years",
    ),
    "an unknown verdict": ('verdict = "deny"', 'verdict = "no"', line_of('verdict = "deny"'), "'no' is not one of"),
    "a denial that names no rule": (
        'refused_by = ["secrecy", "hours"]', "refused_by = []", line_of("refused_by"), "must not be empty",
    ),
    "a permit that names a rule": (
        'verdict = "permit"', 'verdict = "permit"\nrefused_by = ["size"]', line_of('verdict = "permit"') + 1,
        "refused_by: unknown key",
    ),
    "only examples that are permitted": (
        'verdict = "deny"\nrefused_by = ["secrecy", "hours"]\nfacts', 'verdict = "permit"\nfacts',
        line_of("[[example]]"), "at least one must be permitted and one denied",
    ),
    "an example that is permitted though it says deny": (
        'facts = { secrecy = "mat", now = 2026-03-01T09:00:00+07:00 }', "", line_of('name = "a secret'),
        "example 'a secret plan on a Sunday' expects deny, but hours does not refuse; secrecy does not refuse",
    ),
    "an example that is refused by one rule more": (
        'secrecy = "mat",', 'secrecy = "mat", pages = 11,', line_of('name = "a secret'),
        "expects deny, but pages refuses: 11 pages, 1 to 10 permitted",
    ),
    "an example that is refused though it says permit": (
        "pages = 10", "pages = 3", line_of('name = "the ordinary'), "expects permit, but pages refuses: 4 pages",
    ),
}


@pytest.mark.parametrize(("old", "new", "line", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_policy_is_refused_with_its_line(old: str, new: str, line: int, message: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        load(change(old, new), "broken")
    assert message in caught.value.message
    assert caught.value.line == line
    assert str(caught.value) == f"line {line}: {caught.value.message}"


def test_the_line_is_found_below_values_of_several_lines() -> None:
    text = change('types = ["KH", "QĐ"]', 'types = [\n    "KH", # [not.a.table]\n    "QĐ",\n]')
    with pytest.raises(PolicyInvalid) as caught:
        load(text.replace('offices = ["clerk"]', 'offices = ["clerk"]\nstamp = """\n[x]\n"""'), "long")
    assert caught.value.line == line_of('offices = ["clerk"]') + 4
    assert "allow.2.stamp" in caught.value.message


def test_the_line_is_found_in_a_sub_table_of_an_example() -> None:
    text = change('facts = { secrecy = "mat",', '[example.facts]\nsecrecy = "mat"\nsize = "big" #')
    with pytest.raises(PolicyInvalid) as caught:
        load(text, "nested")
    assert caught.value.line == line_of("facts = {") + 2
    assert caught.value.message == "example.2.facts.size: must be a whole number"


HOSTILE = {
    "nothing": "",
    "only blanks and comments": "\n\n# nothing\n",
    "half a surrogate pair": SMALL.replace("A small policy", "A \ud800"),
    "nested very deeply": "a = " + "[" * 50_000,
    "longer than any policy": "#" * 200_000,
    "a value of very many lines": "a = [\n" + "1,\n" * 5_000 + "]",
    "a byte order mark": "\ufeff" + SMALL,
    "a null character": SMALL.replace("A small", "A \x00 small"),
    "a number of very many digits": SMALL.replace("format = 1", "format = " + "1" * 5_000),
    "not TOML at all": "<policy><allow/></policy>",
    "a table where a list of tables belongs": SMALL.replace("[[allow]]", "[allow]", 1).replace("[[allow]]", "[other]"),
    "texts where tables belong": "example = ['a']\n" + SMALL.replace("[[example]]", "[[other]]"),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_whatever_is_not_a_policy_is_refused_as_one(text: str) -> None:
    with pytest.raises(PolicyInvalid) as caught:
        load(text, "hostile")
    assert 1 <= caught.value.line <= text.count("\n") + 1


def test_the_hash_is_that_of_the_text_with_either_kind_of_line_end() -> None:
    windows = SMALL.replace("\n", "\r\n")
    assert load(windows, "windows").hash == load(SMALL, "unix").hash == policy_hash(SMALL)


def test_a_block_may_hold_for_a_single_day() -> None:
    text = change("from = 2026-03-01\nuntil = 2026-03-31", "from = 2026-03-02\nuntil = 2026-03-02")
    policy = load(text.replace("2026-03-01T09", "2026-03-02T20"), "day")
    assert policy.decide(policy.examples[0].facts).permitted


def test_a_comment_changes_the_hash() -> None:
    assert load(SMALL + "# one more word\n", "small").hash != policy_hash(SMALL)


def test_every_decision_carries_the_name_and_the_hash() -> None:
    policy = load(SMALL, "small")
    for example in policy.examples:
        decision = policy.decide(example.facts)
        assert (decision.policy_name, decision.policy_hash) == ("small", policy_hash(SMALL))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_policy_loads_with_many_examples_of_both_verdicts(name: str) -> None:
    policy = shipped(name)
    verdicts = [example.verdict for example in policy.examples]
    assert verdicts.count(Verdict.PERMIT) >= 5
    assert verdicts.count(Verdict.DENY) >= 10
    assert all(example.holds(policy) for example in policy.examples)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_rule_that_a_shipped_policy_uses_refuses_in_one_of_its_examples(name: str) -> None:
    policy = shipped(name)
    shown = {rule for example in policy.examples for rule in example.refused_by}
    used = {finding.rule for finding in policy.decide(policy.examples[0].facts).findings}
    cannot = {
        "default": {"document-type", "level", "hours"},  # open to all, or checked when reading
        "pilot": {"document-type", "confirmation", "agency", "signatory", "credential", "certificate",
                  "seal-of-issuer", "algorithm", "pages", "earlier-signatures", "pdf", "own-agency",
                  "seal-after-signature"},  # the same as in the default policy, shown there
    }
    assert used - shown == cannot[name]


def test_the_default_policy_permits_every_type_to_somebody() -> None:
    types = {kind for block in shipped("default").allow.rules for kind in getattr(block, "types", ())}
    assert types >= set(DOCUMENT_TYPES) - {"SY", "SL", "TrS", "PL"}
    assert "*" in types


def test_a_policy_that_is_not_shipped_is_an_error() -> None:
    with pytest.raises(ValueError, match="there are default, pilot"):
        shipped("../pyproject")


def test_explaining_names_every_rule_and_every_block() -> None:
    policy = load(SMALL, "small")
    words = explain(policy)
    for expected in (
        "A small policy", policy.hash, "with any mark of secrecy are refused, always", "B-T when the client asks",
        "mon, tue from 07:30 to 17:30 (Asia/Ho_Chi_Minh), except hoa-toc", "1048576 bytes", "1 to 10 pages",
        "leaders: types KH, QĐ", "from 2026-03-01 until 2026-03-31", "after 72 hours", "Its 2 examples hold",
    ):
        assert expected in words


def test_policies_need_nothing_but_the_standard_library() -> None:
    script = (
        "import sys, policies.document\n"
        "loaded = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in loaded if not name.startswith('_') and name != 'sitecustomize'))\n"
    )
    command = [sys.executable, "-S", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['hsm', 'policies']"


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*.py")), ids=lambda path: path.name)
def test_of_the_device_a_policy_knows_the_algorithms_and_nothing_else(path: Path) -> None:
    imported = {node.module for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom) and node.module}
    ours = {name for name in imported if name.split(".")[0] in ("hsm", "signing_service", "tests")}
    assert ours <= {"hsm.algorithms"}
