"""What a timestamp authority answers: a token that holds, or `TokenRejected`.

A token that is believed says what was asked (imprint, nonce, now) in the name of an authority below the root; the
mutations have no key, so its signed part is one that the authority made.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from asn1crypto import cms

from signing_service import timestamp_check
from signing_service.front.authorities import granted
from signing_service.timestamp_check import Demand, TokenRejected, check
from tests.fuzz import der
from tests.fuzz.stage import moment, stage
from tests.fuzz.target import Target
from tests.support.authority import POLICY


def run(data: bytes) -> str:
    try:
        token = granted(data)
        proven = check(token, DEMAND, moment())
    except TokenRejected as refused:
        return refused.message
    assert _content(token) in MADE
    assert timestamp_check._check(token, DEMAND, moment()) == proven  # what was read directly, by the library
    assert (proven.policy, abs(proven.time - moment()) < timedelta(minutes=2)) == (POLICY, True)
    return "believed"


def _content(token: bytes) -> bytes:
    return bytes(cms.ContentInfo.load(token)["content"]["encap_content_info"]["content"])


def seeds() -> list[bytes]:
    return [value for name, value in stage().items() if name.startswith("answer ")]


DEMAND: Final = Demand(stage()["imprint"], "sha256", (stage()["tsa root"],), nonce=77, policy=POLICY)
MADE: Final = frozenset(_content(granted(each)) for each in seeds())
TARGET: Final = Target(run, seeds, der.mutate, short=15)
