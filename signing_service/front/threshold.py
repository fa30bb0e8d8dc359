"""Who would be sent away in any case is sent away at the threshold: by a look at the first bytes, which nobody parses.

A refusal inside costs a parsed request, a task and mostly a connection; where five times as many come as we can serve,
that is four of them for each good answer. Here it costs a comparison and one write, and the connection may stay.

Who asks only whether we are alive is answered here as well: that needs nothing from inside, and where hundreds of
requests go on at once each step inside would wait for all of theirs.

Nobody is let in here: what is not plainly one of these cases goes on and is decided inside, where the same limits hold.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse, Response

from signing_service import metrics
from signing_service.access import Recognised, hash_of
from signing_service.errors import SigningError
from signing_service.front import problems
from signing_service.front.limits import (
    ALWAYS_OPEN,
    SECURITY_HEADERS,
    TOO_MANY_REQUESTS,
    TOO_MANY_UPLOADS,
    Crowd,
    Uploads,
)
from signing_service.ids import draw

LONGEST_HEAD: Final = 16_384
MOST_THROWN_AWAY: Final = 1 << 20  # bytes of a body: with more of it to come, closing is cheaper than reading on

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,8})[ \t]*\r\n")
_TOKEN: Final = re.compile(rb"\r\nauthorization:[ \t]*bearer[ \t]+(st_[0-9a-f]{64})[ \t]*\r\n")
_FORM: Final = re.compile(rb"\r\ncontent-type:[ \t]*multipart/form-data")
ALIVE: Final = {"status": "ok"}     # the answer of /healthz
_IS_ALIVE: Final = b"GET /healthz HTTP/1.1\r\n"
_OPEN: Final = frozenset(path.encode() for path in ALWAYS_OPEN)


@dataclass(frozen=True)
class AtOnce:
    """An answer, and how much of the request is still to come and is nobody's. None: the connection ends here."""

    first_line: bytes
    rest: bytes
    left: int | None


class Threshold:
    """Looks at what `crowd`, `uploads` and `recognised` know at this moment, and at who just came in; asks nobody."""

    def __init__(
        self, crowd: Crowd, uploads: Uploads, recognised: Recognised, clock: Callable[[], datetime],
    ) -> None:
        self._crowd, self._uploads, self._recognised, self._clock = crowd, uploads, recognised, clock
        self._coming = 0    # let in, and not counted inside yet
        self._busy, self._slow_down = _refusing(TOO_MANY_REQUESTS), _refusing(TOO_MANY_UPLOADS)
        self._alive = _Prepared(JSONResponse(ALIVE), draw("rq"), "/healthz")

    def answers(self, data: bytes) -> AtOnce | None:
        """The answer to the request that begins with these bytes; None where it has to be looked at properly."""
        asks_for_health = data.startswith(_IS_ALIVE)
        if not asks_for_health and not self._is_full and not self._uploads.any_full:
            return None
        end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD)
        if end < 0 or (asks_for_health and len(data) > end + 4):  # with more to come it is served like any other
            return None
        head = data[:end + 2].lower()
        prepared = self._alive if asks_for_health else self._refusal(head)
        return None if prepared is None else prepared.at_once(_left_of(head, len(data) - end - 4))

    def lets_in(self) -> None:
        """One more is on its way in. Whoever comes in the same turn of the loop must know, or hundreds do at once: they
        are counted inside from the next turn on.
        """
        self._coming += 1
        asyncio.get_running_loop().call_soon(self._is_in)

    def _is_in(self) -> None:
        self._coming -= 1

    @property
    def _is_full(self) -> bool:
        return self._crowd.inside + self._coming >= self._crowd.most

    def _refusal(self, head: bytes) -> _Prepared | None:
        method, _, rest = head[:head.index(b"\r\n")].partition(b" ")
        target, _, version = rest.rpartition(b" ")
        path, _, query = target.partition(b"?")
        if method not in (b"get", b"post") or version != b"http/1.1" or path in _OPEN or b"wait" in query:
            return None
        if self._is_full:
            return self._busy
        return self._slow_down if method == b"post" and self._has_too_many(head) else None

    def _has_too_many(self, head: bytes) -> bool:
        """Is it one more form of a client that has too many? Only of one that was recognised a moment ago."""
        token = _TOKEN.search(head)
        if token is None or not _FORM.search(head) or head.count(b"\r\nauthorization:") > 1:
            return False
        holder = self._recognised.holder_of(hash_of(token[1].decode()), self._clock())
        return holder is not None and self._uploads.is_full(holder.client_id)


def _left_of(head: bytes, there: int) -> int | None:
    """Bytes of the body that are still to come. None where the connection must end: nobody could tell for certain where
    the next request begins, it has begun already, or it would take too long to come to it.
    """
    if any(word in head for word in (b"transfer-encoding", b"expect", b"upgrade", b"\r\nconnection: close")):
        return None
    lengths = head.count(b"content-length")
    found = _LENGTH.search(head)
    if lengths > 1 or (lengths == 1 and found is None):
        return None
    left = (int(found[1]) if found else 0) - there
    return left if 0 <= left <= MOST_THROWN_AWAY else None


class _Prepared:
    """An answer that is the same for everybody, but for its id: that of `response`, which was made for this one."""

    def __init__(self, response: Response, request_id: str, route: str) -> None:
        status = HTTPStatus(response.status_code)
        self._route, self._status = route, str(status.value)
        self._first_line = f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
        name = request_id.encode()
        headers = b"".join(b"%s: %s\r\n" % pair for pair in (*response.raw_headers, *SECURITY_HEADERS))
        self._parts = (b"x-request-id: %s\r\n" % name + headers + b"\r\n" + bytes(response.body)).split(name)

    def at_once(self, left: int | None) -> AtOnce:
        metrics.HTTP_REQUESTS.labels(self._route, self._status).inc()
        return AtOnce(self._first_line, draw("rq").encode().join(self._parts), left)


def _refusing(error: SigningError) -> _Prepared:
    request_id = draw("rq")
    return _Prepared(problems.answer(error, request_id), request_id, "unknown")
