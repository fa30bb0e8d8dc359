"""What W3 rests on, read inside its transaction: the requests, credentials and keys of all lines, and the policy.

A number of queries that does not grow with the number of lines. Nothing of it is kept for the next batch: what was
suspended, revoked or activated a moment ago counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from hsm.algorithms import KeyKind
from hsm.device import Custody, KeyRef
from policies.decision import Confirm as ConfirmedBy
from policies.document import Policy
from signing_service import credentials
from signing_service.audit import Event
from signing_service.db.compiled import CompiledList
from signing_service.db.tables import credential, entry, key, signing_request
from signing_service.errors import Denied, NotFound, Reason, SigningError, WrongState
from signing_service.facts import Paper, Records, active_policy, facts_of, local_day, records
from signing_service.signer.runtime import Runtime
from signing_service.wire.messages import Line

_c = signing_request.c
_REQUESTS = CompiledList(lambda ids: select(
    _c.id, _c.client_id, _c.agency_code, _c.signatory_id, _c.credential_id, _c.state, _c.document_type, _c.secrecy,
    _c.urgency, _c.document_digest, _c.document_size, _c.pages, _c.earlier_signatures, _c.warnings, _c.level,
    _c.algorithm, _c.expires_at,
).where(_c.id.in_(ids)))
_CREDENTIALS = CompiledList(lambda ids: select(credential).where(credential.c.id.in_(ids)))
_KEYS = CompiledList(lambda ids: select(key).where(key.c.id.in_(ids)))
_INTENDED = CompiledList(lambda ids: select(entry.c.signing_request_id).where(
    entry.c.signing_request_id.in_(ids), entry.c.event == Event.INTENT.value))


@dataclass(frozen=True)
class Accepted:
    """A confirmation whose code is spent: the only thing that `intend` acts upon. A phone's names no client."""

    id: str
    signatory_id: str
    client_id: str | None
    channel: str


@dataclass(frozen=True)
class Asked:
    """One line of a confirmation whose code is spent."""

    confirmed: Accepted
    line: Line


@dataclass(frozen=True)
class Held:
    """A credential as it is now, with its key; None where a row is not the one whose MAC was checked."""

    credential: credentials.Credential
    key: KeyRef | None


@dataclass(frozen=True)
class Grounds:
    """Of all lines of a batch, by id. Who or what is not in it does not exist."""

    requests: Mapping[str, Any]
    intended: Set[str]            # requests that the log knows an intent of, whatever their rows say by now
    held: Mapping[str, Held]
    records: Records
    policy: Policy | SigningError


def read(rt: Runtime, tx: Connection, asked: Sequence[Asked], now: datetime) -> Grounds:
    """ValueError or TypeError where a row cannot be read: one line's trouble, to be found by halves."""
    ids = {each.line.signing_request_id for each in asked}
    requests = {row.id: row for row in _REQUESTS.all(tx, ids)}
    intended = {row.signing_request_id for row in _INTENDED.all(tx, ids)}
    named = {each.line.credential_id for each in asked}
    known = records(
        tx, agencies={row.agency_code for row in requests.values()},
        clients={row.client_id for row in requests.values()},
        signatories={each.confirmed.signatory_id for each in asked}, credentials=named,
        day=local_day(now, rt.settings.timezone))
    return Grounds(requests, intended, _held(rt, tx, named), known, _policy(tx))


def rows_of(tx: Connection, named: set[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The rows of these credentials, and of their keys, by id."""
    found = {row.id: row._asdict() for row in _CREDENTIALS.all(tx, named)}
    keys = _KEYS.all(tx, {row["key_id"] for row in found.values()})
    return found, {row.id: row._asdict() for row in keys}


def _held(rt: Runtime, tx: Connection, named: set[str]) -> dict[str, Held]:
    found, keys = rows_of(tx, named)
    held = {}
    for name, row in found.items():
        if row["kind"] not in ("personal", "agency"):
            continue
        key_row = keys.get(row["key_id"])
        is_checked = (key_row is not None and rt.verified.knows("credential", row)
                      and rt.verified.knows("key", key_row))
        held[name] = Held(credentials.of_mapping(row), key_ref(key_row) if is_checked else None)
    return held


def _policy(tx: Connection) -> Policy | SigningError:
    try:
        return active_policy(tx)
    except SigningError as error:
        return error


def key_ref(row: Any) -> KeyRef:
    return KeyRef(id=row["id"], kind=KeyKind(row["kind"]), custody=Custody(row["custody"]),
                  public_key=row["public_key"], blob=row["blob"])


def usable(grounds: Grounds, line: Line, signatory_id: str, now: datetime) -> tuple[credentials.Credential, KeyRef]:
    """The credential and its key, as rows whose MACs were checked, valid at this moment."""
    held = grounds.held.get(line.credential_id)
    if held is None or held.credential.signatory_id != signatory_id:
        raise NotFound("The signatory has no such credential.")
    if not held.credential.is_valid(now):
        raise WrongState(f"The credential cannot sign now: it is {held.credential.state}, or its certificate is not "
                         "valid.", code="credential-not-usable")
    if held.credential.algorithm != line.algorithm:
        raise WrongState("The credential's algorithm has changed.", code="other-algorithm")
    if held.key is None:
        raise WrongState("The credential changed at this moment. Confirm again.", code="credential-changed")
    return held.credential, held.key


def decide(grounds: Grounds, request: Any, holder: credentials.Credential, confirmed: Accepted, now: datetime,
           more_today: int) -> str:
    """Decide again, now, with the policy in force. Returns its hash; raises Denied with the findings."""
    if isinstance(grounds.policy, SigningError):
        raise grounds.policy
    facts = facts_of(grounds.records, Paper.of_row(request), holder, now, confirm=ConfirmedBy(confirmed.channel),
                     signatory_id=confirmed.signatory_id, more_today=more_today)
    decision = grounds.policy.decide(facts)
    if not decision.permitted:
        findings = [Reason(finding.rule, finding.why) for finding in decision.findings if not finding.permits]
        raise Denied("The policy does not permit this signature now.", findings=findings)
    return decision.policy_hash
