"""Exit codes: one for each kind of refusal, so that scripts need not read messages."""

from __future__ import annotations

from signing_service import errors

INTERRUPTED = 130  # as shells have it: 128 + SIGINT
BROKEN = 70        # EX_SOFTWARE of sysexits(3): our fault, with an id in the log
FALSE = 1          # a check that ran to its end and found something wrong

CODES: dict[type[errors.SigningError], int] = {
    errors.Invalid: 2,
    errors.TooLarge: 2,
    errors.Unsupported: 2,
    errors.Unauthenticated: 3,
    errors.NotAuthorized: 3,
    errors.Denied: 4,
    errors.NotFound: 5,
    errors.WrongState: 6,
    errors.TooMany: 7,
    errors.Unavailable: 8,
}


def of(error: errors.SigningError) -> int:
    """The code of the nearest kind: subclasses that some package made exit like their parent."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), BROKEN)
