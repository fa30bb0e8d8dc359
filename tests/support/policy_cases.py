"""An ordinary case and a small policy that permits it, for tests that change one thing at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hsm.algorithms import Algorithm, KeyKind
from policies.decision import CredentialKind, Facts, Secrecy, Urgency

MONDAY = datetime(2026, 3, 2, 2, 0, tzinfo=UTC)  # 09:00 in Hà Nội

ORDINARY = Facts(
    now=MONDAY,
    document_type="KH",
    secrecy=Secrecy.NONE,
    urgency=Urgency.NORMAL,
    size=240_000,
    pages=4,
    earlier_signatures=0,
    client="document-system",
    client_agencies=frozenset({"UBND"}),
    signatory="lan",
    signatory_agency="UBND",
    signatory_active=True,
    signatory_office="chairman",
    issuing_agency="UBND",
    issuing_agency_level="city",
    issuing_agency_active=True,
    credential_kind=CredentialKind.PERSONAL,
    credential_agency="UBND",
    credential_state="active",
    certificate_from=datetime(2025, 6, 1, tzinfo=UTC),
    certificate_until=datetime(2028, 6, 1, tzinfo=UTC),
    key_kind=KeyKind.P256,
    algorithm=Algorithm.ECDSA_SHA256,
    level=None,
    confirm=None,
    used_today=0,
    warnings=frozenset(),
)


def case(**changes: Any) -> Facts:
    """The ordinary case with these facts changed."""
    return replace(ORDINARY, **changes)


SMALL = """\
format = 1
title = "A small policy"
timezone = "Asia/Ho_Chi_Minh"
basis = []

[signature]
level = "B-T"
levels = ["B-B", "B-T"]
algorithms = ["ecdsa-sha256", "rsa-sha256"]
keys = ["p-256", "rsa-2048"]
appearance = "text"

[confirmation]
way = "client"
lifetime_hours = 72

[hours]
days = ["mon", "tue"]
from = "07:30"
until = "17:30"
except_urgency = ["hoa-toc"]

[limits]
size_mib = 1
pages = 10
earlier_signatures = 2
daily_personal = 5
daily_seal = 7

[document]
tolerate = ["earlier-signature"]

[people]
own_agency_only = true
seal_after_signature = true

[[allow]]
name = "leaders"
types = ["KH", "QĐ"]
agencies = ["UBND"]
agency_levels = ["*"]
offices = ["chairman", "deputy"]
credentials = ["personal"]
from = 2026-03-01
until = 2026-03-31

[[allow]]
name = "seals"
types = ["*"]
agencies = ["*"]
agency_levels = ["city"]
offices = ["clerk"]
credentials = ["agency"]

[ordinary]
now = 2026-03-02T09:00:00+07:00
document_type = "KH"
secrecy = "none"
urgency = "normal"
size = 240_000
pages = 4
earlier_signatures = 0
client = "document-system"
client_agencies = ["UBND"]
signatory = "lan"
signatory_agency = "UBND"
signatory_active = true
signatory_office = "chairman"
issuing_agency = "UBND"
issuing_agency_level = "city"
issuing_agency_active = true
credential_kind = "personal"
credential_agency = "UBND"
credential_state = "active"
certificate_from = 2025-06-01T00:00:00Z
certificate_until = 2028-06-01T00:00:00Z
key_kind = "p-256"
algorithm = "ecdsa-sha256"
used_today = 0
warnings = []

[[example]]
name = "the ordinary case"
verdict = "permit"

[[example]]
name = "a secret plan on a Sunday"
verdict = "deny"
refused_by = ["secrecy", "hours"]
facts = { secrecy = "mat", now = 2026-03-01T09:00:00+07:00 }
"""
