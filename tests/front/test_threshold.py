"""At the threshold: who is refused in any case never comes in, hears the same as inside, and may ask again."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
import uvicorn
import uvloop

from signing_service import metrics
from signing_service.access import Holder, Recognised, hash_of
from signing_service.front import health
from signing_service.front.callers import Caller, Role
from signing_service.front.limits import ALWAYS_OPEN, Crowd, Envelope, ProbesOnly, Uploads
from signing_service.front.patience import DOORS, PatientProtocol, doors
from signing_service.front.threshold import MOST_THROWN_AWAY, Threshold

NOW = datetime(2026, 11, 22, 9, tzinfo=UTC)
OFFICE, OTHER, STRANGER = (f"st_{digit * 64}" for digit in "abc")


@dataclass
class House:
    """Room for one request, and for one form of each client; `busy` ones wait for `free`."""

    free: asyncio.Event = field(default_factory=asyncio.Event)
    came_in: list[str] = field(default_factory=list)
    probes: tuple[str, int] = ("", 0)

    def __post_init__(self) -> None:
        self.uploads = Uploads(self, 1)
        self.crowd = Crowd(self.knows, 1)
        self.recognised = Recognised()
        for token in (OFFICE, OTHER):
            self.recognised.remember(hash_of(token), Holder(token, token, "submitter", frozenset()), NOW)
        self.threshold = Threshold(self.crowd, self.uploads, self.recognised, lambda: NOW)

    async def knows(self, scope: Any, receive: Any, send: Any) -> None:
        shown = dict(scope["headers"]).get(b"authorization", b"").decode().removeprefix("Bearer ")
        scope["state"]["caller"] = Caller(shown, shown, Role.SUBMITTER, frozenset()) if shown else None
        await self.uploads(scope, receive, send)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.came_in.append(scope["path"])
        if scope["path"] == "/busy":
            await self.free.wait()
        while (await receive()).get("more_body"):
            pass
        if scope["path"] == "/healthz":
            await (await health.live())(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def open_house(most_requests: int = 1, probes: bool = False) -> AsyncIterator[tuple[House, tuple[str, int]]]:
    house = House()
    house.crowd.most = most_requests

    class Door(PatientProtocol):
        threshold = house.threshold

    listener, *others = (socket.create_server(("127.0.0.1", 0)) for _ in range(1 + probes))
    house.probes = others[0].getsockname() if others else house.probes
    app = Envelope(ProbesOnly(house.crowd, house.probes[1] or None))
    config = uvicorn.Config(app, http=Door, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener, *others]))
    try:
        yield house, listener.getsockname()
    finally:
        while Line.open:
            Line.open.pop().writer.close()
        house.free.set()
        server.should_exit = True
        await serving


def head(path: str = "/", method: str = "GET", *lines: str, token: str = "") -> bytes:
    shown = [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *shown, *lines, "", ""]).encode()


def form(path: str, token: str, size: int = 10) -> bytes:
    return head(path, "POST", "Content-Type: multipart/form-data; boundary=b", f"Content-Length: {size}", token=token)


@dataclass
class Line:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    open: ClassVar[list[Line]] = []  # closed with the house

    @classmethod
    async def to(cls, address: tuple[str, int]) -> Line:
        cls.open.append(cls(*await asyncio.open_connection(*address)))
        return cls.open[-1]

    async def asks(self, content: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(content)
        return await self.hears()

    async def hears(self) -> tuple[int, dict[str, str], bytes]:
        first, *lines = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 20)).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        return int(first.split()[1]), headers, await self.reader.readexactly(int(headers["content-length"]))

    async def is_over(self) -> bool:
        return await asyncio.wait_for(self.reader.read(1), 20) == b""


async def busy(house: House, address: tuple[str, int], content: bytes) -> Line:
    """Somebody who is inside, and stays."""
    line, before = await Line.to(address), len(house.came_in)
    line.writer.write(content)
    while len(house.came_in) == before:  # noqa: ASYNC110 - the other side makes it true
        await asyncio.sleep(0.001)
    return line


def test_who_is_sent_away_never_comes_in_and_may_ask_again_on_the_same_connection() -> None:
    async def story() -> None:
        async with open_house() as (house, address):
            inside, line = await busy(house, address, head("/busy")), await Line.to(address)
            for _ in range(3):
                status, headers, _ = await line.asks(head())
                assert (status, headers["retry-after"]) == (503, "1")
            assert (await line.asks(head("/healthz")))[0] == 200
            assert house.came_in == ["/busy"]
            house.free.set()
            assert (await inside.hears())[0] == 200
            assert (await line.asks(head()))[0] == 200

    asyncio.run(story())


def test_of_those_who_come_in_one_moment_no_more_come_in_than_there_is_room_for() -> None:
    async def story() -> None:
        async with open_house(most_requests=2) as (house, address):
            lines = [await Line.to(address) for _ in range(20)]
            for line in lines:
                os.write(line.writer.get_extra_info("socket").fileno(), head("/busy"))  # the loop has no turn meanwhile
            answers = asyncio.as_completed([line.hears() for line in lines])
            for _, answer in zip(range(18), answers, strict=False):
                status, headers, _ = await answer
                assert (status, headers.get("connection")) == (503, None)
            house.free.set()
            assert [(await answer)[0] for answer in answers] == [200, 200]

    asyncio.run(story())


def test_the_rest_of_a_body_is_nobody_s_and_what_follows_it_is_heard() -> None:
    """However it is cut: the body contains what looks like a request, and the next one begins in the same piece."""
    async def story(cut: int) -> None:
        async with open_house() as (house, address):
            inside, line = await busy(house, address, head("/busy")), await Line.to(address)
            body = head("/smuggled")
            sent = head("/", "POST", f"Content-Length: {len(body)}")
            assert (await line.asks(sent + body[:cut]))[0] == 503
            house.free.set()
            assert (await inside.hears())[0] == 200
            assert (await line.asks(body[cut:] + head("/next")))[0] == 200
            assert house.came_in == ["/busy", "/next"]

    for cut in (0, 1, 20):
        asyncio.run(story(cut))


def test_one_form_too_many_of_a_client_is_sent_away_and_nobody_else() -> None:
    async def story() -> None:
        async with open_house(most_requests=9) as (house, address):
            await busy(house, address, form("/busy", OFFICE) + bytes(10))
            line = await Line.to(address)
            status, headers, told = await line.asks(form("/", OFFICE) + bytes(10))
            assert (status, headers["retry-after"], json.loads(told)["code"]) == (429, "1", "uploads")
            assert house.came_in == ["/busy"]
            for other in (form("/", OTHER) + bytes(10), head(token=OFFICE), head(),
                          head("/", "POST", "Content-Length: 2", token=OFFICE) + b"ab"):
                assert (await line.asks(other))[0] == 200
            # Whom we do not remember is known inside only, and refused there.
            house.recognised._holders.clear()
            status, headers, _ = await line.asks(form("/", OFFICE) + bytes(10))
            assert (status, headers["connection"]) == (429, "close")

    asyncio.run(story())


CLOSED = {
    "a body in chunks": head("/", "POST", "Transfer-Encoding: chunked"),
    "two lengths": head("/", "POST", "Content-Length: 3", "Content-Length: 30"),
    "a length behind a bare line feed": b"POST / HTTP/1.1\r\nHost: a\nContent-Length: 3\r\n\r\n",
    "a length that is no number": head("/", "POST", "Content-Length: 3, 4"),
    "a body larger than anybody reads for nothing": head("/", "POST", f"Content-Length: {MOST_THROWN_AWAY + 1}"),
    "somebody who asks before sending": head("/", "POST", "Content-Length: 3", "Expect: 100-continue"),
    "somebody who wants to close": head("/", "GET", "Connection: close"),
    "a next request that has begun": head() + head("/next"),
}


@pytest.mark.parametrize("content", CLOSED.values(), ids=CLOSED.keys())
def test_where_the_next_request_begins_is_certain_or_the_connection_ends(content: bytes) -> None:
    async def story() -> None:
        async with open_house() as (house, address):
            await busy(house, address, head("/busy"))
            line = await Line.to(address)
            status, headers, _ = await line.asks(content)
            assert (status, headers["connection"]) == (503, "close")
            assert await line.is_over()
            assert house.came_in == ["/busy"]

    asyncio.run(story())


INSIDE = {
    "health in other words": head("/healthz?"), "health without its words": head("/healthz", "HEAD"),
    "half a question for health": head("/healthz")[:-2], "health, and what is asked next": head("/healthz") + head("/"),
    "whether it is ready": head("/readyz"),
    "a long poll": head("/api/v1/signing-requests/sr_1?wait=30"),
    "another method": head("/", "HEAD"), "an older protocol": b"GET / HTTP/1.0\r\n\r\n",
    "half a head": b"GET / HTTP/1.1\r\nHost: a\r\n", "no request at all": b"\r\n\r\n",
}


@pytest.mark.parametrize("content", INSIDE.values(), ids=INSIDE.keys())
def test_what_is_not_plainly_to_be_refused_is_decided_inside(content: bytes) -> None:
    house = House()
    house.crowd.inside = 1
    assert house.threshold.answers(head()) is not None
    assert house.threshold.answers(content) is None


def test_it_says_the_same_as_inside_and_is_counted_the_same() -> None:
    async def story() -> None:
        async with open_house() as (house, address):
            await busy(house, address, head("/busy"))
            before = counted()
            outside = await (await Line.to(address)).asks(head("/", "GET", "Connection: close"))
            Threshold.answers, kept = (lambda *_: None), Threshold.answers  # type: ignore[method-assign]
            try:
                inside = await (await Line.to(address)).asks(head("/", "GET", "Connection: close"))
            finally:
                Threshold.answers = kept  # type: ignore[method-assign]
            for _, headers, told in (outside, inside):
                assert headers.pop("x-request-id") == json.loads(told)["request_id"]
                headers.pop("date")
            assert outside[:2] == inside[:2]
            assert {**json.loads(outside[2]), "request_id": ""} == {**json.loads(inside[2]), "request_id": ""}
            assert counted() == before + 2

    asyncio.run(story())


@pytest.mark.parametrize("more", [[], ["Connection: close"]], ids=["it stays", "it closes"])
def test_health_is_told_the_same_as_inside_and_needs_nobody_there(more: list[str]) -> None:
    async def story() -> None:
        async with open_house(most_requests=9) as (house, address):
            before = counted("/healthz", "200")
            outside = await (await Line.to(address)).asks(head("/healthz", "GET", *more))
            assert (house.came_in, counted("/healthz", "200")) == ([], before + 1)
            inside = await (await Line.to(address)).asks(head("/healthz?", "GET", *more))
            assert house.came_in == ["/healthz"]
            for _, headers, _ in (outside, inside):
                assert headers.pop("x-request-id").startswith("rq_")
                headers.pop("date")
            assert outside == inside

    asyncio.run(story())


def counted(route: str = "unknown", status: str = "503") -> float:
    return metrics.registry().get_sample_value("signing_http_requests_total", {"route": route, "status": status}) or 0


def test_many_are_let_in_at_once_and_nobody_waits_for_a_turn_of_the_loop_each() -> None:
    class Visitor(asyncio.Protocol):
        came = 0

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            Visitor.came += 1

    async def story() -> int:
        listener, turns = socket.create_server(("127.0.0.1", 0), backlog=500), 0
        listener.setblocking(False)
        serving = [await asyncio.get_running_loop().create_server(Visitor, sock=each) for each in doors(listener)]
        coming = [socket.create_connection(listener.getsockname()) for _ in range(64)]
        while Visitor.came < len(coming):
            turns += 1
            await asyncio.sleep(0)
        for caller in coming:
            caller.close()
        for server in serving:
            server.close()
        return turns

    assert uvloop.run(story()) < 16


def test_a_probe_is_let_in_at_once_while_hundreds_wait_at_the_other_door() -> None:
    came: list[int] = []

    class Visitor(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            came.append(transport.get_extra_info("sockname")[1])

    async def story() -> tuple[int, int]:
        listener, probes = (socket.create_server(("127.0.0.1", 0), backlog=500) for _ in range(2))
        listener.setblocking(False)
        probes.setblocking(False)
        coming = [socket.create_connection(listener.getsockname()) for _ in range(400)]
        coming.append(socket.create_connection(probes.getsockname()))
        serving = [await asyncio.get_running_loop().create_server(Visitor, sock=each)
                   for each in (*doors(listener), probes)]
        own = probes.getsockname()[1]
        while len(came) < len(coming):  # noqa: ASYNC110 - it is the turns of the loop that are looked at
            await asyncio.sleep(0)
        for caller in coming:
            caller.close()
        for server in serving:
            server.close()
        return came.index(own), len(came)

    before, everybody = uvloop.run(story())
    assert before <= 3 * DOORS
    assert everybody == 401


@pytest.mark.parametrize(("path", "status"), [*((path, 200) for path in ALWAYS_OPEN), ("/", 404), ("/busy", 404)])
def test_through_the_door_of_probes_nothing_but_them_is_found(path: str, status: int) -> None:
    async def story() -> None:
        async with open_house(probes=True) as (house, address):
            line = await Line.to(house.probes)
            answered, headers, _ = await line.asks(head(path))
            assert (answered, "x-request-id" in headers) == (status, True)
            assert house.came_in == ([path] if path in ("/readyz", "/metrics") else [])
            assert (await (await Line.to(address)).asks(head("/")))[0] == 200

    asyncio.run(story())


def test_a_probe_is_answered_at_its_own_door_while_the_house_is_full() -> None:
    async def story() -> None:
        async with open_house(probes=True) as (house, address):
            await busy(house, address, head("/busy"))
            assert (await (await Line.to(address)).asks(head("/")))[0] == 503
            assert (await (await Line.to(house.probes)).asks(head("/healthz")))[0] == 200

    asyncio.run(story())


def test_who_was_sent_away_and_leaves_a_body_half_way_is_hung_up_on() -> None:
    async def story() -> None:
        async with open_house() as (house, address):
            await busy(house, address, head("/busy"))
            line = await Line.to(address)
            assert (await line.asks(head("/", "POST", "Content-Length: 100")))[0] == 503
            assert await line.is_over()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatientProtocol, "header_seconds", 0.5)
        asyncio.run(story())
