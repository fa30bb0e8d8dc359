"""Sizes, times and room: a request that is too much ends early, and everybody else goes on."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
import uvicorn

from signing_service import metrics
from signing_service.errors import Unavailable
from signing_service.front.callers import Caller, Role
from signing_service.front.limits import FORM_OVERHEAD, Bounds, Crowd, Envelope, Uploads
from signing_service.front.patience import PatientProtocol
from signing_service.front.settings import FrontSettings
from tests.support.world import Client, Stage, World, plan, told

Send = Callable[[Any], Awaitable[None]]


def settings(**more: Any) -> FrontSettings:
    return FrontSettings(profile="development", max_body_bytes=1024, max_document_bytes=4096, **more)


def scope(*headers: tuple[bytes, bytes], path: str = "/", query: bytes = b"", method: str = "POST") -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "query_string": query, "headers": list(headers),
            "http_version": "1.1"}


async def reads_everything(_scope: Any, receive: Any, send: Send) -> None:
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message["more_body"]
    await answers_ok(_scope, receive, send)


async def answers_ok(_scope: Any, _receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def talks(app: Any, scope: dict[str, Any], *pieces: bytes, never: bool = False) -> list[Any]:
    """Drive an ASGI application by hand: these pieces of a body arrive, and then nothing if `never`."""
    waiting, sent = list(pieces), list[Any]()

    async def receive() -> Any:
        if not waiting and never:
            await asyncio.Event().wait()
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or never}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return sent


def status_of(sent: list[Any]) -> int:
    return int(sent[0]["status"])


def header_of(sent: list[Any], name: bytes) -> bytes | None:
    return dict(sent[0]["headers"]).get(name)


SIZES = {
    "the limit itself is taken": (1024, None, 200),
    "one byte more is not": (1025, None, 413),
    "a form may carry a document": (4096, b"multipart/form-data; boundary=x", 200),
    "a form larger than a document may be is not taken": (
        4096 + FORM_OVERHEAD + 1, b"multipart/form-data; boundary=x", 413),
}


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
@pytest.mark.parametrize(("size", "media_type", "status"), SIZES.values(), ids=SIZES)
def test_bodies_have_a_size(size: int, media_type: bytes | None, status: int, declared: bool) -> None:
    headers = [(b"content-type", media_type)] if media_type else []
    if declared:
        headers.append((b"content-length", str(size).encode()))
    sent = asyncio.run(talks(Bounds(reads_everything, settings()), scope(*headers), *[b"x" * 512] * (size // 512),
                             b"x" * (size % 512)))
    assert status_of(sent) == status
    assert status == 200 or header_of(sent, b"connection") == b"close"


def test_two_gigabytes_are_refused_before_one_byte_is_read() -> None:
    async def never_asked(_scope: Any, _receive: Any, _send: Send) -> None:
        raise AssertionError("the application was asked")

    huge = scope((b"content-length", b"2147483648"), (b"content-type", b"multipart/form-data; boundary=x"))
    sent = asyncio.run(talks(Bounds(never_asked, settings()), huge))
    assert status_of(sent) == 413
    assert b'"code": "body-too-large"' in sent[1]["body"]


@pytest.mark.parametrize("value", [b"-1", b"1e3", b"abc", b"9" * 19])
def test_a_length_that_is_no_number_is_refused(value: bytes) -> None:
    sent = asyncio.run(talks(Bounds(reads_everything, settings()), scope((b"content-length", value))))
    assert status_of(sent) == 400


def test_large_headers_are_refused() -> None:
    sent = asyncio.run(talks(Bounds(reads_everything, settings()), scope((b"x-large", b"x" * 20_000))))
    assert status_of(sent) == 400


def test_a_body_that_stops_half_way_ends_the_request() -> None:
    bounds = Bounds(reads_everything, settings(chunk_seconds=0.01))
    sent = asyncio.run(talks(bounds, scope(), b"half", never=True))
    assert status_of(sent) == 400
    assert b'"code": "too-slow"' in sent[1]["body"]


def test_a_body_that_trickles_for_ever_ends_when_its_whole_time_is_over() -> None:
    async def trickle() -> list[Any]:
        sent = list[Any]()

        async def receive() -> Any:
            await asyncio.sleep(0.001)
            return {"type": "http.request", "body": b"", "more_body": True}

        async def send(message: Any) -> None:
            sent.append(message)

        await Bounds(reads_everything, settings(body_seconds=0.05))(scope(), receive, send)
        return sent

    assert status_of(asyncio.run(trickle())) == 400


def test_what_the_route_made_of_a_broken_body_is_not_sent() -> None:
    async def swallows(_scope: Any, receive: Any, send: Send) -> None:
        try:
            while True:
                await receive()
        except Exception:  # as a form parser does, which then answers 400 in its own words
            await answers_ok(_scope, receive, send)

    sent = asyncio.run(talks(Bounds(swallows, settings()), scope(), b"x" * 2000))
    assert [message.get("status") for message in sent] == [413, None]


def test_one_request_too_many_is_told_to_come_back_and_health_still_answers() -> None:
    async def story() -> None:
        free = asyncio.Event()

        async def waits(inner: Any, receive: Any, send: Send) -> None:
            if inner["path"] == "/":
                await free.wait()
            await answers_ok(inner, receive, send)

        crowd = Crowd(waits, 1)
        first = asyncio.create_task(talks(crowd, scope()))
        await asyncio.sleep(0)
        refused = await talks(crowd, scope())
        assert (status_of(refused), header_of(refused, b"retry-after")) == (503, b"1")
        assert status_of(await talks(crowd, scope(path="/healthz"))) == 200
        assert status_of(await talks(crowd, scope(path="/api/v1/other", method="GET", query=b"wait=30"))) == 200
        assert status_of(await talks(crowd, scope(path="/waiting", method="GET", query=b"wait=30"))) == 503
        free.set()
        assert status_of(await first) == 200
        assert status_of(await talks(crowd, scope(path="/other"))) == 200

    asyncio.run(story())


def test_one_client_has_so_many_uploads_at_once_and_another_client_is_not_held_up() -> None:
    async def story() -> None:
        free = asyncio.Event()

        async def waits(inner: Any, receive: Any, send: Send) -> None:
            await free.wait()
            await answers_ok(inner, receive, send)

        def upload(client_id: str, media_type: bytes = b"multipart/form-data; boundary=x") -> Any:
            caller = Caller(client_id, client_id, Role.SUBMITTER, frozenset())
            return scope((b"content-type", media_type)) | {"state": {"caller": caller}}

        uploads = Uploads(waits, 1)
        under_way = [asyncio.create_task(talks(uploads, each)) for each in (
            upload("cl_1"), upload("cl_2"), upload("cl_1", b"application/json"))]
        await asyncio.sleep(0)
        refused = await talks(uploads, upload("cl_1"))
        assert (status_of(refused), header_of(refused, b"retry-after")) == (429, b"1")
        free.set()
        assert [status_of(await each) for each in under_way] == [200, 200, 200]
        assert status_of(await talks(uploads, upload("cl_1"))) == 200

    asyncio.run(story())


def test_documents_leave_a_reserve_of_disk_to_the_log_and_the_database(stage: Stage, tmp_path: Any) -> None:
    with World.open(stage, tmp_path, reserve_bytes=1 << 60) as world:
        answer = world.client().tries_to_submit("somebody")
        assert told(answer, 503)["code"] == "disk-reserve"
        assert world.files() == []


def test_answers_are_counted_by_declared_route_and_never_by_what_the_caller_wrote(town: Any) -> None:
    def count(route: str, status: str) -> float:
        labels = {"route": route, "status": status}
        return metrics.registry().get_sample_value("signing_http_requests_total", labels) or 0

    one, other = "/api/v1/signing-requests/{request_id}", "unknown"
    before = count(one, "404"), count(other, "404")
    town.office.asks("GET", "/api/v1/signing-requests/sr_1")
    town.office.asks("GET", "/nowhere/at/all")
    assert (count(one, "404"), count(other, "404")) == (before[0] + 1, before[1] + 1)


def test_every_answer_has_a_request_id_and_the_security_headers(town: Any) -> None:
    for path in ("/healthz", "/nowhere", "/api/v1/signing-requests"):
        answer = town.world.asks("GET", path)
        assert answer.headers["x-request-id"].startswith("rq_")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"


def test_an_exception_is_a_500_with_an_id_and_no_detail(caplog: pytest.LogCaptureFixture) -> None:
    async def breaks(_scope: Any, _receive: Any, _send: Send) -> None:
        raise RuntimeError("the password is hunter2")

    with caplog.at_level(logging.ERROR):
        sent = asyncio.run(talks(Envelope(breaks), scope()))

    assert status_of(sent) == 500
    request_id = header_of(sent, b"x-request-id")
    assert request_id is not None
    assert request_id in sent[1]["body"]
    assert b"hunter2" not in sent[1]["body"]
    assert request_id.decode() in caplog.text


def test_a_document_larger_than_the_limit_leaves_nothing(stage: Stage, tmp_path: Any) -> None:
    with World.open(stage, tmp_path, max_document_bytes=10_000) as world:
        answer = world.client().tries_to_submit("somebody", plan())
        assert told(answer, 413)["code"] == "document-too-large"
        assert world.files() == []


def test_too_many_long_polls_are_refused(world: World, office: Client) -> None:
    with pytest.raises(Unavailable):
        world.stage.run(type(world.rt.watch)(world.rt.db, most=0).moved("sr_1", "pending", 1))


class Impatient(PatientProtocol):
    header_seconds = 0.05


@asynccontextmanager
async def served(app: Any, protocol: type[PatientProtocol] = Impatient) -> AsyncIterator[tuple[str, int]]:
    """A real server on a port of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=protocol, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    yield listener.getsockname()
    server.should_exit = True
    await serving


