"""A host of the outside world on 127.0.0.1: an HTTP server that answers with a script and counts who came.

    async with Outside() as host:
        host.answers("/hook", status=200)
        ...
        assert host.hits == 1
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Question:
    """One HTTP request, as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Reply = Callable[[Question, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Outside:
    """Connections are counted even when nothing was asked over them."""

    address: str = "127.0.0.1"
    connections: int = 0
    questions: list[Question] = field(default_factory=list)
    reply: Reply | None = None
    port: int = 0
    tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Outside:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server = await asyncio.start_server(self._serve, self.address, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def url(self, path: str = "/", host: str = "tsa.example.vn") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            question = await _read(reader)
            self.questions.append(question)
            await (self.reply or plain())(question, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Question:
    method, target, _ = (await reader.readline()).decode().split(" ", 2)
    headers: dict[str, str] = {}
    while line := (await reader.readline()).decode().strip():
        key, _, value = line.partition(":")
        headers[key.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Question(method, target, headers, body)


def plain(body: bytes = b"ok", status: int = 200, **headers: str) -> Reply:
    """Answer with this, and close."""
    lines = {"content-length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"

    async def reply(_: Question, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode() + body)
        await writer.drain()

    return reply


def resolving(*answers: str) -> Callable[[str, int], Awaitable[list[str]]]:
    """A resolver that gives these answers to every name, one after the other; the last one stays."""
    waiting = list(answers)

    async def resolve(_host: str, _port: int) -> list[str]:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return answer.split()

    return resolve
