"""A policy file: a policy that decides and can be explained, or `PolicyInvalid` with the line that is wrong."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Final

from policies.decision import Secrecy
from policies.document import SHIPPED, PolicyInvalid, explain, load, policy_hash
from tests.fuzz.havoc import havoc
from tests.fuzz.target import Target
from tests.support.city import DEFAULT
from tests.support.policy_cases import ORDINARY

VALUES: Final = (
    "0", "-1", "1", "9223372036854775808", "1.5", "inf", "nan", "true", "false", '""', '"x"', '" "', "[]", "[[]]", "{}",
    "{ a = 1 }", "2026-03-02", "2026-03-02T09:00:00", "2026-03-02T09:00:00+07:00", "09:00:00", "24:00:00", '"24:00"',
    '"07:00"', '"*"', '["*"]', '["KH", "KH"]', '["KH", 1]', '"Asia/Ho_Chi_Minh"', '"../../etc/passwd"', '"\\u0000"',
    "0x10", "1_000", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", '"""\n"""', "'''", "'a'",
)
LINES: Final = ("[limits]", "[[allow]]", "[[example]]", "[example.facts]", "[a]\n[a]", "a.b.c = 1", "]", "=", "# x", "")


def run(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    try:
        policy = load(text, "fuzzed")
    except PolicyInvalid as refused:
        return "refused" if 0 <= refused.line <= text.count("\n") + 2 else _astray(refused)
    assert policy.hash == policy_hash(text)
    assert explain(policy)
    assert not policy.decide(replace(ORDINARY, secrecy=Secrecy.TUYET_MAT)).permitted
    for facts in (ORDINARY, *(example.facts for example in policy.examples)):
        assert policy.decide(facts).findings
    assert policy.local_day(ORDINARY.now)[0] < policy.local_day(ORDINARY.now)[1]
    return "loaded"


def _astray(refused: PolicyInvalid) -> str:
    raise AssertionError(f"no such line: {refused}")


def mutate(data: bytes, rng: Random) -> bytes:
    """By the line, where most of what follows stays a policy; one in five is only shaken."""
    lines = data.decode("utf-8", "replace").split("\n")
    if rng.random() < 0.2:
        return havoc(data, rng)
    for _ in range(rng.randint(1, 3)):
        _change(lines, rng)
    return "\n".join(lines).encode()


def _change(lines: list[str], rng: Random) -> None:
    at = rng.randrange(len(lines)) if lines else 0
    match rng.randrange(6):
        case 0:
            del lines[at: at + 1]
        case 1:
            lines.insert(at, rng.choice(lines or [""]))
        case 2:
            lines.insert(at, rng.choice(LINES))
        case 3:
            lines[at: at + 1] = [havoc(each.encode(), rng).decode("utf-8", "replace") for each in lines[at: at + 1]]
        case _:
            valued = [number for number, line in enumerate(lines) if "=" in line]
            if valued:
                at = rng.choice(valued)
                lines[at] = lines[at].partition("=")[0] + "= " + rng.choice(VALUES)


def seeds() -> list[bytes]:
    assert "default" in SHIPPED
    return [DEFAULT.encode(), SMALL.encode()]


SMALL: Final = "\n".join(line for line in DEFAULT.splitlines() if line and not line.startswith("#"))
TARGET: Final = Target(run, seeds, mutate, largest=24_000, short=60)