async def says(address: tuple[str, int], *words: bytes) -> bytes:
    """Say this on a fresh connection and hear everything until it is closed."""
    reader, writer = await asyncio.open_connection(*address)
    for each in words:
        writer.write(each)
    heard = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return heard


def test_who_connects_and_says_nothing_is_hung_up_on_and_others_are_served() -> None:
    async def story() -> None:
        async with served(answers_ok) as address:
            assert await says(address) == b""
            assert await says(address, b"GET / HTTP/1.1\r\nHost: a") == b""
            assert (await says(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).startswith(
                b"HTTP/1.1 200")

    asyncio.run(story())


def test_a_body_of_two_gigabytes_is_answered_and_hung_up_on_before_it_is_sent() -> None:
    async def story() -> None:
        async with served(Bounds(reads_everything, settings())) as address:
            declared = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2147483648\r\nExpect: 100-continue\r\n\r\n"
            assert (await says(address, declared)).startswith(b"HTTP/1.1 413")
            chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            assert (await says(address, chunked, b"800\r\n" + b"x" * 0x800 + b"\r\n")).startswith(b"HTTP/1.1 413")

    asyncio.run(story())


class Hurried(PatientProtocol):
    """Room for three who owe something, and hardly a moment to take an answer."""

    most_owing = 3
    taking_seconds = 0.05
    _owing: ClassVar[dict[PatientProtocol, None]] = {}


def test_who_keeps_us_waiting_longest_makes_room_for_others() -> None:
    async def story() -> None:
        async with served(answers_ok, Hurried) as address:
            standing = [await asyncio.open_connection(*address) for _ in range(3)]
            standing[1][1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # one of them says something, and is served
            assert (await standing[1][0].readuntil(b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert (await says(address, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).startswith(
                b"HTTP/1.1 200")
            assert await asyncio.wait_for(standing[0][0].read(), 5) == b""  # the first of those that never did
            standing[1][1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await standing[1][0].readuntil(b"\r\n0\r\n\r\n")).startswith(b"HTTP/1.1 200")
            for _, writer in standing:
                writer.close()

    asyncio.run(story())


def test_who_does_not_take_an_answer_is_hung_up_on() -> None:
    async def story() -> None:
        gone = asyncio.Event()

        async def endless(_scope: Any, _receive: Any, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(10_000):  # 640 MB: more than any socket holds
                await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            gone.set()  # a connection that was lost takes everything

        async with served(endless, Hurried) as address:
            reader, writer = await asyncio.open_connection(*address, limit=1 << 10)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.wait_for(gone.wait(), 20)
            assert await _read_to_its_end(reader) < 640 << 16
            writer.close()

    asyncio.run(story())


def test_who_sends_slowly_keeps_nobody_out() -> None:
    async def story() -> None:
        crowd = Crowd(reads_everything, 1)
        slow = [asyncio.create_task(talks(crowd, scope(), b"half", never=True)) for _ in range(3)]
        await asyncio.sleep(0)
        assert status_of(await talks(crowd, scope(), b"all of it")) == 200
        slow += [asyncio.create_task(talks(crowd, scope(), b"half", never=True)) for _ in range(2)]
        await asyncio.sleep(0)
        assert status_of(await talks(crowd, scope(), b"all of it")) == 503  # the fifth has the one place
        for each in slow:
            each.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        assert status_of(await talks(crowd, scope(), b"all of it")) == 200

    asyncio.run(story())


def test_who_reads_slowly_keeps_nobody_out() -> None:
    async def story() -> None:
        crowd, taken = Crowd(answers_ok, 1), asyncio.Event()

        async def slowly(_message: Any) -> None:
            await taken.wait()

        slow = [asyncio.create_task(crowd(scope(), None, slowly)) for _ in range(3)]  # type: ignore[arg-type]  # nobody receives
        await asyncio.sleep(0)
        assert status_of(await talks(crowd, scope())) == 200
        taken.set()
        await asyncio.gather(*slow)

    asyncio.run(story())


async def _read_to_its_end(reader: asyncio.StreamReader) -> int:
    """How much came before the connection was lost."""
    size = 0
    try:
        while piece := await reader.read(1 << 16):
            size += len(piece)
    except ConnectionError:
        pass
    return size
