"""What REST answers, as the OpenAPI description shows it. Times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from policies.decision import Decision
from signing_service import confirmation
from signing_service.batches import Batch
from signing_service.front.forms import Line
from signing_service.front.problems import MEDIA_TYPE
from signing_service.signing_requests import SigningRequest, State
from signing_service.submission import Decided
from signing_service.wire.messages import MAX_LINES

REQUEST_ID = "sr_0193f2a6c7d47aa08f3b6f6f1a2b3c4d"
BATCH_ID = "ba_0193f2a6d1e27b119a4c7e5d2b3c4d5e"
DIGEST = "2a1d3f6f0b5b5e1d8f3c52f7a86f7d5a9c51e0f6c8d94a0a7e4b7b1c2d3e4f50"
EXAMPLE: dict[str, Any] = {
    "id": REQUEST_ID, "state": "pending", "matching_code": "481516",
    "signatory_id": "sg_0193f2a5b9c07d10b1c2d3e4f5061728", "credential_id": "cr_0193f2a5c0d17e21a2b3c4d5e6f70819",
    "issuing_agency": "H26.1.2", "document_type": "KH",
    "number": "201", "symbol": "KH-UBND", "subject": "Kế hoạch chuyển đổi số năm 2026", "urgency": "normal",
    "filename": "ke-hoach.pdf", "document_digest": DIGEST, "document_size": 240133, "pages": 4,
    "earlier_signatures": 0, "warnings": [], "level": "B-T", "algorithm": "ecdsa-sha256", "confirm": "client",
    "policy": "0c9e7d5b3a1f2e4d6c8b0a9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d4c3b2a1f0e9d", "external_id": "VB-2026-0173",
    "created_at": "2026-03-02T02:00:00Z", "expires_at": "2026-03-05T02:00:00Z",
}


class SigningRequestAnswer(BaseModel):
    """One signing request: one document for one signatory."""

    model_config = ConfigDict(json_schema_extra={"example": EXAMPLE})

    id: str
    state: State
    matching_code: Annotated[str, Field(description="Six digits; the person's phone shows the same ones.")]
    reason: str | None = None
    signatory_id: str
    credential_id: str
    batch_id: str | None = None
    external_id: str | None = None
    issuing_agency: str
    document_type: str
    number: str | None = None
    symbol: str | None = None
    subject: str
    urgency: str
    filename: str
    document_digest: Annotated[str, Field(description="SHA-256 of the document as it was submitted.")]
    document_size: int
    pages: int
    earlier_signatures: int
    warnings: list[str]
    level: str
    algorithm: str
    confirm: Annotated[str, Field(description="Where the code is typed: `client` or `phone`.")]
    policy: Annotated[str, Field(description="SHA-256 of the policy that permitted it.")]
    created_at: datetime
    expires_at: datetime
    ended_at: datetime | None = None
    signed_digest: Annotated[str | None, Field(description="SHA-256 of the signed document.")] = None
    signed_size: int | None = None
    finish_error: Annotated[str | None, Field(description="Why it is still `finishing`; it is tried again.")] = None

    @classmethod
    def of(cls, request: SigningRequest) -> Self:
        same = {name: getattr(request, name) for name in _SAME_WORDS}
        return cls(**same, issuing_agency=request.agency_code, policy=request.policy_hash,
                   warnings=list(request.warnings))


_SAME_WORDS = set(SigningRequestAnswer.model_fields) - {"issuing_agency", "policy", "warnings"}


class SigningRequestList(BaseModel):
    """The newest first. `next` is the cursor of the next page; without it this was the last."""

    model_config = ConfigDict(json_schema_extra={"example": {"signing_requests": [EXAMPLE], "next": REQUEST_ID}})

    signing_requests: list[SigningRequestAnswer]
    next: str | None = None


class FindingAnswer(BaseModel):
    rule: str
    permits: bool
    why: str


class TermsAnswer(BaseModel):
    """Under which conditions it would be signed."""

    level: str
    confirm: str
    lifetime_seconds: int
    algorithms: list[str]
    appearance: str


class DecisionAnswer(BaseModel):
    """Would this be signed, and how? Every rule's answer."""

    model_config = ConfigDict(json_schema_extra={"example": {
        "permitted": True, "policy": "default", "signatory_id": EXAMPLE["signatory_id"],
        "credential_id": EXAMPLE["credential_id"], "algorithm": "ecdsa-sha256",
        "findings": [{"rule": "secrecy", "permits": True, "why": "the document is not secret"}],
        "terms": {"level": "B-T", "confirm": "client", "lifetime_seconds": 259200,
                  "algorithms": ["ecdsa-sha256"], "appearance": "text"},
    }})

    permitted: bool
    policy: str
    signatory_id: str
    credential_id: str
    algorithm: str
    findings: list[FindingAnswer]
    terms: TermsAnswer | None = None

    @classmethod
    def of(cls, decided: Decided) -> Self:
        return cls(
            permitted=decided.decision.permitted, policy=decided.decision.policy_name,
            signatory_id=decided.signatory.id, credential_id=decided.credential.id,
            algorithm=decided.credential.algorithm, terms=_terms(decided.decision),
            findings=[FindingAnswer(rule=each.rule, permits=each.permits, why=each.why) for each in decided.findings],
        )


