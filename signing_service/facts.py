"""From rows to a policy's `Facts`: gathered by the front at submission, and again by the signer before it signs."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, bindparam, func, select

from policies.decision import Confirm, CredentialKind, Facts, Level, Secrecy, Urgency
from policies.document import Policy, PolicyInvalid, load
from signing_service.credentials import Credential
from signing_service.db.compiled import Compiled, CompiledList
from signing_service.db.tables import agency, client, intent, policy, signatory
from signing_service.errors import NotFound, Unavailable
from signing_service.people import Agency, Signatory, agency_of, signatory_of

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


@dataclass(frozen=True)
class Records:
    """What the database has at one moment of those whom signing requests name. Who is not in it does not exist."""

    agencies: Mapping[str, Agency]
    signatories: Mapping[str, Signatory]
    client_agencies: Mapping[str, frozenset[str]]  # what each active client may submit for
    used_today: Mapping[str, int]                  # intents of each credential, whatever became of them


_AGENCIES = CompiledList(lambda codes: select(agency).where(agency.c.code.in_(codes)))
_SIGNATORIES = CompiledList(lambda ids: select(signatory).where(signatory.c.id.in_(ids)))
_CLIENTS = CompiledList(lambda ids: select(client.c.id, client.c.agencies).where(
    client.c.id.in_(ids), client.c.state == "active"))
_USED = CompiledList(lambda ids: select(intent.c.credential_id, func.count().label("intents")).where(
    intent.c.credential_id.in_(ids), intent.c.local_day == bindparam("day")).group_by(intent.c.credential_id))


def records(
    tx: Connection, *, agencies: set[str], signatories: set[str], clients: set[str], credentials: set[str], day: str,
) -> Records:
    """Four queries, however many there are of each. `day` is the local day that daily limits count in."""
    return Records(
        agencies={row.code: agency_of(row) for row in _AGENCIES.all(tx, agencies)},
        signatories={row.id: signatory_of(row) for row in _SIGNATORIES.all(tx, signatories)},
        client_agencies={row.id: frozenset(row.agencies) for row in _CLIENTS.all(tx, clients)},
        used_today={row.credential_id: row.intents for row in _USED.all(tx, credentials, {"day": day})},
    )


def gather(
    tx: Connection, paper: Paper, credential: Credential, now: datetime, *, timezone: str, confirm: Confirm | None,
    signatory_id: str,
) -> Facts:
    """Everything a policy asks, as the database has it at this moment. NotFound for an unknown agency or person."""
    known = records(tx, agencies={paper.issuing_agency}, signatories={signatory_id}, clients={paper.client_id},
                    credentials={credential.id}, day=local_day(now, timezone))
    return facts_of(known, paper, credential, now, confirm=confirm, signatory_id=signatory_id)


def facts_of(
    known: Records, paper: Paper, credential: Credential, now: datetime, *, confirm: Confirm | None,
    signatory_id: str, more_today: int = 0,
) -> Facts:
    """The same out of records that were read. `more_today`: intents of the credential that came since then.

    NotFound for an agency or person that is not among the records.
    """
    issuer, person = known.agencies.get(paper.issuing_agency), known.signatories.get(signatory_id)
    if issuer is None:
        raise NotFound(f"There is no agency {paper.issuing_agency!r}.")
    if person is None:
        raise NotFound(f"There is no signatory {signatory_id!r}.")
    return Facts(
        now=now, document_type=paper.document_type, secrecy=Secrecy(paper.secrecy), urgency=Urgency(paper.urgency),
        size=paper.size, pages=paper.pages, earlier_signatures=paper.earlier_signatures, client=paper.client_id,
        client_agencies=known.client_agencies.get(paper.client_id, frozenset()), signatory=person.id,
        signatory_agency=person.agency_code, signatory_active=person.state == "active",
        signatory_office=person.office, issuing_agency=issuer.code, issuing_agency_level=issuer.level,
        issuing_agency_active=issuer.is_active(now), credential_kind=CredentialKind(credential.kind),
        credential_agency=credential.agency_code, credential_state=credential.state.value,
        certificate_from=credential.not_before or NEVER, certificate_until=credential.not_after or NEVER,
        key_kind=credential.key_kind, algorithm=credential.algorithm,
        level=Level(paper.level) if paper.level else None, confirm=confirm,
        used_today=known.used_today.get(credential.id, 0) + more_today, warnings=paper.warnings,
    )


def local_day(now: datetime, timezone: str) -> str:
    """The day that daily limits count in, such as 2026-11-22."""
    return now.astimezone(ZoneInfo(timezone)).date().isoformat()


_loaded: dict[str, Policy] = {}  # by hash: a policy's text never changes under one hash
_ACTIVE = Compiled(
    select(policy.c.hash).where(policy.c.active).order_by(policy.c.activated_at.desc(), policy.c.hash).limit(1))


def active_policy(tx: Connection) -> Policy:
    """The policy in force. Raises Unavailable where none is active: a missing policy is a refusal."""
    # Two signers may activate one at the same moment: the newer counts.
    row = _ACTIVE.first(tx, {})
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
