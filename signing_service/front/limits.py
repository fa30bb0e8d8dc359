"""What stands around every request, as bare ASGI: a name, an end, a size, a time.

The HTTP server has no limit for bodies and no time-out for half-sent ones, so both are here. A refusal is sent
before the rest of the body is read, and the connection is closed after it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from signing_service import metrics
from signing_service.errors import Invalid, NotFound, SigningError, TooLarge, TooMany, Unavailable
from signing_service.front import problems
from signing_service.front.callers import Caller
from signing_service.front.settings import MIB, FrontSettings
from signing_service.ids import draw

log = logging.getLogger(__name__)

FORM_OVERHEAD = 256 * 1024  # of a form around its document: the fields and the boundaries
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
TOO_MANY_REQUESTS = Unavailable("Too many requests are under way.", code="busy", retry_after=1)
TOO_MANY_UPLOADS = TooMany("Too many of your uploads are under way.", code="uploads")
NOTHING_ELSE = NotFound("Only health, readiness and metrics are behind this port.")
ALWAYS_OPEN = ("/healthz", "/readyz", "/metrics")  # who looks after us is not sent away when we are busy


@dataclass(frozen=True)
class Envelope:
    """The outermost layer: a request id, security headers, a count, and an answer whatever happens inside."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = draw("rq")
        scope.setdefault("state", {})["request_id"] = request_id
        outgoing = _Outgoing(send, request_id)
        try:
            await self.app(scope, receive, outgoing)
        except Exception:
            log.exception("%s failed", request_id)
            if not outgoing.status:
                await problems.internal(request_id)(scope, receive, outgoing)
        finally:
            metrics.HTTP_REQUESTS.labels(_route_of(scope), str(outgoing.status or 499)).inc()


class _Outgoing:
    """Send, with our headers added to every answer that does not set them itself."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._added = ((b"x-request-id", request_id.encode()), *SECURITY_HEADERS)
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            there = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(each for each in self._added if each[0] not in there)]
        await self._send(message)


def _route_of(scope: Scope) -> str:
    """The declared template of the route, never what the caller wrote."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", "unknown")) if route is not None else "unknown"


@dataclass(frozen=True)
class ProbesOnly:
    """Who came in through the door of probes finds health, readiness and metrics behind it, and nothing else."""

    app: ASGIApp
    port: int | None  # of that door; None where there is none

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._is_theirs(scope) and scope["path"] not in ALWAYS_OPEN:
            await refuse(NOTHING_ELSE, scope, send)
        else:
            await self.app(scope, receive, send)

    def _is_theirs(self, scope: Scope) -> bool:
        """By our own end of the connection, which nobody can write into a request."""
        return self.port is not None and scope["server"][1] == self.port


class Crowd:
    """At most so many requests at once; one more is told to come back. Long polls have a limit of their own.

    While a body is on its way, or an answer, its request has no place, so that who sends or reads slowly keeps nobody
    out. That goes for four times as many: what has arrived of bodies stands in memory.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self.most, self.inside = app, most, 0
        self._most_outside, self._outside = 4 * most, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS_OPEN or _is_long_poll(scope):
            await self._app(scope, receive, send)
            return
        if self.inside >= self.most:
            await refuse(TOO_MANY_REQUESTS, scope, send)
            return
        self.inside += 1
        try:
            await self._app(scope, self._receiving(receive), self._sending(send))
        finally:
            self.inside -= 1

    def _receiving(self, receive: Receive) -> Receive:
        is_whole = False

        async def received() -> Message:
            nonlocal is_whole
            if is_whole:
                return await receive()  # waits for the end of the connection, while the request goes on
            with self._stepping_outside():
                message = await receive()
            is_whole = not message.get("more_body", False)
            return message

        return received

    def _sending(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            with self._stepping_outside():
                await send(message)

        return sent

    @contextmanager
    def _stepping_outside(self) -> Iterator[None]:
        if self._outside >= self._most_outside:
            yield
            return
        self.inside, self._outside = self.inside - 1, self._outside + 1
        try:
            yield
        finally:
            self.inside, self._outside = self.inside + 1, self._outside - 1


class Uploads:
    """At most so many forms of one client at once: one client's large files are that client's problem."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most
        self._under_way: Counter[str] = Counter()

    @property
    def any_full(self) -> bool:
        """Has anybody as many as one may have?"""
        return any(each >= self._most for each in self._under_way.values())

    def is_full(self, client_id: str) -> bool:
        return self._under_way[client_id] >= self._most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Caller | None = scope.get("state", {}).get("caller")
        if scope["type"] != "http" or caller is None or not _is_form(scope["headers"]):
            await self._app(scope, receive, send)
            return
        if self.is_full(caller.client_id):
            await refuse(TOO_MANY_UPLOADS, scope, send)
            return
        self._under_way[caller.client_id] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[caller.client_id] -= 1
            self._under_way += Counter()  # drops those at zero


