"""Refusals across the boundary: an exception here, a `Failure` on the wire, the same exception there."""

from __future__ import annotations

from signing_service import errors
from signing_service.wire.messages import Failure

KINDS: dict[str, type[errors.SigningError]] = {
    kind.__name__: kind
    for kind in (
        errors.Invalid, errors.TooLarge, errors.Unsupported, errors.Unauthenticated, errors.NotAuthorized,
        errors.Denied, errors.NotFound, errors.WrongState, errors.TooMany, errors.Unavailable,
    )
}


def to_failure(error: errors.SigningError) -> Failure:
    return Failure(
        kind=type(error).__name__, code=error.code, message=error.message,
        retry_after=getattr(error, "retry_after", None),
        tries_left=getattr(error, "tries_left", None),
        findings=tuple((reason.rule, reason.why) for reason in getattr(error, "findings", ())),
    )


def from_failure(failure: Failure) -> errors.SigningError:
    kind = KINDS.get(failure.kind)
    if kind is errors.Denied:
        findings = [errors.Reason(rule, why) for rule, why in failure.findings]
        return errors.Denied(failure.message, code=failure.code, findings=findings)
    if kind is errors.NotAuthorized:
        return errors.NotAuthorized(failure.message, code=failure.code, tries_left=failure.tries_left)
    if kind is errors.TooMany:
        return errors.TooMany(failure.message, code=failure.code, retry_after=failure.retry_after or 1)
    if kind is errors.Unavailable or kind is None:  # a kind we do not know is a reason not to go on
        return errors.Unavailable(failure.message, code=failure.code, retry_after=failure.retry_after or 5)
    return kind(failure.message, code=failure.code)
