"""Nothing is changed by what another site sends: two controls, either of which is enough.

The browser says where a form came from (Fetch Metadata; Origin where a browser is older), and the form carries a
token that only a page of ours could have written: an HMAC over the cookies it came with. It is bound to the phone
or session, so a token of before a sign-in is worthless after it.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import FormData

from signing_service.errors import NotAuthorized
from signing_service.front.runtime import Runtime
from signing_service.front.web import visitors

FIELD, HEADER = "csrf", "x-csrf-token"


def token(request: Request) -> str:
    """What a form of this visitor must carry. The page sets the visit cookie when there was none."""
    rt: Runtime = request.app.state.rt
    key = hmac.digest(rt.secret, b"signing-service forgery", sha256)
    return hmac.new(key, "\0".join(visitors.identity(request)).encode(), sha256).hexdigest()


def check_site(request: Request) -> None:
    """Raise NotAuthorized for what was not sent by a page of ours. Reads no body."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise _refusal()
    elif urlsplit(request.headers.get("origin", "")).netloc not in _ours(request):
        raise _refusal()


def _ours(request: Request) -> tuple[str, ...]:
    """How this server is called: by the browser, and by the settings, where a proxy tells us another name."""
    rt: Runtime = request.app.state.rt
    return request.headers.get("host", "-"), urlsplit(rt.settings.public_url).netloc


def check_token(request: Request, form: FormData) -> None:
    """Raise NotAuthorized unless the form, or a header, carries this visitor's token."""
    shown = form.get(FIELD) or request.headers.get(HEADER, "")
    if not isinstance(shown, str) or not visitors.has_visit(request) \
            or not hmac.compare_digest(shown.encode(), token(request).encode()):
        raise _refusal()


def _refusal() -> NotAuthorized:
    return NotAuthorized("The form did not come from a page of this server, or is too old. Open the page again.",
                         code="forged")
