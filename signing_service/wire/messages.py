"""Every message. Frozen, strict (unknown fields are refused), and small: a document never crosses the boundary."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

# `\Z`, because `$` would let a newline through behind the last character, and a column has no room for it.
Id = Annotated[str, Meta(pattern=r"^[a-z]{2,4}_[0-9a-f]{32}\Z")]
OperatorId = Annotated[str, Meta(pattern=r"^op_[0-9a-f]{32}\Z")]  # a signatory's codes are not tried as an operator's
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Code = Annotated[str, Meta(pattern=r"^[0-9]{6}\Z")]  # ASCII digits only: `\d` would take full-width ones
PRINTED = r"^[^\x00-\x1f\x7f]*\Z"  # one line; a zero byte is what PostgreSQL cannot keep
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTED)]
AgencyCode = Annotated[str, Meta(min_length=1, max_length=35, pattern=PRINTED)]
Why = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*\Z")]
DigestBytes = Annotated[bytes, Meta(min_length=32, max_length=64)]
Der = Annotated[bytes, Meta(max_length=65_536)]

MAX_LINES = 200     # documents under one code: as many as a person can be said to have looked at
MAX_FRAME = 1 << 20  # bytes; the largest honest message is a Confirm of MAX_LINES or a policy


class Message(Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """Anything that crosses."""


# ---------------------------------------------------------------------------------------- confirm and timestamp


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One document of a confirmation: exactly these bytes, this tail, this credential."""

    signing_request_id: Id
    credential_id: Id
    document_digest: Sha256
    tail_digest: Sha256
    to_sign: DigestBytes
    algorithm: Annotated[str, Meta(max_length=20)]


class Confirm(Message, frozen=True, tag="confirm"):
    """A person's act: a code together with the exact lines it confirms."""

    client_id: Id
    signatory_id: Id
    code: Code
    channel: Annotated[str, Meta(pattern=r"^(client|phone)\Z")]
    lines: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=MAX_LINES)]


class LineOutcome(Struct, frozen=True, forbid_unknown_fields=True):
    """What became of one line: `done`, `denied` (policy, state), `failed` (device), in words that may be shown."""

    signing_request_id: Id
    outcome: str
    code: str | None = None
    message: str | None = None


class Confirmed(Message, frozen=True, tag="confirmed"):
    """The code was accepted and is spent; each line has its own outcome. Signature values stay in the database."""

    confirmation_id: Id
    matching_code: str
    lines: tuple[LineOutcome, ...]


class IssueTimestamp(Message, frozen=True, tag="issue-timestamp"):
    """RFC 3161 2.4.1, already parsed. `nonce` as decimal text: it may be longer than 64 bits."""

    imprint: DigestBytes
    digest: Annotated[str, Meta(pattern=r"^sha(256|384|512)\Z")]
    nonce: Annotated[str, Meta(pattern=r"^[0-9]{1,80}\Z")] | None = None
    policy: Annotated[str, Meta(max_length=100)] | None = None
    with_certificate: bool = True
    signing_request_id: Id | None = None
    client_id: Id | None = None


class TimestampIssued(Message, frozen=True, tag="timestamp-issued"):
    token: bytes
    serial: str


# -------------------------------------------------------------------------------------------- operators' commands


class Bootstrap(Message, frozen=True, tag="bootstrap"):
    """Make the first operator. Good until an operator has proven a code: it can be repeated if it broke off."""

    name: Name


class AddOperator(Struct, frozen=True, forbid_unknown_fields=True, tag="add-operator"):
    name: Name


class SetOperatorState(Struct, frozen=True, forbid_unknown_fields=True, tag="set-operator-state"):
    operator_id: OperatorId
    state: Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]


class AddSignatory(Struct, frozen=True, forbid_unknown_fields=True, tag="add-signatory"):
    name: Name
    agency_code: AgencyCode
    office: Annotated[str, Meta(min_length=1, max_length=40, pattern=PRINTED)]
    reference: Annotated[str, Meta(max_length=100, pattern=PRINTED)] | None = None


class SetSignatoryState(Struct, frozen=True, forbid_unknown_fields=True, tag="set-signatory-state"):
    signatory_id: Id
    state: Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]
    reason: Why = ""


class EnrolCode(Struct, frozen=True, forbid_unknown_fields=True, tag="enrol-code"):
    """Draw a new seed for a signatory or an operator; the old one stays until the first right code of the new."""

    owner: Id


