"""Every message. Frozen, strict (unknown fields are refused), and small: a document never crosses the boundary."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from signing_service.wire.commands import (
    ActivatePolicy,
    AddAuditor,
    AddCredential,
    AddOperator,
    AddSignatory,
    Command,
    DeskCommand,
    DestroyKey,
    EnrolCode,
    ImportCertificate,
    IssueTicket,
    RequestCertificate,
    Restored,
    RetirePhone,
    SetAuditorState,
    SetCredentialState,
    SetOperatorState,
    SetSignatoryState,
    SuspendOrResume,
    Unlock,
)
from signing_service.wire.fields import (
    MAX_AT_THE_DESK,
    MAX_FRAME,
    MAX_LINES,
    Code,
    DigestBytes,
    Id,
    Label,
    Name,
    OperatorId,
    PhoneId,
    Secret,
    Sha256,
    StaffId,
    StopCode,
    Token,
)

__all__ = [
    "MAX_FRAME", "MAX_LINES", "Act", "ActivatePolicy", "AddAuditor", "AddCredential", "AddOperator", "AddSignatory",
    "AdminRequest", "Answer", "Bootstrap", "Command", "CompleteAccount", "CompleteEnrolment", "CompletePhone",
    "Condition", "Confirm", "Confirmed", "DeskAct", "DeskCommand", "DestroyKey", "Done", "EnrolCode", "Failure",
    "Health", "HealthReport", "ImportCertificate", "IssueTicket", "IssueTimestamp", "Line", "LineOutcome",
    "Message", "PhoneProof", "PhoneReady", "ProveCode", "Proven", "RedeemTicket", "RequestCertificate", "Restored",
    "Result",
    "RetirePhone", "SetAuditorState", "SetCredentialState", "SetOperatorState", "SetSignatoryState", "SignRequest",
    "Stop", "SuspendOneself", "SuspendOrResume", "Suspended", "TicketRedeemed", "TimestampIssued", "Unlock",
    "encoder",
]


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


class PhoneProof(Struct, frozen=True, forbid_unknown_fields=True):
    """What an official's phone shows: its id, and the secret that only its hash is kept of."""

    id: PhoneId
    secret: Secret


class Confirm(Message, frozen=True, tag="confirm"):
    """A person's act: a code together with the exact lines it confirms.

    Through a client it names the client, and only that client's requests can be in it. On a phone it names none and
    carries the phone's proof: requests of several clients may be in it, all of this one person.
    """

    client_id: Id | None
    signatory_id: Id
    code: Code
    channel: Annotated[str, Meta(pattern=r"^(client|phone)\Z")]
    lines: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=MAX_LINES)]
    phone: PhoneProof | None = None

    def __post_init__(self) -> None:
        """ValueError, a refusal at the decoder, unless phone and client are named exactly as the channel has them."""
        is_phone = self.channel == "phone"
        if (self.phone is not None, self.client_id is None) != (is_phone, is_phone):
            raise ValueError("a phone's confirmation names a phone and no client, a client's a client and no phone")


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


# ---------------------------------------------------------------------------------------- phones, tickets, staff


class RedeemTicket(Message, frozen=True, tag="redeem-ticket"):
    """Open a ticket. `opened_by` is the hash of a nonce in the browser's cookie: that browser may repeat it until
    the enrolment is complete, each time with a new seed and a new phone; anybody else is refused.

    An official's (sg_) names the hash of the new phone's secret; an auditor's or an operator's names none.
    """

    ticket: Token
    opened_by: Sha256
    phone_hash: Sha256 | None = None
    label: Label = ""


class TicketRedeemed(Message, frozen=True, tag="ticket-redeemed"):
    """Whose ticket it is. `uri` (otpauth) is shown this once; an operator has none: their seed never passes here."""

    owner: str
    name: str
    phone_id: str | None = None
    uri: str | None = None


class CompletePhone(Message, frozen=True, tag="complete-phone"):
    """The first right code of the new seed, from the phone that is being enrolled. WrongState `phone-ready` where it
    was completed already: then the answer was lost, and the stop code with it."""

    phone: PhoneProof
    code: Code


class PhoneReady(Message, frozen=True, tag="phone-ready"):
    """The phone confirms from now on. The stop code is shown this once."""

    stop_code: str


class CompleteAccount(Message, frozen=True, tag="complete-account"):
    """An auditor's first right code of the new seed, or an operator's present code, under an opened ticket."""

    ticket: Token
    opened_by: Sha256
    code: Code


class ProveCode(Message, frozen=True, tag="prove-code"):
    """The second half of a sign-in of an auditor or an operator. No official's code can be tried by it."""

    owner: StaffId
    code: Code


class Proven(Message, frozen=True, tag="proven"):
    """The code was right and is spent."""

    owner: str


class SuspendOneself(Message, frozen=True, tag="suspend-oneself"):
    """An official suspends all their own credentials, at once and without a code.

    `lost-phone` also retires all their phones; `not-me` raises an alarm. Only an operator resumes.
    """

    phone: PhoneProof
    why: Annotated[str, Meta(pattern=r"^(not-me|own-wish|lost-phone)\Z")]
    signing_request_id: Id | None = None  # the document that they did not ask for


class Stop(Message, frozen=True, tag="stop"):
    """The same as `lost-phone`, from anywhere, with the code that was given when the phone was enrolled."""

    stop_code: StopCode


class Suspended(Message, frozen=True, tag="suspended"):
    """The credentials that were active until now. None where they were suspended before."""

    credential_ids: tuple[str, ...]


# -------------------------------------------------------------------------------------------- operators' commands


class Bootstrap(Message, frozen=True, tag="bootstrap"):
    """Make the first operator. Good until an operator has proven a code: it can be repeated if it broke off."""

    name: Name


class CompleteEnrolment(Message, frozen=True, tag="complete-enrolment"):
    """The first right code of a new seed. Needs no operator: who has the seed's first code has the seed."""

    owner: Id
    code: Code


class Act(Message, frozen=True, tag="act"):
    """An operator's commands under one code of the operator's own, in order. A refused one does not stop the next.

    Several commands in one act are how bulk enrolment works: one code, one operator, every row on record.
    """

    operator_id: OperatorId
    code: Code
    commands: Annotated[tuple[Command, ...], Meta(min_length=1, max_length=500)]


class DeskAct(Message, frozen=True, tag="desk-act"):
    """The same through the web: few commands of a small closed set. The signer's `web_acts` switches it off."""

    operator_id: OperatorId
    code: Code
    commands: Annotated[tuple[DeskCommand, ...], Meta(min_length=1, max_length=MAX_AT_THE_DESK)]


class Result(Struct, frozen=True, forbid_unknown_fields=True):
    """What one command gave. `uri` is an otpauth URI, shown once; `data` a CSR in PEM, or a ticket's token (once)."""

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


SignRequest = (
    Confirm | IssueTimestamp | Health | RedeemTicket | CompletePhone | CompleteAccount | ProveCode | SuspendOneself
    | Stop | DeskAct
)
AdminRequest = Act | Bootstrap | CompleteEnrolment | Health
Answer = (
    Confirmed | TimestampIssued | Done | HealthReport | TicketRedeemed | PhoneReady | Proven | Suspended | Failure
)

encoder = msgspec.msgpack.Encoder()
