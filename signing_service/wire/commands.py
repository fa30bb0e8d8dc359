"""What operators can ask for: each command is a part of an act, and stands under the operator's own code."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from signing_service.wire.fields import (
    PRINTED,
    Active,
    AgencyCode,
    AuditorId,
    Der,
    Id,
    Name,
    OperatorId,
    PhoneId,
    Why,
)


class AddOperator(Struct, frozen=True, forbid_unknown_fields=True, tag="add-operator"):
    name: Name


class SetOperatorState(Struct, frozen=True, forbid_unknown_fields=True, tag="set-operator-state"):
    operator_id: OperatorId
    state: Active


class AddSignatory(Struct, frozen=True, forbid_unknown_fields=True, tag="add-signatory"):
    name: Name
    agency_code: AgencyCode
    office: Annotated[str, Meta(min_length=1, max_length=40, pattern=PRINTED)]
    reference: Annotated[str, Meta(max_length=100, pattern=PRINTED)] | None = None


class SetSignatoryState(Struct, frozen=True, forbid_unknown_fields=True, tag="set-signatory-state"):
    signatory_id: Id
    state: Active
    reason: Why = ""


class EnrolCode(Struct, frozen=True, forbid_unknown_fields=True, tag="enrol-code"):
    """Draw a new seed for a person; the old one stays until the first right code of the new."""

    owner: Id


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
    serial: Annotated[str, Meta(pattern=r"^[0-9a-f]{1,80}\Z")] | None = None  # RFC 5280 4.1.2.2, to look it up by


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


class IssueTicket(Struct, frozen=True, forbid_unknown_fields=True, tag="issue-ticket"):
    """A link with which its owner, and nobody after them, enrols a phone or sets a password. Voids earlier ones.

    `hours` until it ends. `keeps_others`: the official's other phones go on working.
    """

    owner: Id
    hours: Annotated[int, Meta(ge=1, le=168)] = 24
    keeps_others: bool = False


class RetirePhone(Struct, frozen=True, forbid_unknown_fields=True, tag="retire-phone"):
    """From this moment it confirms nothing."""

    phone_id: PhoneId
    reason: Why = ""


class AddAuditor(Struct, frozen=True, forbid_unknown_fields=True, tag="add-auditor"):
    """Somebody who may read the record of these agencies and those below them; `*` for all."""

    name: Name
    agencies: Annotated[tuple[AgencyCode, ...], Meta(min_length=1, max_length=200)]


class SetAuditorState(Struct, frozen=True, forbid_unknown_fields=True, tag="set-auditor-state"):
    auditor_id: AuditorId
    state: Active


class SuspendOrResume(Struct, frozen=True, forbid_unknown_fields=True, tag="suspend-or-resume"):
    """A credential's state, as far as it can be changed through the web: nothing that cannot be taken back."""

    credential_id: Id
    state: Active
    reason: Why = ""


class Restored(Struct, frozen=True, forbid_unknown_fields=True, tag="restored"):
    """The database was restored from a backup, and the service may go on from it: a new epoch begins."""

    why: Why


Command = (
    AddOperator | SetOperatorState | AddSignatory | SetSignatoryState | EnrolCode | Unlock | AddCredential
    | RequestCertificate | ImportCertificate | SetCredentialState | DestroyKey | ActivatePolicy | IssueTicket
    | RetirePhone | AddAuditor | SetAuditorState | Restored
)
DeskCommand = AddSignatory | IssueTicket | SetSignatoryState | SuspendOrResume | Unlock | RetirePhone