class CompleteEnrolment(Message, frozen=True, tag="complete-enrolment"):
    """The first right code of a new seed. Needs no operator: who has the seed's first code has the seed."""

    owner: Id
    code: Code


class Unlock(Struct, frozen=True, forbid_unknown_fields=True, tag="unlock"):
    owner: Id


class AddCredential(Struct, frozen=True, forbid_unknown_fields=True, tag="add-credential"):
    """A new credential whose key is made in the device, in the background: poll the credential's state."""

    kind: Annotated[str, Meta(pattern=r"^(personal|agency|timestamp)\Z")]
    agency_code: AgencyCode
    key_kind: Annotated[str, Meta(max_length=10)]
    algorithm: Annotated[str, Meta(max_length=20)] | None = None
    signatory_id: Id | None = None
    custody: Annotated[str, Meta(pattern=r"^(wrapped|token)\Z")] = "wrapped"
    replaces: Id | None = None


class RequestCertificate(Struct, frozen=True, forbid_unknown_fields=True, tag="request-certificate"):
    """PKCS#10 (RFC 2986) for a credential's key. `subject` is a list of (short name, value), such as CN, O, OU, C."""

    credential_id: Id
    subject: Annotated[tuple[tuple[Name, Name], ...], Meta(min_length=1, max_length=20)]


class ImportCertificate(Struct, frozen=True, forbid_unknown_fields=True, tag="import-certificate"):
    """A certificate that was parsed and checked by whoever sends it (`certificates.py`); the signer compares keys."""

    credential_id: Id
    certificate: Der
    chain: Annotated[tuple[Der, ...], Meta(max_length=8)]
    public_key: Der
    not_before: str
    not_after: str


class SetCredentialState(Struct, frozen=True, forbid_unknown_fields=True, tag="set-credential-state"):
    credential_id: Id
    state: Annotated[str, Meta(pattern=r"^(active|suspended|revoked)\Z")]
    reason: Why = ""


class DestroyKey(Struct, frozen=True, forbid_unknown_fields=True, tag="destroy-key"):
    """For ever. Only of a revoked credential."""

    credential_id: Id


class ActivatePolicy(Struct, frozen=True, forbid_unknown_fields=True, tag="activate-policy"):
    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=PRINTED)]
    text: Annotated[str, Meta(max_length=200_000, pattern=r"^[^\x00]*\Z")]


Command = (
    AddOperator | SetOperatorState | AddSignatory | SetSignatoryState | EnrolCode | Unlock | AddCredential
    | RequestCertificate | ImportCertificate | SetCredentialState | DestroyKey | ActivatePolicy
)


class Act(Message, frozen=True, tag="act"):
    """An operator's commands under one code of the operator's own, in order. A refused one does not stop the next.

    Several commands in one act are how bulk enrolment works: one code, one operator, every row on record.
    """

    operator_id: OperatorId
    code: Code
    commands: Annotated[tuple[Command, ...], Meta(min_length=1, max_length=500)]


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """What one command gave. `uri` is an otpauth URI, shown once; `data` a CSR in PEM."""

    id: str = ""
    uri: str | None = None
    data: str | None = None
    error: str | None = None
    error_code: str | None = None


class Done(Message, frozen=True, tag="done"):
    results: tuple[Result, ...]


# ---------------------------------------------------------------------------------------------- health and failure


class Health(Message, frozen=True, tag="health"):
    """Answered from what is known; health never waits on the device."""


class Condition(Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    ok: bool
    detail: str


class HealthReport(Message, frozen=True, tag="health-report"):
    signer_id: str
    conditions: tuple[Condition, ...]
    metrics: str = ""  # Prometheus text of the signer's own registry


class Failure(Message, frozen=True, tag="failure"):
    """A refusal, to be raised again on the other side as the same kind (`errors.py`)."""

    kind: str
    code: str
    message: str
    retry_after: int | None = None
    tries_left: int | None = None
    findings: tuple[tuple[str, str], ...] = ()


SignRequest = Confirm | IssueTimestamp | Health
AdminRequest = Act | Bootstrap | CompleteEnrolment | Health
Answer = Confirmed | TimestampIssued | Done | HealthReport | Failure

encoder = msgspec.msgpack.Encoder()
