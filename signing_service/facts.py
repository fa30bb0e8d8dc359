"""From rows to a policy's `Facts`: gathered by the front at submission, and again by the signer before it signs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, select

from policies.decision import Confirm, CredentialKind, Facts, Level, Secrecy, Urgency
from policies.document import Policy, PolicyInvalid, load
from signing_service.credentials import Credential
from signing_service.db.tables import intent, policy
from signing_service.errors import Unavailable
from signing_service.people import client_agencies, find_agency, find_signatory

NEVER = datetime(2000, 1, 1, tzinfo=UTC)  # the validity of a certificate that is not there


@dataclass(frozen=True)
class Paper:
    """What a signing request says of its document, from a form (front) or from its row (signer)."""

    client_id: str
    issuing_agency: str
    document_type: str
    secrecy: str
    urgency: str
    size: int
    pages: int
    earlier_signatures: int
    warnings: frozenset[str]
    level: str | None

    @classmethod
    def of_row(cls, row: Any) -> Paper:
        return cls(
            client_id=row.client_id, issuing_agency=row.agency_code, document_type=row.document_type,
            secrecy=row.secrecy, urgency=row.urgency, size=row.document_size, pages=row.pages,
            earlier_signatures=row.earlier_signatures, warnings=frozenset(row.warnings), level=row.level,
        )


def gather(
    tx: Connection, paper: Paper, credential: Credential, now: datetime, *, timezone: str, confirm: Confirm | None,
    signatory_id: str,
) -> Facts:
    """Everything a policy asks, as the database has it at this moment. NotFound for an unknown agency or person."""
    agency = find_agency(tx, paper.issuing_agency)
    signatory = find_signatory(tx, signatory_id)
    return Facts(
        now=now, document_type=paper.document_type, secrecy=Secrecy(paper.secrecy), urgency=Urgency(paper.urgency),
        size=paper.size, pages=paper.pages, earlier_signatures=paper.earlier_signatures, client=paper.client_id,
        client_agencies=client_agencies(tx, paper.client_id), signatory=signatory.id,
        signatory_agency=signatory.agency_code, signatory_active=signatory.state == "active",
        signatory_office=signatory.office, issuing_agency=agency.code, issuing_agency_level=agency.level,
        issuing_agency_active=agency.is_active(now), credential_kind=CredentialKind(credential.kind),
        credential_agency=credential.agency_code, credential_state=credential.state.value,
        certificate_from=credential.not_before or NEVER, certificate_until=credential.not_after or NEVER,
        key_kind=credential.key_kind, algorithm=credential.algorithm,
        level=Level(paper.level) if paper.level else None, confirm=confirm,
        used_today=used_today(tx, credential.id, local_day(now, timezone)), warnings=paper.warnings,
    )


def local_day(now: datetime, timezone: str) -> str:
    """The day that daily limits count in, such as 2026-11-22."""
    return now.astimezone(ZoneInfo(timezone)).date().isoformat()


def used_today(tx: Connection, credential_id: str, day: str) -> int:
    """Intents of this credential in this local day, whatever became of them."""
    query = select(func.count()).select_from(intent).where(
        intent.c.credential_id == credential_id, intent.c.local_day == day)
    return tx.execute(query).scalar_one()


_loaded: dict[str, Policy] = {}  # by hash: a policy's text never changes under one hash


def active_policy(tx: Connection) -> Policy:
    """The policy in force. Raises Unavailable where none is active: a missing policy is a refusal."""
    # Two signers may activate one at the same moment: the newer counts.
    row = tx.execute(select(policy.c.hash).where(policy.c.active)
                     .order_by(policy.c.activated_at.desc(), policy.c.hash)).first()
    if row is None:
        raise Unavailable("No policy is active. An operator must activate one.", code="no-policy", retry_after=60)
    if row.hash not in _loaded:
        _loaded[row.hash] = _load(tx, row.hash)
    return _loaded[row.hash]


def _load(tx: Connection, expected: str) -> Policy:
    text = tx.execute(select(policy.c.name, policy.c.text).where(policy.c.hash == expected)).one()
    with suppress(PolicyInvalid):
        loaded = load(text.text, text.name)
        if loaded.hash == expected:
            return loaded
    raise Unavailable("The active policy is not what was activated.", code="policy-tampered", retry_after=60)