def _terms(decision: Decision) -> TermsAnswer | None:
    terms = decision.terms
    return None if terms is None else TermsAnswer(
        level=terms.level, confirm=terms.confirm, lifetime_seconds=int(terms.lifetime.total_seconds()),
        algorithms=sorted(terms.algorithms), appearance=terms.appearance,
    )


class ConfirmationForm(BaseModel):
    """The person's one-time code. It is checked only together with exactly the documents it confirms."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True,
                              json_schema_extra={"example": {"code": "492039"}})

    code: Annotated[str, Field(description="Six ASCII digits.", max_length=64)]


class ReasonForm(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "Sai số liệu ở trang 2"}})

    reason: Annotated[Line, Field(min_length=1, max_length=1000)]


class BatchForm(BaseModel):
    """Pending signing requests of one signatory."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"signing_requests": [REQUEST_ID]}})

    signing_requests: Annotated[
        list[Annotated[str, Field(pattern="^sr_[0-9a-f]{32}$")]], Field(min_length=1, max_length=MAX_LINES)]


class BatchLine(BaseModel):
    """One signing request of a batch. `outcome` is there after a confirmation."""

    signing_request_id: str
    state: State
    document_digest: str
    subject: str
    outcome: Annotated[str | None, Field(description="done, denied, failed or not-asked")] = None
    code: str | None = None
    message: str | None = None

    @classmethod
    def of(cls, request: SigningRequest) -> Self:
        return cls(signing_request_id=request.id, state=request.state, document_digest=request.document_digest,
                   subject=request.subject)

    @classmethod
    def told(cls, outcome: confirmation.Outcome) -> Self:
        return cls.of(outcome.request).model_copy(
            update={"outcome": outcome.outcome, "code": outcome.code, "message": outcome.message})


class BatchAnswer(BaseModel):
    """Signing requests that are confirmed together, with one matching code for what is still pending of them."""

    model_config = ConfigDict(json_schema_extra={"example": {
        "id": BATCH_ID, "signatory_id": EXAMPLE["signatory_id"], "matching_code": "234211",
        "created_at": "2026-03-02T02:05:00Z", "lines": [{
            "signing_request_id": REQUEST_ID, "state": "signed", "document_digest": DIGEST,
            "subject": EXAMPLE["subject"], "outcome": "done"}],
    }})

    id: str
    signatory_id: str
    matching_code: str
    created_at: datetime
    lines: list[BatchLine]

    @classmethod
    def of(cls, batch: Batch, lines: list[BatchLine] | None = None) -> Self:
        return cls(id=batch.id, signatory_id=batch.signatory_id, matching_code=batch.matching_code,
                   created_at=batch.created_at, lines=lines or [BatchLine.of(each) for each in batch.requests])


WORDS = {
    400: "The request is not as described; `errors` names the fields.", 401: "No access token, or a wrong one.",
    403: "Not permitted: `code` and `findings` say why.", 404: "Not there, or not yours.",
    409: "Not in the state that this needs.", 413: "Larger than a limit.", 415: "A media type we do not take.",
    429: "Too many; Retry-After says when.", 503: "Something is away or busy; Retry-After says when.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for its description. 401, 403, 429 and 503 may come from every route."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}  # put there by app.describe
    return {status: {"description": WORDS[status], "content": {MEDIA_TYPE: schema}}
            for status in sorted({401, 403, 429, 503, *statuses})}
