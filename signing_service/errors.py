"""Every refusal has a kind; each dialect has one table from kind to answer.

```
SigningError              message: for the caller and safe to show; `raise … from cause` is for the log
├── Invalid               the input is wrong; `errors` names the fields           REST 400   exit 2
│   ├── TooLarge          larger than a limit                                          413
│   └── Unsupported       a media type or algorithm we do not speak                    415
├── Unauthenticated       who are you?                                                 401        3
├── NotAuthorized         known, but not allowed, or the code was not accepted          403        3
├── Denied                the policy says no; `findings` says which rule and why        403        4
├── NotFound              not there, or not yours                                      404        5
├── WrongState            not now: the thing is in another state                       409        6
├── TooMany               slow down; `retry_after` seconds                             429        7
└── Unavailable           something we need is away; `retry_after` seconds             503        8
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FieldError:
    """One wrong field: where it is, and what is wrong with it."""

    field: str
    message: str


class SigningError(Exception):
    """A refusal. `code` is a stable word for programs; the message is for people."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class Invalid(SigningError):
    code = "invalid"

    def __init__(self, message: str, *, code: str | None = None, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(message, code=code)
        self.errors = tuple(errors)


class TooLarge(Invalid):
    code = "too-large"


class Unsupported(Invalid):
    code = "unsupported"


class Unauthenticated(SigningError):
    code = "unauthenticated"


class NotAuthorized(SigningError):
    code = "not-authorized"

    def __init__(self, message: str, *, code: str | None = None, tries_left: int | None = None) -> None:
        super().__init__(message, code=code)
        self.tries_left = tries_left


@dataclass(frozen=True)
class Reason:
    """One rule that did not permit, in words that may be shown."""

    rule: str
    why: str


class Denied(SigningError):
    code = "denied"

    def __init__(self, message: str, *, code: str | None = None, findings: Sequence[Reason] = ()) -> None:
        super().__init__(message, code=code)
        self.findings = tuple(findings)


class NotFound(SigningError):
    code = "not-found"


class WrongState(SigningError):
    code = "wrong-state"


class TooMany(SigningError):
    code = "too-many"

    def __init__(self, message: str, *, code: str | None = None, retry_after: int = 1) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class Unavailable(SigningError):
    code = "unavailable"

    def __init__(self, message: str, *, code: str | None = None, retry_after: int = 5) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
