"""Being asked: a unix socket that takes one closed set of messages from peers of one closed set of users."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from signing_service.errors import Invalid, NotAuthorized, SigningError, Unavailable
from signing_service.wire.client import HEADER, MALFORMED, frame
from signing_service.wire.failures import to_failure
from signing_service.wire.messages import MAX_FRAME, Message, encoder

log = logging.getLogger(__name__)
Handler = Callable[[Any], Awaitable[Message]]
PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)


class Server:
    """Listens on `path` (created with `mode`), decodes messages of `requests` only, answers each as it is ready."""

    def __init__(
        self, path: Path, requests: Any, handler: Handler, *,
        users: frozenset[int], mode: int = 0o660, most_waiting: int = 1024,
    ) -> None:
        self._path, self._mode, self._users = path, mode, users
        self._decoder = msgspec.msgpack.Decoder(requests)
        self._handler = handler
        self._most_waiting = most_waiting
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._closing = False

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        previous = os.umask(0o177)  # nobody may connect before the mode is set
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_FRAME)
        finally:
            os.umask(previous)
        os.chmod(self._path, self._mode)

    async def stop(self) -> None:
        """Take no more, on open connections neither, and let what is under way end."""
        self._closing = True
        if self._server is not None:
            self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=30)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not self._known(writer.get_extra_info("socket")):
                await self._answer(writer, 0, NotAuthorized("This user may not speak to the signer.", code="peer"))
                return
            while True:
                await writer.drain()  # who does not read answers is not asked for more questions
                length, number = HEADER.unpack(await reader.readexactly(HEADER.size))
                if length > MAX_FRAME:
                    await self._answer(writer, number, Invalid("The message is too large.", code="frame"))
                    return
                body = await reader.readexactly(length)
                self._begin(self._one(writer, number, body))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, writer: asyncio.StreamWriter, number: int, body: bytes) -> None:
        try:
            if self._closing or len(self._tasks) > self._most_waiting:
                raise Unavailable("The signer's queue is full or closing. Try again shortly.", code="queue-full",
                                  retry_after=1)
            answer: Message | SigningError = await self._handler(self._decoder.decode(body))
        except MALFORMED as error:
            log.warning("a message that does not fit: %s", error)
            answer = Invalid("The message does not fit its type.", code="message")
        except SigningError as error:
            answer = error
        except Exception:
            log.exception("a message could not be handled")
            answer = Unavailable("The signer could not finish this. Look at the state before you repeat it.",
                                 code="signer-error")
        await self._answer(writer, number, answer)

    async def _answer(self, writer: asyncio.StreamWriter, number: int, answer: Message | SigningError) -> None:
        message = to_failure(answer) if isinstance(answer, SigningError) else answer
        try:
            writer.write(frame(number, encoder.encode(message)))
            await writer.drain()
        except OSError:
            log.warning("the peer went away before its answer")

    def _known(self, connection: Any) -> bool:
        _pid, uid, _gid = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))
        return uid in self._users
