"""What stands in a message: each field as narrow as what it carries, so that the decoder refuses the rest."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

# `\Z`, because `$` would let a newline through behind the last character, and a column has no room for it.
Id = Annotated[str, Meta(pattern=r"^[a-z]{2,4}_[0-9a-f]{32}\Z")]
OperatorId = Annotated[str, Meta(pattern=r"^op_[0-9a-f]{32}\Z")]  # a signatory's codes are not tried as an operator's
AuditorId = Annotated[str, Meta(pattern=r"^au_[0-9a-f]{32}\Z")]
StaffId = Annotated[str, Meta(pattern=r"^(au|op)_[0-9a-f]{32}\Z")]  # who signs in with a password; never an official
PhoneId = Annotated[str, Meta(pattern=r"^ph_[0-9a-f]{32}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Code = Annotated[str, Meta(pattern=r"^[0-9]{6}\Z")]  # ASCII digits only: `\d` would take full-width ones
PRINTED = r"^[^\x00-\x1f\x7f]*\Z"  # one line; a zero byte is what PostgreSQL cannot keep
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=PRINTED)]
AgencyCode = Annotated[str, Meta(min_length=1, max_length=35, pattern=PRINTED)]
Why = Annotated[str, Meta(max_length=500, pattern=r"^[^\x00]*\Z")]
Secret = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]       # 256 random bits in a phone's cookie
Token = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]   # 256 random bits in a ticket's link, base64url
StopCode = Annotated[str, Meta(pattern=r"^[A-Z2-7]{5}(-[A-Z2-7]{5}){3}\Z")]  # 100 random bits, base32 (RFC 4648 6)
Label = Annotated[str, Meta(max_length=100, pattern=PRINTED)]
Active = Annotated[str, Meta(pattern=r"^(active|suspended)\Z")]
DigestBytes = Annotated[bytes, Meta(min_length=32, max_length=64)]
Der = Annotated[bytes, Meta(max_length=65_536)]

MAX_LINES = 200     # documents under one code: as many as a person can be said to have looked at
MAX_AT_THE_DESK = 5  # commands of an operator through the web: a form's worth, so that one code enrols no crowd
MAX_FRAME = 1 << 20  # bytes; the largest honest message is a Confirm of MAX_LINES or a policy
