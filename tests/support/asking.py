"""HTTP as load: a client that costs little itself, what each call took, and figures over many of them.

    async with Line("127.0.0.1", port) as line:
        answer = await line.asks("GET", "/healthz")
    p99(taken)

One `Line` is one connection that is kept open, and opened again when the other side closed it. Not for finding out
what an answer means: for that there is httpx.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
import urllib.parse
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

PATIENCE = 60.0  # seconds for one answer; an attack that outlasts them has succeeded


@dataclass(frozen=True)
class Answer:
    """`status` 0: the connection ended without one. `seconds` from the first byte sent to the last one read."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem, or the status of anything else."""
        is_problem = self.headers.get("content-type", "").startswith("application/problem+json")
        return str(self.json()["code"]) if is_problem else str(self.status)


@dataclass
class Line:
    """One connection."""

    host: str
    port: int
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Line:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.hang_up()

    def hang_up(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None

    async def asks(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request, one answer; a connection that was closed meanwhile is opened once more."""
        begun = time.perf_counter()
        lines = {"host": "signing", "content-length": str(len(body))} | {
            name.replace("_", "-"): value for name, value in headers.items()}
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in lines.items()) + "\r\n"
        for _ in range(2):
            fresh = self._writer is None
            try:
                async with asyncio.timeout(PATIENCE):
                    return await self._exchange(head.encode() + body, begun)
            except (OSError, asyncio.IncompleteReadError, TimeoutError):
                self.hang_up()
                if fresh:
                    break
        return Answer(0, {}, b"", time.perf_counter() - begun)

    async def _exchange(self, content: bytes, begun: float) -> Answer:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self.host, self.port)
        self._writer.write(content)
        status, headers = await read_head(self._reader)
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.hang_up()
        return Answer(status, headers, body, time.perf_counter() - begun)


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status and headers of an answer. IncompleteReadError when there is none."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(head[0].split()[1]), headers


def form(fields: Mapping[str, str], file: bytes) -> tuple[bytes, str]:
    """A multipart form with one file, and its media type."""
    boundary = "x" * 40
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
             for name, value in fields.items()]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'.encode()
    whole = b"".join(parts) + head + file + f"\r\n--{boundary}--\r\n".encode()
    return whole, f"multipart/form-data; boundary={boundary}"


def words(**fields: str) -> tuple[bytes, str]:
    """A form of the web."""
    return urllib.parse.urlencode(fields).encode(), "application/x-www-form-urlencoded"


@dataclass
class Load:
    """Calls that begin at their time, whatever became of those before (an open loop), and what each of them took."""

    answers: list[Answer] = field(default_factory=list)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def keeps(self, rate: float, seconds: float, call: Callable[[], Awaitable[Answer]]) -> None:
        """`rate` calls each second for so long; returns when the last of them has its answer."""
        begun = time.perf_counter()
        for at in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, begun + at / rate - time.perf_counter()))
            task = asyncio.create_task(self._one(call))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)

    async def _one(self, call: Callable[[], Awaitable[Answer]]) -> None:
        self.answers.append(await call())

    def taken(self, *statuses: int) -> list[float]:
        """Seconds of the calls that were answered so; of all of them without any status."""
        return [each.seconds for each in self.answers if not statuses or each.status in statuses]


@dataclass
class Lines:
    """Connections for an open loop: one is taken for each call, and another is opened when none is free."""

    host: str
    port: int
    _free: list[Line] = field(default_factory=list)

    async def asks(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        line = self._free.pop() if self._free else Line(self.host, self.port)
        answer = await line.asks(method, path, body, **headers)
        self._free.append(line)
        return answer

    def hang_up(self) -> None:
        for line in self._free:
            line.hang_up()
        self._free.clear()


def percentile(taken: Sequence[float], share: float) -> float:
    """Of so many, the one that `share` of them do not exceed."""
    ordered = sorted(taken)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def p99(taken: Sequence[float]) -> float:
    return percentile(taken, 0.99)


def in_ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def counted(codes: Iterable[str]) -> dict[str, int]:
    """How often each of them, the most frequent first."""
    found: dict[str, int] = {}
    for each in codes:
        found[each] = found.get(each, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))
