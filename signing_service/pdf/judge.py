"""Judge the signatures of a document: who signed, is it unchanged, and is it to be believed (EN 319 102-1 5).

Not everything of that algorithm: no fetching of missing certificates or revocation lists (a pdf worker has no
business on the network), no signature policies, no archive timestamps. A trusted timestamp moves the judgement
back to its time; without one, what counts is now, because a claimed time proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from asn1crypto import x509
from pyhanko.sign.validation.pdf_embedded import EmbeddedPdfSignature
from pyhanko.sign.validation.status import PdfSignatureStatus, SignatureStatus, TimestampSignatureStatus
from pyhanko_certvalidator import ValidationContext

from signing_service.pdf.reading import reader_of, refusing
from signing_service.pdf.signatures import (
    changes_after,
    covers_whole_file,
    embedded_signatures,
    status_of,
    subject_of,
)
from signing_service.pdf.work import Changes, Judgement, JudgeOrder, Problem, Verdict

_PROVEN_FALSE = frozenset({
    Problem.UNREADABLE, Problem.ALTERED, Problem.CHANGED_AFTER, Problem.TIMESTAMP_BROKEN, Problem.REVOKED
})


@dataclass(frozen=True)
class _Findings:
    status: SignatureStatus
    moment: datetime
    revocation_checked: bool
    changes: Changes


def judge(order: JudgeOrder) -> tuple[Judgement, ...]:
    """One judgement per signature, in the order of the form. Raises `Refused` for a file that cannot be read."""
    with order.document.open("rb") as document, refusing():
        reader = reader_of(document)
        return tuple(_judgement(name, embedded, order) for name, embedded in embedded_signatures(reader))


def _judgement(name: str, embedded: EmbeddedPdfSignature | None, order: JudgeOrder) -> Judgement:
    if embedded is None:
        return _unreadable(name)
    try:
        return _judged(name, embedded, order)
    except MemoryError:
        raise
    except Exception:  # a hostile CMS raises whatever the libraries met: that is a finding too
        return _unreadable(name)


def _judged(name: str, embedded: EmbeddedPdfSignature, order: JudgeOrder) -> Judgement:
    findings = _findings(embedded, order, order.moment)
    stamped = _timestamp(findings.status)
    proven = stamped.timestamp if stamped is not None and stamped.trusted else None
    if proven is not None:
        findings = _findings(embedded, order, proven)
    certificate, status = embedded.signer_cert, findings.status
    problem = next(_problems(findings, certificate, stamped, order), None)
    return Judgement(
        field=name,
        signer=subject_of(certificate),
        issuer=str(certificate.issuer.human_friendly),
        serial=f"{certificate.serial_number:x}",
        certificate=certificate.dump(),
        not_before=certificate.not_valid_before,
        not_after=certificate.not_valid_after,
        signing_time=embedded.self_reported_timestamp,
        timestamp_time=proven,
        intact=bool(status.intact),
        valid=bool(status.valid),
        trusted=status.trusted,
        revoked=status.revoked,
        revocation_checked=findings.revocation_checked,
        covers_whole_document=covers_whole_file(embedded),
        changes_after=findings.changes,
        verdict=_verdict(problem),
        problem=problem,
    )


def _findings(embedded: EmbeddedPdfSignature, order: JudgeOrder, moment: datetime) -> _Findings:
    """First with revocation lists for the whole chain; without them, what can be said all the same."""
    if order.crls:
        strict = _status(embedded, order, moment, "require")
        if strict.trusted or strict.revoked:
            return _Findings(strict, moment, True, changes_after(embedded, strict))
    status = _status(embedded, order, moment, "soft-fail")
    return _Findings(status, moment, False, changes_after(embedded, status))


def _status(
    embedded: EmbeddedPdfSignature, order: JudgeOrder, moment: datetime, revocation: str
) -> SignatureStatus:
    # The timestamp's own certificate is asked about now: it is what proves the earlier moment.
    return status_of(
        embedded, _context(order, moment, revocation), _context(order, order.moment, "soft-fail")
    )


def _context(order: JudgeOrder, moment: datetime, revocation: str) -> ValidationContext:
    return ValidationContext(
        trust_roots=[x509.Certificate.load(each) for each in order.trust_roots],
        crls=list(order.crls),
        moment=moment,
        allow_fetching=False,
        revocation_mode=revocation,
        # A list issued after the proven moment tells what was revoked before it, too.
        retroactive_revinfo=moment < order.moment,
    )


def _timestamp(status: SignatureStatus) -> TimestampSignatureStatus | None:
    if isinstance(status, TimestampSignatureStatus):
        return status
    return status.timestamp_validity if isinstance(status, PdfSignatureStatus) else None


def _problems(
    findings: _Findings,
    certificate: x509.Certificate,
    stamped: TimestampSignatureStatus | None,
    order: JudgeOrder,
) -> Iterator[Problem]:
    """What stands against the signature, the gravest first."""
    status = findings.status
    if not (status.intact and status.valid):
        yield Problem.ALTERED
    if findings.changes is Changes.NOT_PERMITTED:
        yield Problem.CHANGED_AFTER
    if stamped is not None and not (stamped.intact and stamped.valid):
        yield Problem.TIMESTAMP_BROKEN
    if status.revoked:
        yield Problem.REVOKED
    if certificate.not_valid_after < findings.moment:
        yield Problem.EXPIRED
    if certificate.not_valid_before > findings.moment:
        yield Problem.NOT_YET_VALID
    if not status.trusted:
        yield Problem.UNTRUSTED
    if order.require_revocation and not findings.revocation_checked:
        yield Problem.REVOCATION_UNKNOWN


def _verdict(problem: Problem | None) -> Verdict:
    if problem is None:
        return Verdict.VALID
    return Verdict.INVALID if problem in _PROVEN_FALSE else Verdict.INDETERMINATE


def _unreadable(name: str) -> Judgement:
    return Judgement(
        field=name,
        signer="",
        issuer="",
        serial="",
        certificate=b"",
        not_before=None,
        not_after=None,
        signing_time=None,
        timestamp_time=None,
        intact=False,
        valid=False,
        trusted=False,
        revoked=False,
        revocation_checked=False,
        covers_whole_document=False,
        changes_after=Changes.NOT_PERMITTED,
        verdict=Verdict.INVALID,
        problem=Problem.UNREADABLE,
    )