def _is_form(headers: list[tuple[bytes, bytes]]) -> bool:
    return _header(headers, b"content-type").lower().startswith(b"multipart/form-data")


def _is_long_poll(scope: Scope) -> bool:
    """Of the API, which bounds its own; a page that is asked to wait does not, and must find room like any other."""
    is_of_api = scope["method"] == "GET" and scope["path"].startswith("/api/")
    return is_of_api and "wait" in parse_qs(scope["query_string"].decode("latin-1"))


@dataclass(frozen=True)
class Bounds:
    """Sizes and times of headers and bodies, by the settings."""

    app: ASGIApp
    settings: FrontSettings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        most = self._most(headers)
        refusal = _unspeakable(scope) or self._at_once(headers, most)
        if refusal is not None:
            await refuse(refusal, scope, send)
            return
        body = _Body(receive, send, most, self.settings)
        try:
            await self.app(scope, body.receive, body.send)
        except SigningError as error:
            if error is not body.refusal:
                raise
        if body.refusal is not None and not body.answering:
            await refuse(body.refusal, scope, send)

    def _most(self, headers: list[tuple[bytes, bytes]]) -> int:
        """Only a form carries a document; everything else is small."""
        if _is_form(headers):
            return self.settings.max_document_bytes + FORM_OVERHEAD
        return self.settings.max_body_bytes

    def _at_once(self, headers: list[tuple[bytes, bytes]], most: int) -> SigningError | None:
        size = sum(len(name) + len(value) for name, value in headers)
        if size > self.settings.max_header_bytes:
            return Invalid(f"The headers are larger than {self.settings.max_header_bytes} bytes.", code="headers")
        declared = _header(headers, b"content-length")
        if declared and not (declared.isdigit() and len(declared) <= 18):
            return Invalid("Content-Length is not a number.", code="headers")
        return _too_large(most) if declared and int(declared) > most else None


class _Body:
    """Receive, with a count and a clock. When a limit is passed, the answer is ours whatever the route says."""

    def __init__(self, receive: Receive, send: Send, most: int, settings: FrontSettings) -> None:
        self._receive, self._send, self._most = receive, send, most
        self._chunk_seconds = settings.chunk_seconds
        self._deadline = time.monotonic() + settings.body_seconds
        self._seen, self._ended = 0, False
        self.refusal: SigningError | None = None
        self.answering = False

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()  # waits for the end of the connection, which has no time-out
        message = await self._in_time()
        if message["type"] == "http.request":
            self._seen += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
            if self._seen > self._most:
                raise self._refused(_too_large(self._most))
        return message

    async def send(self, message: Message) -> None:
        if self.refusal is not None and not self.answering:
            return  # the route made something of the broken body; the answer is the refusal
        self.answering = True
        await self._send(message)

    async def _in_time(self) -> Message:
        left = min(self._chunk_seconds, self._deadline - time.monotonic())
        try:
            return await asyncio.wait_for(self._receive(), max(left, 0))
        except TimeoutError:
            slow = Invalid("The body did not arrive in time.", code="too-slow")
            raise self._refused(slow) from None

    def _refused(self, error: SigningError) -> SigningError:
        self.refusal, self._ended = error, True
        return error


def _unspeakable(scope: Scope) -> SigningError | None:
    """No name has a zero byte, and PostgreSQL takes none."""
    if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
        return Invalid("The address has a zero byte in it.", code="address")
    return None


def _too_large(most: int) -> TooLarge:
    shown = f"{most // MIB} MiB" if most >= MIB else f"{most} bytes"
    return TooLarge(f"The body is larger than {shown}.", code="body-too-large")


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"").strip()


async def refuse(error: SigningError, scope: Scope, send: Send) -> None:
    """Answer without having read the body, and close the connection: what is still under way belongs to nobody."""
    response = problems.answer(error, scope.get("state", {}).get("request_id"))
    response.headers["connection"] = "close"
    await response(scope, _nothing, send)


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
