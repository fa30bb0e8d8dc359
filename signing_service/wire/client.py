"""Asking the signer: one connection, many questions under way, each with its own deadline."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
from pathlib import Path
from typing import TypeVar

import msgspec

from signing_service.errors import NotAuthorized, Unavailable
from signing_service.wire.failures import from_failure
from signing_service.wire.messages import MAX_FRAME, Answer, Failure, Message, encoder

A = TypeVar("A", bound=Message)
HEADER = struct.Struct(">II")  # length of the body, number of the question
ANSWERS = msgspec.msgpack.Decoder(Answer)
# What msgspec raises about bytes that are no message; the last two in places where it forgets to say so itself.
MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

AWAY = "The signer does not answer. Nothing more is known of this request than its state says; look before you repeat."


class SignerClient:
    """A connection that is made when it is needed and made again when it broke.

    A question whose answer did not come is never repeated here: it may have been carried out.
    """

    def __init__(self, path: Path, *, deadline: float = 35.0) -> None:
        self._path = path
        self._deadline = deadline  # seconds; longer than an intent's deadline, so that the signer answers first
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()

    async def ask(self, message: Message, expected: type[A], *, deadline: float | None = None) -> A:
        """Send one message and wait for its answer. Raises the signer's refusal, or Unavailable."""
        writer = await self._connected()
        number = next(self._numbers)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            async with asyncio.timeout(deadline or self._deadline):
                writer.write(frame(number, encoder.encode(message)))
                await writer.drain()
                answer = await future
        except TimeoutError as error:
            raise Unavailable(AWAY, code="signer-timeout") from error
        except OSError as error:
            raise Unavailable(AWAY, code="signer-away") from error
        finally:
            self._waiting.pop(number, None)
        return checked(answer, expected)

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is not None and not self._writer.is_closing():
                return self._writer
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_unix_connection(str(self._path)), 2)
            except (OSError, TimeoutError) as error:
                raise Unavailable("The signer is not running.", code="signer-away") from error
            self._writer = writer
            self._reading = asyncio.create_task(self._read(reader, writer))
            return writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length, number = HEADER.unpack(await reader.readexactly(HEADER.size))
                body = await reader.readexactly(length)
                future = self._waiting.get(number)
                if future is not None and not future.done():
                    future.set_result(ANSWERS.decode(body))
        except (OSError, asyncio.IncompleteReadError, *MALFORMED):
            pass
        finally:
            writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Unavailable(AWAY, code="signer-away"))

    async def close(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading


def ask_once(path: Path, message: Message, expected: type[A], *, deadline: float = 60.0) -> A:
    """The same for a program without an event loop: one connection, one question."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(deadline)
            connection.connect(str(path))
            connection.sendall(frame(1, encoder.encode(message)))
            length, _ = HEADER.unpack(_exactly(connection, HEADER.size))
            answer = ANSWERS.decode(_exactly(connection, length))
    except PermissionError as error:
        raise NotAuthorized(f"{path} is not for this user of the system: act as the signer's.", code="peer") from error
    except (OSError, *MALFORMED) as error:
        raise Unavailable(f"The signer does not answer at {path}. Is it running?", code="signer-away") from error
    return checked(answer, expected)


def frame(number: int, body: bytes) -> bytes:
    return HEADER.pack(len(body), number) + body


def checked(answer: Message, expected: type[A]) -> A:
    if isinstance(answer, Failure):
        raise from_failure(answer)
    if not isinstance(answer, expected):
        raise Unavailable("The signer gave an answer that does not fit the question.", code="signer-protocol")
    return answer


def _exactly(connection: socket.socket, count: int) -> bytes:
    if count > MAX_FRAME * 4:
        raise OSError("an answer larger than any message")
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise OSError("the signer closed the connection")
        parts += part
    return bytes(parts)
